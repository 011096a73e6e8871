"""The records in memory: bounded, and counted where they are.

A record goes through four places, and leaves memory only when it is durable::

    append -> queue -> batch being written -> written, not yet durable -> durable
              take                     wrote                       settle

``received == durable + in_flight + shed`` holds whenever the lock is free; ``in_flight`` is counted from the
places themselves, so the identity is a check and not a definition.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Protocol

import msgspec

from bookreel.book.model import Cause
from bookreel.storage.codec import CONN_BYTES_MAX, HEADER, PAYLOAD_BYTES_MAX, encode_record
from bookreel.storage.errors import RecordTooLarge, StorageError
from bookreel.storage.histogram import Histogram
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.shedding import SHED_CAUSES, Marks, Shedding, Victim
from bookreel.venues.message import Venue

__all__ = ["Batch", "Clock", "Counts", "Spool"]

_RECORD_OVERHEAD: Final = 128
"""Bytes of memory that a record takes beside its own: object, slot, allocator."""

_DURABLE_BOUNDS_S: Final = (0.01, 0.02, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)

_PRESSED_PART: Final = 4
"""The disk does not keep up once one part in so many is filled."""


class Clock(Protocol):
    """Where time comes from."""

    def wall_ns(self) -> int: ...

    def mono_ns(self) -> int: ...


class Counts(msgspec.Struct, frozen=True):
    """Records since the journal was opened, at one moment: ``received == durable + in_flight + shed``.

    ``written``: given to the kernel at least once. ``rewritten``: written again after an error of the disk.
    ``failures``: errors of the disk, a full one included. ``held_bytes``: memory of the records not yet
    durable. Events of the journal itself are counted too.
    """

    received: int
    durable: int
    in_flight: int
    shed: int
    written: int
    rewritten: int
    failures: int
    held_bytes: int


class Batch:
    """Records written together; their positions are consecutive.

    ``todo`` is what the kernel has not taken yet.
    """

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
    def mono(self) -> int:
        """When the first record was received, monotonic ns."""
        return int(HEADER.unpack_from(self.buffers[0])[5])

    @property
    def begun(self) -> bool:
        """Whether the kernel has taken a part of it."""
        return len(self.todo) != len(self.buffers) or self.todo[0] is not self.buffers[0]


class Spool:
    """What was appended and is not durable yet.

    Safe for threads; :meth:`take` and :meth:`wrote` belong to the one that writes.
    """

    def __init__(
        self, next_pos: int, *, seed: int, clock: Clock, limit_bytes: int, venue: Venue | None = None
    ) -> None:
        self._seed = seed
        self._clock = clock
        marks = Marks.of(limit_bytes)
        self._begin = marks.begin
        self._pressed = limit_bytes // _PRESSED_PART
        self._shedding = Shedding(venue, marks)
        self._names: dict[str, bytes] = {}
        self._refusal: StorageError | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.next_pos = next_pos
        self.durable_pos = next_pos - 1
        self.cut: int | None = None
        self._queue: deque[bytes] = deque()
        self._current: Batch | None = None
        self._unsynced: deque[Batch] = deque()
        self._held = 0
        self.received = self.durable = self.shed = self.written = 0
        self.durable_times = Histogram(_DURABLE_BOUNDS_S)
        """How long records took from being received to being durable, each as the oldest that was written with it."""
        self._rewritten = self._failures = 0
        self._crowded = False
        self._shed_causes: dict[Cause, int] = dict.fromkeys(sorted(SHED_CAUSES), 0)
        self.cause: Cause = "shed"
        """Why records that are shed from now on are lost."""

    # -- in

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: int, kind: int, payload: bytes
    ) -> int:
        """Takes a record; returns its position, or 0 if it was shed because memory is short (whose it was is then
        :attr:`victim`). No I/O, no waiting.

        Raises RecordTooLarge, JournalClosed, JournalFailed.
        """
        name = self._names.get(conn)
        if name is None:
            name = self._encode_name(conn)
        size = len(payload)
        with self._lock:
            if self._refusal is not None or size > PAYLOAD_BYTES_MAX:
                raise self._refusal or RecordTooLarge("payload", size, PAYLOAD_BYTES_MAX)
            if (self._crowded or self._held + size > self._begin) and not self._admits(
                size, ts_recv, direction, kind, payload
            ):
                self.received += 1
                self.shed += 1
                self._shed_causes[self._shedding.victim.cause] += 1
                return 0
            pos = self.next_pos
            record = encode_record(self._seed, pos, ts_recv, mono, name, epoch, direction, kind, payload)
            self._queue.append(record)
            self._held += len(record) + _RECORD_OVERHEAD
            self.next_pos = pos + 1
            self.received += 1
        return pos

    def append_event(self, payload: bytes, *, cut: bool = False) -> int:
        """Takes an event of the journal itself, whatever memory holds: they are few and say what is missing.

        With ``cut`` a batch begins with it.
        """
        with self._lock:
            pos = self._enqueue_event(self._clock.wall_ns(), payload)
            if cut:
                self.cut = pos
        return pos

    def refuse(self, error: StorageError) -> None:
        """Every later :meth:`append` raises this; a run of shed records ends and is registered."""
        with self._lock:
            if self._refusal is None and self._crowded:
                self._end_shedding()
            self._refusal = error
            self._changed.notify_all()

    def began(self, topic: str) -> None:
        """A stream was subscribed; see :class:`Shedding`."""
        with self._lock:
            self._shedding.began(topic)

    @property
    def victim(self) -> Victim:
        """Whose record was shed last."""
        return self._shedding.victim

    @property
    def shed_causes(self) -> dict[Cause, int]:
        """Records shed, by why they were."""
        with self._lock:
            return self._shed_causes.copy()

    @property
    def pressed(self) -> bool:
        """Whether the disk does not keep up."""
        return self._held > self._pressed

    def _encode_name(self, conn: str) -> bytes:
        name = conn.encode()
        if len(name) > CONN_BYTES_MAX:
            raise RecordTooLarge("line name", len(name), CONN_BYTES_MAX)
        self._names[conn] = name
        return name

    def _admits(self, size: int, ts_recv: int, direction: int, kind: int, payload: bytes) -> bool:
        """Whether a record is taken while memory is short."""
        shedding, held = self._shedding, self._held + size + HEADER.size + _RECORD_OVERHEAD
        if self._crowded and shedding.over(held):
            self._end_shedding()
            return True
        self._crowded = True
        admitted = shedding.admits(held, ts_recv, direction, kind, payload, self.cause)
        if isinstance(admitted, bool):
            return admitted
        self._enqueue_event(self._clock.wall_ns(), encode_event("shedding", **admitted))
        return False

    def _end_shedding(self) -> None:
        self._crowded = False
        facts = self._shedding.end()
        if facts is not None:
            self._enqueue_event(self._clock.wall_ns(), encode_event("shed", **facts))

    def _enqueue_event(self, now: int, payload: bytes) -> int:
        pos, mono = self.next_pos, self._clock.mono_ns()
        record = encode_record(self._seed, pos, now, mono, b"", 0, Direction.INTERNAL, Kind.EVENT, payload)
        self._queue.append(record)
        self._held += len(record) + _RECORD_OVERHEAD
        self.next_pos = pos + 1
        self.received += 1
        return pos

    # -- through

    def take(self, records_max: int) -> Batch | None:
        """The batch being written, or else the next one."""
        if self._current is None:
            with self._lock:
                queue = self._queue
                count = min(len(queue), records_max)
                if count:
                    first_pos = self.next_pos - len(queue)
                    if self.cut is not None and first_pos < self.cut:
                        count = min(count, self.cut - first_pos)
                    self._current = Batch(first_pos, [queue.popleft() for _ in range(count)])
        return self._current

    def wrote(self, batch: Batch) -> None:
        """The kernel has the whole batch."""
        assert batch is self._current, "batches are written in order"
        with self._lock:
            self._current = None
            self._unsynced.append(batch)
            self.written += len(batch.buffers)

    def waiting(self) -> int:
        """Batches that are written but not durable: what a sync that begins now will cover."""
        return len(self._unsynced)

    def not_durable(self) -> list[Batch]:
        """The batches of which the disk may have anything."""
        current = self._current
        return [*self._unsynced] if current is None else [*self._unsynced, current]

    def settle(self, batches: int) -> int:
        """The oldest so many written batches are durable. Returns their records."""
        records = 0
        now = self._clock.mono_ns()
        with self._lock:
            for _ in range(batches):
                batch = self._unsynced.popleft()
                self.durable_times.add(max(0, now - batch.mono) / 1e9, len(batch.buffers))
                records += len(batch.buffers)
                self._held -= batch.size + len(batch.buffers) * _RECORD_OVERHEAD
                self.durable_pos = batch.last_pos
            self.durable += records
            self._changed.notify_all()
        return records

    def count_failure(self) -> None:
        """An error of the disk."""
        with self._lock:
            self._failures += 1

    def count_rewritten(self, records: int) -> None:
        """So many records were written again because of one."""
        with self._lock:
            self._rewritten += records

    # -- seen from outside

    def wait(self, timeout: float) -> None:
        """Returns when something became durable or is refused, or after ``timeout`` seconds."""
        with self._lock:
            self._changed.wait(timeout)

    @property
    def in_flight(self) -> int:
        with self._lock:
            return self._count()

    def counts(self) -> Counts:
        with self._lock:
            return Counts(
                received=self.received,
                durable=self.durable,
                in_flight=self._count(),
                shed=self.shed,
                written=self.written,
                rewritten=self._rewritten,
                failures=self._failures,
                held_bytes=self._held,
            )

    def _count(self) -> int:
        current = 0 if self._current is None else len(self._current.buffers)
        return len(self._queue) + current + sum(len(batch.buffers) for batch in self._unsynced)
