"""A seeded synthetic market: orders, cancels and takers over a true price -> size book for each symbol.

A pure function of (listings, seed, rate, start): every event carries its own time, so the same seed gives
the same events however often and in whatever steps ``advance`` is called. Each event takes a new sequence
number of its symbol (steps are sometimes larger than 1), and everything an event changes (levels, trades,
bars) is done when ``step`` returns.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from bookreel.exchange.bars import Bars
from bookreel.exchange.ladder import Ladder
from bookreel.exchange.listing import Listing

__all__ = ["Market", "MarketEvent", "MarketTrade", "Quote", "SymbolMarket"]

_BURST_RATE = 8  # how much faster events come inside a burst
_LEAST_LEVELS = 5  # takers and cancels never leave a side with fewer
_KEPT_EVENTS = 2_000


class MarketTrade(NamedTuple):
    """One trade. ``side`` is the taker's; ``trade_id`` has 24 or 27 digits, ``trade_seq`` 7 or 12."""

    trade_id: int
    trade_seq: int
    side: Literal["buy", "sell"]
    price: float
    size: float


class MarketEvent(NamedTuple):
    """One step of a symbol's sequence. ``quote``: the best bid or offer changed; ``rolled``: bars began."""

    symbol: str
    ts_ns: int
    seq: int
    trades: tuple[MarketTrade, ...]
    book: bool
    quote: bool
    rolled: tuple[str, ...]


class Quote(NamedTuple):
    """Best bid and offer as of sequence number ``seq``."""

    seq: int
    ts_ns: int
    bid: float
    bid_size: float
    ask: float
    ask_size: float


class SymbolMarket:
    """The market of one symbol. ``next_ns`` is when its next event happens."""

    def __init__(self, listing: Listing, seed: int, rate: float, start_ns: int) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self._rng = rng = random.Random(f"market:{seed}:{listing.symbol}")
        unit: int = 10**listing.price_precision
        self._size_unit: int = 10**listing.amount_precision
        self._usual_lots = max(20.0, listing.value / listing.price * self._size_unit)
        self._fair = listing.price * unit
        self.bids = Ladder(listing.price_precision, listing.amount_precision)
        self.asks = Ladder(listing.price_precision, listing.amount_precision)
        self._fill()
        self.seq = (
            rng.randrange(145 * 10**9, 165 * 10**9)
            if listing.major
            else rng.randrange(15 * 10**7, 68 * 10**7)
        )
        self._trade_seq = (
            rng.randrange(100_020 * 10**6, 102_600 * 10**6)
            if listing.major
            else rng.randrange(10**6, 8 * 10**6)
        )
        self._trade_serial = 255_757_297_000_000 + rng.randrange(10**9)
        self._quiet_gap_ns = 1e9 / rate * (320 / 258.75)  # with the bursts below the mean rate is ``rate``
        self._burst = 0
        usual = self._usual_lots / self._size_unit
        past = random.Random(f"past:{seed}:{listing.symbol}")
        self.bars = Bars(past, start_ns, listing.price, 1 / unit, usual, max(0.2, rate * 6))
        self.events: deque[MarketEvent] = deque(maxlen=_KEPT_EVENTS)
        """The newest events that had trades."""
        self.last_ns = start_ns
        self.quote = self._quote(start_ns)
        self.next_ns = start_ns + self._wait()

    def step(self) -> MarketEvent:
        """Do the next event."""
        rng = self._rng
        ts_ns = self.last_ns = self.next_ns
        chance = rng.random()
        self.seq += 1 if chance < 0.6 else rng.randint(2, 6) if chance < 0.95 else rng.randint(7, 81)
        self._fair *= 1.0 + 4e-5 * rng.gauss(0.0, 1.0)
        rolled = tuple(self.bars.rolled) if self.bars.roll(ts_ns // 1_000_000_000) else ()
        trades: list[MarketTrade] = []
        kind = rng.random()
        if kind < 0.46:
            self._resize(self._side())
        elif kind < 0.72:
            self._place(self._side())
        elif kind < 0.84:
            self._cancel(self._side())
        elif kind < 0.90:
            for _ in range(rng.randint(2, 8)):  # a quoting program moves several orders at once
                self._resize(self._side())
        elif kind < 0.97:
            self._take(trades)
        book = (
            kind < 0.97
        )  # the rest takes a number and leaves the book as it was: a hidden order, one cancelled at once
        quote = self._quote(ts_ns)
        moved = quote[2:] != self.quote[2:]
        if moved:
            self.quote = quote
        event = MarketEvent(self.symbol, ts_ns, self.seq, tuple(trades), book, moved, rolled)
        if trades:
            self.events.append(event)
        self.next_ns = ts_ns + self._wait()
        return event

    def _wait(self) -> int:
        rng = self._rng
        gap = self._quiet_gap_ns
        if self._burst:
            self._burst -= 1
            gap /= _BURST_RATE
        elif rng.random() < 0.004:
            self._burst = rng.randrange(20, 120)
        return 1 + int(rng.expovariate(1.0) * gap)

    def _quote(self, ts_ns: int) -> Quote:
        bids, asks = self.bids, self.asks
        bid, ask = bids.keys[0], asks.keys[0]
        return Quote(self.seq, ts_ns, bids.price(bid), bids.size(bid), asks.price(ask), asks.size(ask))

    def _fill(self) -> None:
        rng = self._rng
        half = max(1, int(self.listing.gap / 2))
        for side, key in ((self.bids, half - int(self._fair)), (self.asks, half + int(self._fair))):
            for i in range(self.listing.levels):
                side.put(key, self._lots())
                key += 1 + int(rng.expovariate(1.0) * (self.listing.gap - 1) * (0.4 + i / 60))
                if side is self.bids and key >= 0:
                    break

    def _side(self) -> Ladder:
        return self.bids if self._rng.random() < 0.5 else self.asks

    def _lots(self) -> int:
        return max(1, int(self._usual_lots * self._rng.lognormvariate(0.0, 1.1)))

    def _near(self, side: Ladder) -> int:
        """A level, more often one near the touch."""
        rng = self._rng
        if rng.random() < 0.2:
            return side.keys[int(rng.random() * len(side))]
        return side.keys[min(len(side) - 1, int(rng.expovariate(1.0) * len(side) / 12))]

    def _resize(self, side: Ladder) -> None:
        key = self._near(side)
        lots = side.lots[key]
        change = self._rng.random()
        if change < 0.5:
            side.put(key, lots + self._lots())
        else:
            side.put(key, max(1, int(lots * (0.2 + 0.75 * self._rng.random()))))

    def _place(self, side: Ladder) -> None:
        rng = self._rng
        best = side.keys[0]
        other = self.asks if side is self.bids else self.bids
        spread = best + other.keys[0]
        assert spread > 0, f"{self.symbol} is crossed by {-spread} ticks"
        gap = self.listing.gap
        if spread > 1 and rng.random() < min(0.9, spread / (gap * 12)):
            key = best - 1 - int(rng.random() * (spread - 1) * 0.5)
        else:
            key = best + 1 + int(rng.expovariate(1.0) * gap * len(side) / 10)
        if len(side) > self.listing.levels * 1.05:
            side.remove(side.keys[-1])
        if key < 0 or side is self.asks:
            side.put(key, side.lots.get(key, 0) + self._lots())

    def _cancel(self, side: Ladder) -> None:
        if len(side) > max(_LEAST_LEVELS, self.listing.levels * 0.9):
            side.remove(self._near(side))
        else:
            self._place(side)

    def _take(self, trades: list[MarketTrade]) -> None:
        rng = self._rng
        mid = (self.asks.keys[0] - self.bids.keys[0]) / 2
        pull = (self._fair - mid) / (self.listing.gap * 20)
        buying = rng.random() < 0.5 + max(-0.35, min(0.35, pull))
        side = self.asks if buying else self.bids
        left = max(1, int(self._usual_lots * 0.5 * rng.lognormvariate(0.0, 1.3)))
        for _ in range(6):
            if left <= 0 or len(side) <= _LEAST_LEVELS:
                break
            key = side.keys[0]
            lots = min(left, side.lots[key])
            first = lots if lots < 2 or rng.random() < 0.8 else rng.randrange(1, lots)
            makers = (
                (first, lots - first) if first < lots else (lots,)
            )  # two makers at one price are two trades
            taker: Literal["buy", "sell"] = "buy" if buying else "sell"
            trades.extend(self._trade(taker, side.price(key), part) for part in makers)
            side.put(key, side.lots[key] - lots)
            left -= lots

    def _trade(self, taker: Literal["buy", "sell"], price: float, lots: int) -> MarketTrade:
        self._trade_seq += 1
        self._trade_serial += 1 + self._rng.randrange(900)
        size = lots / self._size_unit
        self.bars.trade(price, size)
        return MarketTrade(self.seq * 10**15 + self._trade_serial, self._trade_seq, taker, price, size)

    def _check(self) -> None:
        self.bids._check()
        self.asks._check()
        assert -self.bids.keys[0] < self.asks.keys[0], "the book is crossed"
        assert all(key < 0 for key in self.bids.keys), "a bid without a price"


class Market:
    """Every symbol's market, moved on together in the order of time."""

    def __init__(self, listings: Iterable[Listing], seed: int, rate: float, start_ns: int) -> None:
        self.symbols = {listing.symbol: SymbolMarket(listing, seed, rate, start_ns) for listing in listings}
        self._queue = [(symbol.next_ns, name, symbol) for name, symbol in self.symbols.items()]
        heapq.heapify(self._queue)

    @property
    def next_ns(self) -> int:
        """When the next event happens."""
        return self._queue[0][0]

    def advance(self, until_ns: int) -> Iterator[tuple[SymbolMarket, MarketEvent]]:
        """Every event up to ``until_ns``, in order; each is done when it is yielded, the ones after it are
        not."""
        queue = self._queue
        while queue and queue[0][0] <= until_ns:
            _, name, symbol = queue[0]
            event = symbol.step()
            heapq.heapreplace(queue, (symbol.next_ns, name, symbol))
            yield symbol, event
