"""What an archive holds at one instant: sealed files, and the rows of the journal's tail that are not
sealed yet.

A value, not a view: it stays as it is while the recorder writes and the sealer seals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa

from bookreel import venues
from bookreel.book.model import Gap
from bookreel.storage.digests import Digests
from bookreel.storage.errors import CorruptFile
from bookreel.storage.schema import TABLES, TIME
from bookreel.storage.turns import Span, Turn
from bookreel.venues.message import Venue

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = [
    "DOUBTS",
    "STREAMS",
    "TURNS",
    "Contents",
    "Stream",
    "book_depth",
    "doubt_rows",
    "gap_rows",
    "sealed_streams",
    "stream_rows",
    "turn_rows",
]

_COLUMNS: Final[dict[str, Any]] = {
    "symbol": pa.string(),
    "feed": pa.string(),
    "class": pa.string(),
    "depth": pa.int64(),
    "since": TIME,
    "until": TIME,
}

_FEED_OF: Final = {
    "book_deltas": "feed",
    "book_snapshots": "feed",
    "klines": "'kline.' || period",
    "tickers": "feed",
}
"""How rows name their feed, as SQL, of the tables whose rows are of several."""

STREAMS: Final = pa.schema(_COLUMNS)
"""Columns of :func:`stream_rows`."""

_TURN_COLUMNS: Final[dict[str, Any]] = {
    "symbol": pa.string(),
    "feed": pa.string(),
    "pos": pa.int64(),
    "next_pos": pa.int64(),
    "since": TIME,
    "until": TIME,
}

TURNS: Final = pa.schema(_TURN_COLUMNS)
"""Columns of :func:`turn_rows`: a turn is of the positions from ``pos`` to ``next_pos``, exclusive."""

_DOUBT_COLUMNS: Final[dict[str, Any]] = {
    "symbol": pa.string(),
    "feed": pa.string(),
    "low": TIME,
    "high": TIME,
}

DOUBTS: Final = pa.schema(_DOUBT_COLUMNS)
"""Columns of :func:`doubt_rows`, both ends included."""

_EVER: Final = (1 << 63) - 1

_SEQUENCED: Final = re.compile(r"mbp\.(\d+)")
_PUSHED: Final = re.compile(r"mbp\.refresh\.(\d+)")
_MERGED: Final = re.compile(r"depth\.step(\d+)")
_WHOLE: Final = "orderbook"


class Stream(msgspec.Struct, frozen=True):
    """The life of one stream: covered from ``since`` to ``until`` (receive times, ns), but for its gaps.

    ``until`` is None while its run is open and the recorder is alive. ``turns``: the stretches of its journal in
    which the clock was not set back, where there are several; ``doubts``: instants for which nothing is promised,
    since they lie in several of them.
    """

    symbol: str
    feed: str
    since: int
    until: int | None
    turns: tuple[Turn, ...] = ()
    doubts: tuple[Span, ...] = ()


class Contents(msgspec.Struct, frozen=True):
    """The rows of an archive at one instant.

    ``files``: sealed files by table; ``tail``: rows that are in no file, by table, in order of arrival,
    only of the tables that were asked for (``gaps`` has the open ones too, with a null ``end``);
    ``streams``: every stream ever covered; ``horizon``: receive time (ns) of the newest record, None where
    there is none; ``checkpoint_lost``: why the sealer's checkpoint cannot be used and streams had to be told from
    their rows (None: it can); ``sealed_pos`` and ``last_pos``: position of the newest sealed record and of the
    newest one, 0 before the first.
    """

    root: Path
    venue: str
    files: dict[str, list[FileEntry]]
    tail: dict[str, pa.Table]
    streams: list[Stream]
    horizon: int | None
    checkpoint_lost: str | None = None
    sealed_pos: int = 0
    last_pos: int = 0


def book_depth(feed: str) -> int | None:
    """How a feed ranks as the source of a symbol's book, higher is better; None where it has no book.

    A sequenced feed proves itself, so any of them beats any other; then deeper beats shallower, then
    unmerged beats merged.
    """
    if match := _SEQUENCED.fullmatch(feed):
        return 1_000_000 + int(match[1])
    if match := _MERGED.fullmatch(feed):
        return 1_000 - int(match[1])
    if match := _PUSHED.fullmatch(feed):
        return int(match[1])
    return 1_000 if feed == _WHOLE else None


def sealed_streams(root: Path, files: Mapping[str, list[FileEntry]], venue: Venue) -> list[Stream]:
    """The streams that have sealed rows, each from its first row to its last: what can still be said where the
    sealer's checkpoint is lost. Raises CorruptFile.
    """
    import duckdb

    from bookreel.storage.answer import FOREIGN

    feeds = _FEED_OF | {table: f"'{feed}'" for table, feed in venue.row_feeds.items()}
    listed = [entry for table in feeds for entry in files.get(table, ())]
    footers = Digests(whole=False)
    for entry in listed:
        footers.check(root, entry)
    database = duckdb.connect()
    parts = []
    try:
        for table, feed in feeds.items():
            if paths := [str(root / entry.path) for entry in files.get(table, ())]:
                parts.append(
                    database.read_parquet(paths).project(f"symbol, {feed} AS feed, epoch_ns(ts_recv) AS ts")
                )
        if not parts:
            return []
        rows = reduce(duckdb.DuckDBPyRelation.union, parts)
        lives = (
            rows.aggregate("symbol, feed, min(ts) AS since, max(ts) AS until")
            .order("symbol, feed")
            .fetchall()
        )
    except FOREIGN as error:
        digests = Digests()
        for entry in listed:
            digests.check(root, entry)
        raise CorruptFile(root / "parquet", str(error)) from error
    return [Stream(*life) for life in lives]


def stream_rows(contents: Contents) -> pa.Table:
    """The streams as a table of :data:`STREAMS`."""
    class_of = venues.get(contents.venue).coverage
    rows = [
        (s.symbol, s.feed, class_of(s.feed), book_depth(s.feed), s.since, s.until) for s in contents.streams
    ]
    return _rows(rows, STREAMS)


def turn_rows(contents: Contents) -> pa.Table:
    """The turns of those streams that have several as a table of :data:`TURNS`."""
    rows = [
        (s.symbol, s.feed, turn.pos, following, turn.since, turn.end)
        for s in contents.streams
        for turn, following in zip(s.turns, [*(turn.pos for turn in s.turns[1:]), _EVER], strict=False)
    ]
    return _rows(rows, TURNS)


def doubt_rows(contents: Contents) -> pa.Table:
    """The instants for which nothing is promised as a table of :data:`DOUBTS`."""
    return _rows([(s.symbol, s.feed, *span) for s in contents.streams for span in s.doubts], DOUBTS)


def _rows(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def gap_rows(gaps: Iterable[Gap], venue: str) -> pa.Table:
    """Open gaps as rows of the table ``gaps``: ``ts_recv`` is their start, as nothing came since."""
    schema = TABLES["gaps"]
    fields = {name for name in Gap.__struct_fields__ if name in schema.names}
    rows = []
    for gap in gaps:
        row = {name: getattr(gap, name) for name in fields}
        rows.append({"ts_event": None, "ts_recv": gap.start, "venue": venue, "pos": None, **row})
    return pa.Table.from_pylist(rows, schema=schema)
