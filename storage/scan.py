"""Reading rows of one table in journal order, a piece at a time: the way of all bulk readers.

Sealed files are sorted by symbol and receive time with statistics on, so of a file only the row groups that
can hold what is asked for are read. Positions, unlike the wall clock, never go back: pieces come by
position, and rows inside a piece are sorted by it, rows of one frame in the order they have in it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bookreel.storage.bulk import BulkFile, ahead
from bookreel.storage.contents import Contents
from bookreel.storage.digests import Digests
from bookreel.storage.piece import Piece, apart, by_position, reaches
from bookreel.storage.schema import TABLES, completed
from bookreel.storage.spans import (
    ALL,
    DECIDING,
    FEW_TEXTS,
    POS_MAX,
    Bounds,
    Span,
    columns_of,
    narrowed,
    ordered,
    overlapping,
    read_known,
    reading,
    spans,
    steps_until,
    touches,
    undecided,
    with_bounds,
)

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = ["Bounds", "Group", "Scanner"]

_FOOTERS_MAX: Final = 4096
"""Parsed footers kept, some 10 kB each."""

_PIECES_MAX: Final = 8
"""Decoded row groups kept for the next question about the same time, some megabytes each."""

_LAST_TEXT: Final = "\U0010ffff"
"""No symbol comes after it."""


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


class Scanner:
    """Reads rows and remembers footers and the newest row groups. Not for several threads at once.

    The checksums of each file's footer and of each page that is read are checked. That leaves the pages' headers:
    ``digests`` may ask for the whole file's digest before its first use.
    """

    def __init__(self, digests: Digests | None = None) -> None:
        self._digests = Digests(whole=False) if digests is None else digests
        self._footers: OrderedDict[Path, pq.FileMetaData] = OrderedDict()
        self._pieces: OrderedDict[tuple[Path, int, tuple[str, ...]], Piece] = OrderedDict()
        self._asked: deque[tuple[Path, int, tuple[str, ...]]] = deque(maxlen=_PIECES_MAX)
        self._groups_read: OrderedDict[tuple[Path, int, tuple[str, ...]], pa.Table] = OrderedDict()

    def scan(
        self,
        contents: Contents,
        table: str,
        columns: Sequence[str],
        bounds: Bounds = ALL,
        *,
        few: bool = False,
    ) -> Iterator[pa.Table]:
        """Pieces of a table with these columns, in order of position; none is empty. ``few``: see :meth:`file`.
        Raises :class:`CorruptFile`.
        """
        for entries in overlapping(contents.files.get(table, ()), bounds):
            if len(entries) == 1:
                yield from self.file(contents, entries[0], columns, bounds, few=few)
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
            yield from self.file(contents, entry, columns, narrowed(bounds, 0, low))
        names = list(dict.fromkeys((*columns, "pos")))
        both = narrowed(bounds, low, stop)
        shared = [piece for entry in entries for piece in self.file(contents, entry, names, both)]
        if shared:
            yield by_position(pa.concat_tables(shared)).select(list(columns))
        for entry in entries:
            yield from self.file(contents, entry, columns, narrowed(bounds, stop, POS_MAX))

    def file(
        self,
        contents: Contents,
        entry: FileEntry,
        columns: Sequence[str],
        bounds: Bounds = ALL,
        *,
        few: bool = False,
    ) -> Iterator[pa.Table]:
        """The pieces of one sealed file. ``few``: of each row group a small part is wanted. What decides which one is
        read first, and of the other columns only what comes before its end; texts of few values may come as
        dictionaries, which decode in a fifth of the time.
        """
        if not touches(entry, bounds):
            return
        path = self._path(contents.root, entry)
        names = with_bounds(columns, TABLES[entry.table].names)
        # What is put in order needs its position until then.
        kept = [*columns, "pos"] if "pos" not in columns else columns
        take: Callable[..., Piece | None] = partial(self._part, bounds=bounds) if few else self._piece
        with reading(path):
            first = [name for name in names if name in DECIDING] if few else names
            groups = self._in_order(path, first, kept, bounds)
            pieces: Iterable[pa.Table] = (
                completed(entry.table, taken.keep(bounds), kept).select(kept)
                for group in groups
                if (taken := take(path, group, undecided(names, kept, group))) is not None
            )
            if not ordered(groups) and (held := list(pieces)):
                pieces = [pa.concat_tables(held).unify_dictionaries()]
            for piece in pieces:
                if piece.num_rows:
                    yield by_position(piece).select(list(columns))

    def bulk(
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds = ALL, threads: int = 1
    ) -> Iterator[pa.Table]:
        """As :meth:`scan`, for much at once: so many threads read ahead, nothing is remembered, and texts of few
        values come as dictionaries.
        """
        for piece in ahead(self._jobs(contents, table, columns, bounds), threads):
            if piece.num_rows:
                yield piece
        yield from self.tail(contents, table, columns, bounds)

    def rows(self, contents: Contents, table: str, bounds: Bounds) -> int:
        """How many rows have to be looked at for these bounds, those of the tail left out. Raises
        :class:`CorruptFile`.
        """
        found = 0
        for entry in contents.files.get(table, ()):
            if touches(entry, bounds):
                path = self._path(contents.root, entry)
                with reading(path):
                    footer = self._footer(path)
                    found += sum(footer.row_group(one.number).num_rows for one in spans(footer, bounds))
        return found

    def groups(self, root: Path, entry: FileEntry) -> list[Group]:
        """The row groups of a file. Raises :class:`CorruptFile`, and :class:`FileGone` where there is none."""
        path = self._path(root, entry)
        with reading(path):
            footer = self._footer(path)
        places = columns_of(footer)
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
                    bounds.get("pos", (0, POS_MAX)),
                    bounds.get("ts_recv", (entry.ts_min, entry.ts_max)),
                    ("", _LAST_TEXT) if symbols is None else (symbols[0].decode(), symbols[1].decode()),
                    bounds.get("epoch", (0, 0))[1],
                )
            )
        return found

    def read(self, root: Path, group: Group, columns: Sequence[str], texts: Sequence[str] = ()) -> pa.Table:
        """Columns of a row group, as they are stored, but for ``texts``, which come as dictionaries: texts of few
        values decode in a fifth of the time. Raises as :meth:`groups` does.
        """
        path = self._path(root, group.entry)
        with reading(path), self._open(path, texts) as file:
            rows = file.read_row_group(group.number, columns=list(columns), use_threads=False)
            return completed(group.entry.table, rows, columns)

    def pieces(
        self, root: Path, group: Group, columns: Sequence[str], rows: int, texts: Sequence[str] = ()
    ) -> Iterator[pa.Table]:
        """As :meth:`read`, so many rows at a time: what is not given yet is not decoded."""
        path = self._path(root, group.entry)
        with reading(path), self._open(path, texts) as file:
            batches = file.iter_batches(
                batch_size=rows, row_groups=[group.number], columns=list(columns), use_threads=False
            )
            for batch in batches:
                yield completed(group.entry.table, pa.Table.from_batches([batch]), columns)

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
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds = ALL
    ) -> Iterator[pa.Table]:
        """The piece of the journal's tail, if it has such rows."""
        rows = contents.tail.get(table)
        if rows is None:
            return
        last = None if bounds.pos_until is None else bounds.pos_until - 1
        until = None if bounds.until is None else bounds.until - 1
        pieces = [
            piece
            for piece in apart(rows.select(with_bounds(columns, rows.schema.names)))
            if reaches(piece, "pos", bounds.pos_from, last) and reaches(piece, "ts_recv", bounds.since, until)
        ]
        if pieces:
            kept = Piece(pa.concat_tables(pieces)).keep(bounds)
            if kept.num_rows:
                yield by_position(kept).select(list(columns))

    def _jobs(
        self, contents: Contents, table: str, columns: Sequence[str], bounds: Bounds
    ) -> Iterator[Callable[[], pa.Table]]:
        """What reads the pieces of a table's sealed files; each can be called in any thread."""
        for entries in overlapping(contents.files.get(table, ()), bounds):
            if len(entries) == 1:
                yield from self._jobs_of(contents, entries[0], columns, bounds)
            else:
                for piece in self._merged(contents, entries, columns, bounds):
                    yield lambda piece=piece: piece  # type: ignore[misc]

    def _jobs_of(
        self, contents: Contents, entry: FileEntry, columns: Sequence[str], bounds: Bounds
    ) -> Iterator[Callable[[], pa.Table]]:
        """What reads the pieces of one sealed file; each can be called in any thread."""
        if not touches(entry, bounds):
            return
        path = self._path(contents.root, entry)
        names = with_bounds(columns, TABLES[entry.table].names)
        with reading(path):
            groups = self._in_order(path, names, columns, bounds)
            runs = [[group] for group in groups] if ordered(groups) else [groups]
            file = BulkFile(entry.table, path, self._footer(path), names, columns, bounds)
            for run in runs:
                yield partial(file.read, run)

    def _in_order(self, path: Path, names: list[str], columns: Sequence[str], bounds: Bounds) -> list[Span]:
        """The row groups that can hold wanted rows; what a group has of the wanted symbol alone may well be in
        order where it as a whole is not.
        """
        groups = spans(self._footer(path), bounds)
        if bounds.symbol is not None and not ordered(groups):
            return [
                self._own(path, group, undecided(names, columns, group), bounds) if group.shared else group
                for group in groups
            ]
        return groups

    def _path(self, root: Path, entry: FileEntry) -> Path:
        """Where a file is, that was looked at."""
        self._digests.check(root, entry)
        return root / entry.path

    def _open(self, path: Path, texts: Sequence[str] = ()) -> pq.ParquetFile:
        return pq.ParquetFile(
            path,
            metadata=self._footer(path),
            memory_map=True,
            page_checksum_verification=True,
            read_dictionary=[*texts],
        )

    def _footer(self, path: Path) -> pq.FileMetaData:
        footer = self._footers.get(path)
        if footer is None:
            footer = self._footers[path] = pq.read_metadata(path)
            if len(self._footers) > _FOOTERS_MAX:
                self._footers.popitem(last=False)
        return footer

    def _own(self, path: Path, group: Span, names: list[str], bounds: Bounds) -> Span:
        """The group with the positions of the wanted rows only."""
        ends: Any = pc.min_max(self._piece(path, group, names).keep(bounds)["pos"]).as_py()
        if ends["min"] is None:
            return group._replace(least=POS_MAX, greatest=0)
        return group._replace(least=ends["min"], greatest=ends["max"])

    def _part(self, path: Path, group: Span, names: list[str], bounds: Bounds) -> Piece | None:
        """The rows from the first wanted one to the last, None where there is none. A row group that was asked for
        just before is read whole and remembered: there will be more questions about that time.
        """
        key = (path, group.number, tuple(names))
        again = key in self._pieces or key in self._asked
        self._asked.append(key)
        if again:
            return self._piece(path, group, names)
        if bounds.until is not None and not group.shared:
            return self._beginning(path, group, names, bounds)
        piece = self._piece(path, group, [name for name in names if name in DECIDING])
        first, stop = piece.extent(bounds)
        further = [name for name in names if name not in DECIDING]
        if first == stop:
            return None
        if not further:
            return piece

        def read(names: list[str]) -> pa.Table:
            found, reached = [], 0
            with self._open(path, [name for name in names if name in FEW_TEXTS]) as file:
                for batch in file.iter_batches(
                    batch_size=stop, row_groups=[group.number], columns=names, use_threads=False
                ):
                    start = min(max(first - reached, 0), batch.num_rows)
                    found.append(batch.slice(start, stop - reached - start))
                    reached += batch.num_rows
                    if reached >= stop:
                        return pa.Table.from_batches(found)
            raise ValueError(f"a column of row group {group.number} has only {reached} rows")

        return piece.widened(first, read_known(group, further, read))

    def _beginning(self, path: Path, group: Span, names: list[str], bounds: Bounds) -> Piece:
        """The rows of a row group of one symbol from its first one to the last that is wanted, or somewhat beyond.
        They are in order of time, so what comes after it need not be decoded.
        """
        assert bounds.until is not None, "else there is no last one"
        count, step = steps_until(self._footer(path), group.number, bounds.until)

        def read(names: list[str]) -> pa.Table:
            found: list[pa.RecordBatch] = []
            reached = 0
            with self._open(path, [name for name in names if name in FEW_TEXTS]) as file:
                for batch in file.iter_batches(
                    batch_size=step, row_groups=[group.number], columns=names, use_threads=False
                ):
                    reached += batch.num_rows
                    found.append(batch)
                    newest: Any = batch.column("ts_recv")[-1]
                    if reached == count or (newest.is_valid and newest.value >= bounds.until):
                        return pa.Table.from_batches(found)
            raise ValueError(f"a column of row group {group.number} has only {reached} rows")

        return Piece(read_known(group, names, read))

    def _piece(self, path: Path, group: Span, names: list[str]) -> Piece:
        key = (path, group.number, tuple(names))
        piece = self._pieces.pop(key, None)
        if piece is None:
            with self._open(path) as file:
                # In one thread: a row group is too small to be worth waking others, and they may be at work
                # on the market.
                piece = Piece(file.read_row_group(group.number, columns=names, use_threads=False))
        self._pieces[key] = piece
        if len(self._pieces) > _PIECES_MAX:
            self._pieces.popitem(last=False)
        return piece
