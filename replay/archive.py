"""The archive as one object: what is in it, SQL over it, its books, its events.

Every call looks at the archive anew, the journal's tail included: what was received a second ago is in the
answer.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Gap
from bookreel.replay.asof import best_rows, book_at, book_rows
from bookreel.replay.batches import Batch, read_batches
from bookreel.replay.errors import NoSuchFeed, NoSuchSymbol
from bookreel.replay.events import Numbers
from bookreel.replay.kinds import MAKERS
from bookreel.replay.merged import Merged
from bookreel.replay.ndjson import LineForm
from bookreel.replay.pages import EventForm
from bookreel.replay.pushed import pushed_at
from bookreel.replay.question import Book, Coverage, Question
from bookreel.replay.selection import EVENT_TABLES, Choice, Names, Selection
from bookreel.replay.source import Source
from bookreel.replay.steady import steady
from bookreel.replay.stream import Events, LineStream, Stream
from bookreel.replay.times import Interval, Time, to_interval, to_ns
from bookreel.storage.answer import Answer
from bookreel.storage.contents import Contents, book_depth
from bookreel.storage.digests import Digests
from bookreel.storage.query import Database, tables_needed
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import TABLES
from bookreel.storage.shared_tail import SharedTail
from bookreel.storage.tail import Looker, Tail

__all__ = ["Archive"]

_BOOK_TABLES: Final = ("book_snapshots", "book_deltas")
_GAP_FIELDS: Final = Gap.__struct_fields__


class Archive:
    """Reads one archive; a context manager. Not for several threads at once.

    Times are integer ns, ISO-8601 text (UTC unless it says otherwise) or a ``datetime`` with a time zone; a
    range includes its start and excludes its end. ``verify_on_read``: check a sealed file's digest before
    the first query that uses it. ``memory_bytes``: of a statement of SQL; None is what DuckDB allows. Many that are
    opened for a short time have the journal's tail in common where they are opened on a ``SharedTail``.

    Raises ``storage.errors.NotAnArchive`` and ``UnknownFormat``; the methods raise what
    :mod:`bookreel.replay.errors` lists, and ``CorruptFile`` where a stored file is damaged.
    """

    def __init__(
        self, path: Path | str | SharedTail, *, verify_on_read: bool = False, memory_bytes: int | None = None
    ) -> None:
        self._shared = path if isinstance(path, SharedTail) else None
        self.path = path.root if isinstance(path, SharedTail) else Path(path)
        self._tail: Looker = Tail(self.path) if self._shared is None else self._shared.handle()
        self._digests = Digests(whole=verify_on_read)
        self._scanner = Scanner(self._digests)
        self._memory_bytes = memory_bytes
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
        return Database(
            self.path,
            digests=self._digests,
            memory_bytes=self._memory_bytes,
            as_named=self._shared is not None,
        )

    @property
    def venue(self) -> str:
        """The venue's name."""
        return self._tail.venue.name

    def symbols(self) -> list[str]:
        """Symbols that have at least one stream."""

        def known() -> list[str]:
            contents = self._tail.look()
            gaps = (gap.symbol for gap in self._all_gaps(contents))
            return sorted({stream.symbol for stream in contents.streams} | set(gaps))

        return steady(known)

    def tables(self) -> list[str]:
        """The tables that SQL can name."""
        return list(TABLES)

    def coverage(self, symbol: str) -> pa.Table:
        """The symbol's streams as intervals: symbol, feed, start, end, state, class; a null end is open.

        ``class``: how completely a stream can prove itself, ``sequenced``, ``id-only`` or ``unsequenced``. ``state``:
        a gap's cause, or ``covered``, but of an unsequenced stream only ``connected``: a loss does not show in it.
        """
        steady(lambda: self._known(self._tail.look(), symbol))
        found: pa.Table = self.sql("FROM coverage(?)", [symbol]).to_arrow_table()
        return found

    def sql(self, query: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Answer:
        """The relation of one reading statement over the tables, the view ``bars`` and the macros: all that a
        ``duckdb.DuckDBPyRelation`` has. Raises ``QueryError`` and ``CorruptFile``, also when rows are fetched.
        """
        return steady(lambda: self._database.run([self._tail.look(tables_needed(query))], query, params))

    def book(self, symbol: str, at: Time, feed: str | None = None, depth: int | None = None) -> Book:
        """The book as it was known at an instant, at most ``depth`` levels a side (None: all). ``feed``:
        the deepest that is sequenced unless it is given. Inside a gap the last good book is given, and it
        is not ``valid``. Of a feed that is not sequenced it is the newest push, and ``age_ns`` says how old that is.
        """
        instant = to_ns(at)

        def known() -> Book:
            question = self._question(symbol, feed)
            return (book_at if question.sequenced else pushed_at)(question, instant, depth)

        return steady(known)

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
        return steady(lambda: book_rows(self._question(symbol, feed), since, until, step, depth))

    def book_feeds(self, symbol: str) -> list[str]:
        """The feeds of the symbol that a book can be had of, the one to be preferred first."""

        def known() -> list[str]:
            contents = self._tail.look(_BOOK_TABLES)
            self._known(contents, symbol)
            return _book_feeds(contents, symbol)

        return steady(known)

    def bbo(self, symbol: str, start: Time, end: Time, feed: str | None = None) -> pa.Table:
        """The best bid and offer after each change of the book, columns as in
        :data:`bookreel.replay.asof.BBO`.
        """
        since, until = to_ns(start), to_ns(end)
        return steady(lambda: best_rows(self._question(symbol, feed), since, until))

    def events(
        self,
        symbols: Names = None,
        tables: Names = None,
        start: Time | None = None,
        end: Time | None = None,
        numbers: Numbers = "float",
        *,
        feeds: Names = None,
        follow: bool = False,
        after: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Events:
        """What was received, as typed values in the order of the journal, as fast as possible. None is everything
        but ``frames``.

        ``numbers="decimal"``: prices and sizes are ``Decimal`` with every digit the venue sent. ``follow``: go on
        with what is being recorded, for ever, or until ``end`` is past, looking again after each ``sleep``.
        ``after``: a resume token; what was given before it does not come again, and ``start`` is the token's.

        Raises NoSuchSymbol, NoSuchTable, BadTime, BadToken.
        """
        source = self.source(symbols, tables, feeds, start, end)
        place = source.place(after)
        pages = source.pages(self._scanner, self._tail, EventForm(numbers), place, follow=follow)
        return Events(pages, source.tokens, sleep)

    def batches(
        self,
        symbols: Names = None,
        tables: Names = None,
        start: Time | None = None,
        end: Time | None = None,
        *,
        feeds: Names = None,
        follow: bool = False,
        after: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[Batch]:
        """The rows of :meth:`events` as Arrow tables, a piece of the journal at a time. The arguments are the same;
        ``after`` is the token of a batch, or one that stands between two records.
        """
        source = self.source(symbols, tables, feeds, start, end)
        return read_batches(
            source, self._scanner, self._tail, source.place(after), follow=follow, sleep=sleep
        )

    def stream(
        self,
        symbols: Names = None,
        tables: Names = None,
        start: Time | None = None,
        end: Time | None = None,
        numbers: Numbers = "float",
        *,
        feeds: Names = None,
        follow: bool = False,
        after: str | None = None,
        speed: float | None = 1.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        offload: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> Stream:
        """:meth:`events` at the pace at which they were received, ``speed`` times as fast (None: as fast as
        possible), with the controls of :class:`bookreel.replay.stream.Replay`; the last one is an ``End``.

        ``clock`` and ``sleep`` are in seconds; ``offload`` runs a blocking call beside the event loop.
        """
        source = self.source(symbols, tables, feeds, start, end)
        return Stream(
            source,
            EventForm(numbers),
            source.place(after),
            follow=follow,
            speed=speed,
            clock=clock,
            sleep=sleep,
            offload=offload,
        )

    def lines(
        self,
        symbols: Names = None,
        tables: Names = None,
        start: Time | None = None,
        end: Time | None = None,
        numbers: Numbers = "float",
        *,
        feeds: Names = None,
        follow: bool = False,
        after: str | None = None,
        speed: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        offload: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> LineStream:
        """:meth:`stream` as NDJSON, in chunks of whole lines, by default as fast as possible."""
        source = self.source(symbols, tables, feeds, start, end)
        return LineStream(
            source,
            LineForm(numbers),
            source.place(after),
            follow=follow,
            speed=speed,
            clock=clock,
            sleep=sleep,
            offload=offload,
        )

    def merged(
        self,
        streams: Mapping[str, Choice],
        start: Time | None = None,
        end: Time | None = None,
        numbers: Numbers = "float",
        *,
        follow: bool = False,
        after: str | None = None,
        speed: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        offload: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> LineStream:
        """Several of :meth:`lines` in one order, that of the journal: each line begins with the name of its stream,
        ``{"stream":"a",...``. What more than one of them wants comes once for each, in the order of ``streams``.
        """
        sources = {
            name: self.source(choice.symbols, choice.tables, choice.feeds, start, end)
            for name, choice in streams.items()
        }
        merged = Merged(sources)
        return LineStream(
            merged,
            LineForm(numbers),
            merged.place(after),
            follow=follow,
            speed=speed,
            clock=clock,
            sleep=sleep,
            offload=offload,
        )

    def source(
        self, symbols: Names, tables: Names, feeds: Names, start: Time | None, end: Time | None
    ) -> Source:
        """What the methods above read from. Raises NoSuchTable, BadTime, NoSuchSymbol."""
        venue = self._tail.venue
        of_venue = [table for table in EVENT_TABLES if table in MAKERS[venue.name]]
        selection = Selection(
            tables=Selection.order(of_venue if tables is None else _names(tables)),
            symbols=None if symbols is None else frozenset(_names(symbols)),
            feeds=None
            if feeds is None
            else frozenset(venue.aliases.get(feed, feed) for feed in _names(feeds)),
            start=None if start is None else to_ns(start),
            end=None if end is None else to_ns(end),
        )
        for symbol in sorted(selection.symbols or ()):
            steady(lambda name=symbol: self._known(self._tail.look(), name))  # type: ignore[misc]
        return Source(self.path, selection, verify_on_read=self._digests.whole, shared=self._shared)

    def _question(self, symbol: str, feed: str | None) -> Question:
        """Raises NoSuchSymbol, NoSuchFeed."""
        contents = self._tail.look(_BOOK_TABLES)
        self._known(contents, symbol)
        streams = {
            stream.feed: stream
            for stream in contents.streams
            if stream.symbol == symbol and book_depth(stream.feed) is not None
        }
        best_first = _book_feeds(contents, symbol)
        chosen = feed if feed is not None else next(iter(best_first), None)
        if chosen is None or chosen not in streams:
            raise NoSuchFeed(symbol, feed, best_first)
        gaps = [gap for gap in self._all_gaps(contents) if gap.symbol == symbol and gap.feed == chosen]
        sequenced = self._tail.venue.coverage(chosen) == "sequenced"
        return Question(self._scanner, contents, symbol, chosen, Coverage(streams[chosen], gaps), sequenced)

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


def _book_feeds(contents: Contents, symbol: str) -> list[str]:
    feeds = {stream.feed for stream in contents.streams if stream.symbol == symbol}
    return sorted(filter(book_depth, feeds), key=lambda name: (book_depth(name) or 0, name), reverse=True)


def _names(given: Collection[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _to_gaps(rows: pa.Table) -> list[Gap]:
    columns = []
    for name in _GAP_FIELDS:
        column = rows[name]
        columns.append((pc.cast(column, pa.int64()) if name in ("start", "end") else column).to_pylist())
    return [Gap(*row) for row in zip(*columns, strict=True)]
