"""What tardis-machine computes from trades and book changes: bars, and books at intervals.

An interval of time is one of the venue's clock, and ends with the first event after it, as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol, TypeAlias

import msgspec

from bookreel.book.l2 import L2Book
from bookreel.book.model import Levels
from bookreel.replay.server.errors import BadRequest
from bookreel.replay.server.tardis_types import BookSnapshot, LevelTexts, TradeBar, Value, stamp

__all__ = ["PLAIN", "BookEvent", "Computed", "TradeEvent", "computed", "is_of_books", "is_of_trades"]

PLAIN: Final = {"trade": "trade", "book_change": "book_change", "book_ticker": "book_ticker"}
"""Data types that are given as they are, by the type of what is given."""

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000}
_NUMBER: Final = r"([0-9]{1,9}(?:[.][0-9]{1,9})?)"
_BAR: Final = re.compile(rf"trade_bar_{_NUMBER}(ticks|ms|s|m|vol)")
_BOOK: Final = re.compile(rf"book_snapshot_([0-9]{{1,4}})_{_NUMBER}(ms|s|m)")
_QUOTE: Final = re.compile(rf"quote(?:_{_NUMBER}(ms|s|m))?")
_KNOWN: Final = (
    *PLAIN,
    "book_snapshot_{depth}_{interval}{ms|s|m}",
    "quote",
    "quote_{interval}{ms|s|m}",
    "trade_bar_{interval}{ms|s|m|ticks|vol}",
)


class TradeEvent(msgspec.Struct, frozen=True, gc=False):
    """A trade; times in ms."""

    price: float
    amount: float
    side: str
    ts: int
    local: str


class BookEvent(msgspec.Struct, frozen=True, gc=False):
    """A book after a change of it; times in ms. ``book`` goes on changing."""

    book: L2Book
    ts: int
    local: str


class Computed(Protocol):
    """One computed data type of one symbol. ``of``: the type of events that it is made of."""

    @property
    def of(self) -> type[TradeEvent] | type[BookEvent]: ...

    def take(self, event: TradeEvent | BookEvent) -> Iterator[Value]:
        """What an event leads to."""
        ...


Maker: TypeAlias = Callable[[str, str], Computed]
"""Makes a computed data type of a symbol and exchange."""


def is_of_trades(data_type: str) -> bool:
    return data_type == "trade" or data_type.startswith("trade_bar")


def is_of_books(data_type: str) -> bool:
    return data_type == "book_change" or data_type.startswith(("book_snapshot", "quote"))


def computed(data_type: str) -> tuple[str, Maker | None]:
    """The type of what is given, and what makes it for a symbol and exchange; None: it is given as it is. Raises
    BadRequest.
    """
    if data_type in PLAIN:
        return PLAIN[data_type], None
    if match := _BAR.fullmatch(data_type):
        number, unit = float(match[1]), match[2]
        kind = {"ticks": "tick", "vol": "volume"}.get(unit, "time")
        interval = number * _UNITS_MS.get(unit, 1)
        if interval > 0:
            return "trade_bar", partial(_Bars, data_type, kind, interval)
    elif match := _BOOK.fullmatch(data_type):
        depth, interval = int(match[1]), float(match[2]) * _UNITS_MS[match[3]]
        if depth > 0:
            return "book_snapshot", partial(_Books, data_type, depth, interval)
    elif match := _QUOTE.fullmatch(data_type):
        interval = float(match[1]) * _UNITS_MS[match[2]] if match[1] else 0.0
        return "book_snapshot", partial(_Books, data_type, 1, interval)
    raise BadRequest(
        f"{data_type[:64]!r} is not a data type of what is recorded here",
        parameter="dataTypes",
        allowed=_KNOWN,
    )


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


class _Books:
    """The best levels of a book, whenever they changed, or at the end of each interval in which they did."""

    of: type[TradeEvent] | type[BookEvent] = BookEvent

    def __init__(self, name: str, depth: int, interval: float, symbol: str, exchange: str) -> None:
        self._name, self._symbol, self._exchange = name, symbol, exchange
        self._depth, self._interval = depth, interval
        self._best: tuple[Levels, Levels] = ([], [])
        self._texts = LevelTexts()
        self._changed = self._begun = False
        self._last = -1

    def take(self, event: TradeEvent | BookEvent) -> Iterator[Value]:
        assert isinstance(event, BookEvent), "only those are taken"
        if self._due(event.ts):
            yield self._value(event)
        best = event.book.top(self._depth)
        if best != self._best:
            self._best = best
            self._changed = True
        self._last = event.ts
        if self._due(event.ts):
            yield self._value(event)
            self._begun = True

    def _due(self, ts: int) -> bool:
        if not self._changed:
            return False
        if not self._interval or not self._begun:
            return True
        bucket = self._last // self._interval
        if ts // self._interval <= bucket:
            return False
        self._last = int((bucket + 1) * self._interval)
        return True

    def _value(self, event: BookEvent) -> BookSnapshot:
        self._changed = False
        bids, asks = self._best
        return BookSnapshot(
            symbol=self._symbol,
            exchange=self._exchange,
            name=self._name,
            depth=self._depth,
            interval=_plain(self._interval),
            bids=self._texts.list(bids, self._depth),
            asks=self._texts.list(asks, self._depth),
            timestamp=stamp(self._last),
            local_timestamp=event.local,
        )


class _Bars:
    """Bars of trades: of an interval of time (ms), a number of trades, or a volume."""

    of: type[TradeEvent] | type[BookEvent] = TradeEvent

    def __init__(self, name: str, kind: str, interval: float, symbol: str, exchange: str) -> None:
        self._name, self._symbol, self._exchange = name, symbol, exchange
        self._kind, self._interval = kind, interval
        self._trades = 0
        self._open = self._high = self._low = self._close = 0.0
        self._volume = self._buys = self._sells = self._vwap = 0.0
        self._opened = self._closed = self._ts = -1

    def take(self, event: TradeEvent | BookEvent) -> Iterator[Value]:
        assert isinstance(event, TradeEvent), "only those are taken"
        if self._due(event.ts):
            yield self._value(event)
        self._add(event)
        if self._due(event.ts):
            yield self._value(event)

    def _due(self, ts: int) -> bool:
        if not self._trades:
            return False
        if self._kind == "tick":
            return self._trades >= self._interval
        if self._kind == "volume":
            return self._volume >= self._interval
        bucket = self._opened // self._interval
        if ts // self._interval <= bucket:
            return False
        self._ts = int((bucket + 1) * self._interval)
        return True

    def _add(self, trade: TradeEvent) -> None:
        if not self._trades:
            self._open = self._high = self._low = trade.price
            self._opened = trade.ts
            self._ts = -1
            self._volume = self._buys = self._sells = self._vwap = 0.0
        self._high = max(self._high, trade.price)
        self._low = min(self._low, trade.price)
        if trade.ts >= self._ts:
            self._close = trade.price
            self._closed = self._ts = trade.ts
        self._buys += trade.amount if trade.side == "buy" else 0.0
        self._sells += trade.amount if trade.side == "sell" else 0.0
        self._trades += 1
        volume = self._volume + trade.amount
        self._vwap = (
            (self._vwap * self._volume + trade.price * trade.amount) / volume if volume else trade.price
        )
        self._volume = volume

    def _value(self, trade: TradeEvent) -> TradeBar:
        found = TradeBar(
            symbol=self._symbol,
            exchange=self._exchange,
            name=self._name,
            interval=_plain(self._interval),
            kind=self._kind,
            open=self._open,
            high=self._high,
            low=self._low,
            close=self._close,
            volume=self._volume,
            buy_volume=self._buys,
            sell_volume=self._sells,
            trades=self._trades,
            vwap=self._vwap,
            open_timestamp=stamp(self._opened),
            close_timestamp=stamp(self._closed),
            local_timestamp=trade.local,
            timestamp=stamp(self._ts),
        )
        self._trades = 0
        return found
