"""Bars of trades, as tardis-machine computes them.

An interval of time is one of the venue's clock, and ends with the first trade after it, as there.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bookreel.replay.server.tardis_computed import BarType
from bookreel.replay.server.tardis_types import TradeBar, plain, stamp

__all__ = ["Bars", "TradeEvent"]


class TradeEvent(msgspec.Struct, frozen=True, gc=False):
    """A trade; times in ms."""

    price: float
    amount: float
    side: str
    ts: int
    local: str


class Bars:
    """Bars of the trades of one symbol."""

    def __init__(self, wanted: BarType, symbol: str, exchange: str) -> None:
        self._name, self._kind, self._interval = wanted
        self._symbol, self._exchange = symbol, exchange
        self._trades = 0
        self._open = self._high = self._low = self._close = 0.0
        self._volume = self._buys = self._sells = self._vwap = 0.0
        self._opened = self._closed = self._ts = -1

    def take(self, event: TradeEvent) -> Iterator[TradeBar]:
        """What a trade leads to."""
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
            interval=plain(self._interval),
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
