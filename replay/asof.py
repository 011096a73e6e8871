"""Books as of an instant and over a range of time, from what is stored.

The rule: a book as of T is the newest whole book received at or before T with the deltas of its epoch
received at or before T over it. It is *valid* where its stream was covered at T: inside the stream's life
and not inside one of its gaps.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
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
    changes,
    doubles,
    integers,
    newest_whole,
    steps,
    wholes,
)
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.schema import TIME

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
    """When one stream was covered."""

    def __init__(self, stream: Stream, gaps: Sequence[Gap]) -> None:
        self._stream = stream
        self._gaps = sorted(gaps, key=lambda gap: gap.start)
        self._starts = [gap.start for gap in self._gaps]

    @property
    def until(self) -> int | None:
        """When the stream ended (ns), None if it has not."""
        return self._stream.until

    def gap(self, ts: int) -> Gap | None:
        """The gap that an instant (ns) is inside of."""
        # Gaps of one stream do not overlap, so only the newest that began before can reach it.
        index = bisect_left(self._starts, ts) - 1
        if index >= 0:
            gap = self._gaps[index]
            if gap.end is None or ts < gap.end:
                return gap
        return None

    def valid(self, ts: int) -> bool:
        """Whether nothing is missing at an instant (ns)."""
        until = self._stream.until
        return self._stream.since <= ts and (until is None or ts <= until) and self.gap(ts) is None


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

    def changes(self, start: int, end: int) -> Iterator[Change]:
        """The newest whole book before ``start`` and every change after it received before ``end`` (ns)."""
        base = newest_whole(self.scanner, self.contents, self.bounds(until=start))
        bounds = self.bounds(until=end, pos_from=None if base is None else base.pos)
        books: Iterator[Whole] = wholes(self.scanner, self.contents, bounds)
        if base is not None:
            # A keyframe in the middle of an epoch is as good a beginning as any.
            first = base._replace(source="push")
            books = _after(first, books)
        return changes(steps(self.scanner, self.contents, bounds), books)


def _after(first: Whole, books: Iterator[Whole]) -> Iterator[Whole]:
    yield first
    for whole in books:
        if whole.pos > first.pos:
            yield whole


def book_at(question: Question, at: int, depth: int | None) -> Book:
    """The book as of ``at`` (ns), at most ``depth`` levels a side (None: all)."""
    coverage = question.coverage
    base = newest_whole(question.scanner, question.contents, question.bounds(until=min(at + 1, _NOW)))
    gap = coverage.gap(at)
    if base is None:
        return Book(question.symbol, question.feed, None, None, None, None, [], [], False, gap)
    book = L2Book()
    book.load(base.bids, base.asks)
    seq, ts_event, ts_recv = base.seq, base.ts_event, base.ts_recv
    last = None if seq is None else _overlay(question, book, base, seq, at)
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
    question: Question, book: L2Book, base: Whole, after: int, at: int
) -> tuple[int, int | None, int] | None:
    """Put the deltas after ``base`` over the book, all at once; (seq, ts_event, ts_recv) of the last one."""
    columns = ("side", "price", "size", "seq", "epoch", "ts_event", "ts_recv", "pos")
    bounds = question.bounds(until=min(at + 1, _NOW), pos_from=base.pos)
    last: tuple[int, int | None, int] | None = None
    for piece in question.scanner.scan(question.contents, "book_deltas", columns, bounds):
        rows = piece.filter(
            pc.and_(
                pc.equal(piece["epoch"], pa.scalar(base.epoch)), pc.greater(piece["seq"], pa.scalar(after))
            )
        )
        if not rows.num_rows:
            continue
        sides = []
        for side in ("bid", "ask"):
            of_side = rows.filter(pc.equal(rows["side"], pa.scalar(side)))
            # All levels take effect together, so of one price only the newest size counts.
            newest_sizes = dict(zip(doubles(of_side["price"]), doubles(of_side["size"]), strict=True))
            sides.append(list(newest_sizes.items()))
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


def book_rows(question: Question, start: int, end: int, every: int | None, depth: int) -> pa.Table:
    """The book over ``start`` to ``end`` (ns, exclusive) as a table of :data:`BOOKS`: one row for each
    change, or, with ``every`` (ns), the book as of each multiple of it at which one is known.
    """
    block = _Block(BOOKS)
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

    for following in question.changes(start, end):
        ts_recv = following.ts_recv
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
        if every is None and ts_recv >= start:
            write(ts_recv)
    if every is not None and change is not None:
        # Nothing is known of the time after the stream's end or the newest record.
        ends = [ts for ts in (question.coverage.until, question.contents.horizon) if ts is not None]
        stop = min(end, *(ts + 1 for ts in ends))
        while due < stop:
            write(due)
            due += every
    return block.table()


def best_rows(question: Question, start: int, end: int) -> pa.Table:
    """The best bid and offer after each change from ``start`` to ``end`` (ns, exclusive) as a table of
    :data:`BBO`.
    """
    block = _Block(BBO)
    book = L2Book()
    symbol, feed = question.symbol, question.feed
    for change in question.changes(start, end):
        if isinstance(change, Step):
            book.apply(Delta(symbol, feed, 0, change.seq, change.prev_seq, change.bids, change.asks))
        else:
            book.load(change.bids, change.asks)
        if change.ts_recv >= start:
            block.append((change.ts_recv, change.ts_event, change.epoch, change.seq, *book.best()))
    return block.table()
