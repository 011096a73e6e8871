"""A seeded synthetic stock market: for each security a true book of ten levels a side, trades, brokers, bars.

A pure function of (listings, seed, rate, start, hours): every event carries its own time, a whole number of
microseconds, and what it changes is done when :meth:`StockMarket.step` returns. Nothing happens out of hours.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from bookreel.exchange.futu.bars import Bars
from bookreel.exchange.futu.hours import ALWAYS, Session, local, session
from bookreel.exchange.futu.listing import Listing

__all__ = ["LEVELS", "Level", "Market", "MarketEvent", "MarketTick", "Queue", "StockMarket"]

LEVELS: Final = 10
_KEPT_TICKS: Final = 1000
_BROKERS: Final = ("UBS", "CITI", "HSBC", "FUTU", "GOLDMAN", "JPMORGAN", "BOCI", "CICC", "NOMURA", "PHILLIP")


class MarketTick(NamedTuple):
    """A trade. ``sequence`` is beyond 2**53 and rises by any step. ``dir``: 1 bought, 2 sold, 3 neither."""

    ts_ns: int
    sequence: int
    dir: Literal[1, 2, 3]
    price: float
    volume: int


class Level(NamedTuple):
    """A price with what waits there."""

    price: float
    volume: int
    orders: int


class Queue(NamedTuple):
    """A broker's place on one side."""

    broker_id: int
    name: str
    place: int


class MarketEvent(NamedTuple):
    """What one event of a security changed."""

    symbol: str
    ts_ns: int
    book: bool
    brokers: bool
    ticks: tuple[MarketTick, ...]


class StockMarket:
    """The market of one security. ``next_ns`` is when its next event happens."""

    def __init__(self, listing: Listing, seed: int, rate: float, start_ns: int, *, always: bool) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self._always = always
        self._rng = rng = random.Random(f"stock:{seed}:{listing.symbol}")
        self._gap_ns = 1e9 / rate
        self._bid = round(listing.price * listing.scale / listing.step)
        self._bids = [self._fresh() for _ in range(LEVELS)]
        self._asks = [self._fresh() for _ in range(LEVELS)]
        self._sequence = (start_ns // 1_000_000_000 << 32) + rng.randrange(2**20)
        self.bid_ns = self.ask_ns = start_ns // 1000 * 1000
        self.ticks: deque[MarketTick] = deque(maxlen=_KEPT_TICKS)
        self.minutes: dict[int, tuple[float, float, int, float]] = {}
        """Minute of the day to last price, average price, volume and turnover."""
        self.queues = (self._queue(), self._queue())
        """The brokers that bid, and that ask."""
        self.last_close = self.price_at(self._bid)
        self.open = self.high = self.low = self.last = self.last_close
        self.volume = 0
        self.turnover = 0.0
        self.last_ns = self.bid_ns
        now = local(listing.market, start_ns).replace(tzinfo=None)
        self._day = now.date()
        self.bars = Bars(rng, now, self.last, listing.spread, listing.lot)
        self._session = self.session(start_ns)
        self.next_ns = self._after(start_ns)

    def price_at(self, index: int) -> float:
        """The price of so many steps."""
        return self.listing.price_of(index)

    def session(self, at_ns: int) -> Session:
        """What the security's market does."""
        return ALWAYS if self._always else session(self.listing.market, at_ns)

    @property
    def bids(self) -> list[Level]:
        """The true best bids, best first."""
        return [Level(self.price_at(self._bid - i), *level) for i, level in enumerate(self._bids)]

    @property
    def asks(self) -> list[Level]:
        """The true best asks, best first."""
        return [Level(self.price_at(self._bid + 1 + i), *level) for i, level in enumerate(self._asks)]

    def step(self) -> MarketEvent:
        """Do the next event."""
        rng = self._rng
        ts_ns = self.next_ns
        kind = rng.random()
        ticks: list[MarketTick] = []
        brokers = self.listing.market.name == "HK" and rng.random() < 0.15
        if kind < 0.65:
            buying = rng.random() < 0.5
            side = self._bids if buying else self._asks
            side[rng.randrange(LEVELS)] = self._fresh()
            self._touch(ts_ns, bid=buying, ask=not buying)
        elif kind < 0.95:
            ticks = [self._trade(ts_ns) for _ in range(1 if rng.random() < 0.8 else rng.randint(2, 4))]
        book = kind < 0.95
        if brokers:
            self.queues = (self._queue(), self._queue())
        self.next_ns = self._after(ts_ns)
        return MarketEvent(self.symbol, ts_ns, book, brokers, tuple(ticks))

    def _after(self, at_ns: int) -> int:
        """The next event's time: within trading hours, and a whole number of microseconds."""
        gap = int(self._rng.expovariate(1.0) * self._gap_ns)
        at_ns += max(1000, gap)
        while True:
            if at_ns >= self._session.until_ns or not self._session.trading:
                self._session = self.session(at_ns)
            if self._session.trading:
                return at_ns // 1000 * 1000
            at_ns = self._session.until_ns + gap

    def _trade(self, ts_ns: int) -> MarketTick:
        rng = self._rng
        buying = rng.random() < 0.5
        side = self._asks if buying else self._bids
        volume, orders = side[0]
        taken = min(volume, rng.randint(1, 8) * self.listing.lot)
        price = self.price_at(self._bid + buying)
        if taken < volume:
            side[0] = (volume - taken, max(1, orders - rng.randint(0, 1)))
        else:  # the level is gone: the whole book moves by a step
            self._bid += 1 if buying else -1
            other = self._bids if buying else self._asks
            side.pop(0)
            side.append(self._fresh())
            other.pop()
            other.insert(0, self._fresh())
        self._touch(ts_ns, bid=True, ask=True)
        self._sequence += rng.choice((1, 1, 2, 5, 40))
        tick = MarketTick(
            ts_ns, self._sequence, 3 if rng.random() < 0.05 else 1 if buying else 2, price, taken
        )
        self._count(tick)
        return tick

    def _count(self, tick: MarketTick) -> None:
        """Everything that sums up trades."""
        now = local(self.listing.market, tick.ts_ns).replace(tzinfo=None)
        if now.date() != self._day:
            self._day = now.date()
            self.last_close = self.last
            self.open = self.high = self.low = tick.price
            self.volume, self.turnover = 0, 0.0
            self.minutes.clear()
        elif not self.volume:
            self.open = self.high = self.low = tick.price
        self.ticks.append(tick)
        self.last, self.last_ns = tick.price, tick.ts_ns
        self.high, self.low = max(self.high, tick.price), min(self.low, tick.price)
        self.volume += tick.volume
        self.turnover = round(self.turnover + tick.price * tick.volume, 6)
        minute = now.hour * 60 + now.minute
        _, _, volume, turnover = self.minutes.get(minute, (0.0, 0.0, 0, 0.0))
        volume, turnover = volume + tick.volume, round(turnover + tick.price * tick.volume, 6)
        self.minutes[minute] = (tick.price, self.turnover / self.volume, volume, turnover)
        self.bars.add(now, tick.price, tick.volume)

    def _touch(self, ts_ns: int, *, bid: bool, ask: bool) -> None:
        if bid:
            self.bid_ns = ts_ns
        if ask:
            self.ask_ns = ts_ns

    def _fresh(self) -> tuple[int, int]:
        return self._rng.randint(1, 60) * self.listing.lot, self._rng.randint(1, 25)

    def _queue(self) -> list[Queue]:
        names = self._rng.sample(range(len(_BROKERS)), 5)
        return [Queue(1000 + i, _BROKERS[i], place) for place, i in enumerate(names, 1)]


class Market:
    """All securities, their events in order of time."""

    def __init__(
        self, listings: Iterable[Listing], seed: int, rate: float, start_ns: int, *, always: bool
    ) -> None:
        self.stocks = {
            listing.symbol: StockMarket(listing, seed, rate, start_ns, always=always) for listing in listings
        }
        self._queue = [(stock.next_ns, symbol) for symbol, stock in self.stocks.items()]
        heapq.heapify(self._queue)

    @property
    def next_ns(self) -> int:
        """When the next event happens."""
        return self._queue[0][0]

    def advance(self, now_ns: int) -> Iterator[MarketEvent]:
        """Do every event up to ``now_ns``, one at a time: what is seen after each is the state at it."""
        while self._queue[0][0] <= now_ns:
            _, symbol = self._queue[0]
            stock = self.stocks[symbol]
            event = stock.step()
            heapq.heapreplace(self._queue, (stock.next_ns, symbol))
            yield event
