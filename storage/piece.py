"""Decoded rows of a row group, and which of them are wanted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.storage.spans import Bounds

__all__ = ["Piece", "apart", "by_position", "reaches"]


class Piece:
    """Decoded rows, and what is known of their order: where positions or times ascend, a bound is a
    bisection.
    """

    __slots__ = ("_pos", "_rows", "_ts")

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows = rows.combine_chunks()
        self._pos = _ascending(rows["pos"])
        self._ts = _ascending(rows["ts_recv"])

    def keep(self, bounds: Bounds) -> pa.Table:
        """The wanted rows."""
        first, stop, mask = self._wanted(bounds)
        rows = self._rows.slice(first, stop - first)
        return rows if mask is None else rows.filter(mask)

    def extent(self, bounds: Bounds) -> tuple[int, int]:
        """The rows from the first wanted one to the last one, end exclusive."""
        first, stop, mask = self._wanted(bounds)
        if mask is None:
            return first, stop
        ends: Any = pc.min_max(pc.indices_nonzero(mask)).as_py()
        return (first, first) if ends["min"] is None else (first + ends["min"], first + ends["max"] + 1)

    def widened(self, first: int, further: pa.Table) -> Piece:
        """The rows from ``first`` on with further columns, which have so many rows."""
        rows = self._rows.slice(first, further.num_rows)
        for name, column in zip(further.schema.names, further.columns, strict=True):
            rows = rows.append_column(name, column)
        return Piece(rows)

    def _wanted(self, bounds: Bounds) -> tuple[int, int, Any]:
        """Between which rows the wanted ones are, end exclusive, and which of them are (None: all)."""
        # Scalars of a stated type: where Arrow has to find it out, that takes twenty times as long.
        rows, masks = self._rows, []
        first, stop = 0, rows.num_rows
        if bounds.pos_from is not None and self._pos is not None:
            first = bisect_left(self._pos, bounds.pos_from)
        if bounds.since is not None and self._ts is not None:
            first = max(first, bisect_left(self._ts, bounds.since))
        if bounds.until is not None and self._ts is not None:
            stop = bisect_left(self._ts, bounds.until)
        if bounds.pos_until is not None and self._pos is not None:
            stop = min(stop, bisect_left(self._pos, bounds.pos_until))
        stop = max(first, stop)
        rows = rows.slice(first, stop - first)
        for name, wanted in (("symbol", bounds.symbol), ("feed", bounds.feed)):
            # It is not among the columns where all rows were known to have it, or the table has none.
            if wanted is not None and name in rows.schema.names:
                masks.append(pc.equal(rows[name], pa.scalar(wanted, pa.string())))
        if bounds.since is not None and self._ts is None:
            masks.append(
                pc.greater_equal(rows["ts_recv"].cast(pa.int64()), pa.scalar(bounds.since, pa.int64()))
            )
        if bounds.until is not None and self._ts is None:
            masks.append(pc.less(rows["ts_recv"].cast(pa.int64()), pa.scalar(bounds.until, pa.int64())))
        if bounds.pos_from is not None and self._pos is None:
            masks.append(pc.greater_equal(rows["pos"], pa.scalar(bounds.pos_from, pa.int64())))
        if bounds.pos_until is not None and self._pos is None:
            masks.append(pc.less(rows["pos"], pa.scalar(bounds.pos_until, pa.int64())))
        return first, stop, reduce(pc.and_, masks) if masks else None


def _ascending(column: pa.ChunkedArray[Any]) -> Sequence[int] | None:
    """The values of a column of 64-bit integers or times if none is null and none is below the one before
    it.
    """
    if column.null_count or column.num_chunks != 1:
        return None
    values: Any = column.chunk(0).cast(pa.int64())
    count = len(values)
    if count > 1 and not pc.all(pc.less_equal(values.slice(0, count - 1), values.slice(1))).as_py():
        return None
    return memoryview(values.buffers()[1]).cast("q")[values.offset : values.offset + count]


def by_position(rows: pa.Table) -> pa.Table:
    """The rows by position; those of one frame keep their order."""
    pos = rows["pos"]
    count = len(pos)
    if count < 2 or pc.all(pc.less_equal(pos.slice(0, count - 1), pos.slice(1)), skip_nulls=True).as_py():
        return rows
    return rows.take(pc.sort_indices(pos))


def apart(rows: pa.Table) -> list[pa.Table]:
    """The pieces that rows were put together of; none is empty."""
    return [pa.Table.from_batches([batch]) for batch in rows.to_batches() if batch.num_rows]


def reaches(rows: pa.Table, column: str, least: int | None, greatest: int | None) -> bool:
    """Whether any value of a column of integers or times can be from ``least`` to ``greatest`` (None does not bound).
    A value that is null can.
    """
    values: Any = rows[column]
    if values.null_count or (least is None and greatest is None):
        return True
    ends: Any = pc.min_max(values.cast(pa.int64())).as_py()
    return (least is None or ends["max"] >= least) and (greatest is None or ends["min"] <= greatest)
