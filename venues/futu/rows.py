"""What the gateway tells, as rows of an archive's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from bookreel.venues.futu.model import (
    Bar,
    BookLevels,
    BrokerQueue,
    Event,
    OrderBook,
    Quote,
    Tick,
    TimePoint,
)
from bookreel.venues.message import Row

__all__ = ["rows"]


def rows(events: Iterable[Event], *, asked: bool = False) -> list[Row]:
    """The rows of a push's events, or of an answer's; none for what no table holds: a book of odd lots, a bar without
    figures or with adjusted prices, a reminder, a notice.
    """
    found: list[Row] = []
    for event in events:
        make = _MAKERS.get(type(event))
        if make is not None:
            found += make(event, asked)
    return found


def _book(book: OrderBook, asked: bool) -> Iterator[Row]:
    if book.odd_lot:
        return
    values = {
        "feed": book.feed,
        "source": "refresh" if asked else "push",
        "bids": _levels(book.bids),
        "asks": _levels(book.asks),
        "bid_orders": [orders for _, _, orders in book.bids],
        "ask_orders": [orders for _, _, orders in book.asks],
    }
    yield Row("book_snapshots", book.symbol, book.ts_event, values)


def _trade(tick: Tick, asked: bool) -> Iterator[Row]:
    values = {
        "trade_id": str(tick.sequence),
        "trade_seq": tick.sequence,
        "side": tick.side,
        "price": tick.price,
        "size": float(tick.volume),
        "turnover": tick.turnover,
        "kind": tick.kind,
        "sign": tick.sign,
        "origin": tick.origin,
        "ts_gateway": tick.ts_gateway,
    }
    yield Row("trades", tick.symbol, tick.ts_event, values, tick.sequence)


def _bar(bar: Bar, asked: bool) -> Iterator[Row]:
    if bar.blank or bar.ts_event is None or bar.rehab != "none":
        return
    values = {
        "period": bar.period,
        "open_time": bar.ts_event,
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "volume": None if bar.volume is None else float(bar.volume),
        "turnover": bar.turnover,
        "rehab": bar.rehab,
        "last_close": bar.last_close,
    }
    yield Row("klines", bar.symbol, None, values)


def _quote(quote: Quote, asked: bool) -> Iterator[Row]:
    values = {name: getattr(quote, name) for name in _QUOTED}
    sessions = {name: getattr(quote, name) for name in _SESSIONS}
    told = {name: figures for name, figures in sessions.items() if figures is not None}
    extended = msgspec.json.encode(told).decode() if told else None
    values |= {"volume": float(quote.volume), "extended": extended}
    yield Row("quotes", quote.symbol, quote.ts_event, values)


def _queue(queue: BrokerQueue, asked: bool) -> Iterator[Row]:
    """A row for each broker; an empty queue has none."""
    for side, brokers in (("bid", queue.bids), ("ask", queue.asks)):
        for broker in brokers:
            values = {
                "side": side,
                "place": broker.place,
                "broker_id": broker.broker_id,
                "broker": broker.name,
                "order_id": broker.order_id,
                "volume": broker.volume,
            }
            yield Row("broker_queue", queue.symbol, queue.ts_event, values)


def _point(point: TimePoint, asked: bool) -> Iterator[Row]:
    if point.blank:
        return
    values = {
        "minute_time": point.ts_event,
        "minute": point.minute,
        "price": point.price,
        "last_close": point.last_close,
        "average": point.average,
        "volume": None if point.volume is None else float(point.volume),
        "turnover": point.turnover,
    }
    yield Row("timeshare", point.symbol, None, values)


def _levels(levels: BookLevels) -> list[tuple[float, float]]:
    return [(price, float(volume)) for price, volume, _ in levels]


_QUOTED: Final = (
    *("price", "open", "high", "low", "last_close", "turnover", "turnover_rate", "amplitude", "price_spread"),
    *("suspended", "status", "dark_status"),
)
_SESSIONS: Final = ("pre_market", "after_market", "overnight")

_MAKERS: Final[dict[type, Callable[[Any, bool], Iterable[Row]]]] = {
    OrderBook: _book,
    Tick: _trade,
    Bar: _bar,
    Quote: _quote,
    BrokerQueue: _queue,
    TimePoint: _point,
}
