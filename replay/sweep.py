"""The rows of an archive in the order of the journal, a window of positions at a time: what every replay reads.

*Order.* A row stands at the position of the record that made it known: its ``pos``, or for a delta that had waited
for its snapshot the snapshot's, which is its ``epoch``. So what is before a position never changes when more is
recorded or sealed: history can go on into the journal's tail, and a place in it is good for ever.

*Memory.* Row groups are read when the sweep comes to their least position, a piece at a time where their positions
ascend, and are let go when it is past them; a window ends where the next piece would have to be read. Held is a piece
of each row group that overlaps the others at one position.

*While others write.* Sealed files come first, by the manifest; the tail is decoded when they are at their end, and
again as long as it is followed. What was sealed meanwhile is read from its files. A file that a compaction takes
away is looked for again in the manifest: only positions are remembered, so nothing is read twice and nothing missed.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from bookreel import venues
from bookreel.replay.selection import Selection
from bookreel.storage.changes import integers
from bookreel.storage.contents import Contents
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import FileGone
from bookreel.storage.layout import read_meta
from bookreel.storage.manifest import Manifest
from bookreel.storage.piece import apart, reaches
from bookreel.storage.scan import Group, Scanner
from bookreel.storage.schema import TABLES
from bookreel.storage.tail import Looker

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = ["ORDER", "Sweep", "Window"]

ORDER: Final = "order"
"""Column of the position at which a row stands."""

_WINDOW_ROWS: Final = 32_768
"""Rows of a window, about: some tens of milliseconds of work."""

_FIRST_ROWS: Final = 2_048
"""Rows of the first window: somebody waits for it."""

_PIECE_ROWS: Final = 16_384
"""Rows of a row group that are decoded at once, where their positions ascend."""

_ROWS_EACH: Final = {"book_deltas": 4}
"""Rows of a table that are as much work as one of another: an event has many of them."""

_GROWTH: Final = 4
_LEAST_ROWS: Final = 64
_TRIES: Final = 20
"""Times that a file may be gone before it is missing: a compaction would have to win a race each time."""

_WAIT_NS: Final = 3_600_000_000_000
"""No delta waits longer for its snapshot."""

_CODED: Final = ("symbol", "feed", "side")
"""Text columns of few values, which are faster as dictionaries."""

_CLOSING: Final[Any] = [(name, "ascending") for name in ("symbol", "feed", "start")]

_SEVERAL_SYMBOLS: Final = frozenset({"gaps", "instruments", "quotes"})
"""Tables of which one record can make rows of several symbols, which then are in their order."""


class Window(NamedTuple):
    """All rows that stand at positions from the last window's ``upto`` to this one's, exclusive: by table, each
    sorted by :data:`ORDER`, rows of one record by symbol and then as the record has them. No table is empty.
    """

    rows: dict[str, pa.Table]
    upto: int


class _Run:
    """Rows of one table by order, and how far they have been given."""

    __slots__ = ("at", "order", "rows", "table")

    def __init__(self, table: str, rows: pa.Table) -> None:
        self.table = table
        self.rows = rows
        chunk: Any = rows[ORDER].chunk(0)
        self.order = memoryview(chunk.buffers()[1]).cast("q")[chunk.offset : chunk.offset + len(chunk)]
        self.at = 0


class _Piece(NamedTuple):
    """Rows of the journal's tail."""

    table: str
    rows: pa.Table


class _Pieces:
    """What was not read yet of a row group whose positions ascend: they are known, so it is known where to go on."""

    __slots__ = ("_at", "_pieces", "_pos", "table")

    def __init__(self, table: str, pos: memoryview, pieces: Iterator[pa.Table]) -> None:
        self.table = table
        self._pos = pos
        self._pieces = pieces
        self._at = 0

    @property
    def pos(self) -> int | None:
        """The position of the next row; None: there is none."""
        return self._pos[self._at] if self._at < len(self._pos) else None

    def read(self) -> pa.Table:
        """The next rows."""
        piece = next(self._pieces)
        self._at += piece.num_rows
        return piece


class Sweep:
    """Reads ``selection`` from position ``first`` on. ``whole``: every column, as queries see them.

    ``tail`` may be shared with others of the same thread. Not for several threads at once.
    """

    def __init__(
        self,
        root: Path,
        selection: Selection,
        scanner: Scanner,
        tail: Looker,
        *,
        first: int = 0,
        follow: bool = False,
        whole: bool = False,
        texts: bool = False,
    ) -> None:
        self.selection = selection
        self.venue = venues.get(read_meta(root, OsDisk()).venue)
        self.next_pos = first
        """Everything that stands before it was given."""
        self.horizon: int | None = None
        """Receive time (ns) of the newest record at the last look at the tail."""
        self._open_gaps = TABLES["gaps"].empty_table()
        self._root = root
        self._scanner = scanner
        self._tail = tail
        self._follow = follow
        self._columns = {
            table: [name for name in TABLES[table].names if whole or name != "venue"]
            for table in selection.tables
        }
        # A delta has many rows. What queries see has the types that are stored.
        self._coded: Mapping[str, Sequence[str]] = {} if whole else {"book_deltas": _CODED}
        self._tail_tables = {*selection.tables, "gaps"}
        if "book_deltas" in selection.tables:
            self._tail_tables.add("book_snapshots")
        self._texts = texts and self.venue.digits
        if self._texts:
            self._tail_tables.add("frames")
        self._manifest: Manifest | None = None
        self._contents: Contents | None = None
        self._files: dict[str, list[FileEntry]] = {}
        self._waiting: list[tuple[int, int, FileEntry | Group | _Pieces | _Piece]] = []
        self._runs: list[_Run] = []
        self._limit = first
        self._number = count()
        self._budget = _FIRST_ROWS
        self._gone = 0

    def read(self) -> Window | None:
        """The next window; None: there is no more, or none yet where the tail is followed.

        Raises CorruptFile, Unsettled.
        """
        while True:
            try:
                window = self._step()
                if window is not None:
                    self.next_pos = window.upto
                    return window
                self.next_pos = max(self.next_pos, self._limit)
                if not self._plan():
                    return None
            except FileGone:
                # Its day was compacted meanwhile.
                self._gone += 1
                if self._gone == _TRIES:
                    raise
                self._runs.clear()
                self._waiting.clear()
                self._limit = self.next_pos

    @property
    def past_end(self) -> bool:
        """Whether what is recorded from now on is after the range."""
        end = self.selection.end
        return end is not None and self.horizon is not None and self.horizon >= end

    def closing_gaps(self) -> pa.Table:
        """Wanted gaps that had not ended at the last look at the tail, if the newest record is in the range: they
        stand behind it.
        """
        gaps = self._open_gaps
        wanted = "gaps" in self.selection.tables and self.selection.includes(self.horizon)
        return gaps.take(pc.sort_indices(gaps, _CLOSING)) if wanted else gaps.slice(0, 0)

    def payloads(self, positions: Collection[int]) -> dict[int, str | None]:
        """The texts of frames by their position, where they have digits; for a sweep that was made with ``texts``.
        Raises CorruptFile.
        """
        wanted = pa.array(sorted(positions), pa.int64())
        found: dict[int, str | None] = {}
        if not len(wanted) or not self._texts:
            return found
        least, greatest = wanted[0].as_py(), wanted[-1].as_py()
        pieces = self._sealed_payloads(least, greatest)
        if self._contents is not None:
            rows = self._contents.tail["frames"].select(["pos", "payload"])
            pieces += [piece for piece in apart(rows) if reaches(piece, "pos", least, greatest)]
        for piece in pieces:
            rows = piece.filter(pc.is_in(piece["pos"], wanted))
            found.update(zip(integers(rows["pos"]), rows["payload"].to_pylist(), strict=True))
        return found

    def _sealed_payloads(self, least: int, greatest: int) -> list[pa.Table]:
        for tries in range(_TRIES):
            try:
                return [
                    piece
                    for entry in self._files.get("frames", ())
                    if entry.pos_max >= least and entry.pos_min <= greatest
                    for piece in self._scanner.between(self._root, entry, ("pos", "payload"), least, greatest)
                ]
            except FileGone:
                if tries + 1 == _TRIES:
                    raise
                manifest = self._manifest = Manifest.load(self._root, known=self._manifest)
                self._files = {**self._files, "frames": manifest.files("frames")}
        return []

    # What is to be read

    def _plan(self) -> bool:
        """Say what is to be read next, up to ``_limit``; whether there is more."""
        if self._contents is None:
            manifest = self._manifest = Manifest.load(self._root, known=self._manifest)
            if manifest.last_pos >= self.next_pos:
                files = {table: manifest.files(table) for table in TABLES}
                return self._plan_files(files, manifest.last_pos + 1)
        elif not self._follow:
            return False
        contents = self._contents = self._tail.look(self._tail_tables)
        if contents.sealed_pos >= self.next_pos:
            # It was sealed before it was read here; the tail is for the next time.
            self._contents = None if not self._follow else contents
            return self._plan_files(contents.files, contents.sealed_pos + 1)
        self._files = contents.files
        self._limit = max(contents.last_pos + 1, self.next_pos)
        self.horizon = contents.horizon
        gaps = contents.tail["gaps"]
        still_open = gaps.filter(pc.is_null(gaps["pos"]))
        self._open_gaps = self.selection.keep("gaps", still_open, self.venue)
        for table in self.selection.tables:
            late = _WAIT_NS if table == "book_deltas" else 0
            end = None if self.selection.end is None else self.selection.end - 1
            start = None if self.selection.start is None else self.selection.start - late
            for piece in _newer(contents.tail[table], self.next_pos):
                first = pc.min(piece["pos"]).as_py()
                if first is not None and reaches(piece, "ts_recv", start, end):
                    piece = piece.select(self._columns[table])
                    heapq.heappush(self._waiting, (first, next(self._number), _Piece(table, piece)))
        return self._limit > self.next_pos

    def _plan_files(self, files: dict[str, list[FileEntry]], limit: int) -> bool:
        self._files = files
        self._limit = limit
        for table in self.selection.tables:
            entries = files.get(table, [])
            # A delta may stand later than its own position and time, but before the next segment.
            late = table == "book_deltas"
            firsts = sorted({_first_segment(entry) for entry in entries}) if late else []
            for entry in entries:
                reach = entry.pos_max
                if late:
                    after = bisect_right(firsts, _first_segment(entry))
                    reach = firsts[after] - 1 if after < len(firsts) else limit
                if reach >= self.next_pos and self._in_range(
                    entry.ts_min, entry.ts_max + (_WAIT_NS if late else 0)
                ):
                    heapq.heappush(self._waiting, (entry.pos_min, next(self._number), entry))
        return True

    def _in_range(self, least: int, greatest: int) -> bool:
        start, end = self.selection.start, self.selection.end
        return (start is None or greatest >= start) and (end is None or least < end)

    # Reading it

    def _step(self) -> Window | None:
        """The next window of what is planned."""
        floor = self._floor()
        while self._waiting and (floor is None or self._waiting[0][0] <= floor):
            self._open()
            floor = self._floor()
        if floor is None:
            return None
        ceiling = self._waiting[0][0] if self._waiting else self._limit
        share = max(self._budget // len(self._runs), _LEAST_ROWS)
        self._budget = min(self._budget * _GROWTH, _WINDOW_ROWS)
        for run in self._runs:
            last = run.at + share * _ROWS_EACH.get(run.table, 1)
            if last < len(run.order):
                ceiling = min(ceiling, max(run.order[last], floor + 1))
        parts: dict[str, list[pa.Table]] = {}
        for run in self._runs:
            stop = bisect_left(run.order, ceiling, run.at)
            if stop > run.at:
                parts.setdefault(run.table, []).append(run.rows.slice(run.at, stop - run.at))
                run.at = stop
        self._runs = [run for run in self._runs if run.at < len(run.order)]
        rows = {
            table: parts[table][0]
            if len(parts[table]) == 1
            else _in_order(table, pa.concat_tables(parts[table]))
            for table in self.selection.tables
            if table in parts
        }
        return Window(rows, ceiling)

    def _floor(self) -> int | None:
        """The least position at which a row stands that was read and not given yet."""
        return min((run.order[run.at] for run in self._runs), default=None)

    def _open(self) -> None:
        """Take the next file apart into row groups, or read the next row group, a piece of one or of the tail."""
        _, _, item = heapq.heappop(self._waiting)
        if isinstance(item, _Piece):
            self._add(*item)
        elif isinstance(item, _Pieces):
            rows = item.read()
            self._wait_for(item)
            self._add(item.table, rows)
        elif isinstance(item, Group):
            table = item.entry.table
            most = _PIECE_ROWS * _ROWS_EACH.get(table, 1)
            pieces = self._pieces_of(item, most) if item.rows > most else None
            if pieces is None:
                self._add(
                    table,
                    self._scanner.read(self._root, item, self._columns[table], self._coded.get(table, ())),
                )
            else:
                self._wait_for(pieces)
        else:
            for group in self._scanner.groups(self._root, item):
                if self._wanted(group):
                    heapq.heappush(self._waiting, (group.pos[0], next(self._number), group))

    def _pieces_of(self, group: Group, most: int) -> _Pieces | None:
        """The pieces of a row group whose positions ascend, ``most`` rows each; None: of another one."""
        pos = self._scanner.read(self._root, group, ["pos"])["pos"].combine_chunks()
        if not _ascend(pos):
            return None
        chunk: Any = pos.chunk(0) if isinstance(pos, pa.ChunkedArray) else pos
        table = group.entry.table
        pieces = self._scanner.pieces(
            self._root, group, self._columns[table], most, self._coded.get(table, ())
        )
        return _Pieces(
            table, memoryview(chunk.buffers()[1]).cast("q")[chunk.offset : chunk.offset + len(chunk)], pieces
        )

    def _wait_for(self, pieces: _Pieces) -> None:
        if (pos := pieces.pos) is not None:
            heapq.heappush(self._waiting, (pos, next(self._number), pieces))

    def _wanted(self, group: Group) -> bool:
        table = group.entry.table
        if max(group.pos[1], group.epoch) < self.next_pos or not self.selection.may_hold(
            table, *group.symbols
        ):
            return False
        least, greatest = group.ts
        if table == "book_deltas" and group.epoch > group.pos[0]:
            greatest += _WAIT_NS
        return self._in_range(least, greatest)

    def _add(self, table: str, rows: pa.Table) -> None:
        """Note rows that were read, those that are wanted and were not given yet."""
        rows = _with_codes(rows.combine_chunks(), self._coded.get(table, ()))
        rows = self.selection.keep(table, rows, self.venue)
        rows = rows.filter(pc.is_valid(rows["pos"])) if table == "gaps" else rows
        order: Any = rows["pos"]
        ts: Any = rows["ts_recv"].cast(pa.int64())
        if table == "book_deltas":
            order = pc.max_element_wise(order, rows["epoch"])
            ts = self._standing_since(rows, order, ts)
        rows = rows.append_column(ORDER, order)
        masks = []
        if self.next_pos:
            masks.append(pc.greater_equal(order, pa.scalar(self.next_pos)))
        if self.selection.start is not None:
            masks.append(pc.greater_equal(ts, pa.scalar(self.selection.start)))
        if self.selection.end is not None:
            masks.append(pc.less(ts, pa.scalar(self.selection.end)))
        for mask in masks[1:]:
            masks[0] = pc.and_(masks[0], mask)
        if masks and not pc.all(masks[0]).as_py():
            rows = rows.filter(masks[0])
        if rows.num_rows:
            self._runs.append(_Run(table, _in_order(table, rows)))

    def _standing_since(self, rows: pa.Table, order: Any, ts: Any) -> Any:
        """The receive times (ns) of the records at which deltas stand: a range of time is one of records."""
        if self.selection.start is None and self.selection.end is None:
            return ts
        waited: Any = pc.greater(order, rows["pos"])
        epochs: list[int] = pc.unique(order.filter(waited)).to_pylist()
        if not epochs:
            return ts
        began = self._began(epochs)
        known = pa.array([began.get(epoch) for epoch in epochs], pa.int64())
        found: Any = pc.index_in(order, pa.array(epochs, pa.int64()))
        return pc.if_else(waited, pc.coalesce(known.take(found.combine_chunks()), ts.combine_chunks()), ts)

    def _began(self, epochs: Iterable[int]) -> dict[int, int]:
        """When the snapshots at these positions were received (ns)."""
        wanted = pa.array(sorted(epochs), pa.int64())
        least, greatest = wanted[0].as_py(), wanted[-1].as_py()
        pieces: list[pa.Table] = []
        for entry in self._files.get("book_snapshots", ()):
            if entry.pos_max >= least and entry.pos_min <= greatest:
                pieces += self._scanner.between(self._root, entry, ("pos", "ts_recv"), least, greatest)
        if self._contents is not None:
            rows = self._contents.tail["book_snapshots"].select(["pos", "ts_recv"])
            pieces += [piece for piece in apart(rows) if reaches(piece, "pos", least, greatest)]
        found: dict[int, int] = {}
        for piece in pieces:
            rows = piece.filter(pc.is_in(piece["pos"], wanted))
            found.update(zip(integers(rows["pos"]), integers(rows["ts_recv"]), strict=True))
        return found


def _first_segment(entry: FileEntry) -> int:
    """First position of the first segment that a file's rows are from, as its name says."""
    return int(entry.path.rpartition("/")[2].removesuffix(".parquet").partition("-")[0])


def _newer(rows: pa.Table, first: int) -> list[pa.Table]:
    """The pieces of a tail's rows, which are in the order they came, that have any from position ``first`` on."""
    newer = []
    for piece in reversed(apart(rows)):
        last = max(piece[name][-1].as_py() or 0 for name in ("pos", "epoch") if name in piece.schema.names)
        if last < first and piece["pos"][-1].is_valid:
            break
        newer.append(piece)
    return newer[::-1]


def _with_codes(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows with these columns as dictionaries."""
    for name in names:
        column = rows[name]
        if not pa.types.is_dictionary(column.type):
            rows = rows.set_column(rows.schema.get_field_index(name), name, column.dictionary_encode())
    return rows


def _in_order(table: str, rows: pa.Table) -> pa.Table:
    """The rows by order; those of one record keep theirs."""
    rows = rows.combine_chunks()
    order = rows[ORDER]
    if table in _SEVERAL_SYMBOLS:
        return rows.take(pc.sort_indices(rows, [(ORDER, "ascending"), ("symbol", "ascending")]))
    return rows if _ascend(order) else rows.take(pc.sort_indices(order))


def _ascend(column: Any) -> bool:
    """Whether no value is missing, and none is below the one before it."""
    count = len(column)
    if column.null_count:
        return False
    return count < 2 or bool(pc.all(pc.less_equal(column.slice(0, count - 1), column.slice(1))).as_py())
