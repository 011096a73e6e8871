"""Merging: two archives of one feed, recorded independently, become a third one that has what either has.

The records of both are taken in the order of their receive times, so that position p of one becomes p plus the number
of positions of the other before it; :mod:`bookreel.storage.merge_lines` makes one archive's rows of them. Lines keep
their names behind ``A/`` or ``B/``, and the first row of ``sessions`` says which archive is which.

The new archive is made in a folder beside its place, ``<name>.merging``, each file as carefully as when sealing, and
put in place by one rename as the last thing. What an interrupted merge left there is removed by the next one, which
gives the same files: they are a function of what the two archives hold.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from bookreel import venues
from bookreel.storage.disk import Disk, OsDisk, write_whole
from bookreel.storage.errors import FileGone, StorageError, Unsettled
from bookreel.storage.journal import is_recording
from bookreel.storage.layout import Layout, create_archive
from bookreel.storage.manifest import MANIFEST_FORMAT, FileEntry, SegmentEntry, encode_entry
from bookreel.storage.merge_lines import Lines
from bookreel.storage.merge_source import Source
from bookreel.storage.record import Direction, Kind, Record, decode_event, encode_event
from bookreel.storage.seal import write_files
from bookreel.storage.segment import Damage

__all__ = ["CannotMerge", "MergeReport", "interleaved", "merge"]

SEGMENT_RECORDS: Final = 1 << 18
SEGMENT_BYTES: Final = 1 << 28
"""Records and bytes of frames of which the rows become files together; they are in memory until then."""

LINES: Final = ("A", "B")

_STEP: Final = 4096
_NO_ID: Final = "0" * 16
_COUNTS: Final = ("frames", "events", "decode_errors", "damages")


class CannotMerge(StorageError):
    """The archives, or the place of the new one, are not of the kind that can be merged."""

    exit_code = 2


class MergeReport(msgspec.Struct):
    """What was merged. ``records`` of each line; ``rows`` by table; ``gaps``: holes left; ``unequal``: how often the
    books of the lines differed at one sequence number, which should be never; ``bytes_out`` of Parquet; ``seconds``
    of wall time.
    """

    records: list[int]
    rows: dict[str, int] = {}
    gaps: int = 0
    unequal: int = 0
    bytes_out: int = 0
    seconds: float = 0.0


def merge(
    a: Path | str,
    b: Path | str,
    into: Path | str,
    *,
    disk: Disk | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MergeReport:
    """Make the archive ``into`` of the archives ``a`` and ``b``, which are only read, their journals' tails included.

    ``progress`` is called with the records done since the last call and those there are at least. Raises
    :class:`CannotMerge`, NotAnArchive, UnknownFormat, CorruptManifest, CorruptFile, Unsettled, OSError.
    """
    begun = time.perf_counter()
    disk = OsDisk() if disk is None else disk
    sources = [Source(Path(path), disk) for path in (a, b)]
    _check(sources, Path(into), disk)
    report = MergeReport([0, 0])
    with _staging(Path(into), disk) as folder:
        try:
            _Merger(sources, folder, disk).run(report, progress)
        except FileGone as error:
            for source in sources:
                if source.compacted():
                    raise Unsettled(source.root, 1) from error
            raise
        for source in sources:
            if not source.same():
                raise Unsettled(source.root, 1)
    report.seconds = time.perf_counter() - begun
    return report


def interleaved(
    streams: tuple[Iterator[Record | Damage], Iterator[Record | Damage]],
) -> Iterator[tuple[int, Record | Damage, int]]:
    """The items of two archives by receive time, each with its line and its position among those of both.

    A clock that was set back does not change the order inside an archive.
    """
    heads = [next(stream, None) for stream in streams]
    clocks = [0, 0]
    last = [0, 0]
    while True:
        for line, head in enumerate(heads):
            if isinstance(head, Record) and head.ts_recv > clocks[line]:
                clocks[line] = head.ts_recv
        a, b = heads
        if a is None and b is None:
            return
        line = 0 if b is None or (a is not None and clocks[0] <= clocks[1]) else 1
        item = heads[line]
        assert item is not None, "one of the two is there"
        if isinstance(item, Record):
            last[line] = item.pos
        yield line, item, last[0] + last[1] + 1
        heads[line] = next(streams[line], None)


class _Merger:
    """Makes one archive in ``folder``."""

    def __init__(self, sources: list[Source], folder: Path, disk: Disk) -> None:
        self._sources = sources
        self._folder = folder
        self._layout = Layout(folder)
        self._disk = disk
        self._venue = venues.get(sources[0].meta.venue)
        self._lines = Lines(self._venue, LINES)
        self._segment = _Segment(1)
        self._counted: Counter[str] = Counter()
        self._steps = 0

    def run(self, report: MergeReport, progress: Callable[[int, int], None] | None) -> None:
        """Read everything and write everything."""
        metas = [source.meta for source in self._sources]
        identity = blake2b("".join(meta.id for meta in metas).encode(), digest_size=8).digest()
        created = min(meta.created_ns for meta in metas)
        create_archive(self._folder, self._venue.name, created, self._disk, identity)
        least = sum(source.last_pos for source in self._sources)
        first = True
        done = 0
        a, b = self._sources
        for line, item, pos in interleaved((a.records(), b.records())):
            if isinstance(item, Damage):
                self._lines.damage(line, item)
                continue
            if first:
                self._refuse_merged(item, line)
                self._say_which(item.ts_recv)
                first = False
            elif report.records[line] == 0:
                self._refuse_merged(item, line)
            if self._segment.full:
                self._write(b"", report)
                self._segment = _Segment(pos)
            self._lines.feed(line, item, pos)
            self._segment.note(pos, item)
            report.records[line] += 1
            done += 1
            if done == _STEP and progress is not None:
                progress(done, least)
                done = 0
        state = self._lines.finish()
        self._write(state, report)
        report.gaps = self._lines.counts["gaps"]
        report.unequal = self._lines.counts["unequal"]

    def _refuse_merged(self, record: Record, line: int) -> None:
        if record.kind is Kind.EVENT and decode_event(record.payload)["event"] == "merge":
            raise CannotMerge(
                f"archive {self._sources[line].root} is itself merged, its lines cannot be told apart; merge "
                "archives as they were recorded"
            )

    def _say_which(self, ts_recv: int) -> None:
        """The first record: which line is which archive."""
        facts = {name: source.meta.id for name, source in zip(LINES, self._sources, strict=True)}
        payload = encode_event("merge", **facts)
        record = Record(1, ts_recv, 0, "", 0, Direction.INTERNAL, Kind.EVENT, payload)
        self._lines.rows.session(record, "merge", msgspec.json.encode(facts))
        self._segment.note(1, record)

    def _write(self, state: bytes, report: MergeReport) -> None:
        """Write the files of what was read since the last call, and their entry. Only the last checkpoint is kept."""
        read = self._segment
        files: list[FileEntry] = []
        taken = self._lines.take()
        while taken:
            table = next(iter(taken))
            rows = taken.pop(table)
            files += write_files(self._layout, self._disk, self._venue.name, read.name, table, rows)
        counts = self._lines.counts + Counter({name: self._lines.total(name) for name in _COUNTS})
        state_file = self._layout.state_file(read.name)
        if state:
            write_whole(self._disk, state_file, state)
        entry = SegmentEntry(
            format=MANIFEST_FORMAT,
            segment=read.name,
            first_pos=read.first_pos,
            last_pos=read.last_pos,
            records=read.records,
            ts_min=read.ts_min,
            ts_max=read.ts_max,
            files=files,
            state=state_file.relative_to(self._folder).as_posix(),
            state_sha256=sha256(state).hexdigest(),
            counts=dict(sorted((counts - self._counted).items())),
            damage=[],
            steps=self._lines.steps[self._steps :],
        )
        self._steps = len(self._lines.steps)
        self._counted = counts
        write_whole(self._disk, self._layout.manifest_entry(read.name), encode_entry(entry))
        for file in files:
            report.rows[file.table] = report.rows.get(file.table, 0) + file.rows
            report.bytes_out += file.bytes
        pa.default_memory_pool().release_unused()


class _Segment:
    """What one set of files is made of."""

    def __init__(self, first_pos: int) -> None:
        self.first_pos = first_pos
        self.name = f"{first_pos:016d}"
        self.last_pos = first_pos - 1
        self.records = 0
        self.ts_min: int | None = None
        self.ts_max: int | None = None
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self.records >= SEGMENT_RECORDS or self._bytes >= SEGMENT_BYTES

    def note(self, pos: int, record: Record) -> None:
        self.last_pos = pos
        self.records += 1
        self._bytes += len(record.payload)
        ts_recv = record.ts_recv
        self.ts_min = ts_recv if self.ts_min is None else min(self.ts_min, ts_recv)
        self.ts_max = ts_recv if self.ts_max is None else max(self.ts_max, ts_recv)


def _check(sources: list[Source], into: Path, disk: Disk) -> None:
    """Raises :class:`CannotMerge`."""
    a, b = (source.meta for source in sources)
    roots = [source.root.resolve() for source in sources]
    if roots[0] == roots[1] or (a.id == b.id != _NO_ID):
        raise CannotMerge(
            f"{sources[0].root} and {sources[1].root} are the same archive; name two that were recorded independently"
        )
    if a.venue != b.venue:
        raise CannotMerge(
            f"{sources[0].root} is of venue {a.venue}, {sources[1].root} of {b.venue}; merge archives of one venue"
        )
    for source in sources:
        if is_recording(source.root, disk):
            raise CannotMerge(f"archive {source.root} is being recorded; stop the recorder first")
        if disk.locked(Layout(source.root).seal_lock):
            raise CannotMerge(f"archive {source.root} is being sealed; wait until that is done")
        if disk.locked(Layout(source.root).compact_lock):
            raise CannotMerge(f"archive {source.root} is being compacted; wait until that is done")
    place = into.resolve()
    if any(place == root or place.is_relative_to(root) for root in roots):
        raise CannotMerge(f"{into} is inside an archive that is to be merged; name a new folder elsewhere")
    if into.exists() and not into.is_dir():
        raise CannotMerge(f"{into} is a file; name a new folder")
    if disk.names(into):
        raise CannotMerge(f"{into} exists and is not empty; name a new folder, or remove it first")


@contextmanager
def _staging(into: Path, disk: Disk) -> Iterator[Path]:
    """A folder to make the archive in, empty at first and put in place at the end."""
    into = into.absolute()
    folder = into.with_name(into.name + ".merging")
    layout = Layout(folder)
    known = {path.name for path in (*layout.folders, layout.meta, layout.owner_lock)}
    known.add(layout.meta.name + ".new")
    strange = sorted(set(disk.names(folder)) - known)
    if strange:
        raise CannotMerge(
            f"{folder} is where {into} is made, but it holds {strange[0]!r}; move that away first"
        )
    disk.make_folder(folder)
    lock = disk.lock(layout.owner_lock, f"process {os.getpid()}")
    if lock is None:
        raise CannotMerge(f"{into} is being made by another merge; wait for it, or name another folder")
    try:
        for path in layout.folders:
            shutil.rmtree(path, ignore_errors=True)
        disk.unlink(layout.meta)
        yield folder
        disk.rename(folder, into)
        disk.sync_folder(into.parent)
        disk.unlink(Layout(into).owner_lock)
    finally:
        lock.release()
