"""Books over a range of time from columns, without a Python object a delta: what :mod:`bookreel.replay.asof` does
where much is asked for.

The rules are those of :func:`bookreel.storage.changes.changes`, the answers are equal, and tests hold them so.
Sealed files are read ahead by as many threads as there are cores; what is not Parquet takes a fifth of the time.

Not for streams whose clock was set back: they are rare, and their rule is another one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from bookreel.book.kernels import Changes, Ladder, Tops
from bookreel.replay.asof import BBO, BOOKS
from bookreel.replay.question import Coverage, Question
from bookreel.storage.changes import Whole

__all__ = ["best_rows", "book_rows"]

Array: TypeAlias = Any
"""A numpy array."""

_Column: TypeAlias = Any
"""A ``pa.ChunkedArray``."""

_NONE: Final = -(1 << 63)
"""In a column of integers: no value."""

_COLUMNS: Final = ("pos", "side", "price", "size", "epoch", "seq", "ts_event", "ts_recv")
_SAMPLES: Final = 16 * 1024
"""Books that are written at a time."""

_THREADS_MAX: Final = 8


class _Batch(NamedTuple):
    """Changes that follow each other, as columns. The levels of change ``i`` are ``starts[i]`` to ``starts[i +
    1]`` of ``ask``, ``price`` and ``size``, which may have more than these changes'.
    """

    pos: Array
    epoch: Array
    seq: Array
    ts_event: Array
    ts_recv: Array
    whole: Array
    starts: Array
    ask: Array
    price: Array
    size: Array

    @property
    def changes(self) -> Changes:
        return Changes(self.starts, self.whole, self.ask, self.price, self.size)

    def slice(self, first: int, end: int) -> _Batch:
        heads = (column[first:end] for column in self[:6])
        return _Batch._make([*heads, self.starts[first : end + 1], self.ask, self.price, self.size])

    def pick(self, mask: Array) -> _Batch:
        """Those that a mask names."""
        if mask.all():
            return self
        lengths = np.diff(self.starts)
        levels = np.zeros(len(self.price), bool)
        levels[self.starts[0] : self.starts[-1]] = np.repeat(mask, lengths)
        heads = (column[mask] for column in self[:6])
        starts = np.concatenate([[0], np.cumsum(lengths[mask])])
        return _Batch._make([*heads, starts, self.ask[levels], self.price[levels], self.size[levels]])


class _Life:
    """Which changes took effect, and in what order; see :func:`bookreel.storage.changes.changes`."""

    def __init__(self) -> None:
        self._epoch: int | None = None
        self._seq = _NONE
        self._waiting: list[_Batch] = []

    def take(self, deltas: _Batch) -> Iterator[_Batch]:
        """Deltas, by position."""
        own = deltas.epoch == self._epoch if self._epoch is not None else np.zeros(len(deltas.pos), bool)
        if not own.all():
            self._waiting.append(deltas.pick(~own))
        if own.any():
            yield from self._fresh(deltas.pick(own))

    def begin(self, whole: Whole) -> Iterator[_Batch]:
        """The book anew, and the deltas that had waited for it."""
        self._epoch, self._seq = whole.epoch, _NONE if whole.seq is None else whole.seq
        yield _of_whole(whole)
        for deltas in self._waiting:
            own = deltas.epoch == self._epoch
            if own.any():
                own_deltas = deltas.pick(own)
                late = np.maximum(own_deltas.ts_recv, whole.ts_recv)
                yield from self._fresh(own_deltas._replace(ts_recv=late))
        self._waiting.clear()

    def _fresh(self, deltas: _Batch) -> Iterator[_Batch]:
        """Those that are not known already."""
        known = np.maximum.accumulate(np.concatenate([[self._seq], deltas.seq]))
        self._seq = int(known[-1])
        fresh = deltas.seq > known[:-1]
        if fresh.any():
            yield deltas.pick(fresh)


def best_rows(question: Question, start: int, end: int) -> pa.Table:
    """As :func:`bookreel.replay.asof.best_rows`."""
    ladder = Ladder()
    found = []
    for batch in _batches(question, start, end):
        best = ladder.best(batch.changes)
        wanted = (batch.ts_recv >= start) & (batch.ts_recv < end)
        columns = [
            _integers(batch.ts_recv[wanted], BBO.field("ts_recv").type),
            _integers(batch.ts_event[wanted], BBO.field("ts_event").type),
            _integers(batch.epoch[wanted]),
            _integers(batch.seq[wanted]),
            *(pa.array(column[wanted], pa.float64(), from_pandas=True) for column in best),
        ]
        found.append(pa.RecordBatch.from_arrays(columns, schema=BBO))
    return pa.Table.from_batches(found, BBO)


def book_rows(question: Question, start: int, end: int, every: int | None, depth: int) -> pa.Table:
    """As :func:`bookreel.replay.asof.book_rows`."""
    ladder = Ladder()
    valid = _Valid(question.coverage)
    found: list[pa.RecordBatch] = []
    last: Array | None = None
    due = start if every is None else -(-start // every) * every

    def write(batch: _Batch, after: Array, instants: Array) -> None:
        """The books after so many changes of a batch, which are applied."""
        heads = np.stack([batch.epoch, batch.seq, batch.ts_event, batch.ts_recv])
        # Before its first change a batch has the book that the one before it ended with.
        before = np.full((4, 1), _NONE) if last is None else last
        heads = np.concatenate([before, heads], axis=1)
        done = 0
        for first in range(0, max(len(after), 1), _SAMPLES):
            part = after[first : first + _SAMPLES]
            stop = len(batch.pos) if first + _SAMPLES >= len(after) else int(part[-1])
            tops = ladder.tops(batch.slice(done, stop).changes, part - done, depth)
            done = stop
            found.append(_rows(heads[:, part], tops, instants[first : first + _SAMPLES], valid))

    for batch in _batches(question, start, end):
        times = batch.ts_recv
        if every is None:
            wanted = np.flatnonzero((times >= start) & (times < end))
            write(batch, wanted + 1, times[wanted])
        else:
            reached = np.maximum.accumulate(times)
            if last is None:
                due = max(due, -(-int(times[0]) // every) * every)
            instants = np.arange(due, min(int(reached[-1]), end), every)
            write(batch, np.searchsorted(reached, instants, side="right"), instants)
            due += every * len(instants)
        last = np.array([column[-1:] for column in (batch.epoch, batch.seq, batch.ts_event, batch.ts_recv)])
    if every is not None and last is not None:
        # Nothing is known of the time after the stream's end or the newest record.
        ends = [ts for ts in (question.coverage.until, question.contents.horizon) if ts is not None]
        instants = np.arange(due, min(end, *(ts + 1 for ts in ends)), every)
        write(_nothing(), np.zeros(len(instants), np.int64), instants)
    return pa.Table.from_batches([rows for rows in found if rows.num_rows], BOOKS)


def _batches(question: Question, start: int, end: int) -> Iterator[_Batch]:
    """The book as of ``start`` and every change after it before ``end`` (ns), as :meth:`Question.changes` gives
    them.
    """
    bounds, books = question.beginnings(start, end)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    threads = min(cores, _THREADS_MAX)
    pieces = question.scanner.bulk(question.contents, "book_deltas", _COLUMNS, bounds, threads)
    life = _Life()
    coming = next(books, None)
    for piece in pieces:
        deltas = _of_piece(piece)
        begin = 0
        parts: list[_Batch] = []
        # At one position the delta comes first, and the next piece may begin with more of the last one.
        while coming is not None and coming.pos < deltas.pos[-1]:
            cut = int(np.searchsorted(deltas.pos, coming.pos, side="right"))
            parts += life.take(deltas.slice(begin, cut)) if cut > begin else ()
            whole, coming = _chosen(coming, books)
            parts += life.begin(whole)
            begin = cut
        parts += life.take(deltas.slice(begin, len(deltas.pos)))
        if parts:
            yield _joined(parts)
    while coming is not None:
        whole, coming = _chosen(coming, books)
        yield _joined(list(life.begin(whole)))


def _chosen(first: Whole, others: Iterator[Whole]) -> tuple[Whole, Whole | None]:
    """Of the whole books of one position the one that counts, and the first of the next position."""
    best = first
    for other in others:
        if other.pos != first.pos:
            return best, other
        if (other.seq or 0) >= (best.seq or 0):
            best = other
    return best, None


def _of_piece(piece: pa.Table) -> _Batch:
    """Rows of ``book_deltas``, sorted by position."""
    columns = {name: _values(piece[name]) for name in _COLUMNS if name != "side"}
    pos, seq = columns["pos"], columns["seq"]
    turns = np.flatnonzero((pos[1:] != pos[:-1]) | (seq[1:] != seq[:-1])) + 1
    starts = np.concatenate([[0], turns, [len(pos)]])
    heads = (columns[name][starts[:-1]] for name in ("pos", "epoch", "seq", "ts_event", "ts_recv"))
    whole = np.zeros(len(starts) - 1, np.uint8)
    return _Batch._make([*heads, whole, starts, _asks(piece["side"]), columns["price"], columns["size"]])


def _values(column: _Column) -> Array:
    """Numbers or times (ns), a missing one as none."""
    if column.type != pa.float64():
        column = column.cast(pa.int64())
        if column.null_count:
            column = column.fill_null(_NONE)
    return column.combine_chunks().to_numpy() if column.num_chunks != 1 else column.chunk(0).to_numpy()


def _asks(side: _Column) -> Array:
    """1 for a level of the asks, 0 for one of the bids."""
    if not pa.types.is_dictionary(side.type):
        side = side.dictionary_encode()
    flags = []
    for chunk in side.chunks:
        words = chunk.dictionary.to_pylist()
        ask = words.index("ask") if "ask" in words else -1
        flags.append((chunk.indices.to_numpy() == ask).view(np.uint8))
    return flags[0] if len(flags) == 1 else np.concatenate(flags)


def _of_whole(whole: Whole) -> _Batch:
    """One change. A level of size 0 is none."""
    sides = [[level for level in side if level[1]] for side in (whole.bids, whole.asks)]
    flat = np.array(sides[0] + sides[1], np.float64).reshape(-1, 2)
    ask = np.repeat(np.array([0, 1], np.uint8), [len(side) for side in sides])
    heads = (
        np.array([_NONE if value is None else value])
        for value in (whole.pos, whole.epoch, whole.seq, whole.ts_event, whole.ts_recv)
    )
    starts = np.array([0, len(flat)])
    return _Batch._make([*heads, np.ones(1, np.uint8), starts, ask, flat[:, 0], flat[:, 1]])


def _nothing() -> _Batch:
    """No change."""
    none, changes = np.zeros(0, np.int64), Changes.none()
    return _Batch(
        none, none, none, none, none, changes.whole, changes.starts, changes.ask, changes.price, changes.size
    )


def _joined(parts: list[_Batch]) -> _Batch:
    """Batches as one."""
    if len(parts) == 1:
        return parts[0]
    heads = (np.concatenate(columns) for columns in zip(*(part[:6] for part in parts), strict=True))
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    levels = zip(
        *([column[part.starts[0] : part.starts[-1]] for column in part[7:]] for part in parts), strict=True
    )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return _Batch._make([*heads, starts, *(np.concatenate(columns) for columns in levels)])


class _Valid:
    """When a stream was covered, for many instants at once."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage
        self._starts = np.array([gap.start for gap in coverage.gaps], np.int64)
        ends = [np.iinfo(np.int64).max if gap.end is None else gap.end for gap in coverage.gaps]
        self._ends = np.array([*ends, _NONE], np.int64)

    def at(self, instants: Array) -> Array:
        """As :meth:`Coverage.valid`, of instants in ns."""
        stream = self._coverage.stream
        newest = np.searchsorted(self._starts, instants, side="left") - 1
        valid = (instants >= stream.since) & (instants >= self._ends[newest])
        if stream.until is not None:
            valid &= instants <= stream.until
        for low, high in stream.doubts:
            valid &= (instants < low) | (instants > high)
        return valid


def _rows(heads: Array, tops: Tops, instants: Array, valid: _Valid) -> pa.RecordBatch:
    """Rows of :data:`BOOKS`."""
    epoch, seq, ts_event, ts_recv = heads
    time = BOOKS.field("ts").type
    columns = [
        _integers(epoch),
        _integers(seq),
        _integers(ts_event, time),
        _integers(ts_recv, time),
        *(
            pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values))
            for ends, values in (
                (tops.bid_ends, tops.bid_price),
                (tops.bid_ends, tops.bid_size),
                (tops.ask_ends, tops.ask_price),
                (tops.ask_ends, tops.ask_size),
            )
        ),
        pa.array(valid.at(instants)),
        _integers(instants, time),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=BOOKS)


def _integers(values: Array, kind: Any = None) -> Any:
    """A column of integers or times, with nulls."""
    missing = values == _NONE
    return pa.array(values, pa.int64(), mask=missing if missing.any() else None).cast(kind or pa.int64())
