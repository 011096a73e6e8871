"""Several sealed files of one table, venue and date to one: the same rows in the same order, never all in memory.

A first pass holds each file against its digest and learns where each symbol's rows are. Symbols are then taken in
order, as many at a time as memory is meant for, and of each file only the row groups that have them are decoded. A
symbol that is larger than that comes in pieces by receive time: what is older than the next piece is done.

The proof that nothing was lost or changed does not use any of this: a sum of hashes of all rows, which does not
depend on their order, is taken of the files as they are and of the new file as it is read back, and the keys of the
new file must ascend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bookreel.storage.arrow_file import BLOCK_BYTES, Sink, open_file
from bookreel.storage.disk import Disk
from bookreel.storage.errors import CorruptFile
from bookreel.storage.manifest import FileEntry
from bookreel.storage.parquet import (
    BOOKS_SHARE,
    GROUP_ROWS_MAX,
    GROUP_ROWS_MIN,
    ascends,
    joined,
    next_group,
    open_writer,
    sorted_indices,
    stored_schema,
    without_added,
)
from bookreel.storage.schema import ADDED, TABLES
from bookreel.storage.sealed_file import Mismatch, RowHasher, RowSum, SealedFile, Step

__all__ = ["copy", "merge"]

PART_BYTES: Final = 64 << 20
"""Decoded rows that are sorted at a time; sorting needs about as much again."""

GROUP_BYTES: Final = 16 << 20
"""Decoded rows of a row group, should its rows be so large that fewer than usual reach it."""

LEVEL_BYTES: Final = 16
"""Of a level of a whole book, by which its row groups are cut."""

_Column: TypeAlias = Any  # as in columns


class _Piece(NamedTuple):
    """Rows of one row group. ``ts_min``: receive time (ns) of the first one of one symbol."""

    ts_min: int
    source: int
    group: int
    start: int
    stop: int


def copy(disk: Disk, root: Path, entry: FileEntry, target: Path) -> FileEntry:
    """A sealed file as it is, durable under another name. Raises CorruptFile, OSError."""
    reading = open_file(disk, root / entry.path)
    try:
        sink = Sink(disk, target)
        try:
            for at in range(0, entry.bytes, BLOCK_BYTES):
                sink.write(reading.read(at, min(BLOCK_BYTES, entry.bytes - at)))
            sink.finish()
        finally:
            sink.abandon()
    finally:
        reading.close()
    if sink.digest.hexdigest() != entry.sha256:
        raise CorruptFile(root / entry.path, "its SHA-256 is not that of the manifest")
    return entry


def merge(
    disk: Disk, root: Path, entries: Sequence[FileEntry], target: Path, path: str, step: Step
) -> FileEntry:
    """Write the rows of ``entries``, of one table, venue and date, to ``target``, durable and read back. ``path``:
    what the manifest shall call it. Raises CorruptFile, Mismatch, OSError.
    """
    with closing(RowHasher(entries[0].table)) as hasher:
        return _merge(disk, root, entries, target, path, step, hasher)


def _merge(
    disk: Disk,
    root: Path,
    entries: Sequence[FileEntry],
    target: Path,
    path: str,
    step: Step,
    hasher: RowHasher,
) -> FileEntry:
    sources = [SealedFile(disk, root, entry) for entry in entries]
    before = RowSum(0, 0)
    for source in sources:
        before = before.plus(source.check(hasher, step))
    if before.rows != sum(entry.rows for entry in entries):
        raise Mismatch(root / path, f"its parts have {before.rows} rows, the manifest says otherwise")
    sink = Sink(disk, target)
    try:
        merger = _Merger(sources)
        merger.write(sink, step)
        sink.finish()
    finally:
        sink.abandon()
    entry = FileEntry(
        table=entries[0].table,
        path=path,
        rows=before.rows,
        bytes=sink.size,
        sha256=sink.digest.hexdigest(),
        date=entries[0].date,
        ts_min=min(entry.ts_min for entry in entries),
        ts_max=max(entry.ts_max for entry in entries),
        pos_min=min(entry.pos_min for entry in entries),
        pos_max=max(entry.pos_max for entry in entries),
        symbols=len({symbol for source in sources for symbol in source.symbols}),
        added=merger.added,
    )
    written = SealedFile(disk, target.parent, msgspec.structs.replace(entry, path=target.name))
    after = written.check(hasher, step, ascending=True)
    if after != before:
        raise Mismatch(root / path, "its rows are not those of the files it is to replace")
    return msgspec.structs.replace(entry, **written.footer())


class _Merger:
    """The rows of several sources in the order of a sealed file."""

    def __init__(self, sources: Sequence[SealedFile]) -> None:
        self._sources = sources
        self._table = sources[0].entry.table
        had = {name for source in sources for name in source.entry.added}
        self.added = tuple(name for name in ADDED.get(self._table, ()) if name in had)
        rows = sum(source.entry.rows for source in sources)
        row_bytes = max(1, sum(source.cells for source in sources) // rows)
        self._part_rows = max(1, PART_BYTES // row_bytes)
        lists = any(pa.types.is_list(field.type) for field in TABLES[self._table])
        group_bytes = GROUP_ROWS_MAX // BOOKS_SHARE * LEVEL_BYTES if lists else GROUP_BYTES
        self._most = min(GROUP_ROWS_MAX, max(1, group_bytes // row_bytes))
        self._least = max(1, self._most * GROUP_ROWS_MIN // GROUP_ROWS_MAX)
        self._pieces: dict[str, list[_Piece]] = defaultdict(list)
        for index, source in enumerate(sources):
            for symbol, places in source.symbols.items():
                self._pieces[symbol] += [
                    _Piece(ts, index, group, start, stop) for ts, group, start, stop in places
                ]

    def write(self, sink: Sink, step: Step) -> None:
        """Write them as the content of a Parquet file."""
        ends, total = [], 0
        for symbol in sorted(self._pieces):
            total += sum(piece.stop - piece.start for piece in self._pieces[symbol])
            ends.append(total)
        stream = _Stream(self.rows())
        start = 0
        writer: pq.ParquetWriter | None = None
        schema = pa.schema([])
        try:
            while start < total:
                step()
                stop = next_group(range(total + 1), ends, start, self._least, self._most)
                rows = without_added(self._table, stream.take(stop - start), self.added)
                if writer is None:
                    schema = stored_schema(self._table, rows.schema)
                    writer = open_writer(self._table, pa.PythonFile(sink, mode="w"), schema)
                writer.write_table(pa.Table.from_batches([rows]).cast(schema), row_group_size=rows.num_rows)
                start += rows.num_rows
            if writer is not None:
                writer.close()
        except BaseException:
            # A writer that is closed, or collected, writes a footer: that must not touch the disk any more.
            sink.abandon()
            if writer is not None:
                with suppress(ValueError, OSError, pa.ArrowException):
                    writer.close()
            raise
        assert start == total, "every row was written"

    def rows(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order, in batches."""
        symbols: list[str] = []
        rows = 0
        for symbol in sorted(self._pieces):
            more = sum(piece.stop - piece.start for piece in self._pieces[symbol])
            if symbols and rows + more > self._part_rows:
                yield from self._part(symbols)
                symbols, rows = [], 0
            symbols.append(symbol)
            rows += more
        yield from self._part(symbols)

    def _part(self, symbols: list[str]) -> Iterator[pa.RecordBatch]:
        if len(symbols) == 1:
            # In the order of time, so that what is older than the next piece is known to be complete.
            yield from self._by_time(sorted(self._pieces[symbols[0]]))
            return
        # Symbols that follow each other are one range of a row group.
        ranges: dict[tuple[int, int], tuple[int, int]] = {}
        for symbol in symbols:
            for _, source, group, start, stop in self._pieces[symbol]:
                first, _ = ranges.get((source, group), (start, stop))
                ranges[source, group] = first, stop
        yield _sorted([self._sources[source].read(group, *ranges[source, group]) for source, group in ranges])

    def _by_time(self, pieces: list[_Piece]) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        rows, limit = 0, self._part_rows
        for index, piece in enumerate(pieces):
            held.append(self._sources[piece.source].read(piece.group, piece.start, piece.stop))
            rows += held[-1].num_rows
            if index + 1 == len(pieces):
                yield _sorted(held)
            elif rows >= limit:
                batch = _sorted(held)
                ts: _Column = batch.column("ts_recv").cast(pa.int64())
                early: _Column = pc.less(ts, pa.scalar(pieces[index + 1].ts_min))
                done = early.true_count
                if done:
                    yield batch.slice(0, done)
                held = [batch.slice(done)]
                rows -= done
                # Rows that overlap in time are sorted again with what comes; not each time, though.
                limit = max(self._part_rows, 2 * rows)


class _Stream:
    """Batches cut anew."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: list[pa.RecordBatch] = []

    def take(self, count: int) -> pa.RecordBatch:
        """The next rows, ``count`` of them or a few less: a frame's rows are not parted if that can be."""
        held = sum(batch.num_rows for batch in self._held)
        while held <= count and (batch := next(self._batches, None)) is not None:
            self._held.append(batch)
            held += batch.num_rows
        rows = joined(self._held)
        if count < held:
            count = _frame_start(rows, count) or count
        self._held = [rows.slice(count)]
        return rows.slice(0, count)


def _sorted(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    rows = joined(batches)
    return rows if ascends(rows) else rows.take(sorted_indices(rows))


def _frame_start(rows: pa.RecordBatch, at: int) -> int:
    """Where the rows of the frame begin that has the row at an index, of rows that are sorted."""
    pos: _Column = rows.column("pos")
    symbols: _Column = rows.column("symbol")
    ids = symbols.indices
    frame, symbol = pos[at].as_py(), ids[at].as_py()
    while at and pos[at - 1].as_py() == frame and ids[at - 1].as_py() == symbol:
        at -= 1
    return at
