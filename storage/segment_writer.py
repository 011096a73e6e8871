"""Puts the records of a :class:`Spool` on the disk, one segment after another.

An error of write or fdatasync makes the segment *suspect*: it is never synced again, as the kernel may have dropped
the pages and would say "fine" the next time; everything above the durable watermark is written once more into a new
segment. A full disk is waited for, and registered in the :class:`Reserve` meanwhile.

A segment gets its name when it is whole: header and first records go to a temporary file, which is synced and
renamed. So a segment that can be seen has a durable record, two never share a name, and rewritten records replace
suspect ones at once.

:meth:`SegmentWriter.write` and :meth:`SegmentWriter.sync` are the whole machine, one step each.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import Final

from bookreel.storage.codec import encode_footer, encode_start, seed_of
from bookreel.storage.disk import Disk, File, advance, is_full, write_all
from bookreel.storage.histogram import Histogram
from bookreel.storage.layout import Layout
from bookreel.storage.record import encode_event
from bookreel.storage.recovery import Recovery
from bookreel.storage.reserve import Note, Reserve
from bookreel.storage.spool import Batch, Clock, Spool

__all__ = ["TRIES", "SegmentWriter"]

_log = logging.getLogger(__name__)

TRIES: Final = 4
"""How often the disk is asked at the end when no thread is there to wait for it."""

_BATCH_RECORDS: Final = min(os.sysconf("SC_IOV_MAX"), 1024)
_SYNC_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LOOK_NS: Final = 1_000_000_000
"""Pause between two looks at how much room the disk has."""


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


class SegmentWriter:
    """The segments of a journal that has the archive for itself.

    ``segment_bytes``, ``segment_ns``: a segment that reached either is closed by the next record. ``retry_ns``: pause
    after the disk refused. One thread calls :meth:`write`, one :meth:`sync`; the rest may be read by any.
    """

    def __init__(
        self,
        archive: Path,
        archive_id: bytes,
        spool: Spool,
        *,
        clock: Clock,
        disk: Disk,
        segment_bytes: int,
        segment_ns: float,
        retry_ns: int,
    ) -> None:
        self._archive = archive
        self._layout = Layout(archive)
        self._id = archive_id
        self._spool = spool
        self._clock = clock
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._segment_ns = segment_ns
        self._retry_ns = retry_ns

        # Held while the open segment is synced or replaced; writes go on beside it. Taken before the spool's
        # own lock.
        self._sync_lock = threading.RLock()
        self._segment: _Open | None = None
        self._suspect: OSError | None = None
        self.trouble = "no answer from the disk"
        """What the disk said last when it refused."""
        self.full_since: int | None = None
        """Wall clock, ns UTC, since when the disk is full; None if it is not."""
        self._retry_at = 0
        self._reserve = Reserve(self._layout.reserve, archive_id, disk)
        # Since when the reserve's notes say that the disk was full, and the event that says the same: once that is
        # durable they are not needed any more.
        self._noted_since = 0
        self._noted_pos = 0
        self.sync_times = Histogram(_SYNC_BOUNDS_S)
        """How long the syncs of open segments took."""
        self._look_at = 0
        self.free = 0
        """Bytes left for the archive, as of the last time the disk answered."""

    def resume(self, note: Note | None, recovery: Recovery) -> None:
        """Registers a disk that was full when the last journal ended, as its reserve says; then looks at the disk."""
        lost = note is not None and recovery.last_pos < note.pos
        if note is not None and (lost or note.since not in recovery.full):
            facts = {"from": note.since, "to": self._clock.wall_ns(), "lost": lost}
            self._noted_since = note.since
            self._noted_pos = self._spool.append_event(encode_event("disk_full", **facts))
            self._reserve.reopen()
        self._look_at_disk()

    def write(self) -> int:
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
                    self._continue(self._segment, batch)
                wrote += len(batch.buffers)
                if self.full_since is not None:
                    self._room_again(self.full_since)
        except OSError as error:
            self._refused(error)
        return wrote

    def _look_at_disk(self) -> None:
        """What is of no hurry: how much room there is, and a fresh reserve where its notes are outdated."""
        try:
            self.free = self._disk.free(self._archive)
        except OSError as error:
            _log.warning("journal of %s: %s", self._archive, error)
        self._keep_reserve()

    def _keep_reserve(self) -> None:
        if not self._reserve.fresh and self.full_since is None and self._spool.durable_pos >= self._noted_pos:
            self._reserve.renew()

    def sync(self) -> int:
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
            segment.size >= self._segment_bytes
            or now - segment.opened_mono >= self._segment_ns
            or (cut is not None and segment.first_pos < cut <= batch.first_pos)
        )

    def _continue(self, segment: _Open, batch: Batch) -> None:
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
                segment.footer = [encode_footer(seed_of(self._id), segment.records, last_pos)]
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
        self.trouble = str(error)
        self._spool.count_failure()
        _log.error("journal of %s: %s; what is not durable goes to a new segment", self._archive, error)

    def _refused(self, error: OSError) -> None:
        """What the disk refused is asked again after a pause; a suspect segment is left without one."""
        if error is self._suspect:
            return
        if is_full(error) and self.full_since is None:
            self.full_since = since = self._clock.wall_ns()
            self._spool.cause = "disk_full"
            _log.error("journal of %s: the disk is full; records are kept in memory", self._archive)
            if self._spool.durable_pos >= self._noted_pos:
                self._noted_since = since
            refused = self._spool.not_durable()
            pos = refused[-1].last_pos if refused else self._spool.durable_pos
            self._reserve.note(Note(self._noted_since, pos))
        self.trouble = str(error)
        self._spool.count_failure()
        self._retry_at = self._clock.mono_ns() + self._retry_ns

    def _room_again(self, since: int) -> None:
        """The disk took a record again."""
        self.full_since = None
        self._spool.cause = "shed"
        event = encode_event("disk_full", **{"from": since, "to": self._clock.wall_ns()})
        self._noted_pos = self._spool.append_event(event)

    # -- the end

    def retry(self) -> None:
        """Does not wait for the pause after a refusal to be over."""
        self._retry_at = 0

    def finish(self) -> None:
        """Closes the open segment in order, now that no thread writes.

        Every record is durable: without a footer the next opening has more to read, no more.
        """
        self._close_last()
        self._keep_reserve()

    def abandon(self) -> None:
        """Lets go of the files, whatever state they are in."""
        self._reserve.close()
        if self._segment is not None:
            self._segment.file.close()

    def _close_last(self) -> None:
        for _ in range(TRIES):
            if self._segment is None:
                return
            try:
                self._close_segment(self._segment)
            except OSError as error:
                self._refused(error)
            # The event of a segment that turned suspect only now.
            self.retry()
            self.write()
            self.sync()
        _log.warning("journal of %s: closed without a footer: %s", self._archive, self.trouble)
