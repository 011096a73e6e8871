"""The archive as one object: what is in it, SQL over it, its books, its events.

Every call looks at the archive anew, the journal's tail included: what was received a second ago is in the
answer.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Gap
from bookreel.replay.asof import Book, Coverage, Question, best_rows, book_at, book_rows
from bookreel.replay.errors import NoSuchFeed, NoSuchSymbol, NoSuchTable
from bookreel.replay.events import EVENT_TABLES, Numbers, Recorded, read_events
from bookreel.replay.times import Interval, Time, to_interval, to_ns
from bookreel.storage.contents import Contents, book_depth
from bookreel.storage.query import Database, tables_needed
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import TABLES
from bookreel.storage.tail import Tail

__all__ = ["Archive"]

_BOOK_TABLES: Final = ("book_snapshots", "book_deltas")
_GAP_FIELDS: Final = Gap.__struct_fields__
_SECOND: Final = 1_000_000_000


class Archive:
    """Reads one archive; a context manager. Not for several threads at once.

    Times are integer ns, ISO-8601 text (UTC unless it says otherwise) or a ``datetime`` with a time zone; a
    range includes its start and excludes its end. ``verify_on_read``: check a sealed file's digest before
    the first query that uses it.

    Raises ``storage.errors.NotAnArchive`` and ``UnknownFormat``; the methods raise what
    :mod:`bookreel.replay.errors` lists, and ``CorruptFile`` where a stored file is damaged.
    """

    def __init__(self, path: Path | str, *, verify_on_read: bool = False) -> None:
        self.path = Path(path)
        self._tail = Tail(self.path)
        self._verify_on_read = verify_on_read
        self._scanner = Scanner()
        self._gaps: dict[str, list[Gap]] = {}

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open. Relations that were handed out end with it; tables stay."""
        self._tail.close()
        if "_database" in self.__dict__:
            self._database.close()

    @cached_property
    def _database(self) -> Database:
        """Made when SQL is first asked for: that takes longer than finding a book."""
        return Database(self.path, verify_on_read=self._verify_on_read)

    def symbols(self) -> list[str]:
        """Symbols that have at least one stream."""
        contents = self._tail.look()
        gaps = (gap.symbol for gap in self._all_gaps(contents))
        return sorted({stream.symbol for stream in contents.streams} | set(gaps))

    def tables(self) -> list[str]:
        """The tables that SQL can name."""
        return list(TABLES)

    def coverage(self, symbol: str) -> pa.Table:
        """The symbol's streams as intervals: symbol, feed, start, end, state (``covered``, or a gap's
        cause); a null end is open.
        """
        self._known(self._tail.look(), symbol)
        found: pa.Table = self.sql("FROM coverage(?)", [symbol]).to_arrow_table()
        return found

    def sql(
        self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None
    ) -> duckdb.DuckDBPyRelation:
        """The relation of one reading statement over the tables, the view ``bars`` and the macros. Raises
        ``QueryError``.
        """
        return self._database.run(self._tail.look(tables_needed(query)), query, params)

    def book(self, symbol: str, at: Time, feed: str | None = None, depth: int | None = None) -> Book:
        """The book as it was known at an instant, at most ``depth`` levels a side (None: all). ``feed``:
        the deepest that is sequenced unless it is given. Inside a gap the last good book is given, and it
        is not ``valid``.
        """
        instant = to_ns(at)
        return book_at(self._question(symbol, feed), instant, depth)

    def books(
        self,
        symbol: str,
        start: Time,
        end: Time,
        every: Interval | None = None,
        depth: int = 20,
        feed: str | None = None,
    ) -> pa.Table:
        """The book over time, columns as in :data:`bookreel.replay.asof.BOOKS`: one row for each change, or
        the book at each multiple of ``every`` such as ``100ms``.
        """
        since, until = to_ns(start), to_ns(end)
        step = None if every is None else to_interval(every)
        return book_rows(self._question(symbol, feed), since, until, step, depth)

    def bbo(self, symbol: str, start: Time, end: Time, feed: str | None = None) -> pa.Table:
        """The best bid and offer after each change of the book, columns as in
        :data:`bookreel.replay.asof.BBO`.
        """
        since, until = to_ns(start), to_ns(end)
        return best_rows(self._question(symbol, feed), since, until)

    def events(
        self,
        symbols: Collection[str] | str | None = None,
        tables: Collection[str] | str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        numbers: Numbers = "float",
    ) -> Iterator[Recorded]:
        """What was received, as typed values in the order of the journal. None is everything.

        ``numbers="decimal"``: prices and sizes are ``Decimal`` with every digit the venue sent.
        """
        wanted = EVENT_TABLES if tables is None else _names(tables)
        for table in wanted:
            if table not in EVENT_TABLES:
                raise NoSuchTable(table, EVENT_TABLES)
        since = None if start is None else to_ns(start)
        until = None if end is None else to_ns(end)
        contents = self._tail.look({*wanted, "frames"} if numbers == "decimal" else wanted)
        only = None if symbols is None else _names(symbols)
        for symbol in only or ():
            self._known(contents, symbol)
        return read_events(self._scanner, contents, wanted, only, since, until, numbers)

    async def stream(
        self,
        symbols: Collection[str] | str | None = None,
        tables: Collection[str] | str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        numbers: Numbers = "float",
        *,
        speed: float | None = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> AsyncIterator[Recorded]:
        """:meth:`events` at the pace at which they were received, ``speed`` times as fast (None: as fast as
        possible).

        ``clock`` and ``sleep`` are in seconds. A consumer that is slow is waited for, and what is late then
        comes at once.
        """
        if speed is not None and not speed > 0:
            raise ValueError(f"speed {speed!r} is not above 0; give None for as fast as possible")
        began = clock()
        first: int | None = None
        for event in self.events(symbols, tables, start, end, numbers):
            if first is None:
                first = event.ts_recv
            if speed is not None:
                wait = began + (event.ts_recv - first) / _SECOND / speed - clock()
                if wait > 0:
                    await sleep(wait)
            yield event

    def _question(self, symbol: str, feed: str | None) -> Question:
        """Raises NoSuchSymbol, NoSuchFeed."""
        contents = self._tail.look(_BOOK_TABLES)
        self._known(contents, symbol)
        streams = {
            stream.feed: stream
            for stream in contents.streams
            if stream.symbol == symbol and book_depth(stream.feed) is not None
        }
        best_first = sorted(streams, key=lambda name: book_depth(name) or 0, reverse=True)
        chosen = feed if feed is not None else next(iter(best_first), None)
        if chosen is None or chosen not in streams:
            raise NoSuchFeed(symbol, feed, best_first)
        gaps = [gap for gap in self._all_gaps(contents) if gap.symbol == symbol and gap.feed == chosen]
        return Question(self._scanner, contents, symbol, chosen, Coverage(streams[chosen], gaps))

    def _known(self, contents: Contents, symbol: str) -> None:
        """Raises NoSuchSymbol."""
        if any(stream.symbol == symbol for stream in contents.streams):
            return
        known = {stream.symbol for stream in contents.streams}
        known.update(gap.symbol for gap in self._all_gaps(contents))
        if symbol not in known:
            raise NoSuchSymbol(symbol, difflib.get_close_matches(symbol.lower(), known, n=3))

    def _all_gaps(self, contents: Contents) -> Iterator[Gap]:
        """Every gap; those of a sealed file, which never changes, are read once."""
        for entry in contents.files.get("gaps", ()):
            found = self._gaps.get(entry.path)
            if found is None:
                pieces = self._scanner.file(contents, entry, TABLES["gaps"].names)
                found = self._gaps[entry.path] = [gap for piece in pieces for gap in _to_gaps(piece)]
            yield from found
        yield from _to_gaps(contents.tail["gaps"])


def _names(given: Collection[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _to_gaps(rows: pa.Table) -> list[Gap]:
    columns = []
    for name in _GAP_FIELDS:
        column = rows[name]
        columns.append((pc.cast(column, pa.int64()) if name in ("start", "end") else column).to_pylist())
    return [Gap(*row) for row in zip(*columns, strict=True)]
