"""Several sealed files of one table, venue and date to one: the same rows in the same order, never all in memory.

A first pass holds each file against its digest and learns where each symbol's rows are. Symbols are then taken in
order, as many at a time as memory is meant for, and of each file only the row groups that have them are decoded. A
symbol that is larger than that comes in pieces by receive time: what is older than the next piece is done.

The proof that nothing was lost or changed does not use any of this: a sum of hashes of all rows, which does not
depend on their order, is taken of the files as they are and of the new file as it is read back, and the keys of the
new file must ascend.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from isal.isal_zlib import crc32

from bookreel.storage.digests import END_BYTES, footer_bytes
from bookreel.storage.disk import Disk, File, write_all
from bookreel.storage.errors import CorruptFile, FileGone, StorageError
from bookreel.storage.manifest import FileEntry
from bookreel.storage.parquet import (
    GROUP_ROWS_MAX,
    GROUP_ROWS_MIN,
    LONG_TEXTS,
    next_group,
    one_batch,
    open_writer,
    sorted_indices,
    stored_schema,
    symbol_ends,
)
from bookreel.storage.schema import TABLES

__all__ = ["Mismatch", "copy", "merge"]

PART_BYTES: Final = 64 << 20
"""Decoded rows that are sorted at a time; sorting needs about as much again."""

GROUP_BYTES: Final = 16 << 20
"""Decoded rows of a row group, should its rows be so large that fewer than usual reach it."""

_BLOCK_BYTES: Final = 1 << 20

_Column: TypeAlias = Any  # as in columns

Step: TypeAlias = Callable[[], None]
"""Called now and then; what it raises ends the work."""


class Mismatch(StorageError):
    """What was merged is not what was there. Nothing was switched."""

    exit_code = 3

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} was not merged: {reason}; nothing was changed, run `bookreel verify`")


class Sum(NamedTuple):
    """Number of rows, and the sum of their hashes."""

    rows: int
    hashes: int

    def plus(self, other: Sum) -> Sum:
        return Sum(self.rows + other.rows, self.hashes + other.hashes)


class _Piece(NamedTuple):
    """Rows of one row group. ``ts_min``: receive time (ns) of the first one of one symbol."""

    ts_min: int
    source: int
    group: int
    start: int
    stop: int


def copy(disk: Disk, root: Path, entry: FileEntry, target: Path) -> FileEntry:
    """A sealed file as it is, durable under another name. Raises CorruptFile, OSError."""
    reading = _open(disk, root / entry.path)
    try:
        sink = _Sink(disk, target)
        try:
            for at in range(0, entry.bytes, _BLOCK_BYTES):
                sink.write(reading.read(at, min(_BLOCK_BYTES, entry.bytes - at)))
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
    with closing(_Hasher(entries[0].table)) as hasher:
        return _merge(disk, root, entries, target, path, step, hasher)


def _merge(
    disk: Disk,
    root: Path,
    entries: Sequence[FileEntry],
    target: Path,
    path: str,
    step: Step,
    hasher: _Hasher,
) -> FileEntry:
    sources = [_Source(disk, root, entry) for entry in entries]
    before = Sum(0, 0)
    for source in sources:
        before = before.plus(source.check(hasher, step))
    if before.rows != sum(entry.rows for entry in entries):
        raise Mismatch(root / path, f"its parts have {before.rows} rows, the manifest says otherwise")
    sink = _Sink(disk, target)
    try:
        _Merger(sources).write(sink, step)
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
    )
    written = _Source(disk, target.parent, msgspec.structs.replace(entry, path=target.name))
    after = written.check(hasher, step, ascending=True)
    if after != before:
        raise Mismatch(root / path, "its rows are not those of the files it is to replace")
    return msgspec.structs.replace(entry, **written.footer())


class _Hasher:
    """Sums hashes of rows, by DuckDB."""

    def __init__(self, table: str) -> None:
        self._con = _database().cursor()
        columns = ", ".join(f'"{name}"' for name in TABLES[table].names)
        self._query = f"SELECT count(*), sum(hash({columns}))::VARCHAR FROM _rows"  # noqa: S608 - names of the schema

    def sum(self, rows: pa.Table) -> Sum:
        self._con.register("_rows", rows)
        [(count, hashes)] = self._con.execute(self._query).fetchall()
        self._con.unregister("_rows")
        return Sum(count, int(hashes or 0))

    def close(self) -> None:
        self._con.close()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for the process: making it takes longer than hashing a million rows. One thread, as elsewhere here."""
    return duckdb.connect(":memory:", config={"threads": 1})


class _Source:
    """One file that is read. ``symbols``: where each one's rows are, known after :meth:`check`."""

    def __init__(self, disk: Disk, root: Path, entry: FileEntry) -> None:
        self.entry = entry
        self.symbols: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
        self.cells = 0
        self._disk = disk
        self._path = root / entry.path
        self._short = [
            field.name
            for field in TABLES[entry.table]
            if field.type == pa.string() and field.name not in LONG_TEXTS
        ]
        self._footer: pq.FileMetaData | None = None

    def check(self, hasher: _Hasher, step: Step, *, ascending: bool = False) -> Sum:
        """Hold the file against its entry and sum its rows; ``ascending``: their keys must. Raises CorruptFile."""
        if self._sha256(step) != self.entry.sha256:
            raise CorruptFile(self._path, "its SHA-256 is not that of the manifest")
        total = Sum(0, 0)
        last: pa.RecordBatch | None = None
        for group in range(self._groups()):
            step()
            rows = self.read(group)
            self.cells += _decoded_bytes(rows)
            total = total.plus(hasher.sum(pa.Table.from_batches([rows])))
            if ascending:
                if not _ascends(_joined([last, rows]) if last is not None else rows):
                    raise Mismatch(self._path, "its rows are not in order")
                last = rows.slice(rows.num_rows - 1)
            symbols: _Column = rows.column("symbol")
            ts: _Column = rows.column("ts_recv")
            start = 0
            for stop in symbol_ends(symbols.indices):
                first = ts[start].value
                self.symbols[symbols[start].as_py()].append((first, group, start, stop))
                start = stop
        return total

    def read(self, group: int, start: int = 0, stop: int | None = None) -> pa.RecordBatch:
        """Rows of a row group."""
        with self._open() as file:
            rows = file.read_row_group(group, use_threads=False)
        if stop is not None and stop - start < rows.num_rows:
            # Joining two pieces copies them, so that the rest of the group does not stay in memory.
            pieces = [rows.slice(start, 1), rows.slice(start + 1, stop - start - 1)]
            rows = pa.concat_tables(pieces).combine_chunks()
        return one_batch(rows)

    def footer(self) -> dict[str, int]:
        """What its entry shall say of its footer."""
        file = _open(self._disk, self._path)
        try:
            size = self.entry.bytes
            length = footer_bytes(file.read(size - END_BYTES, END_BYTES))
            return {"footer_bytes": length, "footer_crc": crc32(file.read(size - length, length))}
        finally:
            file.close()

    def _groups(self) -> int:
        if self._footer is None:
            with self._open() as file:
                self._footer = file.metadata
        return self._footer.num_row_groups

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        reader = _Reading(_open(self._disk, self._path))
        try:
            yield pq.ParquetFile(
                pa.PythonFile(reader, mode="r"),
                metadata=self._footer,
                read_dictionary=self._short,
                page_checksum_verification=True,
            )
        except pa.ArrowException as error:
            raise CorruptFile(self._path, str(error)) from error
        finally:
            reader.close()

    def _sha256(self, step: Step) -> str:
        digest = sha256()
        file = _open(self._disk, self._path)
        try:
            for at in range(0, max(self.entry.bytes, file.size()), _BLOCK_BYTES):
                step()
                digest.update(file.read(at, _BLOCK_BYTES))
        finally:
            file.close()
        return digest.hexdigest()


class _Merger:
    """The rows of several sources in the order of a sealed file."""

    def __init__(self, sources: Sequence[_Source]) -> None:
        self._sources = sources
        self._table = sources[0].entry.table
        rows = sum(source.entry.rows for source in sources)
        row_bytes = max(1, sum(source.cells for source in sources) // rows)
        self._part_rows = max(1, PART_BYTES // row_bytes)
        self._most = min(GROUP_ROWS_MAX, max(1, GROUP_BYTES // row_bytes))
        self._least = max(1, self._most * GROUP_ROWS_MIN // GROUP_ROWS_MAX)
        self._pieces: dict[str, list[_Piece]] = defaultdict(list)
        for index, source in enumerate(sources):
            for symbol, places in source.symbols.items():
                self._pieces[symbol] += [
                    _Piece(ts, index, group, start, stop) for ts, group, start, stop in places
                ]

    def write(self, sink: _Sink, step: Step) -> None:
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
                rows = stream.take(stop - start)
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
        rows = _joined(self._held)
        if count < held:
            count = _frame_start(rows, count) or count
        self._held = [rows.slice(count)]
        return rows.slice(0, count)


class _Reading(io.RawIOBase):
    """A :class:`File` as pyarrow reads it."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = self._file.size() - self._at
        data = self._file.read(self._at, size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size()}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Sink(io.RawIOBase):
    """A new file as pyarrow writes it, in blocks. ``size`` and ``digest`` are of what was given to it."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.size = 0
        self.digest = sha256()
        self._file: File | None = disk.create(path)
        self._blocks: list[bytes] = []
        self._waiting = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._file is None:
            raise ValueError("the file was given up")
        block = bytes(data)
        self.digest.update(block)
        self.size += len(block)
        self._blocks.append(block)
        self._waiting += len(block)
        if self._waiting >= _BLOCK_BYTES:
            self._drain()
        return len(block)

    def finish(self) -> None:
        """Make it durable."""
        self._drain()
        if self._file is not None:
            self._file.datasync()

    def abandon(self) -> None:
        """Let the file go; whatever is written from now on is refused."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _drain(self) -> None:
        if self._file is not None and self._waiting:
            write_all(self._file, [b"".join(self._blocks)])
            self._blocks.clear()
            self._waiting = 0


def _open(disk: Disk, path: Path) -> File:
    try:
        return disk.open(path)
    except FileNotFoundError:
        raise FileGone(path) from None


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else one_batch(pa.Table.from_batches(batches))


def _sorted(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    rows = _joined(batches)
    return rows if _ascends(rows) else rows.take(sorted_indices(rows))


def _ascends(rows: pa.RecordBatch) -> bool:
    """Whether the sort keys do."""
    count = rows.num_rows
    if count < 2:
        return True
    symbols: _Column = rows.column("symbol")
    names = symbols.dictionary.to_pylist()
    ranks = {name: rank for rank, name in enumerate(sorted(names))}
    rank = pa.array([ranks[name] for name in names], pa.int32()).take(symbols.indices)
    ts: _Column = rows.column("ts_recv").cast(pa.int64())
    pos: _Column = rows.column("pos")
    in_order: _Column = None
    for column in (pos, ts, rank):
        left, right = column.slice(0, count - 1), column.slice(1)
        if in_order is None:
            in_order = pc.less_equal(left, right)
        else:
            in_order = pc.or_(pc.less(left, right), pc.and_(pc.equal(left, right), in_order))
    return bool(pc.all(in_order).as_py())


def _frame_start(rows: pa.RecordBatch, at: int) -> int:
    """Where the rows of the frame begin that has the row at an index, of rows that are sorted."""
    pos: _Column = rows.column("pos")
    symbols: _Column = rows.column("symbol")
    ids = symbols.indices
    frame, symbol = pos[at].as_py(), ids[at].as_py()
    while at and pos[at - 1].as_py() == frame and ids[at - 1].as_py() == symbol:
        at -= 1
    return at


def _decoded_bytes(rows: pa.RecordBatch) -> int:
    """What rows take in memory, without dictionaries."""
    total = 0
    for column in rows.columns:
        total += (column.indices if isinstance(column, pa.DictionaryArray) else column).nbytes
    return total
