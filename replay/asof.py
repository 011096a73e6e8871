"""Books as of an instant and over a range of time, from what is stored.

The rule: a book as of T is the newest whole book received at or before T with the deltas of its epoch
received at or before T over it. It is *valid* where its stream was covered at T: inside the stream's life
and not inside one of its gaps.

Where the clock was set back, the rule holds within one turn of the journal (:mod:`bookreel.storage.turns`): the book
as of T is that at the last position of T's turn whose receive time is at or before T, by the order of the journal.
An instant that lies in several turns names no one book, and is not valid.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import chain, pairwise
from types import ModuleType
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Gap, Levels
from bookreel.storage.changes import (
    Change,
    Step,
    Whole,
    beginnings,
    changes,
    doubles,
    integers,
    newest_whole,
    steps,
)
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.schema import TIME
from bookreel.storage.turns import Turn, turn_at

__all__ = ["BBO", "BOOKS", "Book", "Coverage", "Question", "best_rows", "book_at", "book_rows"]

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

_NOW: Final = (1 << 63) - 1

_BULK_LEVELS: Final = 50_000
_BULK_LEVELS_FIRST: Final = 1_000_000
"""Levels from which on the bulk reader is quicker, and the first time, when it has to be loaded."""


class Book(msgspec.Struct, frozen=True):
    """A book at an instant, both sides best first. Times in ns.

    ``seq``, ``epoch``, ``ts_event``, ``ts_recv`` are of the last change that is in it, None where nothing
    was known yet. ``valid`` is False where the stream was not covered at that instant; ``gap`` is then the
    gap, or None before the stream's beginning and after its end.
    """

    symbol: str
    feed: str
    seq: int | None
    epoch: int | None
    ts_event: int | None
    ts_recv: int | None
    bids: Levels
    asks: Levels
    valid: bool
    gap: Gap | None


class Coverage:
    """When one stream was covered. ``gaps``: by their start."""

    def __init__(self, stream: Stream, gaps: Sequence[Gap]) -> None:
        self.stream = stream
        self.gaps = sorted(gaps, key=lambda gap: gap.start)
        self._starts = [gap.start for gap in self.gaps]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The stretches of the stream's journal in which the clock was not set back, where there are several."""
        return self.stream.turns

    @property
    def until(self) -> int | None:
        """When the stream ended (ns), None if it has not."""
        return self.stream.until

    def gap(self, ts: int) -> Gap | None:
        """The gap that an instant (ns) is inside of."""
        # Gaps of one stream do not overlap, so only the newest that began before can reach it.
        index = bisect_left(self._starts, ts) - 1
        if index >= 0:
            gap = self.gaps[index]
            if gap.end is None or ts < gap.end:
                return gap
        return None

    def valid(self, ts: int) -> bool:
        """Whether nothing is missing at an instant (ns), and it is one instant."""
        if any(low <= ts <= high for low, high in self.stream.doubts):
            return False
        until = self.stream.until
        return self.stream.since <= ts and (until is None or ts <= until) and self.gap(ts) is None


class Question(msgspec.Struct, frozen=True):
    """One stream of an archive, and what is needed to answer for it."""

    scanner: Scanner
    contents: Contents
    symbol: str
    feed: str
    coverage: Coverage

    def bounds(self, *, until: int | None = None, pos_from: int | None = None) -> Bounds:
        """Rows of this stream."""
        return Bounds(symbol=self.symbol, feed=self.feed, until=until, pos_from=pos_from)

    def before(self, until: int, turn: int | None) -> Iterator[Bounds]:
        """What came before ``until`` (ns) in a turn, and all that the turn went on from, the newest first; without a
        turn what came before.
        """
        bounds = self.bounds(until=until)
        turns = self.coverage.turns
        if turn is None:
            yield bounds
            return
        last = _NOW if turn + 1 == len(turns) else turns[turn + 1].pos
        for index in range(turn, -1, -1):
            first = turns[index].pos if index else 0
            yield bounds._replace(pos_from=first, pos_until=last)
            bounds, last = bounds._replace(until=None), first

    def newest(self, until: int, turn: int | None) -> Whole | None:
        """The newest whole book there."""
        found = (newest_whole(self.scanner, self.contents, bounds) for bounds in self.before(until, turn))
        return next((whole for whole in found if whole is not None), None)

    def parts(self, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
        """A range of time (ns, end exclusive) as ranges that are each answered from one turn."""
        turns = self.coverage.turns
        edges = {edge for turn in turns for edge in (turn.since, turn.end + 1) if start < edge < end}
        for low, high in pairwise([start, *sorted(edges), max(start, end)]):
            yield low, high, turn_at(turns, low)

    def changes(self, start: int, end: int) -> Iterator[Change]:
        """The newest whole book before ``start`` and every change after it received before ``end`` (ns), by the
        journal: where the clock was set back, also what came between them at other times.
        """
        turns = self.coverage.turns
        if not turns:
            return self._changes(self.newest(start, None), self.bounds(until=end))
        touched = [at for at, turn in enumerate(turns) if turn.since < end and turn.end >= start]
        if not touched:
            return iter(())
        base = self.newest(start, touched[0])
        after = turns[touched[-1] + 1].pos if touched[-1] + 1 < len(turns) else None
        return self._changes(base, self.bounds()._replace(pos_until=after))

    def changes_of(self, start: int, end: int, turn: int | None) -> Iterator[Change]:
        """The book as of ``start`` and every change after it before ``end`` (ns), of one turn."""
        if turn is None:
            return self.changes(start, end) if not self.coverage.turns else iter(())
        base = self.newest(start, turn)
        last = next(self.before(end, turn))
        found = self._changes(base, last._replace(until=None, pos_from=None))
        first = last.pos_from or 0
        return (change for change in found if _standing(change) < first or change.ts_recv < end)

    def beginnings(self, start: int, end: int) -> tuple[Bounds, Iterator[Whole]]:
        """Where the clock was not set back, what :meth:`changes` is made of: bounds of the deltas, and the books that
        begin anew, the first of them that of ``start``.
        """
        return self._beginnings(self.newest(start, None), self.bounds(until=end))

    def _beginnings(self, base: Whole | None, bounds: Bounds) -> tuple[Bounds, Iterator[Whole]]:
        bounds = bounds._replace(pos_from=None if base is None else base.pos)
        books = beginnings(self.scanner, self.contents, bounds)
        # A keyframe in the middle of an epoch is as good a beginning as any.
        return bounds, books if base is None else _after(base._replace(source="push"), books)

    def _changes(self, base: Whole | None, bounds: Bounds) -> Iterator[Change]:
        bounds, books = self._beginnings(base, bounds)
        return changes(steps(self.scanner, self.contents, bounds), books)


def _standing(change: Change) -> int:
    """The position at which it took effect."""
    return max(change.pos, change.epoch)


def _after(first: Whole, books: Iterator[Whole]) -> Iterator[Whole]:
    yield first
    for whole in books:
        if whole.pos > first.pos:
            yield whole


def book_at(question: Question, at: int, depth: int | None) -> Book:
    """The book as of ``at`` (ns), at most ``depth`` levels a side (None: all)."""
    coverage = question.coverage
    turn = turn_at(coverage.turns, at)
    known = turn is not None or not coverage.turns
    base = question.newest(min(at + 1, _NOW), turn) if known else None
    gap = coverage.gap(at)
    if base is None:
        return Book(question.symbol, question.feed, None, None, None, None, [], [], False, gap)
    book = L2Book()
    book.load(base.bids, base.asks)
    seq, ts_event, ts_recv = base.seq, base.ts_event, base.ts_recv
    last = None if seq is None else _overlay(question, book, base, seq, at, turn)
    if last is not None:
        seq, ts_event, ts_recv = last
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
        coverage.valid(at),
        gap,
    )


def _overlay(
    question: Question, book: L2Book, base: Whole, after: int, at: int, turn: int | None
) -> tuple[int, int | None, int] | None:
    """Put the deltas after ``base`` over the book, all at once; (seq, ts_event, ts_recv) of the last one."""
    columns = ("side", "price", "size", "seq", "epoch", "ts_event", "ts_recv", "pos")
    last: tuple[int, int | None, int] | None = None
    stretches = [
        bounds._replace(pos_from=max(base.pos, bounds.pos_from or 0))
        for bounds in question.before(min(at + 1, _NOW), turn)
        if bounds.pos_until is None or bounds.pos_until > base.pos
    ]
    scan = question.scanner.scan
    pieces = (
        scan(question.contents, "book_deltas", columns, bounds, few=True) for bounds in reversed(stretches)
    )
    for piece in chain.from_iterable(pieces):
        rows = piece.filter(
            pc.and_(
                pc.equal(piece["epoch"], pa.scalar(base.epoch, pa.int64())),
                pc.greater(piece["seq"], pa.scalar(after, pa.int64())),
            )
        )
        if not rows.num_rows:
            continue
        sides = []
        for side in ("bid", "ask"):
            of_side = pc.equal(rows["side"], pa.scalar(side, pa.string()))
            prices, sizes = (doubles(rows[name].filter(of_side)) for name in ("price", "size"))
            # All levels take effect together, so of one price only the newest size counts.
            sides.append(list(dict(zip(prices, sizes, strict=True)).items()))
        newest = rows.slice(rows.num_rows - 1)
        seq = integers(newest["seq"])[0]
        book.apply(Delta(question.symbol, question.feed, 0, seq, 0, *sides))
        ts_event = newest["ts_event"].cast(pa.int64())[0].as_py()
        last = seq, ts_event, integers(newest["ts_recv"])[0]
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
            first = 0 if turn is None else question.coverage.turns[turn].pos
            _fill(block, question, found, low, high, every, depth, first)
    return block.table()


def _fill(
    block: _Block,
    question: Question,
    changes: Iterator[Change],
    start: int,
    end: int,
    every: int | None,
    depth: int,
    first: int = 0,
) -> None:
    """Rows of one stretch. What came before position ``first`` was there from the start, whatever its time is."""
    valid = question.coverage.valid
    bids, asks = _Side([], bid=True), _Side([], bid=False)
    change: Change | None = None
    due = start if every is None else -(-start // every) * every

    def write(ts: int) -> None:
        assert change is not None, "a book is known"
        block.append(
            (
                change.epoch,
                change.seq,
                change.ts_event,
                change.ts_recv,
                *bids.top(depth),
                *asks.top(depth),
                valid(ts),
                ts,
            )
        )

    for following in changes:
        ts_recv = following.ts_recv if _standing(following) >= first else start
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
