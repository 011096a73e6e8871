"""Proof that what is stored is what was recorded.

Files are held against the manifest, byte by byte; then the content against itself: a book rebuilt from its
deltas must be each later keyframe and each snapshot that the venue gave for comparison, its chain of
sequence numbers must be whole inside every epoch, and its best prices must be those that the venue sent in
a feed of their own. What could not be compared is visible as a count.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bookreel import venues
from bookreel.book.l2 import L2Book
from bookreel.book.model import CAUSES, Delta
from bookreel.storage.changes import Step, Whole, integers, merged, steps, wholes
from bookreel.storage.compact import leftovers
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.continuity import LEAP, Stretch, holes, of_entry, reach
from bookreel.storage.dates import DAY_NS, BadDate, day_start
from bookreel.storage.digests import Digests
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import CorruptFile, StorageError
from bookreel.storage.layout import Layout, is_canonical
from bookreel.storage.manifest import FileEntry, Manifest
from bookreel.storage.query import Database
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments
from bookreel.storage.tail import Tail
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Data, Venue

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


class _Break(NamedTuple):
    """Two deltas of an epoch that do not follow each other: a number that is missing in between, or empty
    deltas.
    """

    after_pos: int
    pos: int
    seq: int
    prev_seq: int


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
                _BookCheck(self, self._scanner, contents, stream, venue).run(self._since, self._until)
            except StorageError as error:
                self._problem("book", f"{stream.symbol} {stream.feed}", f"cannot be rebuilt: {error}")
            self._step()
        self._trades(contents)
        self._gaps(contents)

    def problem(self, kind: str, where: str, text: str) -> None:
        self.problems.append(Problem(kind, where, text))

    _problem = problem

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
            con = database.view(contents, ["trades"])
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
                if event == "clock" and '"step_ns":-' in (detail or ""):
                    return True
        return starts > 1


class _BookCheck:
    """Rebuilds one sequenced book and compares it wherever something to compare with is stored."""

    def __init__(
        self, checker: _Checker, scanner: Scanner, contents: Contents, stream: Stream, venue: Venue
    ) -> None:
        self._checker = checker
        self._counts = checker.counts
        self._scanner = scanner
        self._contents = contents
        self._symbol, self._feed = stream.symbol, stream.feed
        self._venue = venue
        self._book = L2Book()
        self._epoch: int | None = None
        self._seq = 0
        self._pos = 0
        self._waiting: list[Step] = []
        self._ahead: dict[int, Whole] = {}
        self._breaks: list[_Break] = []
        self._unequal_bbo = 0

    def run(self, since: int | None, until: int | None) -> None:
        """Walk through everything received from ``since`` to ``until`` (ns, exclusive)."""
        bounds = Bounds(symbol=self._symbol, feed=self._feed, since=since, until=until)
        quotes = self._quotes(bounds)
        quote = next(quotes, None)
        for change in merged(
            steps(self._scanner, self._contents, bounds), wholes(self._scanner, self._contents, bounds)
        ):
            before = self._seq
            if isinstance(change, Step):
                self._delta(change)
            else:
                self._whole(change)
            if self._epoch is None or self._seq == before:
                continue
            while quote is not None and quote[0] < self._seq:
                quote = next(quotes, None)
            while quote is not None and quote[0] == self._seq:
                self._counts["bbo"] += 1
                if quote[1:] != self._book.best():
                    self._counts["bbo_unequal"] += 1
                    self._unequal_bbo += 1
                quote = next(quotes, None)
        if self._unequal_bbo:
            text = f"{self._unequal_bbo} recorded best bids and offers are not those of the rebuilt book"
            self._problem("bbo", text)
        if self._breaks:
            self._settle_breaks(bounds)

    def _delta(self, step: Step) -> None:
        if step.epoch != self._epoch:
            self._waiting.append(step)
            return
        self._counts["deltas"] += 1
        self._counts["links"] += 1
        if step.seq <= self._seq:
            self._counts["links_broken"] += 1
            self._problem("chain", f"epoch {step.epoch}: {step.seq} comes after {self._seq}")
            return
        if step.prev_seq != self._seq:
            self._breaks.append(_Break(self._pos, step.pos, self._seq, step.prev_seq))
        self._book.apply(Delta(self._symbol, self._feed, 0, step.seq, step.prev_seq, step.bids, step.asks))
        self._seq, self._pos = step.seq, step.pos
        if self._ahead:
            expected = self._ahead.pop(step.seq, None)
            if expected is not None:
                self._compare(expected)

    def _whole(self, whole: Whole) -> None:
        if whole.epoch != self._epoch:
            # At the edge of a day a keyframe in the middle of an epoch is where the walk begins.
            if whole.begins or (self._epoch is None and whole.source == "keyframe"):
                self._begin(whole)
        elif whole.source == "keyframe":
            # An empty delta moves the number on and leaves no row, so ours may be a bit behind.
            self._compare(whole)
            self._seq = max(self._seq, whole.seq or 0)
        elif whole.seq == self._seq:
            self._compare(whole)
        elif whole.seq is not None and whole.seq > self._seq:
            self._ahead = {whole.seq: whole}

    def _begin(self, whole: Whole) -> None:
        self._counts["epochs"] += 1
        before = self._pos
        self._epoch, self._seq, self._pos = whole.epoch, whole.seq or 0, whole.pos
        self._book.load(whole.bids, whole.asks)
        self._ahead = {}
        # Of merged lines one may be far behind: what it brings can wait for an epoch after the next.
        waiting, self._waiting = (
            self._waiting,
            [step for step in self._waiting if step.epoch > whole.epoch],
        )
        for step in waiting:
            if step.epoch == whole.epoch and step.seq > self._seq:
                # Buffered frames came before the snapshot: what is missing between them is looked for there.
                self._pos = before
                self._delta(step)
                before = self._pos

    def _compare(self, whole: Whole) -> None:
        self._counts["keyframes" if whole.source == "keyframe" else "snapshots"] += 1
        stored = L2Book()
        stored.load(whole.bids, whole.asks)
        if stored == self._book:
            return
        self._counts["books_unequal"] += 1
        levels = sum(
            len(ours.items() ^ theirs.items())
            for ours, theirs in ((self._book.bids, stored.bids), (self._book.asks, stored.asks))
        )
        self._problem(
            "book",
            f"epoch {whole.epoch}, seq {whole.seq}: the {whole.source} at position {whole.pos} differs from the "
            f"rebuilt book in {levels} levels",
        )
        # Go on from what is stored, so that one wrong row is one problem.
        self._book = stored

    def _quotes(
        self, bounds: Bounds
    ) -> Iterator[tuple[int, float | None, float | None, float | None, float | None]]:
        columns = ("seq", "bid", "bid_size", "ask", "ask_size")
        for piece in self._scanner.scan(self._contents, "bbo", columns, bounds._replace(feed=None)):
            for row in zip(*(piece[name].to_pylist() for name in columns), strict=True):
                if row[0] is not None:
                    yield row

    def _settle_breaks(self, bounds: Bounds) -> None:
        """A delta without levels has no rows; its frame shows that the chain is whole nevertheless."""
        empties = self._empty_deltas(bounds)
        for gap in self._breaks:
            seq = gap.prev_seq
            while seq != gap.seq and seq in empties:
                seq = empties[seq]
            if seq == gap.seq:
                self._counts["empty_deltas"] += 1
            else:
                self._counts["links_broken"] += 1
                self._problem(
                    "chain",
                    f"at position {gap.pos}: {gap.prev_seq} does not follow {gap.seq}, and there is no gap",
                )

    def _empty_deltas(self, bounds: Bounds) -> dict[int, int]:
        """Sequence number to the one before it, of deltas without levels that lie in a break."""
        found: dict[int, int] = {}
        topic = self._venue.topic(self._symbol, self._feed).text
        breaks = sorted(self._breaks)
        starts = [gap.after_pos for gap in breaks]
        for piece in self._scanner.scan(
            self._contents, "frames", ("pos", "topic", "payload"), bounds._replace(feed=None)
        ):
            rows = piece.filter(pc.equal(piece["topic"], pa.scalar(topic, pa.string())))
            for pos, payload in zip(integers(rows["pos"]), rows["payload"], strict=True):
                index = bisect_right(starts, pos) - 1
                # A frame that could not be read has no text; its topic was told by what was left of it.
                if index < 0 or pos >= breaks[index].pos or not payload.is_valid:
                    continue
                text = payload.as_py()
                try:
                    message = self._venue.decode(b"" if text is None else text.encode())
                except VenueError:
                    continue
                for event in message.events if isinstance(message, Data) else ():
                    if isinstance(event, Delta) and not event.bids and not event.asks:
                        found[event.seq] = event.prev_seq
        return found

    def _problem(self, kind: str, text: str) -> None:
        self._checker.problem(kind, f"{self._symbol} {self._feed}", text)
