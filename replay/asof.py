"""Books as of an instant and over a range of time, from what is stored.

The rule: a book as of T is the newest whole book received at or before T with the deltas of its epoch
received at or before T over it. It is *valid* where its stream was covered at T: inside the stream's life
and not inside one of its gaps. Of a feed without deltas: :mod:`bookreel.replay.pushed`.

Where the clock was set back, the rule holds within one turn of the journal (:mod:`bookreel.storage.turns`): the book
as of T is that at the last position of T's turn whose receive time is at or before T, by the order of the journal.
An instant that lies in several turns names no one book, and is not valid.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Levels
from bookreel.replay.question import NOW, Book, Question, standing
from bookreel.storage.changes import (
    Change,
    Step,
    Whole,
    doubles,
    integers,
)
from bookreel.storage.schema import TIME

__all__ = ["BBO", "BOOKS", "best_rows", "book_at", "book_rows"]

_PRICES: Final = pa.list_(pa.float64())

_BOOKS_COLUMNS: Final[dict[str, Any]] = {
    "epoch": pa.int64(),
    "seq": pa.int64(),
    "ts_event": TIME,
    "ts_recv": TIME,
    "bid_price": _PRICES,
    "bid_size": _PRICES,
    "ask_price": _PRICES,
    "ask_size": _PRICES,
    "valid": pa.bool_(),
    "ts": TIME,
}

BOOKS: Final = pa.schema(_BOOKS_COLUMNS)
"""Columns of :func:`book_rows`. ``ts`` is the instant of the row: ``ts_recv`` of the change, or the
sampling instant.
"""

_BBO_COLUMNS: Final[dict[str, Any]] = {
    "ts_recv": TIME,
    "ts_event": TIME,
    "epoch": pa.int64(),
    "seq": pa.int64(),
    "bid": pa.float64(),
    "bid_size": pa.float64(),
    "ask": pa.float64(),
    "ask_size": pa.float64(),
}

BBO: Final = pa.schema(_BBO_COLUMNS)
"""Columns of :func:`best_rows`."""

_BLOCK: Final = 8192
"""Rows collected as Python values before they become Arrow."""

_BULK_LEVELS: Final = 50_000
_BULK_LEVELS_FIRST: Final = 1_000_000
"""Levels from which on the bulk reader is quicker, and the first time, when it has to be loaded."""


def book_at(question: Question, at: int, depth: int | None) -> Book:
    """The book as of ``at`` (ns), at most ``depth`` levels a side (None: all)."""
    turn, base = question.newest_at(at)
    if base is None:
        return question.unknown(at)
    sides = {"bid": dict(base.bids), "ask": dict(base.asks)}
    seq, ts_event, ts_recv = base.seq, base.ts_event, base.ts_recv
    last = None if seq is None else _overlay(question, sides, base, seq, at, turn)
    if last is not None:
        seq, ts_event, ts_recv = last
    book = L2Book()
    book.load(*(list(side.items()) for side in sides.values()))
    bids, asks = book.top(depth)
    return Book(
        question.symbol,
        question.feed,
        seq,
        base.epoch,
        ts_event,
        ts_recv,
        bids,
        asks,
        question.coverage.valid(at),
        question.coverage.gap(at),
    )


def _overlay(
    question: Question,
    sides: dict[str, dict[float, float]],
    base: Whole,
    after: int,
    at: int,
    turn: int | None,
) -> tuple[int, int | None, int] | None:
    """Put the deltas after ``base`` over its sides, a size of 0 included; (seq, ts_event, ts_recv) of the last."""
    columns = ("side", "price", "size", "seq", "epoch", "ts_event", "ts_recv", "pos")
    last: tuple[int, int | None, int] | None = None
    stretches = [
        bounds._replace(pos_from=max(base.pos, bounds.pos_from or 0))
        for bounds in question.before(min(at + 1, NOW), turn)
        if bounds.pos_until is None or bounds.pos_until > base.pos
    ]
    scan = question.scanner.scan
    pieces = (
        scan(question.contents, "book_deltas", columns, bounds, few=True) for bounds in reversed(stretches)
    )
    for piece in chain.from_iterable(pieces):
        wanted: Any = pc.and_(
            pc.equal(piece["epoch"], pa.scalar(base.epoch, pa.int64())),
            pc.greater(piece["seq"], pa.scalar(after, pa.int64())),
        )
        # Mostly that is all but what the book has already, at the beginning.
        first = pc.index(wanted, pa.scalar(True)).as_py()
        if first < 0:
            continue
        rows, wanted = piece.slice(first), wanted.slice(first)
        if not pc.all(wanted).as_py():
            rows = rows.filter(wanted)
        # All levels take effect together, so of one price only the newest size counts.
        side: Any = rows["side"].combine_chunks().dictionary_encode()
        for index, name in enumerate(side.dictionary.to_pylist()):
            of_side = pc.equal(side.indices, pa.scalar(index, side.indices.type))
            prices, sizes = (doubles(rows[column].filter(of_side)) for column in ("price", "size"))
            sides[name].update(zip(prices, sizes, strict=True))
        newest = rows.slice(rows.num_rows - 1)
        ts_event = newest["ts_event"].cast(pa.int64())[0].as_py()
        last = integers(newest["seq"])[0], ts_event, integers(newest["ts_recv"])[0]
    return last


class _Side:
    """One side with its prices in order all the time: a best level costs nothing, a change a bisection."""

    __slots__ = ("_bid", "_prices", "_sizes")

    def __init__(self, levels: Levels, *, bid: bool) -> None:
        self._bid = bid
        self._sizes = {price: size for price, size in levels if size}
        self._prices = sorted(self._sizes)

    def apply(self, levels: Levels) -> None:
        sizes, prices = self._sizes, self._prices
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = size
            elif sizes.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]

    def top(self, depth: int) -> tuple[list[float], list[float]]:
        """Prices and sizes, best first."""
        prices = self._prices[: -depth - 1 : -1] if self._bid else self._prices[:depth]
        sizes = self._sizes
        return prices, [sizes[price] for price in prices]


class _Block:
    """Rows on their way to Arrow."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[pa.RecordBatch] = []

    def append(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) == _BLOCK:
            self._pack()

    def table(self) -> pa.Table:
        self._pack()
        return pa.Table.from_batches(self._batches, self._schema)

    def _pack(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)
            ]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows.clear()


def _in_bulk(question: Question, start: int, end: int) -> ModuleType | None:
    """The bulk reader, where so much is asked for that loading it pays. None also where its packages are not
    installed: the answers are the same.
    """
    if question.coverage.turns:
        return None
    bounds = question.bounds(until=end)._replace(since=start)
    least = _BULK_LEVELS if "bookreel.replay.bulk" in sys.modules else _BULK_LEVELS_FIRST
    if question.scanner.rows(question.contents, "book_deltas", bounds) < least:
        return None
    try:
        return import_module("bookreel.replay.bulk")
    except ImportError:
        return None


def book_rows(question: Question, start: int, end: int, every: int | None, depth: int) -> pa.Table:
    """The book over ``start`` to ``end`` (ns, exclusive) as a table of :data:`BOOKS`: one row for each
    change, or, with ``every`` (ns), the book as of each multiple of it at which one is known.
    """
    if (bulk := _in_bulk(question, start, end)) is not None:
        rows: pa.Table = bulk.book_rows(question, start, end, every, depth)
        return rows
    block = _Block(BOOKS)
    if every is None:
        _fill(block, question, question.changes(start, end), start, end, None, depth)
    else:
        for low, high, turn in question.parts(start, end):
            found = question.changes_of(low, high, turn)
            _fill(block, question, found, low, high, every, depth, turn)
    return block.table()


def _fill(
    block: _Block,
    question: Question,
    changes: Iterator[Change],
    start: int,
    end: int,
    every: int | None,
    depth: int,
    turn: int | None = None,
) -> None:
    """Rows of one stretch, of a turn. What came before the turn was there from the start, whatever its time is."""
    first = 0 if turn is None else question.coverage.turns[turn].pos
    bids, asks = _Side([], bid=True), _Side([], bid=False)
    change: Change | None = None
    due = start if every is None else -(-start // every) * every

    def write(ts: int) -> None:
        assert change is not None, "a book is known"
        valid = question.coverage.valid(ts) if every is None else question.holds(change, ts, turn)
        block.append(
            (
                change.epoch,
                change.seq,
                change.ts_event,
                change.ts_recv,
                *bids.top(depth),
                *asks.top(depth),
                valid,
                ts,
            )
        )

    for following in changes:
        ts_recv = following.ts_recv if standing(following) >= first else start
        if every is not None and change is not None:
            while due < ts_recv and due < end:
                write(due)
                due += every
        if every is not None and ts_recv > due:
            due = -(-ts_recv // every) * every
        change = following
        if isinstance(change, Step):
            bids.apply(change.bids)
            asks.apply(change.asks)
        else:
            bids, asks = _Side(change.bids, bid=True), _Side(change.asks, bid=False)
        if every is None and start <= ts_recv < end:
            write(ts_recv)
    if every is not None and change is not None:
        # Nothing is known of the time after the stream's end or the newest record.
        ends = [ts for ts in (question.coverage.until, question.contents.horizon) if ts is not None]
        stop = min(end, *(ts + 1 for ts in ends))
        while due < stop:
            write(due)
            due += every


def best_rows(question: Question, start: int, end: int) -> pa.Table:
    """The best bid and offer after each change from ``start`` to ``end`` (ns, exclusive) as a table of
    :data:`BBO`.
    """
    if (bulk := _in_bulk(question, start, end)) is not None:
        rows: pa.Table = bulk.best_rows(question, start, end)
        return rows
    block = _Block(BBO)
    book = L2Book()
    symbol, feed = question.symbol, question.feed
    for change in question.changes(start, end):
        if isinstance(change, Step):
            book.apply(Delta(symbol, feed, 0, change.seq, change.prev_seq, change.bids, change.asks))
        else:
            book.load(change.bids, change.asks)
        if start <= change.ts_recv < end:
            block.append((change.ts_recv, change.ts_event, change.epoch, change.seq, *book.best()))
    return block.table()
