"""One book's stored life: whole books and deltas, in the order in which they took effect.

An *epoch* begins with a whole book: the snapshot that was adopted and, where deltas had waited for it, the
keyframe after them, both stored under the snapshot's position. Those deltas keep the positions and times of
their frames, which lie before the epoch, but they took effect at its beginning. A pushed book, of a feed
without deltas, replaces the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Levels
from bookreel.storage.contents import Contents
from bookreel.storage.scan import Bounds, Scanner

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = [
    "STEP_COLUMNS",
    "WHOLE_COLUMNS",
    "Change",
    "Step",
    "Whole",
    "beginnings",
    "changes",
    "doubles",
    "integers",
    "merged",
    "newest_whole",
    "piece_steps",
    "piece_wholes",
    "steps",
    "times",
    "wholes",
]

_BACK_NS: Final = 300 * 1_000_000_000
_BACK_GROWTH: Final = 16
"""How far back a book is looked for at first, and how much farther each time there is none."""

STEP_COLUMNS: Final = ("pos", "side", "price", "size", "epoch", "seq", "prev_seq", "ts_event", "ts_recv")
_KEY_COLUMNS: Final = ("pos", "source", "epoch", "seq", "ts_recv")
WHOLE_COLUMNS: Final = ("pos", "source", "epoch", "seq", "ts_event", "ts_recv", "bids", "asks")


class Whole(NamedTuple):
    """A row of ``book_snapshots``. Times in ns."""

    pos: int
    source: str
    epoch: int
    seq: int | None
    ts_event: int | None
    ts_recv: int
    bids: Levels
    asks: Levels

    @property
    def begins(self) -> bool:
        """Whether it is the book from here on; else it only tells what the book should be."""
        return self.source == "push" or self.pos == self.epoch


class Step(NamedTuple):
    """A delta as its rows of ``book_deltas`` tell it. Times in ns."""

    pos: int
    epoch: int
    seq: int
    prev_seq: int
    ts_event: int | None
    ts_recv: int
    bids: Levels
    asks: Levels


Change: TypeAlias = Whole | Step


def steps(scanner: Scanner, contents: Contents, bounds: Bounds) -> Iterator[Step]:
    """The deltas of ``bounds.symbol`` and ``bounds.feed``, by position."""
    for piece in scanner.scan(contents, "book_deltas", STEP_COLUMNS, bounds):
        yield from piece_steps(piece)


def wholes(scanner: Scanner, contents: Contents, bounds: Bounds) -> Iterator[Whole]:
    """The whole books of ``bounds.symbol`` and ``bounds.feed``, by position."""
    for piece in scanner.scan(contents, "book_snapshots", WHOLE_COLUMNS, bounds):
        yield from piece_wholes(piece)


def beginnings(scanner: Scanner, contents: Contents, bounds: Bounds) -> Iterator[Whole]:
    """Those whole books that :attr:`Whole.begins` names, by position."""
    for piece in scanner.scan(contents, "book_snapshots", WHOLE_COLUMNS, bounds):
        pushed = pc.equal(piece["source"], pa.scalar("push", pa.string()))
        rows = piece.filter(pc.or_(pushed, pc.equal(piece["pos"], piece["epoch"])))
        if rows.num_rows:
            yield from piece_wholes(rows.combine_chunks())


def merged(deltas: Iterator[Step], books: Iterator[Whole]) -> Iterator[Change]:
    """Both by position; at one position the delta comes first, since a keyframe is the book after it."""
    delta = next(deltas, None)
    for whole in books:
        while delta is not None and delta.pos <= whole.pos:
            yield delta
            delta = next(deltas, None)
        yield whole
    if delta is not None:
        yield delta
        yield from deltas


def changes(deltas: Iterator[Step], books: Iterator[Whole]) -> Iterator[Change]:
    """What changed the book: each beginning, then the deltas after it, none twice.

    A delta that had waited for its beginning comes after it, with the beginning's receive time.
    """
    epoch = seq = None
    waiting: list[Step] = []
    for _, group in groupby(merged(deltas, books), key=attrgetter("pos")):
        whole: Whole | None = None
        for change in group:
            if isinstance(change, Step):
                if change.epoch != epoch:
                    waiting.append(change)
                elif seq is None or change.seq > seq:
                    seq = change.seq
                    yield change
            elif change.begins and (whole is None or (change.seq or 0) >= (whole.seq or 0)):
                whole = change
        if whole is not None:
            epoch, seq = whole.epoch, whole.seq
            yield whole
            for step in waiting:
                if step.epoch == epoch and (seq is None or step.seq > seq):
                    seq = step.seq
                    yield step._replace(ts_recv=max(step.ts_recv, whole.ts_recv))
            # Of merged lines one may be far behind: what it brings can wait for an epoch after the next.
            waiting = [step for step in waiting if step.epoch > whole.epoch]


def newest_whole(scanner: Scanner, contents: Contents, bounds: Bounds) -> Whole | None:
    """The newest book, by receive time, that was one from then on: a beginning or a keyframe."""
    files = contents.files.get("book_snapshots", ())
    if bounds.until is not None and bounds.since is None and contents.horizon is not None:
        # Mostly it is a minute old: a compacted day has many more, which need not be read.
        until = min(bounds.until, contents.horizon + 1)
        oldest = min((entry.ts_min for entry in files), default=until)
        back = _BACK_NS
        while until - back > oldest:
            found = _newest_whole(scanner, contents, bounds._replace(since=until - back))
            if found is not None:
                return found
            back *= _BACK_GROWTH
    return _newest_whole(scanner, contents, bounds)


def _newest_whole(scanner: Scanner, contents: Contents, bounds: Bounds) -> Whole | None:
    best: tuple[int, int, int] | None = None
    holder: FileEntry | None = None
    files = sorted(contents.files.get("book_snapshots", ()), key=attrgetter("ts_max"), reverse=True)
    sources: list[FileEntry | None] = [None, *files]
    for entry in sources:
        if entry is not None and best is not None and entry.ts_max < best[0]:
            break
        for piece in _wholes_of(scanner, contents, entry, _KEY_COLUMNS, bounds):
            for key, _ in _candidates(piece):
                if best is None or key > best:
                    best, holder = key, entry
    if best is None:
        return None
    # In two steps, so that the levels of one book are decoded and not those of every book beside it.
    ts_recv, _, pos = best
    only = bounds._replace(since=ts_recv, until=ts_recv + 1, pos_from=pos, pos_until=pos + 1)
    for piece in _wholes_of(scanner, contents, holder, WHOLE_COLUMNS, only):
        for key, row in _candidates(piece):
            if key == best:
                return next(piece_wholes(piece.slice(row, 1)))
    raise AssertionError("what was found is still there")


def _wholes_of(
    scanner: Scanner, contents: Contents, entry: FileEntry | None, columns: Sequence[str], bounds: Bounds
) -> Iterator[pa.Table]:
    """Whole books of a file, of the tail for None."""
    if entry is None:
        return scanner.tail(contents, "book_snapshots", columns, bounds)
    return scanner.file(contents, entry, columns, bounds, few=True)


def _candidates(piece: pa.Table) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Of each row that was the book from then on what it is ordered by, and its number."""
    texts = (piece[name].to_pylist() for name in ("source", "epoch", "seq"))
    rows = zip(integers(piece["ts_recv"]), integers(piece["pos"]), *texts, strict=True)
    for row, (ts_recv, pos, source, epoch, seq) in enumerate(rows):
        # An answer to a request that came while the book was live began nothing.
        if source != "refresh" or pos == epoch:
            yield (ts_recv, seq or 0, pos), row


def integers(column: pa.ChunkedArray[Any]) -> list[int]:
    """A column of integers or times without nulls as Python numbers, times in ns."""
    return _numbers(column, "q")


def doubles(column: pa.ChunkedArray[Any]) -> list[float]:
    """A column of doubles without nulls as Python numbers."""
    return _numbers(column, "d")


def _numbers(column: pa.ChunkedArray[Any], code: Literal["q", "d"]) -> list[Any]:
    """A tenth of the time of ``to_pylist``, which makes an Arrow scalar of each value."""
    values: list[Any] = []
    chunk: Any
    for chunk in column.chunks:
        assert not chunk.null_count, "the column has no nulls"
        if len(chunk):
            data = memoryview(chunk.buffers()[1]).cast(code)
            values += data[chunk.offset : chunk.offset + len(chunk)].tolist()
    return values


def times(column: pa.ChunkedArray[Any]) -> list[int | None]:
    """A column of times, ns, with nulls as None."""
    return [*integers(column)] if not column.null_count else column.cast(pa.int64()).to_pylist()


def piece_steps(piece: pa.Table) -> Iterator[Step]:
    """The deltas of rows of one stream with :data:`STEP_COLUMNS`, sorted by position."""
    rows = piece.combine_chunks()
    count = rows.num_rows
    pos, side = rows["pos"], rows["side"]
    turns = pc.or_(
        pc.not_equal(pos.slice(1), pos.slice(0, count - 1)),
        pc.not_equal(side.slice(1), side.slice(0, count - 1)),
    )
    # Where a run of rows of one side of one delta begins; the last one is the end of all.
    at: list[Any] = [0, *pc.add(pc.indices_nonzero(turns), pa.scalar(1, pa.uint64())).to_pylist(), count]
    heads = rows.select([name for name in STEP_COLUMNS if name not in ("price", "size")]).take(
        pa.array(at[:-1], pa.int64())
    )
    levels = list(zip(doubles(rows["price"]), doubles(rows["size"]), strict=True))
    columns = (
        integers(heads["pos"]),
        heads["side"].to_pylist(),
        integers(heads["epoch"]),
        integers(heads["seq"]),
        integers(heads["prev_seq"]),
        times(heads["ts_event"]),
        integers(heads["ts_recv"]),
    )
    step: Step | None = None
    for start, stop, pos_, side_, epoch, seq, prev_seq, ts_event, ts_recv in zip(
        at[:-1], at[1:], *columns, strict=True
    ):
        run = levels[start:stop]
        if step is not None and step.pos == pos_ and step.seq == seq:
            (step.bids if side_ == "bid" else step.asks).extend(run)
            continue
        if step is not None:
            yield step
        bids, asks = (run, []) if side_ == "bid" else ([], run)
        step = Step(pos_, epoch, seq, prev_seq, ts_event, ts_recv, bids, asks)
    if step is not None:
        yield step


def piece_wholes(piece: pa.Table) -> Iterator[Whole]:
    """The whole books of rows with :data:`WHOLE_COLUMNS`."""
    rows = zip(
        integers(piece["pos"]),
        piece["source"].to_pylist(),
        piece["epoch"].to_pylist(),
        piece["seq"].to_pylist(),
        times(piece["ts_event"]),
        integers(piece["ts_recv"]),
        _books(piece["bids"]),
        _books(piece["asks"]),
        strict=True,
    )
    yield from map(Whole._make, rows)


def _books(column: pa.ChunkedArray[Any]) -> list[Levels]:
    books: list[Levels] = []
    chunk: Any
    for chunk in column.chunks:
        offsets = chunk.offsets.to_pylist()
        first = offsets[0]
        flat = chunk.values.slice(first, offsets[-1] - first)
        prices, sizes = (doubles(pa.chunked_array([flat.field(index)])) for index in (0, 1))
        levels = list(zip(prices, sizes, strict=True))
        books += [levels[start - first : stop - first] for start, stop in pairwise(offsets)]
    return books
