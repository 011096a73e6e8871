"""What the gateway's pushes and replies say, as values.

Times are integer ns since the UNIX epoch, UTC, and None where the gateway tells none; ``ts_event`` is the venue's
time of what happened. Prices are in the symbol's currency, as the wire's own ``float64``. Volumes are shares: an
``int`` as it was sent, or a ``float`` where the market has fractions (crypto). Sequence numbers and ids are int64.
Every event of a security carries ``symbol`` and ``feed``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from bookreel.book.model import TakerSide
from bookreel.venues.message import Topic

__all__ = [
    "Bar",
    "BookLevels",
    "Broker",
    "BrokerQueue",
    "Event",
    "ExtendedHours",
    "Notice",
    "OrderBook",
    "Origin",
    "PriceReminder",
    "Push",
    "Quote",
    "Tick",
    "TimePoint",
    "Volume",
]

Volume: TypeAlias = int | float

BookLevels: TypeAlias = list[tuple[float, Volume, int]]
"""(price, volume, number of orders), best first as the gateway sends them."""

Origin: TypeAlias = Literal["live", "backfill", "cache"]
"""``backfill``: sent late, after the gateway's own connection was lost (50 at most); ``cache``: sent again, after a
subscription. Both may repeat ticks that came before."""


class OrderBook(msgspec.Struct, frozen=True, gc=False):
    """A whole book. ``ts_event`` is the later of the two sides' times at the exchange's gateway; HK only."""

    symbol: str
    feed: str
    ts_event: int | None
    ts_bid: int | None
    ts_ask: int | None
    bids: BookLevels
    asks: BookLevels
    odd_lot: bool = False

    @property
    def crossed(self) -> bool:
        """Whether the best bid has reached the best ask, as it does in an auction."""
        return bool(self.bids and self.asks and self.bids[0][0] >= self.asks[0][0])


class Tick(msgspec.Struct, frozen=True, gc=False):
    """A trade. ``sequence`` is its identity within its symbol, not a count. ``side`` is the taker's, or None.

    ``kind`` and ``sign`` are the exchange's own marks (7: auction, 6: odd lot, 21: before or after hours, ...).
    """

    symbol: str
    feed: str
    ts_event: int | None
    ts_gateway: int | None
    sequence: int
    side: TakerSide | None
    price: float
    volume: Volume
    turnover: float
    kind: int | None
    sign: int | None
    origin: Origin | None


class ExtendedHours(msgspec.Struct, frozen=True, gc=False):
    """The figures of a session before, after or between trading hours."""

    price: float | None
    high: float | None
    low: float | None
    volume: int | None
    turnover: float | None
    change: float | None
    change_rate: float | None
    amplitude: float | None


class Quote(msgspec.Struct, frozen=True, gc=False):
    """A day's figures. ``ts_event`` is the time of ``price`` alone: the others change without it."""

    symbol: str
    feed: str
    ts_event: int | None
    price: float
    open: float
    high: float
    low: float
    last_close: float
    volume: Volume
    turnover: float
    turnover_rate: float
    amplitude: float
    price_spread: float
    suspended: bool
    listed: str
    status: int | None
    dark_status: int | None
    name: str | None
    pre_market: ExtendedHours | None = None
    after_market: ExtendedHours | None = None
    overnight: ExtendedHours | None = None


class Broker(msgspec.Struct, frozen=True, gc=False):
    """A broker's place in the queue of one side. The order is known to accounts with full depth only."""

    broker_id: int
    name: str
    place: int
    order_id: int | None
    volume: int | None


class BrokerQueue(msgspec.Struct, frozen=True, gc=False):
    """The brokers waiting on both sides. The gateway gives no time."""

    symbol: str
    feed: str
    ts_event: int | None
    bids: list[Broker]
    asks: list[Broker]


class TimePoint(msgspec.Struct, frozen=True, gc=False):
    """A minute of the day's price line. A blank one has no figures yet."""

    symbol: str
    feed: str
    ts_event: int | None
    minute: int
    blank: bool
    price: float | None
    last_close: float | None
    average: float | None
    volume: Volume | None
    turnover: float | None


class Bar(msgspec.Struct, frozen=True, gc=False):
    """A bar. ``ts_event`` is the time the gateway labels it with. A blank one has no figures."""

    symbol: str
    feed: str
    ts_event: int | None
    period: str
    rehab: str
    blank: bool
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    last_close: float | None
    volume: Volume | None
    turnover: float | None
    turnover_rate: float | None
    pe: float | None
    change_rate: float | None


class PriceReminder(msgspec.Struct, frozen=True, gc=False):
    """A reminder that the account's owner has set went off."""

    symbol: str
    feed: str
    ts_event: int | None
    price: float
    change_rate: float
    market_status: int
    content: str
    note: str
    key: int | None
    kind: int | None
    set_value: float | None
    current_value: float | None


class Notice(msgspec.Struct, frozen=True, gc=False):
    """News of the gateway itself. Only what the notice is about is there; the rest is None.

    ``event`` 7: the account logged in elsewhere. ``qot_logined`` false: no quotes until it is true again.
    """

    kind: int
    event: int | None = None
    text: str | None = None
    qot_logined: bool | None = None
    trd_logined: bool | None = None
    sub_quota: int | None = None
    history_quota: int | None = None
    used_sub_quota: int | None = None
    used_history_quota: int | None = None


Event: TypeAlias = OrderBook | Tick | Quote | BrokerQueue | TimePoint | Bar | PriceReminder | Notice
"""What one push holds, once or several times."""


class Push(msgspec.Struct, frozen=True, gc=False):
    """One push. ``topic`` is None where it is of no one feed. ``whole``: its body was a response around the message.

    ``oddities`` are facts worth counting that do not make it unreadable: where envelope and body disagree the body,
    which is the protocol's own, counts.
    """

    topic: Topic | None
    proto_id: int
    events: list[Event]
    whole: bool = True
    oddities: tuple[str, ...] = ()
