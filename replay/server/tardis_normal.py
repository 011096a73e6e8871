"""What was recorded as tardis-machine's normalised messages: trades, book changes, and what is computed from them.

Books are better founded here than a mapper can know them: a snapshot begins every run of deltas that chain, and after
a gap there is a new one. Where the range begins inside of a run, the book of that instant comes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import count, starmap
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from bookreel.book.l2 import L2Book
from bookreel.book.model import Levels
from bookreel.replay import (
    Archive,
    RecordedBbo,
    RecordedSnapshot,
    RecordedTrade,
    Session,
)
from bookreel.replay.server.tardis_computed import (
    PLAIN,
    BookEvent,
    Computed,
    TradeEvent,
    computed,
    is_of_books,
    is_of_trades,
)
from bookreel.replay.server.tardis_options import NormalOptions, Span
from bookreel.replay.server.tardis_steps import NormalForm, Step
from bookreel.replay.server.tardis_tape import pages_of
from bookreel.replay.server.tardis_types import (
    BookChange,
    BookTicker,
    Disconnect,
    Level,
    Trade,
    stamp,
)
from bookreel.storage.shared_tail import SharedTail

__all__ = ["Normal", "normalised"]

_MS_NS: Final = 1_000_000

_encode: Final = msgspec.json.Encoder().encode


class _Item(NamedTuple):
    """A message and where it stands: position, and then the options it is of and their order."""

    pos: int
    source: int
    number: int
    value: msgspec.Struct


class Normal:
    """The messages of one choice of options, in order. Opening it blocks; raises NoSuchSymbol and BadRequest."""

    def __init__(self, archive: Archive, options: NormalOptions, span: Span) -> None:
        self._archive = archive
        self._exchange = options.exchange
        self._span = span
        kinds = [computed(name) for name in options.data_types]
        self._given = {kind for kind, _ in kinds}
        self._makers: list[Callable[[str, str], Computed]] = [make for _, make in kinds if make is not None]
        # A book is kept only for what is computed of it.
        self._keeps_books = any(is_of_books(name) and name not in PLAIN for name in options.data_types)
        self._computed: dict[str, list[Computed]] = {}
        self._books: dict[str, L2Book] = {}
        self._disconnects = bool(options.with_disconnect_messages)
        named = [symbol.lower() for symbol in options.symbols or ()]
        self._symbols = list(dict.fromkeys(named)) or archive.symbols()
        tables = []
        if any(map(is_of_trades, options.data_types)):
            tables.append("trades")
        self._feeds: dict[str, str] = {}
        if any(map(is_of_books, options.data_types)):
            tables += ["book_snapshots", "book_deltas"]
            best = {symbol: archive.book_feeds(symbol) for symbol in self._symbols}
            self._feeds = {symbol: feeds[0] for symbol, feeds in best.items() if feeds}
        if "book_ticker" in self._given:
            tables.append("bbo")
        if self._disconnects:
            tables.append("sessions")
        feeds = {"trade.detail", "bbo", *self._feeds.values()}
        self._source = archive.source(self._symbols, tables, feeds, span.start, span.end)

    def values(self) -> Iterator[msgspec.Struct]:
        """Each message."""
        for _, values in self._steps():
            yield from values

    def items(self, source: int) -> Iterator[_Item]:
        """Each message, with where it stands."""
        numbers = count()
        for place, values in self._steps():
            for value in values:
                yield _Item(place, source, next(numbers), value)

    def _steps(self) -> Iterator[tuple[int, Iterable[msgspec.Struct]]]:
        """What each event leads to, with where that stands."""
        for symbol, feed in self._feeds.items():
            yield 0, self._first(symbol, feed)
        for page in pages_of(self._source, NormalForm()):
            for place, event in zip(page.order[page.first :], page.items[page.first :], strict=True):
                taker = _TAKERS.get(type(event))
                if taker is not None:
                    yield place, taker(self, event)

    def _first(self, symbol: str, feed: str) -> Iterator[msgspec.Struct]:
        """The book with which the range begins, if it begins inside of a run."""
        found = self._archive.book(symbol, self._span.start - 1, feed)
        if found.valid and found.ts_event is not None:
            yield from self._load(symbol, found.bids, found.asks, found.ts_event, self._span.start)

    def _trade(self, event: RecordedTrade) -> Iterator[msgspec.Struct]:
        ts, local = event.ts_event // _MS_NS, stamp(event.ts_recv // _MS_NS)
        symbol = event.symbol.upper()
        if "trade" in self._given:
            yield Trade(
                symbol=symbol,
                exchange=self._exchange,
                id=str(event.trade_id if event.trade_seq is None else event.trade_seq),
                price=event.price,
                amount=event.size,
                side=str(event.side),
                timestamp=stamp(ts),
                local_timestamp=local,
            )
        if self._makers:
            trade = TradeEvent(event.price, event.size, str(event.side), ts, local)
            yield from self._compute(event.symbol, trade)

    def _snapshot(self, event: RecordedSnapshot) -> Iterator[msgspec.Struct]:
        if event.source != "keyframe" and self._feeds.get(event.symbol) == event.feed:
            yield from self._load(event.symbol, event.bids, event.asks, event.ts_event, event.ts_recv)

    def _load(
        self, symbol: str, bids: Levels, asks: Levels, ts: int, ts_recv: int
    ) -> Iterator[msgspec.Struct]:
        """Times in ns."""
        book = self._books.setdefault(symbol, L2Book())
        local = stamp(ts_recv // _MS_NS)
        if "book_change" in self._given:
            high, low = (Raw(_encode(list(starmap(Level, side)))) for side in (bids, asks))
            yield self._change(symbol, high, low, ts, local, is_snapshot=True)
        if self._keeps_books:
            book.load(bids, asks)
            yield from self._compute(symbol, BookEvent(book, ts // _MS_NS, local))

    def _delta(self, step: Step) -> Iterator[msgspec.Struct]:
        book = self._books.get(step.symbol)
        if book is None or self._feeds.get(step.symbol) != step.feed:
            return
        local = stamp(step.ts_recv // _MS_NS)
        if "book_change" in self._given:
            bids, asks = step.json
            yield self._change(step.symbol, bids, asks, step.ts_event, local, is_snapshot=False)
        if self._keeps_books:
            book.apply(step.delta)
            yield from self._compute(step.symbol, BookEvent(book, step.ts_event // _MS_NS, local))

    def _change(
        self, symbol: str, bids: Raw, asks: Raw, ts: int, local: str, *, is_snapshot: bool
    ) -> BookChange:
        return BookChange(
            symbol=symbol.upper(),
            exchange=self._exchange,
            is_snapshot=is_snapshot,
            bids=bids,
            asks=asks,
            timestamp=stamp(ts // _MS_NS),
            local_timestamp=local,
        )

    def _quote(self, event: RecordedBbo) -> Iterable[msgspec.Struct]:
        return (
            BookTicker(
                symbol=event.symbol.upper(),
                exchange=self._exchange,
                ask_amount=event.ask_size or UNSET,
                ask_price=event.ask or UNSET,
                bid_price=event.bid or UNSET,
                bid_amount=event.bid_size or UNSET,
                timestamp=stamp(event.ts_event // _MS_NS),
                local_timestamp=stamp(event.ts_recv // _MS_NS),
            ),
        )

    def _session(self, event: Session) -> Iterator[msgspec.Struct]:
        if event.event == "disconnect":
            self._computed.clear()
            yield Disconnect(exchange=self._exchange, local_timestamp=stamp(event.ts_recv // _MS_NS))

    def _compute(self, symbol: str, event: TradeEvent | BookEvent) -> Iterator[msgspec.Struct]:
        made = self._computed.get(symbol)
        if made is None:
            made = self._computed[symbol] = [make(symbol.upper(), self._exchange) for make in self._makers]
        for one in made:
            if one.of is type(event):
                yield from one.take(event)


_TAKERS: Final[dict[Any, Callable[[Normal, Any], Iterable[msgspec.Struct]]]] = {
    RecordedTrade: Normal._trade,
    RecordedSnapshot: Normal._snapshot,
    Step: Normal._delta,
    RecordedBbo: Normal._quote,
    Session: Normal._session,
}


def normalised(path: Path | SharedTail, wanted: list[tuple[NormalOptions, Span]]) -> Iterator[msgspec.Struct]:
    """The messages of several options in one order. What it raises for what is wanted comes with the first one."""
    with ExitStack() as opened:
        # Each reader has its own archive.
        normals = [Normal(opened.enter_context(Archive(path)), options, span) for options, span in wanted]
        if len(normals) == 1:
            yield from normals[0].values()
            return
        # Where messages stand is different for each of them, so the values themselves are not compared.
        for item in heapq.merge(*(normal.items(number) for number, normal in enumerate(normals))):
            yield item.value
