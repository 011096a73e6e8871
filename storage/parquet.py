"""Rows of a table to the content of Parquet files: sorted, cut by UTC date and into row groups.

The same rows give the same bytes, with one version of pyarrow. Within a file rows are sorted by
:data:`~bookreel.storage.schema.SORT_KEYS` and a row group ends where a symbol ends if it can, so that the
statistics of a row group name few symbols and one symbol's rows are found without reading the others'.

Encodings were chosen by measurement (``docs/decisions/2026-11-21-encodings.md``). Strings of few values, prices and
sizes get a dictionary; integers and times are stored as differences, but plain where one value is repeated for
each level of a delta: zstd makes such runs smaller than differences do. Pages carry a checksum.
"""

from __future__ import annotations

import base64
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from functools import reduce
from itertools import chain, islice
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bookreel.storage.columns import COMPACT_DELTAS, expand
from bookreel.storage.dates import DAY_NS
from bookreel.storage.schema import ADDED, COUNTS, SORT_KEYS, TABLES, TIME, added_in

__all__ = [
    "BOOKS_SHARE",
    "GROUP_ROWS_MAX",
    "GROUP_ROWS_MIN",
    "LONG_TEXTS",
    "Part",
    "ascends",
    "joined",
    "next_group",
    "one_batch",
    "open_writer",
    "parts",
    "row_groups",
    "sorted_indices",
    "stored_schema",
    "symbol_ends",
    "without_added",
]

GROUP_ROWS_MIN: Final = 16 * 1024
GROUP_ROWS_MAX: Final = 128 * 1024
"""Rows of a row group, except that the last one of a file may have fewer."""

BOOKS_SHARE: Final = 4
"""Of whole books the levels are counted, and so many times fewer are enough: who asks for one book has those before
it in its row group decoded.
"""

_Column: TypeAlias = Any  # as in columns

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

LONG_TEXTS: Final = frozenset({"payload", "trade_id", "detail", "raw", "extended"})
"""Text columns of which hardly two values are alike."""

_RUNS: Final = frozenset({"ts_recv", "pos", "epoch", "seq", "prev_seq"})
"""Columns of ``book_deltas`` that have one value for all levels of a delta."""

_LISTS: Final = {"book_snapshots": ("bids", "asks")}
"""Columns of whole books."""

_ZSTD_LEVEL: Final = 3
_ZSTD_LEVELS: Final = {"payload": 1}
"""The text of frames, half of an archive, becomes smaller with 1 than with 3, and in less time."""


class Part(msgspec.Struct, frozen=True):
    """One file: its content, and what its rows have; see :class:`bookreel.storage.manifest.FileEntry`."""

    date: str
    content: pa.Buffer
    rows: int
    ts_min: int
    ts_max: int
    pos_min: int
    pos_max: int
    symbols: int
    added: tuple[str, ...] = ()


def parts(table: str, rows: pa.Table) -> Iterator[Part]:
    """The files that the rows of a table make, one a UTC date. ``book_deltas`` may be compact."""
    if rows.num_rows == 0:
        return
    compact = rows.schema.equals(COMPACT_DELTAS) and table == "book_deltas"
    batch = one_batch(rows)
    order = sorted_indices(batch)
    days: _Column = pc.divide(batch.column("ts_recv").cast(pa.int64()), pa.scalar(DAY_NS, pa.int64()))
    for day in sorted(pc.unique(days).to_pylist()):
        of_day = order.filter(pc.equal(days.take(order), pa.scalar(day, pa.int64())))
        yield _part(table, batch, of_day, date.fromordinal(_EPOCH_DAY + day).isoformat(), compact)


def row_groups(totals: Sequence[int], ends: Sequence[int], share: int = 1) -> list[tuple[int, int]]:
    """How to cut items into row groups, as ranges of items. ``totals[i]``: rows before item i, the last one being
    all rows; ``ends``: where each symbol's items end, ascending; ``share``: how many times fewer rows than usual.

    >>> row_groups(range(50_001), [10_000, 20_000, 50_000])
    [(0, 20000), (20000, 50000)]
    """
    groups: list[tuple[int, int]] = []
    start = 0
    while start < ends[-1]:
        end = next_group(totals, ends, start, GROUP_ROWS_MIN // share, GROUP_ROWS_MAX // share)
        groups.append((start, end))
        start = end
    return groups


def next_group(
    totals: Sequence[int],
    ends: Sequence[int],
    start: int,
    least: int,
    most: int,
) -> int:
    """Where the row group ends that begins at an item; see :func:`row_groups`. ``least`` and ``most``: its rows."""
    for end in islice(ends, bisect_right(ends, start), None):
        rows = totals[end] - totals[start]
        if rows > most:
            # Pieces of one size: none is left that is too small.
            pieces = -(-rows // most)
            return max(bisect_right(totals, totals[start] + rows // pieces, start, end) - 1, start + 1)
        if rows >= least:
            return end
    return ends[-1]


def open_writer(table: str, sink: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of a sealed file's format; ``schema``: see :func:`stored_schema`."""
    own = pa.schema([field for field in TABLES[table] if field.name in schema.names])
    dictionaries: Any = _dictionary_columns(own)
    encodings: Any = _encodings(table, own) or None
    writer = pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=_levels(own),
        use_dictionary=dictionaries,
        column_encoding=encodings,
        write_statistics=True,
        write_page_checksum=True,
        store_schema=False,
    )
    # Dictionaries are how texts are written, not what they are: readers are told the table's own schema.
    declared = base64.b64encode(own.serialize().to_pybytes()).decode()
    writer.add_key_value_metadata({"ARROW:schema": declared})
    return writer


def one_batch(rows: pa.Table) -> pa.RecordBatch:
    """All rows of a table, or of such pieces put together, in one piece. Texts of few values become dictionaries:
    they are repeated and written by index. Long ones get 64-bit offsets, since a segment of well compressed frames
    can hold more than 2 GiB of text.
    """
    columns: list[_Column] = []
    for field, chunked in zip(rows.schema, rows.columns, strict=True):
        column: _Column = chunked
        if field.type == pa.binary():
            column = column.cast(pa.large_binary())
        elif field.type == pa.string():
            long = field.name in LONG_TEXTS
            column = column.cast(pa.large_string()) if long else column.dictionary_encode()
        columns.append(
            column.unify_dictionaries().combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        )
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)


def joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches of equal columns in one piece."""
    return batches[0] if len(batches) == 1 else one_batch(pa.Table.from_batches(batches))


def sorted_indices(rows: pa.RecordBatch) -> _Column:
    """The rows' indices in the order of the sort keys; equal ones keep theirs."""
    # Comparing numbers is faster than comparing texts.
    rank = _symbol_ranks(rows)
    keys = pa.record_batch({"symbol": rank, "ts_recv": rows.column("ts_recv"), "pos": rows.column("pos")})
    return pc.sort_indices(keys, sort_keys=[(key, "ascending") for key in SORT_KEYS])


def ascends(rows: pa.RecordBatch) -> bool:
    """Whether rows are in the order of the sort keys."""
    count = rows.num_rows
    if count < 2:
        return True
    ts: _Column = rows.column("ts_recv").cast(pa.int64())
    pos: _Column = rows.column("pos")
    in_order: _Column = None
    for column in (pos, ts, _symbol_ranks(rows)):
        left, right = column.slice(0, count - 1), column.slice(1)
        if in_order is None:
            in_order = pc.less_equal(left, right)
        else:
            in_order = pc.or_(pc.less(left, right), pc.and_(pc.equal(left, right), in_order))
    return bool(pc.all(in_order).as_py())


def _symbol_ranks(rows: pa.RecordBatch) -> _Column:
    """Of each row, the place of its symbol among those there are."""
    symbols: _Column = rows.column("symbol")
    names = symbols.dictionary.to_pylist()
    ranks = {name: rank for rank, name in enumerate(sorted(names))}
    return pa.array([ranks[name] for name in names], pa.int32()).take(symbols.indices)


def _part(table: str, rows: pa.RecordBatch, order: _Column, day: str, compact: bool) -> Part:
    added = added_in(table, rows)
    rows = without_added(table, rows, added)
    symbols: _Column = rows.column("symbol")
    ends = symbol_ends(symbols.indices.take(order))
    totals: Sequence[int] = range(len(order) + 1)
    lists = ("price",) if compact else _LISTS.get(table, ())
    if lists:
        lengths: _Column = reduce(pc.add, (pc.list_value_length(rows.column(name)) for name in lists))
        totals = [0, *pc.cumulative_sum(lengths.take(order).cast(pa.int64())).to_pylist()]
    sink = pa.BufferOutputStream()
    schema = stored_schema(table, rows.schema)
    with open_writer(table, sink, schema) as writer:
        for start, end in row_groups(totals, ends, BOOKS_SHARE if table in _LISTS else 1):
            group = pa.Table.from_batches([rows.take(order.slice(start, end - start))])
            if compact:
                group = expand(group)
            writer.write_table(group.cast(schema), row_group_size=max(group.num_rows, 1))
    times: _Column = rows.column("ts_recv").take(order).cast(pa.int64())
    positions: _Column = rows.column("pos").take(order)
    count = totals[-1] if compact else len(order)
    return Part(day, sink.getvalue(), count, *_bounds(times), *_bounds(positions), len(ends), added)


def without_added(table: str, rows: pa.RecordBatch, kept: Collection[str]) -> pa.RecordBatch:
    """The rows without the columns that came after the table's first version, but for those ``kept``."""
    gone = [name for name in ADDED.get(table, ()) if name not in kept]
    return rows.drop_columns(gone) if gone else rows


def symbol_ends(ids: _Column) -> list[int]:
    """Where each run of equal ids ends."""
    changes: _Column = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    before: list[Any] = pc.indices_nonzero(changes).to_pylist()
    return [*(index + 1 for index in before), len(ids)]


def _bounds(values: _Column) -> tuple[int, int]:
    bounds: Any = pc.min_max(values)
    return bounds["min"].as_py(), bounds["max"].as_py()


def stored_schema(table: str, encoded: pa.Schema) -> pa.Schema:
    """The table's schema with the types in which texts are held while they are written."""
    fields = [
        field.with_type(encoded.field(field.name).type) if field.type in (pa.string(), pa.binary()) else field
        for field in TABLES[table]
        if field.name in encoded.names
    ]
    return pa.schema(fields)


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """The columns, by their path in the file, that get a dictionary."""
    columns: list[str] = []
    for field in schema:
        if field.type == pa.float64() or (field.type == pa.string() and field.name not in LONG_TEXTS):
            columns.append(field.name)
        elif pa.types.is_list(field.type):
            columns += _leaves(field)
    return columns


def _encodings(table: str, schema: pa.Schema) -> dict[str, str]:
    """The encodings of the columns that have neither a dictionary nor the plain one."""
    encodings: dict[str, str] = {}
    for field in schema:
        if field.name == "trade_id":
            encodings[field.name] = "DELTA_BYTE_ARRAY"
        elif table == "book_deltas" and field.name in _RUNS:
            continue
        elif pa.types.is_integer(field.type) or field.type == TIME:
            encodings[field.name] = "DELTA_BINARY_PACKED"
    return encodings


def _levels(schema: pa.Schema) -> dict[str, int]:
    """The zstd level of each column, by its path in the file."""
    paths = chain.from_iterable(
        _leaves(field) if pa.types.is_list(field.type) else [field.name] for field in schema
    )
    return {path: _ZSTD_LEVELS.get(path, _ZSTD_LEVEL) for path in paths}


def _leaves(field: pa.Field[Any]) -> list[str]:
    """The columns in the file of a column of levels, or of counts."""
    if field.type == COUNTS:
        return [f"{field.name}.list.element"]
    return [f"{field.name}.list.element.price", f"{field.name}.list.element.size"]
