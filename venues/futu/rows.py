"""What the gateway tells, as rows of an archive's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from bookreel.venues.futu.model import (
    Bar,
    BookLevels,
    Event,
    OrderBook,
    Tick,
)
from bookreel.venues.message import Row

__all__ = ["rows"]


def rows(events: Iterable[Event], *, asked: bool = False) -> list[Row]:
    """The rows of a push's events, or of an answer's; none for what no table holds: a book of odd lots, a bar without
    figures or with adjusted prices, a reminder, a notice.
    """
    found = []
    for event in events:
        make = _MAKERS.get(type(event))
        row = None if make is None else make(event, asked)
        if row is not None:
            found.append(row)
    return found


def _book(book: OrderBook, asked: bool) -> Row | None:
    if book.odd_lot:
        return None
    values = {
        "feed": book.feed,
        "source": "refresh" if asked else "push",
        "bids": _levels(book.bids),
        "asks": _levels(book.asks),
    }
    return Row("book_snapshots", book.symbol, book.ts_event, values)


def _trade(tick: Tick, asked: bool) -> Row:
    values = {
        "trade_id": str(tick.sequence),
        "trade_seq": tick.sequence,
        "side": tick.side,
        "price": tick.price,
        "size": float(tick.volume),
    }
    return Row("trades", tick.symbol, tick.ts_event, values, tick.sequence)


def _bar(bar: Bar, asked: bool) -> Row | None:
    if bar.blank or bar.ts_event is None or bar.rehab != "none":
        return None
    values = {
        "period": bar.period,
        "open_time": bar.ts_event,
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
        "volume": None if bar.volume is None else float(bar.volume),
        "turnover": bar.turnover,
    }
    return Row("klines", bar.symbol, None, values)


def _levels(levels: BookLevels) -> list[tuple[float, float]]:
    return [(price, float(volume)) for price, volume, _ in levels]


_MAKERS: Final[dict[type, Callable[[Any, bool], Row | None]]] = {
    OrderBook: _book,
    Tick: _trade,
    Bar: _bar,
}
