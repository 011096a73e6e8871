"""A table's sealed files read at once: row groups by several threads, in order, none of them remembered."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bookreel.storage.piece import Piece, by_position
from bookreel.storage.schema import completed
from bookreel.storage.spans import FEW_TEXTS, Bounds, Span, columns_of, inside, read_known, reading, undecided

__all__ = ["BulkFile", "ahead"]


class BulkFile:
    """A sealed file of a table, to be read by any number of threads.

    ``names``: columns that are wanted or that decide which rows are; ``columns``: those that are wanted.
    """

    def __init__(
        self,
        table: str,
        path: Path,
        footer: pq.FileMetaData,
        names: Sequence[str],
        columns: Sequence[str],
        bounds: Bounds,
    ) -> None:
        self._table = table
        self._path = path
        self._footer = footer
        self._places = columns_of(footer)
        self._names = names
        self._columns = list(columns)
        self._kept = [*columns, "pos"] if "pos" not in columns else self._columns
        self._bounds = bounds
        self._idle: list[pq.ParquetFile] = []

    def read(self, run: Sequence[Span]) -> pa.Table:
        """The wanted rows of some row groups, by position. Raises :class:`CorruptFile` and :class:`FileGone`."""
        with reading(self._path):
            file = self._taken()
            pieces = [self._piece(file, span) for span in run]
            self._idle.append(file)
        rows = pa.concat_tables(pieces).unify_dictionaries() if len(pieces) > 1 else pieces[0]
        return by_position(rows).select(self._columns)

    def _piece(self, file: pq.ParquetFile, span: Span) -> pa.Table:
        """The wanted rows of a row group."""
        group = self._footer.row_group(span.number)
        names = undecided(self._names, self._kept, span)
        rows = read_known(
            span, names, lambda known: file.read_row_group(span.number, columns=known, use_threads=False)
        )
        if not inside(group, self._places, span, self._bounds):
            rows = Piece(rows).keep(self._bounds)
        return completed(self._table, rows, self._kept).select(self._kept)

    def _taken(self) -> pq.ParquetFile:
        """An open file that no other thread uses. To open one for each row group takes a twentieth of the time."""
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        texts: list[str] = [name for name in FEW_TEXTS if name in self._names]
        return pq.ParquetFile(
            self._path,
            metadata=self._footer,
            memory_map=True,
            page_checksum_verification=True,
            read_dictionary=texts,
        )


def ahead(jobs: Iterator[Callable[[], pa.Table]], threads: int) -> Iterator[pa.Table]:
    """The jobs' answers in their order, worked at in so many threads."""
    if threads < 2:
        for job in jobs:
            yield job()
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="scan")
    begun: deque[Future[pa.Table]] = deque()
    try:
        for job in jobs:
            begun.append(pool.submit(job))
            if len(begun) > threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
