"""Proof that what is stored is what was recorded.

Files are held against the manifest, byte by byte; then the content against itself, books by
:mod:`bookreel.storage.book_check`. What could not be compared is visible as a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bookreel import venues
from bookreel.book.model import CAUSES
from bookreel.storage.book_check import BookCheck
from bookreel.storage.compact import leftovers
from bookreel.storage.contents import Contents
from bookreel.storage.continuity import LEAP, Stretch, holes, of_entry, reach
from bookreel.storage.dates import DAY_NS, BadDate, day_start
from bookreel.storage.digests import Digests
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import CorruptFile, StorageError
from bookreel.storage.layout import Layout, is_canonical
from bookreel.storage.manifest import FileEntry, Manifest
from bookreel.storage.pack import agrees, read_pack
from bookreel.storage.query import Database
from bookreel.storage.recorder_events import is_set_back
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments
from bookreel.storage.tail import Tail
from bookreel.venues.errors import VenueError

__all__ = ["BadDate", "Problem", "VerifyReport", "verify"]

Progress: TypeAlias = Callable[[int], None]

_TABLES: Final = ("book_deltas", "book_snapshots", "bbo", "trades", "gaps", "frames", "sessions")

_OPENING: Final = 64
"""Records among which a new run says what it found."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. ``kind``: manifest, file, journal, book, chain, bbo, trades, gaps.
    ``where``: a path or a stream. ``text``: a sentence.
    """

    kind: str
    where: str
    text: str


class VerifyReport(msgspec.Struct):
    """What was found. ``counts`` says what was looked at, so that a comparison that never took place shows
    as 0.
    """

    problems: list[Problem]
    counts: dict[str, int]

    def lines(self) -> list[str]:
        """The counts as sentences."""
        count = self.counts.get
        return [
            f"files: {count('files', 0)} checked, {count('rows', 0)} rows, {count('bytes', 0)} bytes",
            f"days: {count('days', 0)} compacted, {count('leftovers', 0)} files of a compaction that did not end or "
            "is at work",
            f"journal: {count('segments', 0)} unsealed segments, {count('records', 0)} records, "
            f"{count('torn_tails', 0)} torn tails",
            f"books: {count('deltas', 0)} deltas of {count('epochs', 0)} epochs; {count('keyframes', 0)} keyframes "
            f"and {count('snapshots', 0)} venue snapshots compared, {count('books_unequal', 0)} unequal",
            f"chains: {count('links', 0)} links checked, {count('empty_deltas', 0)} over empty deltas, "
            f"{count('links_broken', 0)} broken",
            f"bbo: {count('bbo', 0)} compared at equal sequence numbers, {count('bbo_unequal', 0)} unequal",
            f"trades: {count('trades', 0)} checked, {count('trades_repeated', 0)} repeated",
            f"gaps: {count('gaps', 0)} checked, {count('gaps_wrong', 0)} wrong",
            f"problems: {len(self.problems)}",
        ]


def verify(archive: Path | str, date: str | None = None, progress: Progress | None = None) -> VerifyReport:
    """Check an archive, or one UTC day of it (YYYY-MM-DD). ``progress`` is called with steps done.

    Also beside a running recorder. Raises NotAnArchive, UnknownFormat, BadDate.
    """
    checker = _Checker(Path(archive), _span(date), date, progress)
    checker.files()
    checker.journal()
    checker.content()
    return VerifyReport(checker.problems, dict(sorted(checker.counts.items())))


def _span(date: str | None) -> tuple[int | None, int | None]:
    if date is None:
        return None, None
    since = day_start(date)
    return since, since + DAY_NS


class _Checker:
    """One run of :func:`verify`."""

    def __init__(
        self, root: Path, span: tuple[int | None, int | None], date: str | None, progress: Progress | None
    ) -> None:
        self.problems: list[Problem] = []
        self.counts: Counter[str] = Counter()
        self._root = root
        self._since, self._until = span
        self._date = date
        self._progress = progress
        self._tail = Tail(root)
        self._segments = {segment.name for segment in list_segments(root)}
        self._manifest = Manifest.load(root)
        # What was found damaged is not read: its rows would be wrong, or reading it would take for ever.
        self._digests = Digests()
        self._scanner = Scanner(self._digests)
        self._stretches: list[Stretch] = []

    def files(self) -> None:
        """Sealed files against the manifest."""
        if not is_canonical(self._root, OsDisk()):
            self._problem("archive", str(Layout(self._root).meta), "it is not as it was written")
        self._manifest_itself()
        checked: set[str] = set()
        while fresh := self._unchecked(checked):
            for file in fresh:
                checked.add(file.path)
                if self._date is None or file.date == self._date:
                    self._file(self._root / file.path, file)
                    self._step()
            # A compaction may have put others in their place meanwhile.
            self._manifest = Manifest.load(self._root, known=self._manifest)
        listed = {self._root / file.path for file in self._listed()}
        for path in sorted(Layout(self._root).parquet.rglob("*.parquet")):
            # What belongs to a segment that is being sealed now is not in the manifest yet.
            if path not in listed and path.stem not in self._segments and path.exists():
                self._problem(
                    "file", str(path), "the manifest does not have it; a plain glob reads its rows twice"
                )
        self.counts["days"] = len(
            {day.entry.folder.rpartition("=")[2] for day in self._manifest.days.values()}
        )
        self.counts["leftovers"] = len(leftovers(self._root))

    def _listed(self) -> list[FileEntry]:
        return [file for files in self._manifest.tables().values() for file in files]

    def _unchecked(self, checked: set[str]) -> list[FileEntry]:
        return [file for file in self._listed() if file.path not in checked]

    def _manifest_itself(self) -> None:
        try:
            try:
                self._manifest._check()
            except AssertionError:
                # Maybe a day was compacted between loading and checking.
                self._manifest = Manifest.load(self._root, known=self._manifest)
                self._manifest._check()
        except AssertionError as error:
            self._problem(
                "manifest", str(Layout(self._root).manifest), f"the entries contradict the files: {error}"
            )
        path = Layout(self._root).pack
        if path.exists():
            copied = read_pack(self._root)
            if copied is None or not agrees(copied, self._manifest):
                self._problem(
                    "manifest", str(path), "it is not a copy of the entries; remove it, nothing is lost"
                )

    def journal(self) -> None:
        """Segments that are not sealed yet, and whether there are all of them."""
        read: list[Stretch] = []
        for segment in list_segments(self._root):
            if self._manifest.sealed(segment.name):
                continue
            self.counts["segments"] += 1
            try:
                read.append(self._segment(segment))
            except FileNotFoundError:
                continue  # sealed meanwhile
            except (OSError, StorageError) as error:
                self._problem("journal", str(segment.path), f"it cannot be read: {error}")
                read.append(Stretch(segment.name, segment.first_pos, segment.first_pos + LEAP))
            self._step()
        # What was sealed since the segments were listed is there.
        self._manifest = Manifest.load(self._root, known=self._manifest)
        self._stretches = [of_entry(entry) for entry in self._manifest.segments]
        self._stretches += [stretch for stretch in read if not self._manifest.sealed(stretch.name)]

    def _segment(self, segment: Segment) -> Stretch:
        records = 0
        damages = []
        with SegmentReader(segment.path) as reader:
            for item in reader.read():
                if not isinstance(item, Damage):
                    records += 1
                    continue
                damages.append(item)
                if item.reason == "torn tail":
                    # What a crash leaves; it is told by a gap.
                    self.counts["torn_tails"] += 1
                else:
                    text = f"{item.length} bytes at {item.offset} cannot be read: {item.reason}"
                    self._problem("journal", str(segment.path), text)
            last_pos = reach(reader.last_pos, damages)
            clean = reader.footer is not None
        self.counts["records"] += records
        if not records:
            # A segment gets its name with its first record in it.
            self._problem("journal", str(segment.path), "it has no record: its content is gone")
        return Stretch(segment.name, segment.first_pos, last_pos, clean)

    def _missing(self, contents: Contents) -> None:
        """Segments that are not there."""
        for hole in holes(self._stretches):
            assert hole.after is not None and hole.before is not None, "it is between two segments"
            if not self._explained(contents, hole.before):
                text = (
                    f"records {hole.after + 1} to {hole.before - 1} are in no segment: it was removed or cut"
                )
                self._problem("journal", f"{Layout(self._root).journal}, before {hole.segment}", text)

    def _explained(self, contents: Contents, pos: int) -> bool:
        """Whether positions before this one may be missing: left out since what a full disk had refused was lost, or
        another archive's, as lines of merged ones are.
        """
        events = ("pos", "event", "detail")
        for piece in self._scanner.scan(contents, "sessions", events, Bounds(pos_until=pos + _OPENING)):
            rows = zip(*(piece[name].to_pylist() for name in events), strict=True)
            for at, event, detail in rows:
                if event == "merge" and at == 1:
                    return True
                if event == "disk_full" and at >= pos and '"lost":true' in (detail or ""):
                    return True
        return False

    def content(self) -> None:
        """Rows against each other."""
        try:
            contents = self._tail.look(_TABLES)
        except (StorageError, VenueError, OSError) as error:
            self._problem("journal", str(self._root), f"its tail cannot be decoded: {error}")
            return
        finally:
            self._tail.close()
        if contents.checkpoint_lost is not None:
            self._problem(
                "state",
                str(self._root),
                f"the sealer's checkpoint is of no use ({contents.checkpoint_lost}); streams are known by their rows",
            )
        try:
            self._missing(contents)
        except StorageError as error:
            self._problem("journal", "sessions", f"they cannot be read: {error}")
        venue = venues.get(contents.venue)
        for stream in contents.streams:
            if venue.topic(stream.symbol, stream.feed).coverage != "sequenced":
                continue
            try:
                check = BookCheck(stream, venue, contents, self._scanner, self._problem, self.counts)
                check.run(self._since, self._until)
            except StorageError as error:
                self._problem("book", f"{stream.symbol} {stream.feed}", f"cannot be rebuilt: {error}")
            self._step()
        self._trades(contents)
        self._gaps(contents)

    def _problem(self, kind: str, where: str, text: str) -> None:
        self.problems.append(Problem(kind, where, text))

    def _step(self) -> None:
        if self._progress is not None:
            self._progress(1)

    def _file(self, path: Path, entry: FileEntry) -> None:
        self.counts["files"] += 1
        where = entry.path
        try:
            size = path.stat().st_size
            self._digests.check(self._root, entry)
        except FileNotFoundError:
            self._problem("file", where, "it is missing")
            return
        except OSError as error:
            self._problem("file", where, f"it cannot be read: {error.strerror}")
            return
        except CorruptFile as error:
            self._problem("file", where, error.reason)
            return
        self.counts["bytes"] += size
        if size != entry.bytes:
            self._problem("file", where, f"it has {size} bytes, the manifest says {entry.bytes}")
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as parquet:
                rows = sum(batch.num_rows for batch in parquet.iter_batches())
        except (OSError, pa.ArrowException) as error:
            self._problem("file", where, f"its pages cannot be read: {error}")
            return
        self.counts["rows"] += rows
        if rows != entry.rows:
            self._problem("file", where, f"it has {rows} rows, the manifest says {entry.rows}")

    def _trades(self, contents: Contents) -> None:
        database = Database(self._root, digests=self._digests)
        try:
            con = database.view([contents], ["trades"])
            time = "epoch_ns(ts_recv)"
            within = f"($since IS NULL OR {time} >= $since) AND ($until IS NULL OR {time} < $until)"
            span = {"since": self._since, "until": self._until}
            total = con.execute(f"SELECT count(*) FROM trades WHERE {within}", span).fetchone()  # noqa: S608
            repeated = con.execute(
                f"SELECT symbol, trade_seq, count(*) FROM trades WHERE trade_seq IS NOT NULL AND {within} "  # noqa: S608
                "GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL",
                span,
            ).fetchall()
        except (duckdb.Error, StorageError) as error:
            self._problem("trades", "trades", f"they cannot be read: {error}")
            return
        finally:
            database.close()
        self.counts["trades"] += total[0] if total else 0
        self.counts["trades_repeated"] += len(repeated)
        for symbol, seq, times in repeated:
            self._problem("trades", symbol, f"trade {seq} is stored {times} times")

    def _gaps(self, contents: Contents) -> None:
        columns = ("symbol", "feed", "cause", "start", "end")
        bounds = Bounds(since=self._since, until=self._until)
        try:
            pieces = list(self._scanner.scan(contents, "gaps", columns, bounds))
            may_be_back = self._may_be_back(contents)
        except StorageError as error:
            self._problem("gaps", "gaps", f"they cannot be read: {error}")
            return
        for piece in pieces:
            times = [piece[name].cast(pa.int64()).to_pylist() for name in ("start", "end")]
            names = [piece[name].to_pylist() for name in ("symbol", "feed", "cause")]
            for symbol, feed, cause, start, end in zip(*names, *times, strict=True):
                self.counts["gaps"] += 1
                wrong = None
                if cause not in CAUSES:
                    wrong = f"its cause {cause!r} is not a known one"
                elif start is None or (end is not None and not may_be_back and end < start):
                    wrong = f"it ends at {end} before it starts at {start}"
                if wrong:
                    self.counts["gaps_wrong"] += 1
                    self._problem("gaps", f"{symbol} {feed}", wrong)

    def _may_be_back(self, contents: Contents) -> bool:
        """Whether the recorder's clock may have been set back, so that a gap can end before it starts: it saw that,
        or it was not there to see.
        """
        starts = 0
        for piece in self._scanner.scan(contents, "sessions", ("event", "detail"), Bounds()):
            for event, detail in zip(piece["event"].to_pylist(), piece["detail"].to_pylist(), strict=True):
                starts += event == "start"
                if is_set_back(event, detail):
                    return True
        return starts > 1
