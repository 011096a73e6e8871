"""Does an answer know more than we were pushed? Pure comparison of what two frames of one topic say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from bookreel.book.l2 import Book
from bookreel.book.model import Bbo, Delta, Event, Kline, Snapshot, Ticker, Trade

__all__ = ["newer", "newer_book"]

_Content: TypeAlias = object
_Mark: TypeAlias = tuple[int, _Content]


def newer(answer: Sequence[Event], known: Sequence[Event], since: int, *, verbatim: bool = False) -> bool:
    """Whether ``answer`` holds something that the topic should have pushed after ``known``, its last push.

    ``since`` (venue time, ns) is when the stream began; it decides where nothing was pushed yet. ``verbatim``: the
    answer is a push sent again as it was, so that a later one was missed even if it says the same.
    """
    if not answer:
        return False
    if not known:
        return max(event.ts_event for event in answer) > since
    there, here = _mark(answer), _mark(known)
    return there[0] > here[0] and (verbatim or there[1] != here[1])


def newer_book(answer: Snapshot, book: Book, last_seq: int) -> bool:
    """The same for a live incremental book. The number alone does not tell: it is shared by all of a symbol's
    feeds, and rises also when nothing within this feed's depth changes.
    """
    if answer.seq is None or answer.seq <= last_seq:
        return False
    return dict(answer.bids) != book.bids or dict(answer.asks) != book.asks


def _mark(events: Sequence[Event]) -> _Mark:
    """How new it is, and what it says; two marks of one topic compare."""
    first = events[0]
    if isinstance(first, Trade):
        newest = max(_trade_order(event) for event in events if isinstance(event, Trade))
        return newest, newest
    if isinstance(first, Kline):
        bars = [event for event in events if isinstance(event, Kline)]
        bar = max(bars, key=lambda each: each.open_time)
        return bar.ts_event, (bar.open_time, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.count)
    if isinstance(first, Snapshot):
        order = first.ts_event if first.seq is None else first.seq
        return order, (first.bids, first.asks)
    if isinstance(first, Bbo):
        order = first.ts_event if first.seq is None else first.seq
        return order, (first.bid, first.bid_size, first.ask, first.ask_size)
    if isinstance(first, Ticker):
        summary = (first.open, first.high, first.low, first.close, first.volume, first.turnover, first.count)
        quote = (first.bid, first.bid_size, first.ask, first.ask_size, first.last, first.last_size)
        return first.ts_event, (summary, quote)
    assert isinstance(first, Delta), "every kind of event is compared somehow"
    return first.seq, first.seq


def _trade_order(trade: Trade) -> int:
    return trade.ts_event if trade.trade_seq is None else trade.trade_seq
