"""The writer of an archive's journal: takes records without waiting, makes them durable, says exactly which
are.

Records stay in memory (:class:`Spool`) until they are durable, so that a failing disk costs nothing. An error
of write or fdatasync makes the segment *suspect*: it is never synced again, as the kernel may have dropped
the pages and would say "fine" the next time; everything above the durable watermark is written once more into
a new segment. A full disk is waited for, and registered in the :class:`Reserve` meanwhile. When memory becomes
short whole streams are shed, counted and registered; see :mod:`bookreel.storage.shedding`.

A segment gets its name when it is whole: header and first records go to a temporary file, which is synced and
renamed. So a segment that can be seen has a durable record, two never share a name, and rewritten records
replace suspect ones at once.

:meth:`Journal.pump_write` and :meth:`Journal.pump_sync` are the whole machine, one step each. Two threads
call them; with ``threads=False`` the caller does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bookreel import venues
from bookreel.book.model import Cause
from bookreel.storage.codec import encode_footer, encode_start, seed_of
from bookreel.storage.disk import Disk, File, Lock, OsDisk, advance, is_full, write_all
from bookreel.storage.errors import JournalClosed, JournalFailed, NotDurable
from bookreel.storage.histogram import Histogram
from bookreel.storage.layout import Layout, Meta
from bookreel.storage.record import encode_event
from bookreel.storage.recovery import Recovery, claim
from bookreel.storage.reserve import Note, Reserve, read_note
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments
from bookreel.storage.shedding import Victim
from bookreel.storage.spool import Batch, Clock, Counts, Spool
from bookreel.venues.message import Venue

__all__ = [
    "Clock",
    "Counts",
    "Damage",
    "Journal",
    "JournalOptions",
    "Segment",
    "SegmentReader",
    "is_recording",
    "list_segments",
]

_log = logging.getLogger(__name__)

_BATCH_RECORDS: Final = min(os.sysconf("SC_IOV_MAX"), 1024)
_SYNC_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_NS: Final = 1_000_000_000
"""Pause between two looks at how much room the disk has."""
_TRIES: Final = 4
"""How often the disk is asked at the end when no thread is there to wait for it."""


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a journal writes.

    ``write_interval_ms``: records reach the kernel this often. ``fsync_interval_ms``: what a power loss can
    cost, plus one fdatasync. ``segment_bytes``, ``segment_seconds``: a segment that reached either is closed
    by the next record. ``spool_bytes``: ceiling of the memory of records that are not durable; from three
    quarters of it on streams are shed.
    ``retry_interval_ms``: pause after the disk refused. ``close_timeout_ms``: how long :meth:`Journal.close`
    waits for the disk. ``threads``: False leaves the pumps to the caller. ``archive_id``: 8 bytes for a new
    archive, None draws them.
    """

    write_interval_ms: int = 5
    fsync_interval_ms: int = 100
    segment_bytes: int = 128 * 1024 * 1024
    segment_seconds: float = 300.0
    spool_bytes: int = 256 * 1024 * 1024
    retry_interval_ms: int = 250
    close_timeout_ms: int = 5000
    threads: bool = True
    archive_id: bytes | None = None


class _Open:
    """The segment being written. ``footer`` is what remains of it to be written, once it is begun."""

    __slots__ = ("file", "first_pos", "footer", "opened_mono", "records", "size")

    def __init__(self, file: File, first_pos: int, opened_mono: int) -> None:
        self.file = file
        self.first_pos = first_pos
        self.opened_mono = opened_mono
        self.records = 0
        self.size = 0
        self.footer: list[bytes | memoryview] | None = None

    def add(self, batch: Batch) -> None:
        self.records += len(batch.buffers)
        self.size += batch.size


class Journal:
    """The one writer of an archive. Made by :meth:`open`; a context manager.

    Any thread may call any method but the pumps.
    """

    def __init__(
        self,
        archive: Path,
        meta: Meta,
        owner: Lock,
        recovery: Recovery,
        *,
        clock: Clock,
        options: JournalOptions,
        disk: Disk,
        venue: Venue | None = None,
    ) -> None:
        self.archive = archive
        self.meta = meta
        self.options = options
        self._layout = Layout(archive)
        self._owner = owner
        self._clock = clock
        self._disk = disk
        self._id = bytes.fromhex(meta.id)
        self._seed = seed_of(self._id)
        note = read_note(self._layout.reserve, self._id, disk)
        # Above the note's position too: from there on a record says that the disk took something again.
        next_pos = recovery.next_pos if note is None else max(recovery.next_pos, note.pos + 1)
        limit = options.spool_bytes
        self._spool = Spool(next_pos, seed=self._seed, clock=clock, limit_bytes=limit, venue=venue)

        # Held while the open segment is synced or replaced; writes go on beside it. Taken before the spool's
        # own lock.
        self._sync_lock = threading.RLock()
        self._segment: _Open | None = None
        self._suspect: OSError | None = None
        self._trouble = "no answer from the disk"
        self._full_since: int | None = None
        self._retry_at = 0
        self._reserve = Reserve(self._layout.reserve, self._id, disk)
        # Since when the reserve's notes say that the disk was full, and the event that says the same: once that is
        # durable they are not needed any more.
        self._noted_since = 0
        self._noted_pos = 0
        self.sync_times = Histogram(_SYNC_BOUNDS_S)
        """How long the syncs of open segments took."""
        self._look_at = 0
        self._free = 0

        self._failure: JournalFailed | None = None
        self._closed = False
        self._stopping = threading.Event()
        self._wakes: list[threading.Event] = []
        self._threads: list[threading.Thread] = []

        for event in recovery.events:
            self._spool.append_event(encode_event("recovery", **event))
        lost = note is not None and recovery.last_pos < note.pos
        if note is not None and (lost or note.since not in recovery.full):
            facts = {"from": note.since, "to": clock.wall_ns(), "lost": lost}
            self._noted_since = note.since
            self._noted_pos = self._spool.append_event(encode_event("disk_full", **facts))
            self._reserve.reopen()
        self._look_at_disk()

    @classmethod
    def open(
        cls,
        archive: Path | str,
        venue: str,
        *,
        clock: Clock,
        options: JournalOptions | None = None,
        disk: Disk | None = None,
    ) -> Journal:
        """Creates an archive, or recovers one however it was left.

        Raises ArchiveOwned before anything is touched, NotAnArchive, UnknownFormat, OSError.
        """
        archive = Path(archive)
        options = JournalOptions() if options is None else options
        disk = OsDisk() if disk is None else disk
        owner, meta, recovery = claim(
            archive, venue, created_ns=clock.wall_ns(), archive_id=options.archive_id, disk=disk
        )
        try:
            known = venues.get(venue) if venue in venues.names() else None
            journal = cls(
                archive, meta, owner, recovery, clock=clock, options=options, disk=disk, venue=known
            )
            if options.threads:
                journal._start_threads()
        except BaseException:
            owner.release()
            raise
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: int, kind: int, payload: bytes
    ) -> int:
        """Takes a record; returns its position, or 0 if it was shed because memory is short (whose it was is then
        :attr:`victim`). No I/O, no waiting.

        Raises RecordTooLarge, JournalClosed, JournalFailed.
        """
        return self._spool.append(ts_recv, mono, conn, epoch, direction, kind, payload)

    def began(self, topic: str) -> None:
        """The stream of this topic text was subscribed: among streams to be shed it is the youngest now."""
        self._spool.began(topic)

    @property
    def victim(self) -> Victim:
        """Whose record was shed last, and why; for the thread that appends."""
        return self._spool.victim

    # -- counts

    def counts(self) -> Counts:
        """All counts at one moment."""
        return self._spool.counts()

    @property
    def received(self) -> int:
        return self._spool.received

    @property
    def durable(self) -> int:
        return self._spool.durable

    @property
    def written(self) -> int:
        return self._spool.written

    @property
    def shed(self) -> int:
        return self._spool.shed

    @property
    def in_flight(self) -> int:
        return self._spool.in_flight

    @property
    def durable_pos(self) -> int:
        """The durable watermark: every record up to it survives a power loss."""
        return self._spool.durable_pos

    @property
    def next_pos(self) -> int:
        """The position that the next record gets."""
        return self._spool.next_pos

    @property
    def disk_full_since(self) -> int | None:
        """Wall clock, ns UTC, since when the disk is full; None if it is not."""
        return self._full_since

    @property
    def shed_causes(self) -> dict[Cause, int]:
        """Records shed, by why they were."""
        return self._spool.shed_causes

    @property
    def pressed(self) -> bool:
        """Whether the disk does not keep up: work that can wait should not use it."""
        return self._full_since is not None or self._spool.pressed

    @property
    def disk_free(self) -> int:
        """Bytes left for the archive, as of the last time the disk answered."""
        return self._free

    # -- the pumps

    def pump_write(self) -> int:
        """Writes what is queued, closes and begins segments as they are due. Returns the records written.

        Errors of the disk are taken care of; after a pause it is asked again. To be called by one thread.
        """
        now = self._clock.mono_ns()
        if now < self._retry_at:
            return 0
        if now >= self._look_at:
            self._look_at = now + _LOOK_NS
            self._look_at_disk()
        wrote = 0
        try:
            if self._suspect is not None:
                self._fail_over()
            while (batch := self._spool.take(_BATCH_RECORDS)) is not None:
                if self._segment is not None and self._is_due(self._segment, batch, now):
                    self._close_segment(self._segment)
                    continue
                if self._segment is None:
                    self._begin_segment([batch])
                else:
                    self._write(self._segment, batch)
                wrote += len(batch.buffers)
                if self._full_since is not None:
                    self._room_again(self._full_since)
        except OSError as error:
            self._refused(error)
        return wrote

    def _look_at_disk(self) -> None:
        """What is of no hurry: how much room there is, and a fresh reserve where its notes are outdated."""
        try:
            self._free = self._disk.free(self.archive)
        except OSError as error:
            _log.warning("journal of %s: %s", self.archive, error)
        self._keep_reserve()

    def _keep_reserve(self) -> None:
        if (
            not self._reserve.fresh
            and self._full_since is None
            and self._spool.durable_pos >= self._noted_pos
        ):
            self._reserve.renew()

    def pump_sync(self) -> int:
        """Makes durable what is written and moves the watermark. Returns the records that became durable."""
        with self._sync_lock:
            segment, waiting = self._segment, self._spool.waiting()
            if segment is None or waiting == 0 or self._suspect is not None:
                return 0
            began = self._clock.mono_ns()
            try:
                segment.file.datasync()
            except OSError as error:
                self._distrust(error)
                return 0
            self.sync_times.add((self._clock.mono_ns() - began) / 1e9)
            return self._spool.settle(waiting)

    def _is_due(self, segment: _Open, batch: Batch, now: int) -> bool:
        """Whether the segment is to be closed before the batch; a batch begun in it is finished in it."""
        if segment.footer is not None:
            return True
        if batch.begun:
            return False
        cut = self._spool.cut
        return (
            segment.size >= self.options.segment_bytes
            or now - segment.opened_mono >= self.options.segment_seconds * 1e9
            or (cut is not None and segment.first_pos < cut <= batch.first_pos)
        )

    def _write(self, segment: _Open, batch: Batch) -> None:
        try:
            while batch.todo:
                advance(batch.todo, segment.file.writev(batch.todo))
        except OSError as error:
            if not is_full(error):
                self._distrust(error)
            raise
        segment.add(batch)
        self._spool.wrote(batch)

    def _begin_segment(self, batches: list[Batch]) -> None:
        """Puts a new segment in place, with these batches in it and durable; or changes nothing and raises.

        They are all that is not durable: what waits, then the batch being written.
        """
        first_pos = batches[0].first_pos
        path = self._layout.segment(first_pos)
        temporary = path.with_name(path.name + ".new")
        self._disk.unlink(temporary)
        file = self._disk.create(temporary)
        segment = _Open(file, first_pos, self._clock.mono_ns())
        header = encode_start(self._id, first_pos, self._clock.wall_ns())
        segment.size = len(header)
        try:
            write_all(file, [header])
            for batch in batches:
                write_all(file, batch.buffers)
                segment.add(batch)
            file.datasync()
            self._disk.rename(temporary, path)
            self._disk.sync_folder(path.parent)
        except BaseException as error:
            file.close()
            if isinstance(error, OSError):
                # A full disk needs the room, and if only for a note of what happened.
                with contextlib.suppress(OSError):
                    self._disk.unlink(temporary)
            raise
        with self._sync_lock:
            if len(batches) > self._spool.waiting():
                self._spool.wrote(batches[-1])
            self._segment = segment
            self._spool.settle(len(batches))

    def _close_segment(self, segment: _Open) -> None:
        """Footer, fdatasync, and only then it is closed.

        Called again after an error, it goes on where it was.
        """
        with self._sync_lock:
            if self._suspect is not None:
                self._fail_over()
                return
            if segment.footer is None:
                last_pos = segment.first_pos + segment.records - 1
                segment.footer = [encode_footer(self._seed, segment.records, last_pos)]
            try:
                while segment.footer:
                    advance(segment.footer, segment.file.writev(segment.footer))
                segment.file.datasync()
            except OSError as error:
                if not is_full(error) or not segment.footer:
                    self._distrust(error)
                raise
            self._spool.settle(self._spool.waiting())
            segment.file.close()
            self._segment = None

    def _fail_over(self) -> None:
        """Leaves the suspect segment as it is, and writes into a new one what it may have lost."""
        with self._sync_lock:
            segment, cause = self._segment, self._suspect
            assert segment is not None, "only an open segment can be suspect"
            batches = self._spool.not_durable()
            if batches:
                self._begin_segment(batches)
            else:
                self._segment = None
            self._suspect = None
            segment.file.close()
        rewritten = sum(len(batch.buffers) for batch in batches)
        self._spool.count_rewritten(rewritten)
        name = f"{segment.first_pos:016d}"
        self._spool.append_event(
            encode_event("disk_error", segment=name, detail=str(cause), rewritten=rewritten)
        )

    def _distrust(self, error: OSError) -> None:
        """The open segment is suspect from now on."""
        self._suspect = error
        self._trouble = str(error)
        self._spool.count_failure()
        _log.error("journal of %s: %s; what is not durable goes to a new segment", self.archive, error)

    def _refused(self, error: OSError) -> None:
        """What the disk refused is asked again after a pause; a suspect segment is left without one."""
        if error is self._suspect:
            return
        if is_full(error) and self._full_since is None:
            self._full_since = since = self._clock.wall_ns()
            self._spool.cause = "disk_full"
            _log.error("journal of %s: the disk is full; records are kept in memory", self.archive)
            if self._spool.durable_pos >= self._noted_pos:
                self._noted_since = since
            refused = self._spool.not_durable()
            pos = refused[-1].last_pos if refused else self._spool.durable_pos
            self._reserve.note(Note(self._noted_since, pos))
        self._trouble = str(error)
        self._spool.count_failure()
        self._retry_at = self._clock.mono_ns() + self.options.retry_interval_ms * 1_000_000

    def _room_again(self, since: int) -> None:
        """The disk took a record again."""
        self._full_since = None
        self._spool.cause = "shed"
        event = encode_event("disk_full", **{"from": since, "to": self._clock.wall_ns()})
        self._noted_pos = self._spool.append_event(event)

    # -- waiting, closing

    def flush(self, timeout: float | None = None) -> None:
        """Returns when every record appended so far is durable. Blocks: not for the event loop.

        ``timeout`` in seconds; without threads nothing is waited for, the disk is asked a few times. Raises
        NotDurable, JournalFailed.
        """
        target = self._spool.next_pos - 1
        deadline = None if timeout is None else time.monotonic() + timeout
        tries = 0
        while self._spool.durable_pos < target:
            if self._failure is not None:
                raise self._failure
            if tries == _TRIES or (deadline is not None and time.monotonic() >= deadline):
                raise NotDurable(self.archive, self._spool.in_flight, self._trouble)
            if self._threads:
                for wake in self._wakes:
                    wake.set()
                self._spool.wait(0.01)
            else:
                tries += 1
                self._retry_at = 0
                self.pump_write()
                self.pump_sync()

    def rotate(self) -> None:
        """Closes the open segment and begins a new one with an event ``rotate``.

        Returns when that is durable; blocks.
        """
        self._spool.append_event(encode_event("rotate"), cut=True)
        self.flush()

    def close(self) -> None:
        """Makes everything durable, closes the segment in order, lets go of the archive. Blocks; a second
        call does nothing.

        Raises NotDurable if the disk did not take everything within ``close_timeout_ms``, JournalFailed; it
        lets go then too.
        """
        if self._closed:
            return
        self._closed = True
        self._spool.refuse(JournalClosed(self.archive))
        deadline = time.monotonic() + self.options.close_timeout_ms / 1000
        try:
            if self._failure is not None:
                raise self._failure
            # Making records durable can leave an event about it to be made durable.
            while self._spool.in_flight:
                self.flush(max(0.0, deadline - time.monotonic()))
            self._stop_threads()
            self._close_last()
            self._keep_reserve()
        finally:
            self._stop_threads()
            self._reserve.close()
            if self._segment is not None:
                self._segment.file.close()
            self._owner.release()

    def _close_last(self) -> None:
        """Closes the open segment.

        Every record is durable: without a footer the next opening has more to read, no more.
        """
        for _ in range(_TRIES):
            if self._segment is None:
                return
            try:
                self._close_segment(self._segment)
            except OSError as error:
                self._refused(error)
            # The event of a segment that turned suspect only now.
            self._retry_at = 0
            self.pump_write()
            self.pump_sync()
        _log.warning("journal of %s: closed without a footer: %s", self.archive, self._trouble)

    # -- threads

    def _start_threads(self) -> None:
        options = self.options
        # More often than promised by the time for which a record may have waited for its write.
        sync_ms = max(1, options.fsync_interval_ms - options.write_interval_ms)
        for name, pump, interval_ms in (
            ("journal-write", self.pump_write, options.write_interval_ms),
            ("journal-sync", self.pump_sync, sync_ms),
        ):
            wake = threading.Event()
            thread = threading.Thread(target=self._run, args=(pump, wake, interval_ms / 1000), name=name)
            self._wakes.append(wake)
            self._threads.append(thread)
            thread.start()

    def _run(self, pump: Callable[[], int], wake: threading.Event, interval: float) -> None:
        next_at = time.monotonic() + interval
        try:
            while not self._stopping.is_set():
                wake.wait(max(0.0, next_at - time.monotonic()))
                wake.clear()
                # From start to start: a slow step must not add to the interval.
                next_at = time.monotonic() + interval
                pump()
        except Exception as error:
            _log.critical("journal of %s stopped", self.archive, exc_info=error)
            failure = JournalFailed(self.archive, error)
            failure.__cause__ = error
            self._failure = failure
            self._spool.refuse(failure)

    def _stop_threads(self) -> None:
        self._stopping.set()
        for wake in self._wakes:
            wake.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def is_recording(archive: Path | str, disk: Disk | None = None) -> bool:
    """Whether a recorder or importer has the archive open now."""
    disk = OsDisk() if disk is None else disk
    return disk.locked(Layout(Path(archive)).owner_lock)
