"""The writer of an archive's journal: takes records without ever waiting, makes them durable, says exactly which are.

A record goes through four places, and every one is counted where it is::

    append -> queue -> batch being written -> written, not yet durable -> durable (dropped from memory)
                       pump_write                pump_sync

Records stay in memory until they are durable, so that a failing disk costs nothing: an error of write or fdatasync makes the segment
*suspect*. It is never synced again (the kernel may have dropped the pages and say "fine" the next time), and everything above the
durable watermark is written once more into a new segment. A full disk is waited for. What memory may hold is bounded by
``spool_bytes``; beyond it frames are shed, counted and registered.

A segment gets its name only when it is whole: header and first records go to a temporary file, which is synced and renamed. So a
segment that can be seen has a durable record, no two segments share a name, and a rewritten segment replaces the suspect one at once.

:meth:`Journal.pump_write` and :meth:`Journal.pump_sync` are the whole machine, one step each. Two threads call them; with
``threads=False`` the caller does.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from isal.isal_zlib import crc32

from bookreel.storage.disk import Disk, File, Lock, OsDisk, advance, write_all
from bookreel.storage.errors import (
    JournalClosed,
    JournalFailed,
    NotDurable,
    RecordTooLarge,
    StorageError,
)
from bookreel.storage.layout import Layout, Meta
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.recovery import Recovery, claim
from bookreel.storage.segment import (
    BODY,
    CONN_BYTES_MAX,
    FRAME,
    MARKER,
    PAYLOAD_BYTES_MAX,
    encode_footer,
    encode_header,
    seed_of,
)

__all__ = ["Clock", "Counts", "Journal", "JournalOptions", "is_recording"]

_log = logging.getLogger(__name__)

_BATCH_RECORDS: Final = min(os.sysconf("SC_IOV_MAX"), 1024)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NS_PER_MS: Final = 1_000_000
_RECORD_OVERHEAD: Final = 128
"""Bytes of memory a record holds beside its payload: header, line's name, object and list slot."""


class Clock(Protocol):
    """Where time comes from."""

    def wall_ns(self) -> int: ...

    def mono_ns(self) -> int: ...


class JournalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a journal writes.

    ``write_interval_ms``: records reach the kernel this often. ``fsync_interval_ms``: bound of what a power loss can cost, plus one
    fdatasync. ``segment_bytes``, ``segment_seconds``: a segment is closed when it reaches either. ``spool_bytes``: bound of the records
    in memory, beyond it they are shed. ``retry_interval_ms``: pause after the disk refused. ``close_timeout_ms``: how long
    :meth:`Journal.close` waits for the disk before it gives up what is in memory. ``threads``: False leaves the pumps to the caller.
    ``archive_id``: 8 bytes for a new archive, None draws them.
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


class Counts(msgspec.Struct, frozen=True):
    """Records since the journal was opened, taken at one moment: ``received == durable + in_flight + shed``.

    ``written``: given to the kernel at least once. ``rewritten``: written again after a failure of the disk. ``failures``: errors of
    the disk, a full one included. ``held_bytes``: memory of the records not yet durable.
    """

    received: int
    durable: int
    in_flight: int
    shed: int
    written: int
    rewritten: int
    failures: int
    held_bytes: int


class _Batch:
    """Records that are written by one call; ``first_pos`` is of the first, and positions are consecutive."""

    __slots__ = ("buffers", "first_pos", "size", "todo")

    def __init__(self, first_pos: int, buffers: list[bytes]) -> None:
        self.first_pos = first_pos
        self.buffers = buffers
        self.size = sum(map(len, buffers))
        self.todo: list[bytes | memoryview] = list(buffers)

    @property
    def last_pos(self) -> int:
        return self.first_pos + len(self.buffers) - 1

    @property
    def held(self) -> int:
        return self.size + len(self.buffers) * _RECORD_OVERHEAD


class _Open:
    """The segment being written."""

    __slots__ = ("file", "first_pos", "footer", "opened_mono", "records", "size")

    def __init__(self, file: File, first_pos: int, opened_mono: int) -> None:
        self.file = file
        self.first_pos = first_pos
        self.opened_mono = opened_mono
        self.records = 0
        self.size = 0
        self.footer: list[bytes | memoryview] | None = None


class Journal:
    """The one writer of an archive. Made by :meth:`open`; a context manager.

    :meth:`append` belongs to one thread (the event loop's); everything else may be called from any.
    """

    def __init__(
        self,
        archive: Path,
        meta: Meta,
        lock: Lock,
        recovery: Recovery,
        *,
        clock: Clock,
        options: JournalOptions,
        disk: Disk,
    ) -> None:
        self.archive = archive
        self.meta = meta
        self.options = options
        self._layout = Layout(archive)
        self._owner = lock
        self._clock = clock
        self._disk = disk
        self._id = bytes.fromhex(meta.id)
        self._seed = seed_of(self._id)
        self._names: dict[str, bytes] = {}
        self._refusal: StorageError | None = None

        # _lock: every count and queue, held for microseconds. _sync_lock: the open file during fdatasync or while it is replaced;
        # writes go on beside it. Taken in the order _sync_lock, _lock.
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._settled = threading.Condition(self._lock)

        self._next_pos = recovery.next_pos
        self._durable_pos = recovery.next_pos - 1
        self._queue: list[bytes] = []
        self._current: _Batch | None = None
        self._unsynced: deque[_Batch] = deque()
        self._held = 0
        self._received = self._durable = self._shed = self._written = self._rewritten = self._failures = 0
        self._shedding: list[int] | None = None

        self._segment: _Open | None = None
        self._suspect: OSError | None = None
        self._trouble = ""
        self._rotate_before: int | None = None
        self._full_since: int | None = None
        self._retry_at = 0

        self._stopping = threading.Event()
        self._write_soon = threading.Event()
        self._sync_soon = threading.Event()
        self._threads: list[threading.Thread] = []

        for event in recovery.events:
            self._append_event("recovery", **event)

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

        Raises ArchiveOwned, NotAnArchive, UnknownFormat, OSError.
        """
        archive = Path(archive)
        options = JournalOptions() if options is None else options
        disk = OsDisk() if disk is None else disk
        lock, meta, recovery = claim(
            archive, venue, created_ns=clock.wall_ns(), archive_id=options.archive_id, disk=disk
        )
        try:
            journal = cls(archive, meta, lock, recovery, clock=clock, options=options, disk=disk)
        except BaseException:
            lock.release()
            raise
        if options.threads:
            journal._start_threads()
        return journal

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- taking records

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: int, kind: int, payload: bytes
    ) -> int:
        """Takes a record; returns its position, or 0 if it was shed because memory is full. No I/O, no waiting.

        Raises RecordTooLarge, JournalClosed, JournalFailed.
        """
        name = self._names.get(conn)
        if name is None:
            name = self._encode_name(conn)
        size = len(payload)
        with self._lock:
            if self._refusal is not None or size > PAYLOAD_BYTES_MAX:
                raise self._refusal or RecordTooLarge("payload", size, PAYLOAD_BYTES_MAX)
            self._received += 1
            if (
                self._shedding is not None or self._held + size > self.options.spool_bytes
            ) and not self._has_room(size):
                self._shed += 1
                return 0
            pos = self._next_pos
            body = BODY.pack(size, pos, ts_recv, mono, epoch, direction, kind, len(name)) + name + payload
            record = FRAME.pack(MARKER, crc32(body, self._seed)) + body
            self._queue.append(record)
            self._held += len(record) + _RECORD_OVERHEAD
            self._next_pos = pos + 1
        return pos

    def _encode_name(self, conn: str) -> bytes:
        name = conn.encode()
        if len(name) > CONN_BYTES_MAX:
            raise RecordTooLarge("line name", len(name), CONN_BYTES_MAX)
        self._names[conn] = name
        return name

    def _has_room(self, size: int) -> bool:
        """Begins, continues or ends a run of shed records; with the lock held. The run's end is registered in the journal."""
        run = self._shedding
        now = self._clock.wall_ns()
        if run is None:
            self._shedding = [now, 0]
            run = self._shedding
        # A margin, so that a full spool sheds in runs and not every second frame.
        elif self._held + size <= self.options.spool_bytes - self.options.spool_bytes // 8:
            self._shedding = None
            self._enqueue_event(now, encode_event("shed", **{"from": run[0], "to": now, "records": run[1]}))
            return True
        run[1] += 1
        return False

    def _append_event(self, name: str, **facts: Any) -> None:
        with self._lock:
            self._enqueue_event(self._clock.wall_ns(), encode_event(name, **facts))

    def _enqueue_event(self, now: int, payload: bytes) -> None:
        """Takes an event of the journal itself, whatever memory holds: they are few, and they say what is missing."""
        body = (
            BODY.pack(
                len(payload),
                self._next_pos,
                now,
                self._clock.mono_ns(),
                0,
                Direction.INTERNAL,
                Kind.EVENT,
                0,
            )
            + payload
        )
        record = FRAME.pack(MARKER, crc32(body, self._seed)) + body
        self._received += 1
        self._queue.append(record)
        self._held += len(record) + _RECORD_OVERHEAD
        self._next_pos += 1

    # -- counts

    def counts(self) -> Counts:
        """All counts at one moment."""
        with self._lock:
            return Counts(
                self._received,
                self._durable,
                self._count_in_flight(),
                self._shed,
                self._written,
                self._rewritten,
                self._failures,
                self._held,
            )

    def _count_in_flight(self) -> int:
        """Counted where the records are, so that the identity of the counts can fail."""
        current = 0 if self._current is None else len(self._current.buffers)
        return len(self._queue) + current + sum(len(batch.buffers) for batch in self._unsynced)

    @property
    def received(self) -> int:
        return self._received

    @property
    def durable(self) -> int:
        return self._durable

    @property
    def written(self) -> int:
        return self._written

    @property
    def shed(self) -> int:
        return self._shed

    @property
    def in_flight(self) -> int:
        with self._lock:
            return self._count_in_flight()

    @property
    def durable_pos(self) -> int:
        """The durable watermark: every record up to it survives a power loss."""
        return self._durable_pos

    @property
    def next_pos(self) -> int:
        return self._next_pos

    @property
    def disk_full_since(self) -> int | None:
        """Wall clock, ns UTC, since when the disk is full; None if it is not."""
        return self._full_since

    # -- the pumps

    def pump_write(self) -> int:
        """Writes what is queued, closing and beginning segments as they are due. Returns the records written.

        Errors of the disk are taken care of: after a pause it is tried again. Called by one thread at a time.
        """
        now = self._clock.mono_ns()
        if now < self._retry_at:
            return 0
        wrote = 0
        try:
            if self._suspect is not None:
                self._fail_over()
            while (batch := self._take_batch()) is not None:
                segment = self._segment
                if segment is not None and (segment.footer is not None or self._is_due(segment, batch, now)):
                    self._close_segment(segment)
                if self._suspect is not None:
                    self._fail_over()
                    continue
                if self._segment is None:
                    self._begin_segment([batch])
                else:
                    self._write(self._segment, batch)
                wrote += len(batch.buffers)
        except OSError as error:
            self._disk_refused(error)
            return wrote
        if self._full_since is not None and wrote:
            since, self._full_since = self._full_since, None
            self._append_event("disk_full", **{"from": since, "to": self._clock.wall_ns()})
        return wrote

    def pump_sync(self) -> int:
        """Makes durable what is written; moves the watermark. Returns the records that became durable."""
        with self._sync_lock:
            segment, count = self._segment, len(self._unsynced)
            if segment is None or count == 0 or self._suspect is not None:
                return 0
            try:
                segment.file.datasync()
            except OSError as error:
                self._suspect_segment(error)
                return 0
            return self._settle(count)

    def _take_batch(self) -> _Batch | None:
        """The batch being written, or the next of the queue."""
        if self._current is None:
            with self._lock:
                if self._queue:
                    first_pos = self._next_pos - len(self._queue)
                    self._current = _Batch(first_pos, self._queue[:_BATCH_RECORDS])
                    del self._queue[:_BATCH_RECORDS]
        return self._current

    def _is_due(self, segment: _Open, batch: _Batch, now: int) -> bool:
        if len(batch.todo) != len(batch.buffers) or batch.todo[0] is not batch.buffers[0]:
            return False  # Begun in this segment: records never cross.
        options = self.options
        return (
            segment.size >= options.segment_bytes
            or now - segment.opened_mono >= options.segment_seconds * 1e9
            or (
                self._rotate_before is not None and segment.first_pos < self._rotate_before <= batch.first_pos
            )
        )

    def _write(self, segment: _Open, batch: _Batch) -> None:
        try:
            while batch.todo:
                advance(batch.todo, segment.file.writev(batch.todo))
        except OSError as error:
            if error.errno not in _FULL:
                self._suspect_segment(error)
            raise
        segment.size += batch.size
        segment.records += len(batch.buffers)
        with self._lock:
            self._current = None
            self._unsynced.append(batch)
            self._written += len(batch.buffers)

    def _begin_segment(self, batches: list[_Batch]) -> None:
        """Puts a new segment in place, with these batches in it and durable; or changes nothing and raises."""
        first_pos = batches[0].first_pos
        path = self._layout.segment(first_pos)
        temporary = path.with_name(path.name + ".new")
        self._disk.unlink(temporary)
        file = self._disk.create(temporary)
        header = encode_header(self._id, first_pos, self._clock.wall_ns())
        segment = _Open(file, first_pos, self._clock.mono_ns())
        segment.size = len(header)
        try:
            write_all(file, [header])
            for batch in batches:
                write_all(file, batch.buffers)
                segment.size += batch.size
                segment.records += len(batch.buffers)
            file.datasync()
            self._disk.rename(temporary, path)
            self._disk.sync_folder(path.parent)
        except BaseException:
            file.close()
            raise
        with self._sync_lock, self._lock:
            for batch in batches:
                if batch is self._current:
                    self._current = None
                    self._unsynced.append(batch)
                    self._written += len(batch.buffers)
            self._segment = segment
        self._settle(len(batches))

    def _close_segment(self, segment: _Open) -> None:
        """Footer, fdatasync, and only then it counts as closed. May be called again after an error."""
        if segment.footer is None:
            last_pos = segment.first_pos + segment.records - 1
            segment.footer = [encode_footer(self._seed, segment.records, last_pos)]
        with self._sync_lock:
            if self._suspect is not None:
                return
            try:
                while segment.footer:
                    advance(segment.footer, segment.file.writev(segment.footer))
                segment.file.datasync()
            except OSError as error:
                if error.errno not in _FULL or not segment.footer:
                    self._suspect_segment(error)
                raise
            self._settle(len(self._unsynced))
            segment.file.close()
            self._segment = None

    def _fail_over(self) -> None:
        """Leaves the suspect segment as it is; writes what it may have lost into a new one."""
        batches = list(self._unsynced)
        if self._current is not None:
            batches.append(self._current)
            self._current.todo = list(self._current.buffers)
        segment, cause = self._segment, self._suspect
        assert segment is not None, "only an open segment can be suspect"
        if batches:
            self._begin_segment(batches)
            again = sum(len(batch.buffers) for batch in batches)
        else:
            self._segment = None
            again = 0
        segment.file.close()
        with self._lock:
            self._rewritten += again
        self._suspect = None
        self._append_event(
            "disk_error", segment=f"{segment.first_pos:016d}", detail=str(cause), rewritten=again
        )

    def _settle(self, count: int) -> int:
        """The first ``count`` unsynced batches are durable."""
        with self._settled:
            records = 0
            for _ in range(count):
                batch = self._unsynced.popleft()
                records += len(batch.buffers)
                self._held -= batch.held
                self._durable_pos = batch.last_pos
            self._durable += records
            self._settled.notify_all()
        return records

    def _suspect_segment(self, error: OSError) -> None:
        """The open segment is never written or synced again. Counted where the error is met: in pump_write by _disk_refused."""
        self._suspect = error
        self._trouble = str(error)
        with self._lock:
            self._failures += 1
        _log.error("journal of %s: %s; rewriting into a new segment", self.archive, error)

    def _disk_refused(self, error: OSError) -> None:
        """Sets the pause; says so once."""
        if error.errno in _FULL and self._full_since is None:
            self._full_since = self._clock.wall_ns()
            _log.error("journal of %s: the disk is full; keeping records in memory", self.archive)
        if error is not self._suspect:
            with self._lock:
                self._failures += 1
        self._trouble = str(error)
        # A suspect segment is replaced at once; whatever else the disk refuses is asked again after a pause.
        if error is not self._suspect:
            self._retry_at = self._clock.mono_ns() + self.options.retry_interval_ms * _NS_PER_MS

    # -- waiting, closing

    def flush(self, timeout: float | None = None) -> None:
        """Returns when every record appended so far is durable. Blocks: not for the event loop.

        ``timeout`` in seconds of real time. Raises NotDurable after it, JournalFailed.
        """
        target = self._next_pos - 1
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._threads:
                self._sync_soon.set()
                self._write_soon.set()
                with self._settled:
                    self._settled.wait_for(lambda: self._durable_pos >= target or self._failed(), 0.02)
            else:
                self.pump_write()
                self.pump_sync()
            if isinstance(self._refusal, JournalFailed):
                raise self._refusal
            if self._durable_pos >= target:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise NotDurable(self.archive, self.in_flight, self._trouble or "no answer from the disk")
            if not self._threads:
                self._pause()

    def _failed(self) -> bool:
        return isinstance(self._refusal, JournalFailed)

    def _pause(self) -> None:
        """Without threads the caller's clock may stand still, and only the caller can move it: say so instead of spinning."""
        if self._clock.mono_ns() < self._retry_at:
            time.sleep(0.001)

    def rotate(self) -> None:
        """Closes the open segment and begins a new one with an event ``rotate``. Returns when both are durable; blocks."""
        self._append_event("rotate")
        self._rotate_before = self._next_pos - 1
        self.flush()

    def close(self) -> None:
        """Makes everything durable, closes the segment in order and gives the archive free. Blocks; a second call does nothing.

        Raises NotDurable if the disk did not take everything within ``close_timeout_ms``, JournalFailed; the archive is free then too.
        """
        with self._lock:
            if isinstance(self._refusal, JournalClosed):
                return
            failure, self._refusal = self._refusal, JournalClosed(self.archive)
        try:
            if failure is None:
                self._drain()
        finally:
            self._stop_threads()
            if self._segment is not None:
                self._segment.file.close()
            self._owner.release()
        if failure is not None:
            raise failure

    def _drain(self) -> None:
        timeout = self.options.close_timeout_ms / 1000
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        self._stop_threads()
        while self._segment is not None:
            try:
                if self._suspect is not None:
                    self._fail_over()
                    self.flush(max(0.0, deadline - time.monotonic()))
                    continue
                self._close_segment(self._segment)
            except OSError as error:
                # Every record is durable: a footer is only a courtesy to the next opening.
                if time.monotonic() >= deadline:
                    _log.warning("journal of %s: closed without a footer: %s", self.archive, error)
                    return
                time.sleep(0.01)

    # -- threads

    def _start_threads(self) -> None:
        options = self.options
        # Synced this much more often than promised, as a record may have waited for its write already.
        sync_ms = max(1, options.fsync_interval_ms - options.write_interval_ms)
        for name, pump, wake, interval_ms in (
            ("journal-write", self.pump_write, self._write_soon, options.write_interval_ms),
            ("journal-sync", self.pump_sync, self._sync_soon, sync_ms),
        ):
            thread = threading.Thread(
                target=self._run, args=(pump, wake, interval_ms / 1000), name=name, daemon=False
            )
            self._threads.append(thread)
            thread.start()

    def _run(self, pump: Any, wake: threading.Event, interval: float) -> None:
        next_at = time.monotonic() + interval
        try:
            while not self._stopping.is_set():
                wake.wait(max(0.0, next_at - time.monotonic()))
                wake.clear()
                # From start to start: a slow step must not add to the interval that was promised.
                next_at = time.monotonic() + interval
                pump()
        except BaseException as error:
            _log.critical("journal of %s stopped", self.archive, exc_info=error)
            failure = JournalFailed(self.archive, error)
            failure.__cause__ = error
            with self._settled:
                if self._refusal is None:
                    self._refusal = failure
                self._settled.notify_all()

    def _stop_threads(self) -> None:
        self._stopping.set()
        self._write_soon.set()
        self._sync_soon.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def is_recording(archive: Path | str, disk: Disk | None = None) -> bool:
    """Whether a recorder or importer has the archive open now."""
    disk = OsDisk() if disk is None else disk
    return disk.locked(Layout(Path(archive)).owner_lock)
