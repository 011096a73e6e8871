"""One sealed file as compaction reads it: held against its entry, its rows summed, and a few of them at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from isal.isal_zlib import crc32

from bookreel.storage.arrow_file import BLOCK_BYTES, Reading, open_file
from bookreel.storage.digests import END_BYTES, footer_bytes
from bookreel.storage.disk import Disk
from bookreel.storage.errors import CorruptFile, StorageError
from bookreel.storage.manifest import FileEntry
from bookreel.storage.parquet import LONG_TEXTS, ascends, joined, one_batch, symbol_ends
from bookreel.storage.schema import ADDED, TABLES, completed

__all__ = ["Mismatch", "RowHasher", "RowSum", "SealedFile", "Step"]

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


class RowSum(NamedTuple):
    """Number of rows, and the sum of their hashes."""

    rows: int
    hashes: int

    def plus(self, other: RowSum) -> RowSum:
        return RowSum(self.rows + other.rows, self.hashes + other.hashes)


class RowHasher:
    """Sums hashes of rows, by DuckDB."""

    def __init__(self, table: str) -> None:
        self._con = _database().cursor()
        columns = ", ".join(f'"{name}"' for name in TABLES[table].names)
        self._query = f"SELECT count(*), sum(hash({columns}))::VARCHAR FROM _rows"  # noqa: S608 - names of the schema

    def sum(self, rows: pa.Table) -> RowSum:
        self._con.register("_rows", rows)
        [(count, hashes)] = self._con.execute(self._query).fetchall()
        self._con.unregister("_rows")
        return RowSum(count, int(hashes or 0))

    def close(self) -> None:
        self._con.close()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for the process: making it takes longer than hashing a million rows. One thread, as elsewhere here."""
    return duckdb.connect(":memory:", config={"threads": 1})


class SealedFile:
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
            if field.type == pa.string()
            and field.name not in LONG_TEXTS
            and (field.name in entry.added or field.name not in ADDED.get(entry.table, ()))
        ]
        self._footer: pq.FileMetaData | None = None

    def check(self, hasher: RowHasher, step: Step, *, ascending: bool = False) -> RowSum:
        """Hold the file against its entry and sum its rows; ``ascending``: their keys must. Raises CorruptFile."""
        if self._sha256(step) != self.entry.sha256:
            raise CorruptFile(self._path, "its SHA-256 is not that of the manifest")
        total = RowSum(0, 0)
        last: pa.RecordBatch | None = None
        for group in range(self._groups()):
            step()
            rows = self.read(group)
            self.cells += _decoded_bytes(rows)
            total = total.plus(hasher.sum(pa.Table.from_batches([rows])))
            if ascending:
                if not ascends(joined([last, rows]) if last is not None else rows):
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
        """Rows of a row group, with all columns of the table."""
        with self._open() as file:
            rows = file.read_row_group(group, use_threads=False)
        rows = completed(self.entry.table, rows, TABLES[self.entry.table].names)
        if stop is not None and stop - start < rows.num_rows:
            # Joining two pieces copies them, so that the rest of the group does not stay in memory.
            pieces = [rows.slice(start, 1), rows.slice(start + 1, stop - start - 1)]
            rows = pa.concat_tables(pieces).combine_chunks()
        return one_batch(rows)

    def footer(self) -> dict[str, int]:
        """What its entry shall say of its footer."""
        file = open_file(self._disk, self._path)
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
        reader = Reading(open_file(self._disk, self._path))
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
        file = open_file(self._disk, self._path)
        try:
            for at in range(0, max(self.entry.bytes, file.size()), BLOCK_BYTES):
                step()
                digest.update(file.read(at, BLOCK_BYTES))
        finally:
            file.close()
        return digest.hexdigest()


def _decoded_bytes(rows: pa.RecordBatch) -> int:
    """What rows take in memory, without dictionaries."""
    total = 0
    for column in rows.columns:
        total += (column.indices if isinstance(column, pa.DictionaryArray) else column).nbytes
    return total
