"""A recording of everything that a replay can meet, drawn at random."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from bookreel.storage.record import Direction, Kind

__all__ = ["SYMBOLS", "Market"]

SYMBOLS: Final = ("aidogeusdt", "btcusdt", "ethusdt")

_ODD: Final = (
    b'{"ping":1}',
    b'{"a":"b\\\\c"}',
    b'{"a":"\xc3\xa9\\n\\u0007"}',
    b'{"a": "b",\n\t"c": 1}',
    b"no \x01 json \\",
    b"\xff\xfe",
)

_BIDS: Final = (99.0, 98.75, 9.377e-11)
_ASKS: Final = (101.0, 102.123456789)

_PLAIN: Final = ("bbo", "trade.detail", "kline.1min", "detail")


class Market:
    """Goes on a step at a time: each is a frame, a lost delta, a reconnect, a new segment, a seal..."""

    def __init__(self, recording: Any, rng: Random) -> None:
        self.recording = recording
        self._rng = rng
        self._now = 1.0
        self._seq = dict.fromkeys(SYMBOLS, 100)
        self._held: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self._trades = dict.fromkeys(SYMBOLS, 0)
        for symbol in SYMBOLS:
            self._subscribe(symbol, "feed-0", "mbp.150")
            self._subscribe(symbol, "ws-0", *_PLAIN)
            self._held[symbol] = [100]
        for odd in _ODD:
            self._append("ws-0", Direction.IN, Kind.TEXT, odd)
        self._steps: list[tuple[Callable[[], object], int]] = [
            (self.delta, 40),
            (self.trades, 15),
            (self.quote, 15),
            (self.bar, 6),
            (self.ticker, 6),
            (self.lose, 5),
            (self.snapshot, 4),
            (self.reference, 1),
            (self.reconnect, 2),
            (self.odd, 3),
            (self.rotate, 3),
            (self.seal, 2),
        ]

    def steps(self, count: int) -> None:
        """Go on by so many steps."""
        doings, weights = zip(*self._steps, strict=True)
        for _ in range(count):
            self._now += self._rng.choice((0.0, 0.001, 0.25, 3.0, 20.0))
            self.recording.clock.now = self.recording.at(self._now)
            self._rng.choices(doings, weights)[0]()
        self.recording.flush()

    def delta(self) -> None:
        symbol = self._symbol()
        prev = self._seq[symbol]
        self._seq[symbol] += self._rng.choice((1, 1, 5))
        if self._held[symbol]:
            self._held[symbol].append(self._seq[symbol])
        bids, asks = (
            [[self._rng.choice(prices), self._rng.choice((0, 0.5, 2))] for _ in range(self._rng.randrange(4))]
            for prices in (_BIDS, _ASKS)
        )
        self.recording.delta(self._now, prev, self._seq[symbol], bids, asks, symbol=symbol)

    def lose(self) -> None:
        """A delta that does not arrive: the next one breaks the chain."""
        symbol = self._symbol()
        self._seq[symbol] += 1
        self._held[symbol] = [self._seq[symbol]]

    def snapshot(self) -> None:
        """The answer to a request, at one of the deltas that wait for it, or of a book that is live."""
        symbol = self._symbol()
        held = self._held[symbol] or [self._seq[symbol]]
        seq = self._rng.choice((held[0], self._rng.choice(held)))
        self.recording.snapshot(self._now, seq, [[99.5, 1], [99, 2]], [[101.5, 1]], symbol=symbol)
        self._held[symbol] = []

    def trades(self) -> None:
        symbol = self._symbol()
        data = []
        for _ in range(self._rng.randrange(1, 4)):
            self._trades[symbol] += 1
            id_ = int(f"1{self._trades[symbol]:020d}")
            data.append(
                {"id": id_, "ts": 1, "tradeId": self._trades[symbol], "amount": 0.5, "price": self._price()}
                | {"direction": "buy"}
            )
        self._push(symbol, "trade.detail", {"id": 1, "ts": 1, "data": data})

    def quote(self) -> None:
        symbol = self._symbol()
        sides = {"bid": self._rng.choice((None, 99.0)), "bidSize": 1.0, "ask": 101.0, "askSize": 2.5}
        self._push(symbol, "bbo", {"seqId": self._seq[symbol], "quoteTime": 1, "symbol": symbol, **sides})

    def bar(self) -> None:
        values = dict.fromkeys(("open", "close", "low", "high", "amount", "vol"), 1.5)
        self._push(self._symbol(), "kline.1min", {"id": 60, **values, "count": 3})

    def ticker(self) -> None:
        values = dict.fromkeys(("open", "close", "low", "high", "amount", "vol"), 1.5)
        self._push(self._symbol(), "detail", {"id": 60, **values, "count": 3, "version": 1})

    def reference(self) -> None:
        state = self._rng.choice(("online", "offline"))
        currencies = [(symbol, symbol.removesuffix("usdt")) for symbol in reversed(SYMBOLS)]
        data = [
            {"symbol": symbol, "base-currency": base, "quote-currency": "usdt", "state": state}
            for symbol, base in currencies
        ]
        self._append("", Direction.IN, Kind.REFERENCE, json.dumps({"status": "ok", "data": data}).encode())

    def reconnect(self) -> None:
        line = self._rng.choice(("feed-0", "ws-0"))
        self.recording.event("disconnect", self._now, line, cause="disconnect", detail="")
        self._now += 0.5
        for symbol in self._rng.sample(SYMBOLS, 2):
            feeds = ("mbp.150",) if line == "feed-0" else _PLAIN
            self._subscribe(symbol, line, *feeds)
        if line == "feed-0":
            self._held = {symbol: [seq] for symbol, seq in self._seq.items()}

    def odd(self) -> None:
        """Frames that cannot be read, or hardly."""
        self._append("ws-0", Direction.IN, Kind.TEXT, self._rng.choice(_ODD))

    def rotate(self) -> None:
        self.recording.rotate()

    def seal(self) -> None:
        self.recording.seal()

    def _symbol(self) -> str:
        return self._rng.choice(SYMBOLS)

    def _price(self) -> float:
        return self._rng.choice(_BIDS + _ASKS)

    def _subscribe(self, symbol: str, line: str, *feeds: str) -> None:
        self.recording.connect(self._now, *(f"market.{symbol}.{feed}" for feed in feeds), conn=line)

    def _push(self, symbol: str, feed: str, tick: dict[str, Any]) -> None:
        ts = self.recording.at(self._now) // 1_000_000
        self.recording.frame(self._now, {"ch": f"market.{symbol}.{feed}", "ts": ts, "tick": tick}, "ws-0")

    def _append(self, conn: str, direction: Direction, kind: Kind, payload: bytes) -> None:
        now = self.recording.at(self._now)
        self.recording.journal.append(now, now, conn, 1 if conn else 0, direction, kind, payload)
