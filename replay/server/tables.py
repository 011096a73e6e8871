"""Jobs that give rows of a table in the order of the journal, and bars."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.archive import Archive
from bookreel.replay.errors import BadToken
from bookreel.replay.server.delivery import Delivery, Parts, Piece, deliver
from bookreel.replay.server.desk import Desk, known_symbol
from bookreel.storage.dates import DAY_NS
from bookreel.storage.schema import TABLES

__all__ = ["BARS", "bar_rows", "cursor_parts", "table_rows", "timed_cursor", "timed_pieces"]

_TIMES: Final = 1 << 63
_MARK: Final = "~"
"""In a cursor, between where a run of rows begins and how many of them were given."""

_BAR_COLUMNS: Final = (
    "symbol", "period", "open_time", "open", "high", "low", "close", "volume", "turnover", "count",
)  # fmt: skip

BARS: Final = pa.schema([TABLES["klines"].field(name) for name in _BAR_COLUMNS])
"""Columns of bars."""

_SPAN: Final = """
    SELECT epoch_ns(min(open_time)), epoch_ns(max(open_time)) FROM klines
    WHERE symbol = $symbol AND period = coalesce($period, period)
"""

_BARS: Final = f"""
    SELECT {", ".join(_BAR_COLUMNS)} FROM bars
    WHERE symbol = $symbol AND period = coalesce($period, period)
        AND open_time >= make_timestamp_ns($start) AND open_time < make_timestamp_ns($end)
    ORDER BY open_time, period
"""  # noqa: S608 - names of the schema


class _Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What rows are wanted: ``start`` and ``end`` in ns, ``cursor`` of the page before."""

    table: str
    symbols: list[str] | None
    feeds: list[str] | None
    start: int | None
    end: int | None
    cursor: str | None
    delivery: Delivery


class _Bars(msgspec.Struct, frozen=True, kw_only=True):
    """What bars are wanted, by the time at which they open."""

    symbol: str
    period: str | None
    start: int | None
    end: int | None
    cursor: str | None
    delivery: Delivery


def table_rows(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """Rows of a table."""
    wanted = msgspec.convert(values, _Rows)
    pieces = desk.steps(lambda archive: _batches(archive, wanted))
    return deliver(wanted.table, TABLES[wanted.table], pieces, wanted.delivery)


def _batches(archive: Archive, wanted: _Rows) -> Iterator[Piece]:
    """The rows after the cursor.

    A cursor is the resume token of a place and how many rows come between it and the next page. Where a batch ends
    depends on what is sealed by then, but which row is the n-th after a token does not.
    """
    choice: dict[str, Any] = {"symbols": wanted.symbols, "tables": wanted.table, "feeds": wanted.feeds}
    if wanted.cursor is None:
        token, skip = archive.events(**choice, start=wanted.start, end=wanted.end).token, 0
    else:
        token, skip = cursor_parts(wanted.cursor)
    for batch in archive.batches(**choice, end=wanted.end, after=token):
        rows = batch.rows[wanted.table]
        offset = min(skip, rows.num_rows)
        skip -= offset
        if offset < rows.num_rows:
            whole = rows.num_rows - offset, batch.token
            yield Piece(rows.slice(offset), partial(_cursor, token, offset, whole))
        token = batch.token


def _cursor(token: str, offset: int, whole: tuple[int, str], count: int) -> str:
    all_rows, after = whole
    return f"{after}{_MARK}0" if count == all_rows else f"{token}{_MARK}{offset + count}"


def cursor_parts(cursor: str) -> tuple[str, int]:
    """Where the rows are counted from, and how many were given. Raises BadToken."""
    begun, mark, count = cursor.rpartition(_MARK)
    if not mark or not re.fullmatch("[0-9]{1,12}", count):
        raise BadToken(cursor, "it is not one, or a part of one")
    return begun, int(count)


def timed_pieces(tables: Iterator[pa.Table], column: str, skip: int) -> Iterator[Piece]:
    """Rows with a time (ns) that never goes back, all rows of one instant in one table: of the first, ``skip`` were
    given before. The cursor is the last row's time, and how many rows of that time were given.
    """
    for rows in tables:
        offset = min(skip, rows.num_rows)
        skip = 0
        if offset < rows.num_rows:
            times = rows[column].cast(pa.int64())
            yield Piece(rows.slice(offset), partial(_timed_cursor, times, offset))


def _timed_cursor(times: pa.ChunkedArray[Any], offset: int, count: int) -> str:
    given = times.slice(0, offset + count)
    last = given[-1].as_py()
    alike = given.filter(pc.equal(given, pa.scalar(last)))
    return f"{last}{_MARK}{len(alike)}"


def bar_rows(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """Each bar as it was last pushed, by the time at which it opens."""
    wanted = msgspec.convert(values, _Bars)
    desk.call(lambda archive: known_symbol(archive, wanted.symbol))
    choice = {"symbol": wanted.symbol, "period": wanted.period}
    first, last = desk.call(lambda archive: archive.sql(_SPAN, choice)).fetchall()[0]
    start, skip = wanted.start, 0
    if wanted.cursor is not None:
        start, skip = timed_cursor(wanted.cursor)
    tables: Iterator[pa.Table] = iter(())
    if first is not None:
        low = first if start is None else max(first, start)
        high = last + 1 if wanted.end is None else min(last + 1, wanted.end)
        tables = _days(desk, choice, low, high)
    return deliver("bars", BARS, timed_pieces(tables, "open_time", skip), wanted.delivery)


def timed_cursor(cursor: str) -> tuple[int, int]:
    """The time (ns) from which rows are counted, and how many of that time were given. Raises BadToken."""
    begun, count = cursor_parts(cursor)
    if not re.fullmatch("-?[0-9]{1,19}", begun) or not -_TIMES <= int(begun) < _TIMES:
        raise BadToken(cursor, "it is not one, or a part of one")
    return int(begun), count


def _days(desk: Desk[Archive], choice: dict[str, Any], low: int, high: int) -> Iterator[pa.Table]:
    """A day at a time, so that memory stays flat."""
    for start in range(low, high, DAY_NS):
        span = choice | {"start": start, "end": min(start + DAY_NS, high)}
        found = desk.call(lambda archive, span=span: archive.sql(_BARS, span))  # type: ignore[misc]
        yield found.to_arrow_table().cast(BARS)
