"""The decoded rows of the journal's tail, by segment and table, in pieces that are worth reading one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from bookreel.storage.schema import TABLES

__all__ = ["TailRows"]

_PIECE_ROWS: Final = 32_768
"""Rows of a piece, unless they came together: one is read in some milliseconds."""


class TailRows:
    """Rows in the order they came. A look adds a few: pieces are joined with the one before as long as that is not
    much longer, so each row is copied a few times and there are few pieces, none of them large.
    """

    def __init__(self) -> None:
        self._segments: dict[str, dict[str, list[pa.RecordBatch]]] = {}

    def nbytes(self, table: str | None = None) -> int:
        """Memory of a table's rows, about; None: of all rows."""
        tables = TABLES if table is None else (table,)
        return sum(piece.nbytes for name in tables for piece in self.table(name))

    def add(self, segment: str, table: str, rows: pa.Table) -> None:
        """Further rows of a table from the newest segment."""
        if not rows.num_rows:
            return
        pieces = self._segments.setdefault(segment, {}).setdefault(table, [])
        for batch in rows.to_batches():
            if not batch.num_rows:
                continue
            pieces.append(batch)
            while len(pieces) > 1 and _belong(pieces[-2], pieces[-1]):
                joined = pa.Table.from_batches(pieces[-2:]).combine_chunks()
                pieces[-2:] = joined.to_batches()

    def table(self, table: str) -> Iterator[pa.RecordBatch]:
        """The pieces of a table; none is empty."""
        for tables in self._segments.values():
            yield from tables.get(table, ())

    def drop(self, segment: str) -> None:
        """Let go the rows of a segment."""
        self._segments.pop(segment, None)

    def forget(self, table: str) -> None:
        """Let go the rows of a table."""
        for tables in self._segments.values():
            tables.pop(table, None)

    def clear(self) -> None:
        """Let go everything."""
        self._segments.clear()


def _belong(left: pa.RecordBatch, right: pa.RecordBatch) -> bool:
    """Whether two pieces are joined."""
    return left.num_rows < 2 * right.num_rows and left.num_rows + right.num_rows <= _PIECE_ROWS
