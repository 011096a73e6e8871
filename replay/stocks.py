"""What the gateway of stocks tells, as typed values: some of :mod:`bookreel.replay.events` with what it adds and
leaves out, and some of its own. ``ts_event`` is None where the gateway tells no time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import TakerSide
from bookreel.replay.events import (
    PLACE,
    Maker,
    Part,
    RecordedKline,
    RecordedSnapshot,
    RecordedTrade,
    Times,
    books,
    column_values,
    row_part,
    rows_as,
)
from bookreel.replay.sweep import ORDER

__all__ = [
    "NUMBERS",
    "STOCKS",
    "QueuedBroker",
    "RecordedMinute",
    "RecordedQueue",
    "RecordedQuote",
    "StockKline",
    "StockSnapshot",
    "StockTrade",
]


class StockTrade(RecordedTrade, frozen=True, gc=False, tag_field="type", tag="trade"):
    """A trade. ``side`` is None where the exchange names no taker. ``kind``, ``sign``, ``origin`` and ``ts_gateway``
    (ns) are as in ``trades``.
    """

    ts_event: int | None  # type: ignore[assignment]
    side: TakerSide | None  # type: ignore[assignment]
    turnover: float | None
    kind: int | None
    sign: int | None
    origin: str | None
    ts_gateway: int | None


class StockKline(RecordedKline, frozen=True, gc=False, tag_field="type", tag="kline"):
    """One push of a bar. The gateway tells no number of trades, and no time but the bar's. ``rehab``: how its prices
    are adjusted for splits and dividends.
    """

    ts_event: int | None  # type: ignore[assignment]
    volume: float | None  # type: ignore[assignment]
    turnover: float | None  # type: ignore[assignment]
    count: int | None  # type: ignore[assignment]
    rehab: str | None
    last_close: float | None


class StockSnapshot(RecordedSnapshot, frozen=True, gc=False, tag_field="type", tag="book_snapshot"):
    """A whole book, as it was pushed or, ``source="refresh"``, asked for; it can be crossed, as in an auction.
    ``bid_orders`` and ``ask_orders``: how many orders there are at each level.
    """

    ts_event: int | None  # type: ignore[assignment]
    bid_orders: list[int] | None
    ask_orders: list[int] | None


class RecordedQuote(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="quote"):
    """The last price and the day's figures, as ``quotes`` has them. ``ts_event`` is the time of ``price`` alone."""

    symbol: str
    feed: str
    ts_event: int | None
    price: float
    open: float
    high: float
    low: float
    last_close: float
    volume: float
    turnover: float
    turnover_rate: float
    amplitude: float
    price_spread: float
    suspended: bool
    status: int | None
    dark_status: int | None
    extended: str | None
    ts_recv: int
    pos: int


class QueuedBroker(msgspec.Struct, frozen=True, gc=False):
    """A broker's place in the queue of its side."""

    place: int
    broker_id: int
    broker: str
    order_id: int | None
    volume: int | None


class RecordedQueue(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="broker_queue"):
    """The brokers who wait on both sides; all rows of ``broker_queue`` that one push made."""

    symbol: str
    feed: str
    ts_event: int | None
    bids: list[QueuedBroker]
    asks: list[QueuedBroker]
    ts_recv: int
    pos: int


class RecordedMinute(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="timeshare"):
    """Price and volume of a minute, as ``timeshare`` has them."""

    symbol: str
    feed: str
    ts_event: int | None
    minute_time: int
    minute: int
    price: float | None
    last_close: float | None
    average: float | None
    volume: float | None
    turnover: float | None
    ts_recv: int
    pos: int


def _queues(rank: float, piece: pa.Table, times: Times) -> list[Part]:
    """Rows of ``broker_queue``, a row a broker: those of one push follow each other."""
    rows = piece.combine_chunks()
    order, count = rows[ORDER], rows.num_rows
    turns = pc.not_equal(order.slice(1), order.slice(0, count - 1))
    found: list[Any] = pc.indices_nonzero(turns).to_pylist()
    first = [0, *(index + 1 for index in found)]
    columns = [rows[name].to_pylist() for name in QueuedBroker.__struct_fields__]
    brokers = list(map(QueuedBroker, *columns))
    sides = rows["side"].to_pylist()
    bids, asks = [], []
    for start, stop in pairwise([*first, count]):
        places = range(start, stop)
        bids.append([brokers[place] for place in places if sides[place] == "bid"])
        asks.append([brokers[place] for place in places if sides[place] == "ask"])
    heads = rows.take(pa.array(first, pa.int64()))
    named, placed = (
        [column_values(heads, name, times) for name in names]
        for names in (("symbol", "=broker", "ts_event?"), PLACE)
    )
    return [row_part(rank, list(map(RecordedQueue, *named, bids, asks, *placed)), heads)]


_BAR: Final = ("open", "high", "low", "close", "volume", "turnover", "count")
_DAY: Final = ("price", "open", "high", "low", "last_close", "volume", "turnover", "turnover_rate")
_STATE: Final = ("amplitude", "price_spread", "suspended", "status", "dark_status", "extended")
_MINUTE: Final = ("minute_time", "minute", "price", "last_close", "average", "volume", "turnover")

STOCKS: Final[dict[str, Maker]] = {
    "trades": rows_as(
        StockTrade,
        (
            *("symbol", "=ticker", "ts_event?", "trade_id", "trade_seq", "side", "price", "size", *PLACE),
            *("turnover", "kind", "sign", "origin", "ts_gateway"),
        ),
    ),
    "klines": rows_as(
        StockKline,
        ("symbol", "kline", "ts_event?", "period", "open_time", *_BAR, *PLACE, "rehab", "last_close"),
    ),
    "quotes": rows_as(RecordedQuote, ("symbol", "=quote", "ts_event?", *_DAY, *_STATE, *PLACE)),
    "broker_queue": _queues,
    "timeshare": rows_as(RecordedMinute, ("symbol", "=rt", "ts_event?", *_MINUTE, *PLACE)),
    "book_snapshots": books(StockSnapshot, "ts_event?", ("bid_orders", "ask_orders")),
}
"""What makes values of rows of the gateway's tables."""

NUMBERS: Final[dict[type[Any], tuple[str, ...]]] = {
    StockTrade: ("price", "size", "turnover"),
    StockKline: (*_BAR[:-1], "last_close"),
    StockSnapshot: ("bids", "asks"),
    RecordedQuote: (*_DAY, *_STATE[:2]),
    RecordedMinute: _MINUTE[2:],
}
"""The fields of each kind of event that are prices and sizes."""
