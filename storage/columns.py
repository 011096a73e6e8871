"""Column builders: rows are collected as plain Python values and become Arrow in blocks.

Three shapes cover all tables. :class:`Rows` keeps one tuple a row. :class:`BookRows` adds two lists of levels to
each row. :class:`LevelRows` holds one tuple for each side of a delta and all its levels in one flat array;
:func:`expand` turns such compact blocks into one row a level, as late as possible: a minute of deltas has
thirty times as many levels as sides, and their order can be changed side by side.

Nothing here uses numpy: Arrow's own kernels repeat and flatten.
"""

from __future__ import annotations

from array import array
from itertools import chain
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Levels
from bookreel.storage.schema import COUNTS, LEVELS, TABLES

__all__ = ["COMPACT_DELTAS", "BookRows", "LevelRows", "Rows", "expand"]

# pyarrow's stubs give each element type a class of its own, which says nothing about a column known by its schema.
_Column: TypeAlias = Any

_Orders: TypeAlias = tuple[list[int] | None, list[int] | None]

_LEVEL: Final = LEVELS.value_type
_SIZES: Final = pa.list_(pa.float64())


def _compact_deltas() -> pa.Schema:
    fields = [field for field in TABLES["book_deltas"] if field.name not in ("price", "size")]
    return pa.schema([*fields, pa.field("price", _SIZES), pa.field("size", _SIZES)])


COMPACT_DELTAS: Final = _compact_deltas()
"""``book_deltas`` with one row for each side of a delta, ``price`` and ``size`` being lists of equal length."""


class Rows:
    """Rows of a table whose columns hold plain values.

    A row is a tuple of the values of the table's columns in their order, without ``venue``, which is the same for
    all; the last columns may be left out of all rows, and are null. Times are integer ns; None is null.
    """

    def __init__(self, table: str, venue: str) -> None:
        self._schema = TABLES[table]
        self._venue = venue
        self._rows: list[tuple[Any, ...]] = []
        self._blocks: list[pa.RecordBatch] = []
        self.append = self._rows.append

    def pack(self) -> None:
        """Turn the rows collected so far into Arrow, which needs a fraction of the memory."""
        if self._rows:
            self._blocks.append(_block(self._schema, self._venue, self._rows, ()))
            self._rows.clear()

    def take(self) -> pa.Table:
        """The rows since the last call, in the order they came."""
        self.pack()
        blocks, self._blocks = self._blocks, []
        return pa.Table.from_batches(blocks, self._schema)


class BookRows:
    """Rows of ``book_snapshots``: the plain columns as in :class:`Rows`, then bids and asks, then how many orders
    there are at each level, where that is known.
    """

    def __init__(self, venue: str) -> None:
        self._schema = TABLES["book_snapshots"]
        self._venue = venue
        self._rows: list[tuple[Any, ...]] = []
        self._bids = _Lists()
        self._asks = _Lists()
        self._orders: dict[int, _Orders] = {}
        self._blocks: list[pa.RecordBatch] = []

    def append(self, row: tuple[Any, ...], bids: Levels, asks: Levels, orders: _Orders | None = None) -> None:
        """Add one book; ``orders``: counts at the bids, and at the asks."""
        if orders is not None:
            self._orders[len(self._rows)] = orders
        self._rows.append(row)
        self._bids.append(bids)
        self._asks.append(asks)

    def pack(self) -> None:
        """As :meth:`Rows.pack`."""
        if self._rows:
            books = (self._bids.structs(), self._asks.structs(), *self._counts())
            self._blocks.append(_block(self._schema, self._venue, self._rows, books))
            self._rows.clear()

    def take(self) -> pa.Table:
        """As :meth:`Rows.take`."""
        self.pack()
        blocks, self._blocks = self._blocks, []
        return pa.Table.from_batches(blocks, self._schema)

    def _counts(self) -> tuple[_Column, ...]:
        """Two columns of counts; none where no book has them. Begins anew."""
        known, self._orders = self._orders, {}
        if not known:
            return ()
        each = [known.get(index, (None, None)) for index in range(len(self._rows))]
        return tuple(pa.array(column, COUNTS) for column in zip(*each, strict=True))


class LevelRows:
    """Rows of ``book_deltas``, kept compact: see :data:`COMPACT_DELTAS`."""

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self._rows: list[tuple[Any, ...]] = []
        self._levels = _Lists()
        self._blocks: list[pa.RecordBatch] = []

    def append(self, row: tuple[Any, ...], levels: Levels) -> None:
        """Add the levels of one side of one delta; ``row`` is what they share: all columns but ``venue``, ``price``
        and ``size``.
        """
        self._rows.append(row)
        self._levels.append(levels)

    def pack(self) -> None:
        """As :meth:`Rows.pack`."""
        if self._rows:
            self._blocks.append(_block(COMPACT_DELTAS, self._venue, self._rows, self._levels.columns()))
            self._rows.clear()

    def take_compact(self) -> pa.Table:
        """The rows since the last call as a table of :data:`COMPACT_DELTAS`."""
        self.pack()
        blocks, self._blocks = self._blocks, []
        return pa.Table.from_batches(blocks, COMPACT_DELTAS)

    def take(self) -> pa.Table:
        """As :meth:`Rows.take`: one row a level."""
        return expand(self.take_compact())


class _Lists:
    """A column of level lists: all of them flat, price and size in turn, and where each one ends."""

    def __init__(self) -> None:
        self._flat = array("d")
        self._ends = array("i", [0])

    def append(self, levels: Levels) -> None:
        self._flat.extend(chain.from_iterable(levels))
        self._ends.append(len(self._flat) >> 1)

    def columns(self) -> tuple[_Column, _Column]:
        """Prices and sizes as two columns of lists; begins anew."""
        flat, ends = self._flat, self._ends
        self._flat, self._ends = array("d"), array("i", [0])
        offsets: _Column = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
        return (
            pa.ListArray.from_arrays(offsets, _doubles(flat[0::2])),
            pa.ListArray.from_arrays(offsets, _doubles(flat[1::2])),
        )

    def structs(self) -> _Column:
        """One column of lists of (price, size); begins anew."""
        prices, sizes = self.columns()
        levels = pa.StructArray.from_arrays([prices.values, sizes.values], fields=list(_LEVEL))
        return pa.ListArray.from_arrays(prices.offsets, levels, type=LEVELS)


def expand(compact: pa.Table) -> pa.Table:
    """Rows of ``book_deltas``, one a level, from :data:`COMPACT_DELTAS`. Text columns may be dictionaries, and
    stay so.
    """
    schema = pa.schema(
        [
            compact.schema.field(field.name) if field.name not in ("price", "size") else field
            for field in TABLES["book_deltas"]
        ]
    )
    return pa.Table.from_batches([_expand(batch, schema) for batch in compact.to_batches()], schema)


def _expand(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    parents = pc.list_parent_indices(batch.column("price"))
    shared = batch.drop_columns(["price", "size"]).take(parents)
    columns: dict[str, _Column] = {name: shared.column(name) for name in shared.schema.names}
    for name in ("price", "size"):
        lists: _Column = batch.column(name)
        columns[name] = lists.flatten()
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _block(
    schema: pa.Schema, venue: str, rows: list[tuple[Any, ...]], further: tuple[_Column, ...]
) -> pa.RecordBatch:
    """A block of ``rows``, each without its venue, and ready-made columns to their right; what is left is null."""
    plain = list(zip(*rows, strict=True))
    made = len(plain) + len(further)
    at = schema.get_field_index("venue")
    columns: list[_Column] = []
    for index, field in enumerate(schema):
        if index == at:
            columns.append(pa.repeat(pa.scalar(venue, field.type), len(rows)))
        else:
            place = index if index < at else index - 1
            if place < len(plain):
                columns.append(pa.array(plain[place], field.type))
            else:
                columns.append(
                    further[place - len(plain)] if place < made else pa.nulls(len(rows), field.type)
                )
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _doubles(values: array[float]) -> _Column:
    return pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(values)])
