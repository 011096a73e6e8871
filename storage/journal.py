"""The writer of an archive's journal: takes records without waiting, makes them durable, says exactly which
are.

Records stay in memory (:class:`Spool`) until they are durable, so that a failing disk costs nothing: see
:mod:`bookreel.storage.segment_writer`. When memory becomes short whole streams are shed, counted and registered;
see :mod:`bookreel.storage.shedding`.

:meth:`Journal.pump_write` and :meth:`Journal.pump_sync` are the whole machine, one step each. Two threads
call them; with ``threads=False`` the caller does.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from bookreel import venues
from bookreel.book.model import Cause
from bookreel.storage.codec import seed_of
from bookreel.storage.disk import Disk, Lock, OsDisk
from bookreel.storage.errors import JournalClosed, JournalFailed, NotDurable
from bookreel.storage.histogram import Histogram
from bookreel.storage.layout import Layout, Meta
from bookreel.storage.pumps import Pump, Pumps
from bookreel.storage.record import encode_event
from bookreel.storage.recovery import Recovery, claim
from bookreel.storage.reserve import read_note
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments
from bookreel.storage.segment_writer import TRIES, SegmentWriter
from bookreel.storage.shedding import Victim
from bookreel.storage.spool import Clock, Counts, Spool
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
        self._owner = owner
        identity = bytes.fromhex(meta.id)
        note = read_note(Layout(archive).reserve, identity, disk)
        # Above the note's position too: from there on a record says that the disk took something again.
        next_pos = recovery.next_pos if note is None else max(recovery.next_pos, note.pos + 1)
        limit = options.spool_bytes
        self._spool = Spool(next_pos, seed=seed_of(identity), clock=clock, limit_bytes=limit, venue=venue)
        self.append = self._spool.append
        """See :meth:`Spool.append`: nothing stands between it and its callers, for each frame goes this way."""
        self._writer = SegmentWriter(
            archive,
            identity,
            self._spool,
            clock=clock,
            disk=disk,
            segment_bytes=options.segment_bytes,
            segment_ns=options.segment_seconds * 1e9,
            retry_ns=options.retry_interval_ms * 1_000_000,
        )
        self._pumps = Pumps(self._fail)
        self._failure: JournalFailed | None = None
        self._closed = False

        for event in recovery.events:
            self._spool.append_event(encode_event("recovery", **event))
        self._writer.resume(note, recovery)

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
                journal._start_pumps()
        except BaseException:
            owner.release()
            raise
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

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
    def sync_times(self) -> Histogram:
        """How long the syncs of open segments took."""
        return self._writer.sync_times

    @property
    def durable_times(self) -> Histogram:
        """How long records took from being received to being durable, to a write's interval."""
        return self._spool.durable_times

    @property
    def disk_full_since(self) -> int | None:
        """Wall clock, ns UTC, since when the disk is full; None if it is not."""
        return self._writer.full_since

    @property
    def shed_causes(self) -> dict[Cause, int]:
        """Records shed, by why they were."""
        return self._spool.shed_causes

    @property
    def pressed(self) -> bool:
        """Whether the disk does not keep up: work that can wait should not use it."""
        return self._writer.full_since is not None or self._spool.pressed

    @property
    def disk_free(self) -> int:
        """Bytes left for the archive, as of the last time the disk answered."""
        return self._writer.free

    # -- the pumps

    def pump_write(self) -> int:
        """Writes what is queued, closes and begins segments as they are due. Returns the records written.

        Errors of the disk are taken care of; after a pause it is asked again. To be called by one thread.
        """
        return self._writer.write()

    def pump_sync(self) -> int:
        """Makes durable what is written and moves the watermark. Returns the records that became durable."""
        return self._writer.sync()

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
            if tries == TRIES or (deadline is not None and time.monotonic() >= deadline):
                raise NotDurable(self.archive, self._spool.in_flight, self._writer.trouble)
            if self._pumps.running:
                self._pumps.wake()
                self._spool.wait(0.01)
            else:
                tries += 1
                self._writer.retry()
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
            self._pumps.stop()
            self._writer.finish()
        finally:
            self._pumps.stop()
            self._writer.abandon()
            self._owner.release()

    # -- threads

    def _start_pumps(self) -> None:
        options = self.options
        # More often than promised by the time for which a record may have waited for its write.
        sync_ms = max(1, options.fsync_interval_ms - options.write_interval_ms)
        self._pumps.start(
            [
                Pump("journal-write", self.pump_write, options.write_interval_ms),
                Pump("journal-sync", self.pump_sync, sync_ms),
            ]
        )

    def _fail(self, error: Exception) -> None:
        _log.critical("journal of %s stopped", self.archive, exc_info=error)
        failure = JournalFailed(self.archive, error)
        failure.__cause__ = error
        self._failure = failure
        self._spool.refuse(failure)


def is_recording(archive: Path | str, disk: Disk | None = None) -> bool:
    """Whether a recorder or importer has the archive open now."""
    disk = OsDisk() if disk is None else disk
    return disk.locked(Layout(Path(archive)).owner_lock)
