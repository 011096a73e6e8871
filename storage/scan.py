"""Reading rows of one table in journal order, a piece at a time: the way of all bulk readers.

Sealed files are sorted by symbol and receive time with statistics on, so of a file only the row groups that
can hold what is asked for are read. Positions, unlike the wall clock, never go back: pieces come by
position, and rows inside a piece are sorted by it, rows of one frame in the order they have in it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bookreel.storage.contents import Contents
from bookreel.storage.digests import Digests
from bookreel.storage.errors import CorruptFile, FileGone
from bookreel.storage.schema import TABLES

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = ["Bounds", "Group", "Scanner"]

_FOOTERS_MAX: Final = 4096
"""Parsed footers kept, some 10 kB each."""

_PIECES_MAX: Final = 8
"""Decoded row groups kept for the next question about the same time, some megabytes each."""


_POS_MAX: Final = (1 << 63) - 1

_DAMAGE: Final = (OSError, pa.ArrowException, LookupError, ValueError, TypeError, OverflowError, MemoryError)
"""What reading a file with a damaged footer raises: a column of another name, a text that is none, a huge length.
"""

_LAST_TEXT: Final = "\U0010ffff"
"""No symbol comes after it."""

_DECIDING: Final = ("symbol", "feed", "ts_recv", "pos")
_FEW_TEXTS: Final = ("symbol", "feed", "side", "source")


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


_ALL: Final = Bounds()


class Group(NamedTuple):
    """One row group of a sealed file and the bounds of what it holds, as its statistics tell them: position,
    receive time (ns), symbol, and the greatest ``epoch`` (0 where the table has none).
    """

    entry: FileEntry
    number: int
    rows: int
    pos: tuple[int, int]
    ts: tuple[int, int]
    symbols: tuple[str, str]
    epoch: int


class _Span(NamedTuple):
    """A row group: its number, the bounds of its positions, whether it has several symbols, and the columns of
    which its statistics tell that all rows have what is wanted.
    """

    number: int
    least: int
    greatest: int
    shared: bool
    decided: frozenset[str]


class Scanner:
    """Reads rows and remembers footers and the newest row groups. Not for several threads at once.

    The checksums of each file's footer and of each page that is read are checked. That leaves the pages' headers:
    ``digests`` may ask for the whole file's digest before its first use.
    """

    def __init__(self, digests: Digests | None = None) -> None:
        self._digests = Digests(whole=False) if digests is None else digests
        self._footers: OrderedDict[Path, pq.FileMetaData] = OrderedDict()
        self._pieces: OrderedDict[tuple[Path, int, tuple[str, ...]], _Piece] = OrderedDict()
        self._groups_read: OrderedDict[tuple[Path, int, tuple[str, ...]], pa.Table] = OrderedDict()

    def scan(
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds = _ALL
    ) -> Iterator[pa.Table]:
        """Pieces of a table with these columns, in order of position; none is empty. Raises
        :class:`CorruptFile`.
        """
        for entries in _overlapping(contents.files.get(table, ()), bounds):
            if len(entries) == 1:
                yield from self.file(contents, entries[0], columns, bounds)
            else:
                yield from self._merged(contents, entries, columns, bounds)
        yield from self.tail(contents, table, columns, bounds)

    def _merged(
        self, contents: Contents, entries: list[FileEntry], columns: Sequence[str], bounds: Bounds
    ) -> Iterator[pa.Table]:
        """The pieces of files whose positions overlap: what lies where only one of them has any, then the rest, put
        in order, then what only one has again.
        """
        low = sorted(entry.pos_min for entry in entries)[1]
        stop = sorted(entry.pos_max for entry in entries)[-2] + 1
        for entry in entries:
            yield from self.file(contents, entry, columns, _narrowed(bounds, 0, low))
        names = list(dict.fromkeys((*columns, "pos")))
        both = _narrowed(bounds, low, stop)
        shared = [piece for entry in entries for piece in self.file(contents, entry, names, both)]
        if shared:
            yield _by_position(pa.concat_tables(shared)).select(list(columns))
        for entry in entries:
            yield from self.file(contents, entry, columns, _narrowed(bounds, stop, _POS_MAX))

    def file(
        self, contents: Contents, entry: FileEntry, columns: Sequence[str], bounds: Bounds = _ALL
    ) -> Iterator[pa.Table]:
        """The pieces of one sealed file."""
        if not _touches(entry, bounds):
            return
        path = self._path(contents.root, entry)
        names = _with_bounds(columns, TABLES[entry.table].names)
        # What is put in order needs its position until then.
        kept = [*columns, "pos"] if "pos" not in columns else columns
        try:
            groups = self._in_order(path, names, kept, bounds)
            pieces: Iterable[pa.Table] = (
                self._piece(path, group, _undecided(names, kept, group)).keep(bounds).select(kept)
                for group in groups
            )
            if not _ordered(groups):
                pieces = [pa.concat_tables(pieces)]
            for piece in pieces:
                if piece.num_rows:
                    yield _by_position(piece).select(list(columns))
        except FileNotFoundError as error:
            raise FileGone(path) from error
        except _DAMAGE as error:
            raise CorruptFile(path, str(error)) from error

    def bulk(
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds = _ALL, threads: int = 1
    ) -> Iterator[pa.Table]:
        """As :meth:`scan`, for much at once: so many threads read ahead, nothing is remembered, and texts of few
        values come as dictionaries.
        """
        for piece in _ahead(self._jobs(contents, table, columns, bounds), threads):
            if piece.num_rows:
                yield piece
        yield from self.tail(contents, table, columns, bounds)

    def rows(self, contents: Contents, table: str, bounds: Bounds) -> int:
        """How many rows have to be looked at for these bounds, those of the tail left out. Raises
        :class:`CorruptFile`.
        """
        found = 0
        for entry in contents.files.get(table, ()):
            if _touches(entry, bounds):
                path = self._path(contents.root, entry)
                try:
                    footer = self._footer(path)
                    found += sum(footer.row_group(one.number).num_rows for one in self._groups(path, bounds))
                except FileNotFoundError as error:
                    raise FileGone(path) from error
                except _DAMAGE as error:
                    raise CorruptFile(path, str(error)) from error
        return found

    def groups(self, root: Path, entry: FileEntry) -> list[Group]:
        """The row groups of a file. Raises :class:`CorruptFile`, and FileNotFoundError where it is gone."""
        path = self._path(root, entry)
        try:
            footer = self._footer(path)
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            raise CorruptFile(path, str(error)) from error
        places = {footer.schema.column(index).path: index for index in range(len(footer.schema))}
        found = []
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            bounds: dict[str, tuple[Any, Any]] = {}
            for name in ("pos", "ts_recv", "symbol", "epoch"):
                span = group.column(places[name]).statistics if name in places else None
                if span is not None and span.has_min_max:
                    bounds[name] = span.min_raw, span.max_raw
            symbols = bounds.get("symbol")
            found.append(
                Group(
                    entry,
                    index,
                    group.num_rows,
                    bounds.get("pos", (0, _POS_MAX)),
                    bounds.get("ts_recv", (entry.ts_min, entry.ts_max)),
                    ("", _LAST_TEXT) if symbols is None else (symbols[0].decode(), symbols[1].decode()),
                    bounds.get("epoch", (0, 0))[1],
                )
            )
        return found

    def read(self, root: Path, group: Group, columns: Sequence[str]) -> pa.Table:
        """Columns of a row group, as they are stored. Raises as :meth:`groups` does."""
        path = self._path(root, group.entry)
        try:
            with self._open(path) as file:
                return file.read_row_group(group.number, columns=list(columns), use_threads=False)
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            raise CorruptFile(path, str(error)) from error

    def between(
        self, root: Path, entry: FileEntry, columns: Sequence[str], least: int, greatest: int
    ) -> Iterator[pa.Table]:
        """The row groups of a file that can have positions from ``least`` to ``greatest``; the newest ones asked
        for are remembered. Raises as :meth:`groups` does.
        """
        for group in self.groups(root, entry):
            if group.pos[1] >= least and group.pos[0] <= greatest:
                key = (root / entry.path, group.number, tuple(columns))
                rows = self._groups_read.pop(key, None)
                if rows is None:
                    rows = self.read(root, group, columns)
                self._groups_read[key] = rows
                if len(self._groups_read) > _PIECES_MAX:
                    self._groups_read.popitem(last=False)
                yield rows

    def tail(
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds = _ALL
    ) -> Iterator[pa.Table]:
        """The piece of the journal's tail, if it has such rows."""
        rows = contents.tail.get(table)
        if rows is not None and rows.num_rows:
            piece = _Piece(rows.select(_with_bounds(columns, rows.schema.names))).keep(bounds)
            if piece.num_rows:
                yield _by_position(piece).select(list(columns))

    def _jobs(
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds
    ) -> Iterator[Callable[[], pa.Table]]:
        """What reads the pieces of a table's sealed files; each can be called in any thread."""
        for entries in _overlapping(contents.files.get(table, ()), bounds):
            if len(entries) == 1:
                yield from self._jobs_of(contents, entries[0], columns, bounds)
            else:
                for piece in self._merged(contents, entries, columns, bounds):
                    yield lambda piece=piece: piece  # type: ignore[misc]

    def _jobs_of(
        self, contents: Contents, entry: FileEntry, columns: Sequence[str], bounds: Bounds
    ) -> Iterator[Callable[[], pa.Table]]:
        """What reads the pieces of one sealed file; each can be called in any thread."""
        if not _touches(entry, bounds):
            return
        path = self._path(contents.root, entry)
        names = _with_bounds(columns, TABLES[entry.table].names)
        try:
            groups = self._in_order(path, names, columns, bounds)
            runs = [[group] for group in groups] if _ordered(groups) else [groups]
            for run in runs:
                yield partial(self._read_run, path, self._footer(path), run, names, list(columns), bounds)
        except FileNotFoundError as error:
            raise FileGone(path) from error
        except _DAMAGE as error:
            raise CorruptFile(path, str(error)) from error

    def _read_run(
        self,
        path: Path,
        footer: pq.FileMetaData,
        run: Sequence[_Span],
        names: list[str],
        columns: list[str],
        bounds: Bounds,
    ) -> pa.Table:
        texts: list[str] = [name for name in _FEW_TEXTS if name in names]
        kept = [*columns, "pos"] if "pos" not in columns else columns
        try:
            with pq.ParquetFile(
                path, metadata=footer, memory_map=True, page_checksum_verification=True, read_dictionary=texts
            ) as file:
                pieces = []
                for group in run:
                    wanted = _undecided(names, kept, group)
                    rows = file.read_row_group(group.number, columns=wanted, use_threads=False)
                    pieces.append(_Piece(rows).keep(bounds).select(kept))
        except FileNotFoundError as error:
            raise FileGone(path) from error
        except _DAMAGE as error:
            raise CorruptFile(path, str(error)) from error
        rows = pa.concat_tables(pieces).unify_dictionaries() if len(pieces) > 1 else pieces[0]
        return _by_position(rows).select(columns)

    def _in_order(self, path: Path, names: list[str], columns: Sequence[str], bounds: Bounds) -> list[_Span]:
        """The row groups that can hold wanted rows; what a group has of the wanted symbol alone may well be in
        order where it as a whole is not.
        """
        groups = self._groups(path, bounds)
        if bounds.symbol is not None and not _ordered(groups):
            return [
                self._own(path, group, _undecided(names, columns, group), bounds) if group.shared else group
                for group in groups
            ]
        return groups

    def _groups(self, path: Path, bounds: Bounds) -> list[_Span]:
        """The row groups that can hold wanted rows."""
        footer = self._footer(path)
        places = {footer.schema.column(index).path: index for index in range(len(footer.schema))}
        symbol = None if bounds.symbol is None else bounds.symbol.encode()
        found = []
        for index in range(footer.num_row_groups):
            group = footer.row_group(index)
            if symbol is not None and not _may_hold(group, places["symbol"], symbol, symbol):
                continue
            until = None if bounds.until is None else bounds.until - 1
            if not _may_hold(group, places["ts_recv"], bounds.since, until):
                continue
            last = None if bounds.pos_until is None else bounds.pos_until - 1
            if not _may_hold(group, places["pos"], bounds.pos_from, last):
                continue
            span = group.column(places["pos"]).statistics
            least, greatest = 0, _POS_MAX
            if span is not None and span.has_min_max:
                least, greatest = int(span.min_raw or 0), int(span.max_raw or 0)
            shared = not _only(group, places["symbol"])
            decided = {
                name
                for name, value in (("symbol", bounds.symbol), ("feed", bounds.feed))
                if value is not None and name in places and _only(group, places[name], value)
            }
            found.append(_Span(index, least, greatest, shared, frozenset(decided)))
        return found

    def _path(self, root: Path, entry: FileEntry) -> Path:
        """Where a file is, that was looked at."""
        self._digests.check(root, entry)
        return root / entry.path

    def _open(self, path: Path) -> pq.ParquetFile:
        footer = self._footer(path)
        return pq.ParquetFile(path, metadata=footer, memory_map=True, page_checksum_verification=True)

    def _footer(self, path: Path) -> pq.FileMetaData:
        footer = self._footers.get(path)
        if footer is None:
            footer = self._footers[path] = pq.read_metadata(path)
            if len(self._footers) > _FOOTERS_MAX:
                self._footers.popitem(last=False)
        return footer

    def _own(self, path: Path, group: _Span, names: list[str], bounds: Bounds) -> _Span:
        """The group with the positions of the wanted rows only."""
        ends: Any = pc.min_max(self._piece(path, group, names).keep(bounds)["pos"]).as_py()
        if ends["min"] is None:
            return group._replace(least=_POS_MAX, greatest=0)
        return group._replace(least=ends["min"], greatest=ends["max"])

    def _piece(self, path: Path, group: _Span, names: list[str]) -> _Piece:
        key = (path, group.number, tuple(names))
        piece = self._pieces.pop(key, None)
        if piece is None:
            with self._open(path) as file:
                # In one thread: a row group is too small to be worth waking others, and they may be at work
                # on the market.
                piece = _Piece(file.read_row_group(group.number, columns=names, use_threads=False))
        self._pieces[key] = piece
        if len(self._pieces) > _PIECES_MAX:
            self._pieces.popitem(last=False)
        return piece


def _overlapping(entries: Iterable[FileEntry], bounds: Bounds) -> Iterator[list[FileEntry]]:
    """Files that can hold wanted rows by position, together with those they overlap: a clock that is set back
    over midnight leaves two dates with records in turn.
    """
    found: list[FileEntry] = []
    reach = -1
    touched = [entry for entry in entries if _touches(entry, bounds)]
    for entry in sorted(touched, key=lambda entry: entry.pos_min):
        if found and entry.pos_min > reach:
            yield found
            found = []
        found.append(entry)
        reach = max(reach, entry.pos_max)
    if found:
        yield found


def _narrowed(bounds: Bounds, pos_from: int, pos_until: int) -> Bounds:
    least, most = bounds.pos_from or 0, _POS_MAX if bounds.pos_until is None else bounds.pos_until
    return bounds._replace(pos_from=max(least, pos_from), pos_until=min(most, pos_until))


def _ahead(jobs: Iterator[Callable[[], pa.Table]], threads: int) -> Iterator[pa.Table]:
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


def _ordered(groups: Sequence[_Span]) -> bool:
    filled = [group for group in groups if group.least <= group.greatest]
    return all(left.greatest <= right.least for left, right in pairwise(filled))


def _with_bounds(columns: Sequence[str], known: Sequence[str]) -> list[str]:
    """The columns to read: those that are wanted, and those that decide which rows are."""
    names = dict.fromkeys((*columns, *_DECIDING))
    return [name for name in names if name in known]


def _undecided(names: Sequence[str], columns: Sequence[str], group: _Span) -> list[str]:
    """Of the columns that would be read those that have to be."""
    return [name for name in names if name in columns or name not in group.decided]


def _only(group: pq.RowGroupMetaData, column: int, value: str | None = None) -> bool:
    """Whether all rows of a row group have the same text, or this one."""
    found = group.column(column).statistics
    if found is None or not found.has_min_max or found.min_raw != found.max_raw:
        return False
    return value is None or (found.null_count == 0 and found.min_raw == value.encode())


def _touches(entry: FileEntry, bounds: Bounds) -> bool:
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
    found = group.column(column).statistics
    if found is None or not found.has_min_max:
        return True
    return (least is None or found.max_raw >= least) and (greatest is None or found.min_raw <= greatest)


class _Piece:
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
        # Scalars of a stated type: where Arrow has to find it out, that takes twenty times as long.
        rows, masks = self._rows, []
        first, stop = 0, rows.num_rows
        if bounds.pos_from is not None and self._pos is not None:
            first = bisect_left(self._pos, bounds.pos_from)
        if bounds.since is not None and self._ts is not None:
            first = max(first, bisect_left(self._ts, bounds.since))
        if bounds.until is not None and self._ts is not None:
            stop = max(first, bisect_left(self._ts, bounds.until))
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
        if bounds.pos_until is not None:
            masks.append(pc.less(rows["pos"], pa.scalar(bounds.pos_until, pa.int64())))
        if not masks:
            return rows
        mask = masks[0]
        for further in masks[1:]:
            mask = pc.and_(mask, further)
        return rows.filter(mask)


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


def _by_position(rows: pa.Table) -> pa.Table:
    """The rows by position; those of one frame keep their order."""
    pos = rows["pos"]
    count = len(pos)
    if count < 2 or pc.all(pc.less_equal(pos.slice(0, count - 1), pos.slice(1)), skip_nulls=True).as_py():
        return rows
    return rows.take(pc.sort_indices(pos))
