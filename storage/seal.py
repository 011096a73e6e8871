"""Sealing: closed journal segments to Parquet files, in order, in a way that survives being killed anywhere.

For each segment: read it, make rows, write the files, write the checkpoint, write the manifest entry, and only
then remove the segment and older checkpoints. Each file is written to a temporary name, synced and renamed, and
each is a pure function of the segment and the checkpoint before it. So whatever was left half done is done again
and gives the same bytes under the same names; until the manifest entry exists our readers do not look at them.

What is done about damage:

- A damaged region costs its own records. Streams covered at that point have a ``corrupt`` gap until they are known
  good again (see :mod:`bookreel.storage.streams`), and the manifest entry lists the region. The segment is not
  removed but renamed to ``*.seg.damaged``, for whoever wants to look for more in it. A torn tail alone, which is
  what a crash leaves, is not kept.
- A checkpoint that is missing or whose digest is wrong cannot be made again, since the segments before are gone.
  Sealing goes on with an empty one: each stream begins with a ``corrupt`` gap from the newest sealed record to its
  next ack, message or snapshot. Trades that the venue repeats right after that point are stored twice, and a gap
  that was open then starts too late. The entry's ``counts`` say ``forgotten``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
from isal.isal_zlib import crc32

from bookreel import venues
from bookreel.storage.checkpoint import BadState
from bookreel.storage.continuity import hole_before, of_entry
from bookreel.storage.digests import footer_bytes
from bookreel.storage.disk import Disk, OsDisk, is_full, write_whole
from bookreel.storage.errors import CorruptFile, StorageError
from bookreel.storage.journal import is_recording
from bookreel.storage.layout import Layout, read_meta
from bookreel.storage.manifest import MANIFEST_FORMAT, FileEntry, Manifest, SegmentEntry, encode_entry
from bookreel.storage.normalize import Normalizer
from bookreel.storage.parquet import parts
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments
from bookreel.storage.steps import sealed_turns, unknown_turns
from bookreel.storage.turns import Turns
from bookreel.venues.message import Venue

__all__ = ["SealReport", "SealRunning", "seal", "write_files"]

_log = logging.getLogger(__name__)

KEEP_FREE_BYTES: Final = 64 * 1024 * 1024
"""Left to a recorder: while one is alive a segment is sealed only if its own size and this are free."""

STOP_RECORDS: Final = 4096
"""Records between two looks at whether to stop."""


class SealRunning(StorageError):
    """Another process seals the archive."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"archive {path} is being sealed by another process; a recorder does so by itself, wait for it"
        )


class SealReport(msgspec.Struct):
    """What was sealed. ``rows`` by table; ``bytes_in`` of segments, ``bytes_out`` of Parquet; ``seconds`` of wall
    time, waiting included.
    """

    segments: int = 0
    records: int = 0
    frames: int = 0
    rows: dict[str, int] = {}
    bytes_in: int = 0
    bytes_out: int = 0
    seconds: float = 0.0


def seal(
    archive: Path | str,
    *,
    disk: Disk | None = None,
    progress: Callable[[SegmentEntry], None] | None = None,
    follow: bool = False,
    stop: threading.Event | None = None,
    poll_seconds: float = 1.0,
) -> SealReport:
    """Seal every closed segment, in order; with ``follow`` go on until the recorder is gone and all is sealed.

    ``progress`` is called with each entry written. Once ``stop`` is set the segment being sealed is given up, which
    costs nothing but the time, and the report is returned. A second sealer waits with ``follow``, else it raises
    :class:`SealRunning`. Raises NotAnArchive, UnknownFormat, CorruptManifest, OSError.
    """
    archive = Path(archive)
    disk = OsDisk() if disk is None else disk
    stop = threading.Event() if stop is None else stop
    begun = time.perf_counter()
    report = SealReport()
    venue = venues.get(read_meta(archive, disk).venue)
    sealer = _Sealer(archive, venue, disk, stop)
    while True:
        try:
            # Given free between two looks: a compaction needs the lock for a moment.
            with _lock(archive, disk, stop if follow else None, poll_seconds) as owned:
                alive = owned and sealer.seal_closed(report, progress)
        except OSError as error:
            if not (follow and is_full(error) and is_recording(archive, disk)):
                raise
            _log.warning("sealing waits: %s", error)
            alive = True
        if not follow or not alive or stop.wait(poll_seconds):
            break
    report.seconds = time.perf_counter() - begun
    return report


@contextmanager
def _lock(archive: Path, disk: Disk, waiting: threading.Event | None, poll_seconds: float) -> Iterator[bool]:
    """Hold the sealer's lock, False if it was not had. ``waiting``: wait for it until this is set."""
    while (lock := disk.lock(Layout(archive).seal_lock, f"process {os.getpid()}")) is None:
        if waiting is None:
            raise SealRunning(archive)
        if waiting.wait(poll_seconds):
            yield False
            return
    try:
        yield True
    finally:
        lock.release()


def write_files(
    layout: Layout,
    disk: Disk,
    venue: str,
    segment: str,
    table: str,
    rows: pa.Table,
    *,
    begin: Callable[[Path], None] | None = None,
) -> Iterator[FileEntry]:
    """Write the files that a table's rows of one segment make, each whole and durable before its entry is given.
    ``begin`` is called before each.
    """
    for part in parts(table, rows):
        path = layout.table_file(table, venue, part.date, segment)
        if begin is not None:
            begin(path)
        content = part.content.to_pybytes()
        footer = footer_bytes(content)
        disk.make_folder(path.parent)
        write_whole(disk, path, content)
        yield FileEntry(
            table=table,
            path=path.relative_to(layout.root).as_posix(),
            rows=part.rows,
            bytes=len(content),
            sha256=sha256(content).hexdigest(),
            date=part.date,
            ts_min=part.ts_min,
            ts_max=part.ts_max,
            pos_min=part.pos_min,
            pos_max=part.pos_max,
            symbols=part.symbols,
            footer_bytes=footer,
            footer_crc=crc32(content[-footer:]),
            added=part.added,
        )


class _Stopped(Exception):
    """Sealing a segment was given up on request."""


class _Sealer:
    """Seals the segments of one archive, keeping the normalizer from one to the next."""

    def __init__(self, archive: Path, venue: Venue, disk: Disk, stop: threading.Event) -> None:
        self._archive = archive
        self._layout = Layout(archive)
        self._venue = venue
        self._disk = disk
        self._stop = stop
        self._manifest = Manifest.load(archive, disk)
        self._normalizer: Normalizer | None = None
        self._forgotten = False
        # Files of the segment being sealed, which are worth nothing before its entry.
        self._unfinished: list[Path] = []

    def seal_closed(self, report: SealReport, progress: Callable[[SegmentEntry], None] | None) -> bool:
        """Seal what is closed now. Whether a recorder was alive, so that more may come."""
        # In this order: a recorder that opens the archive in between only adds segments that were not listed.
        segments = list_segments(self._archive, self._disk)
        recording = is_recording(self._archive, self._disk)
        for segment in segments[:-1] if recording else segments:
            if self._stop.is_set():
                break
            if self._manifest.sealed(segment.name) or self._sealed_meanwhile(segment.name):
                # By one who may have been killed before the entry's name was durable.
                self._disk.sync_folder(self._layout.manifest)
            else:
                if recording and self._disk.free(self._archive) < segment.size + KEEP_FREE_BYTES:
                    _log.warning("segment %s waits: the room left is the recorder's", segment.name)
                    break
                try:
                    entry = self._seal(segment)
                except _Stopped:
                    break
                except OSError as error:
                    if is_full(error):
                        self._give_room_back()
                    raise
                _add(report, entry, segment.size)
                if progress is not None:
                    progress(entry)
            self._clear(segment)
        return recording

    def _sealed_meanwhile(self, segment: str) -> bool:
        """Look again: another sealer may have had the lock. What it has done need not be done again."""
        known = len(self._manifest.segments)
        self._manifest = Manifest.load(self._archive, self._disk, known=self._manifest)
        if len(self._manifest.segments) != known:
            self._normalizer = None
        return self._manifest.sealed(segment)

    def _seal(self, segment: Segment) -> SegmentEntry:
        """Write the files of a segment, then its checkpoint, then its entry."""
        self._unfinished = []
        # Taken out: should anything fail, the next try begins at the checkpoint.
        normalizer, self._normalizer = self._normalizer or self._restore(), None
        before = Counter(normalizer.counts)
        read = _Reading()
        self._look_for_missing(segment, normalizer)
        with SegmentReader(segment.path, self._disk, after=self._manifest.last_pos, closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Damage):
                    normalizer.damage(item)
                    read.damage.append(item)
                    continue
                normalizer.feed(item)
                read.note(item.ts_recv)
                if read.records % STOP_RECORDS == 0:
                    self._look_for_stop()
            last_pos = max(normalizer.last_pos, reader.last_pos, segment.first_pos - 1)
        files: list[FileEntry] = []
        taken = normalizer.take(compact=True)
        while taken:
            table = next(iter(taken))
            files += self._write(segment.name, table, taken.pop(table))
        state = normalizer.state()
        state_path = self._layout.state_file(segment.name)
        write_whole(self._disk, state_path, state)
        counts = Counter(normalizer.counts)
        counts.subtract(before)
        counts["forgotten"] = int(self._forgotten)
        entry = SegmentEntry(
            format=MANIFEST_FORMAT,
            segment=segment.name,
            first_pos=segment.first_pos,
            last_pos=last_pos,
            records=read.records,
            ts_min=read.ts_min,
            ts_max=read.ts_max,
            files=files,
            state=self._relative(state_path),
            state_sha256=sha256(state).hexdigest(),
            counts={name: count for name, count in sorted(counts.items()) if count},
            damage=read.damage,
            steps=normalizer.take_steps(),
        )
        self._look_for_stop()
        # From here on they may be the entry's, also if it cannot be said to be durable.
        self._unfinished = []
        write_whole(self._disk, self._layout.manifest_entry(segment.name), encode_entry(entry))
        self._manifest.add(entry)
        self._normalizer, self._forgotten = normalizer, False
        pa.default_memory_pool().release_unused()
        return entry

    def _look_for_missing(self, segment: Segment, normalizer: Normalizer) -> None:
        """Segments that were removed leave a hole as damage does."""
        newest = self._manifest.segments[-1] if self._manifest.segments else None
        if damage := hole_before(segment, None if newest is None else of_entry(newest)):
            _log.error("segment %s: the records after %s are in no segment", segment.name, damage.after)
            normalizer.damage(damage)

    def _write(self, segment: str, table: str, rows: pa.Table) -> Iterator[FileEntry]:
        """Write the files that the rows of a table make."""
        return write_files(
            self._layout, self._disk, self._venue.name, segment, table, rows, begin=self._begin_file
        )

    def _begin_file(self, path: Path) -> None:
        self._look_for_stop()
        self._unfinished.append(path)

    def _give_room_back(self) -> None:
        """The disk is full: what was written of the segment is made again later."""
        try:
            for path in self._unfinished:
                self._disk.unlink(path)
        except OSError as error:
            _log.warning("%s", error)

    def _restore(self) -> Normalizer:
        """The normalizer as it was after the newest sealed segment."""
        self._forgotten = False
        if not self._manifest.segments:
            return Normalizer(self._venue)
        newest = self._manifest.segments[-1]
        try:
            state = self._read(self._archive / newest.state)
            if sha256(state).hexdigest() != newest.state_sha256:
                raise BadState("its digest is not that of the manifest")
            return Normalizer.restore(self._venue, state, turns=self._turns)
        except (FileNotFoundError, BadState) as error:
            _log.error("%s; going on without it, streams begin with a gap", error)
        self._forgotten = True
        normalizer = Normalizer(self._venue)
        known = [entry.ts_max for entry in self._manifest.segments if entry.ts_max is not None]
        if known:
            normalizer.forget(known[-1], self._turns())
        return normalizer

    def _turns(self) -> Turns:
        try:
            return sealed_turns(self._manifest)
        except CorruptFile as error:
            _log.error("%s; no instant of what is sealed is called valid", error)
            return unknown_turns(self._manifest)

    def _clear(self, segment: Segment) -> None:
        """Remove what the manifest makes superfluous: every checkpoint but the newest, and then the segment. As
        long as that is there, this is done again.
        """
        newest = Path(self._manifest.segments[-1].state).name
        for name in self._disk.names(self._layout.state):
            if name != newest:
                self._disk.unlink(self._layout.state / name)
        entry = next(entry for entry in reversed(self._manifest.segments) if entry.segment == segment.name)
        if any(damage.length and damage.reason != "torn tail" for damage in entry.damage):
            self._disk.rename(segment.path, segment.path.with_name(segment.path.name + ".damaged"))
        else:
            self._disk.unlink(segment.path)
        self._disk.sync_folder(self._layout.journal)

    def _read(self, path: Path) -> bytes:
        file = self._disk.open(path)
        try:
            return file.read(0, file.size())
        finally:
            file.close()

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._archive).as_posix()

    def _look_for_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Reading:
    """What was read of a segment."""

    def __init__(self) -> None:
        self.records = 0
        self.ts_min: int | None = None
        self.ts_max: int | None = None
        self.damage: list[Damage] = []

    def note(self, ts_recv: int) -> None:
        self.records += 1
        if self.ts_min is None or self.ts_max is None:
            self.ts_min = self.ts_max = ts_recv
        elif ts_recv > self.ts_max:
            self.ts_max = ts_recv
        elif ts_recv < self.ts_min:
            self.ts_min = ts_recv


def _add(report: SealReport, entry: SegmentEntry, size: int) -> None:
    report.segments += 1
    report.records += entry.records
    report.frames += entry.counts.get("frames", 0)
    report.bytes_in += size
    for file in entry.files:
        report.rows[file.table] = report.rows.get(file.table, 0) + file.rows
        report.bytes_out += file.bytes
