"""Which rows are wanted, and in which row groups of sealed files they can be, as statistics tell it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from bookreel.storage.errors import CorruptFile, FileGone

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = [
    "ALL",
    "DECIDING",
    "FEW_TEXTS",
    "POS_MAX",
    "Bounds",
    "Span",
    "columns_of",
    "inside",
    "narrowed",
    "ordered",
    "overlapping",
    "read_known",
    "reading",
    "spans",
    "steps_until",
    "touches",
    "undecided",
    "with_bounds",
]

POS_MAX: Final = (1 << 63) - 1

_DAMAGE: Final = (OSError, pa.ArrowException, LookupError, ValueError, TypeError, OverflowError, MemoryError)
"""What reading a file with a damaged footer raises: a column of another name, a text that is none, a huge length.
"""

DECIDING: Final = ("symbol", "feed", "ts_recv", "pos")
"""Columns by which rows are wanted."""

_MARGIN: Final = 1 / 16
"""Of a row group's rows, how many more are read at once than should be enough."""

FEW_TEXTS: Final = ("symbol", "feed", "side", "source")
"""Text columns of few values, which can be read as dictionaries."""


class Bounds(NamedTuple):
    """What rows are wanted. ``since`` inclusive and ``until`` exclusive bound ``ts_recv`` (ns), ``pos_from``
    inclusive and ``pos_until`` exclusive the position. None does not bound.
    """

    symbol: str | None = None
    feed: str | None = None
    since: int | None = None
    until: int | None = None
    pos_from: int | None = None
    pos_until: int | None = None


ALL: Final = Bounds()


class Span(NamedTuple):
    """A row group: its number, the bounds of its positions, whether it has several symbols, the columns of which its
    statistics tell that all rows have what is wanted, and the epoch that all rows have, if it is one.
    """

    number: int
    least: int
    greatest: int
    shared: bool
    decided: frozenset[str]
    epoch: int | None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is told of the sealed file that is read. Raises CorruptFile, FileGone where there is
    none.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileGone(path) from error
    except _DAMAGE as error:
        raise CorruptFile(path, str(error)) from error


def spans(footer: pq.FileMetaData, bounds: Bounds) -> list[Span]:
    """The row groups of a file that can hold wanted rows."""
    places = columns_of(footer)
    symbol = None if bounds.symbol is None else bounds.symbol.encode()
    until = None if bounds.until is None else bounds.until - 1
    last = None if bounds.pos_until is None else bounds.pos_until - 1
    found = []
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        # To look at statistics takes a microsecond; what excludes most comes first.
        if not (
            _may_hold(group, places["pos"], bounds.pos_from, last)
            and _may_hold(group, places["ts_recv"], bounds.since, until)
            and _may_hold(group, places["symbol"], symbol, symbol)
        ):
            continue
        span = group.column(places["pos"]).statistics
        least, greatest = 0, POS_MAX
        if span is not None and span.has_min_max:
            least, greatest = int(span.min_raw or 0), int(span.max_raw or 0)
        shared = not _only(group, places["symbol"])
        decided = {
            name
            for name, value in (("symbol", bounds.symbol), ("feed", bounds.feed))
            if value is not None and name in places and _only(group, places[name], value)
        }
        epoch = _same(group, places["epoch"]) if "epoch" in places else None
        found.append(Span(index, least, greatest, shared, frozenset(decided), epoch))
    return found


def steps_until(footer: pq.FileMetaData, number: int, until: int) -> tuple[int, int]:
    """How many rows a row group of one symbol has, and how many to read at a time so that those before ``until``
    (receive time, ns) come in one piece, if they are spread evenly.
    """
    group = footer.row_group(number)
    count = group.num_rows
    span: Any = group.column(columns_of(footer)["ts_recv"]).statistics
    if span is None or not span.has_min_max or until > span.max_raw:
        return count, max(count, 1)
    share = max(until - span.min_raw, 0) / (span.max_raw - span.min_raw + 1)
    return count, max(int((share + _MARGIN) * count), 1)


def columns_of(footer: pq.FileMetaData) -> dict[str, int]:
    """The number of each column."""
    return {footer.schema.column(index).path: index for index in range(len(footer.schema))}


def inside(group: pq.RowGroupMetaData, places: dict[str, int], span: Span, bounds: Bounds) -> bool:
    """Whether all rows of a row group are wanted, as its statistics tell it. ``places``: as :func:`columns_of`."""
    texts = (("symbol", bounds.symbol), ("feed", bounds.feed))
    ranges = (("ts_recv", bounds.since, bounds.until), ("pos", bounds.pos_from, bounds.pos_until))
    return all(
        wanted is None or name not in places or name in span.decided for name, wanted in texts
    ) and all(_within(group, places[name], least, end) for name, least, end in ranges)


def overlapping(entries: Iterable[FileEntry], bounds: Bounds) -> Iterator[list[FileEntry]]:
    """Files that can hold wanted rows by position, together with those they overlap: a clock that is set back
    over midnight leaves two dates with records in turn.
    """
    found: list[FileEntry] = []
    reach = -1
    touched = [entry for entry in entries if touches(entry, bounds)]
    for entry in sorted(touched, key=lambda entry: entry.pos_min):
        if found and entry.pos_min > reach:
            yield found
            found = []
        found.append(entry)
        reach = max(reach, entry.pos_max)
    if found:
        yield found


def narrowed(bounds: Bounds, pos_from: int, pos_until: int) -> Bounds:
    least, most = bounds.pos_from or 0, POS_MAX if bounds.pos_until is None else bounds.pos_until
    return bounds._replace(pos_from=max(least, pos_from), pos_until=min(most, pos_until))


def ordered(groups: Sequence[Span]) -> bool:
    filled = [group for group in groups if group.least <= group.greatest]
    return all(left.greatest <= right.least for left, right in pairwise(filled))


def with_bounds(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns to read: those that are wanted, and those that decide which rows are."""
    names = dict.fromkeys((*columns, *DECIDING))
    return [name for name in names if name in known]


def undecided(names: Sequence[str], columns: Sequence[str], group: Span) -> list[str]:
    """Of the columns that would be read those that have to be."""
    return [name for name in names if name in columns or name not in group.decided]


def read_known(group: Span, names: Sequence[str], read: Callable[[list[str]], pa.Table]) -> pa.Table:
    """Columns of a row group by ``read``, but for the epoch, where its statistics tell it: a column that is hardly
    there takes as long to decode as another.
    """
    if group.epoch is None or "epoch" not in names:
        return read(list(names))
    rows = read([name for name in names if name != "epoch"])
    # To repeat a scalar takes Arrow as long as to decode a column.
    values = pa.py_buffer(group.epoch.to_bytes(8, sys.byteorder, signed=True) * rows.num_rows)
    return rows.append_column("epoch", pa.Array.from_buffers(pa.int64(), rows.num_rows, [None, values]))


def _only(group: pq.RowGroupMetaData, column: int, value: str | None = None) -> bool:
    """Whether all rows of a row group have the same text, or this one."""
    found = group.column(column).statistics
    if found is None or not found.has_min_max or found.min_raw != found.max_raw:
        return False
    return value is None or (found.null_count == 0 and found.min_raw == value.encode())


def _same(group: pq.RowGroupMetaData, column: int) -> int | None:
    """The number that all rows of a row group have."""
    found: Any = group.column(column).statistics
    if found is None or not found.has_min_max or found.null_count != 0 or found.min_raw != found.max_raw:
        return None
    return int(found.min_raw)


def touches(entry: FileEntry, bounds: Bounds) -> bool:
    """Whether a file can hold wanted rows."""
    return not (
        (bounds.since is not None and entry.ts_max < bounds.since)
        or (bounds.until is not None and entry.ts_min >= bounds.until)
        or (bounds.pos_from is not None and entry.pos_max < bounds.pos_from)
        or (bounds.pos_until is not None and entry.pos_min >= bounds.pos_until)
    )


def _may_hold(group: pq.RowGroupMetaData, column: int, least: Any, greatest: Any) -> bool:
    """Whether the statistics of a row group leave room for values from ``least`` to ``greatest`` (None:
    unbounded).
    """
    if least is None and greatest is None:
        return True
    found = group.column(column).statistics
    if found is None or not found.has_min_max:
        return True
    return (least is None or found.max_raw >= least) and (greatest is None or found.min_raw <= greatest)


def _within(group: pq.RowGroupMetaData, column: int, least: int | None, end: int | None) -> bool:
    """Whether all values are known to be from ``least`` to before ``end`` (None: unbounded)."""
    if least is None and end is None:
        return True
    found: Any = group.column(column).statistics
    if found is None or not found.has_min_max or found.null_count != 0:
        return False
    return (least is None or found.min_raw >= least) and (end is None or found.max_raw < end)
