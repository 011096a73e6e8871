"""A recorder's life on a simulated disk, in virtual time: records come in, two pumps run beside each other, and
each call that waits for the disk takes time in which the others go on.

The pumps are those of the journal's two threads, with their periods. They are interleaved at the calls of the disk,
which are the only places where they wait.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind
from tests.crash.witness import Witness, look
from tests.simulation.disk import SimDisk

__all__ = ["ARCHIVE", "OPTIONS", "Clock", "Trace", "Turns"]

ARCHIVE: Final = Path("/archive")
OPTIONS: Final = JournalOptions(threads=False, archive_id=b"archive0", segment_bytes=3000)
_MS: Final = 1_000_000
_WAITING: Final = ("datasync", "sync_folder")


class Clock:
    """Stands still until it is moved. Both clocks, ns."""

    def __init__(self) -> None:
        self.now = 1_790_000_000 * 10**9

    def wall_ns(self) -> int:
        return self.now

    mono_ns = wall_ns


class Blocked(BaseException):
    """A pump would wait for the other one."""


class Turns:
    """The journal's lock for one thread that plays two: who would wait is told so."""

    def __init__(self) -> None:
        self.current = ""
        self._holder = ""
        self._depth = 0

    def __enter__(self) -> None:
        if self._depth and self._holder != self.current:
            raise Blocked
        self._holder = self.current
        self._depth += 1

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1


class Trace:
    """One run of a recorder, which records reach at random times. ``watch`` is called before each operation of the
    disk, and once more when one that waited is about to be over.
    """

    def __init__(
        self,
        disk: SimDisk,
        witness: Witness,
        rng: random.Random,
        *,
        clock: Clock | None = None,
        payload_max: int = 700,
        options: JournalOptions = OPTIONS,
    ) -> None:
        self.disk = disk
        self.witness = witness
        self.clock = clock or Clock()
        self.watch: Callable[[str, Path], None] | None = None
        self.waits: list[tuple[int, int]] = []
        self.operations = 0
        self._rng = rng
        self._payload_max = payload_max
        self._options = options
        self._journal: Journal | None = None
        self._turns = Turns()
        self._next = {"append": 0, "write": 0, "sync": 0}
        self._left = 0

    def run(self, records: int, *, close: bool = True) -> None:
        """Opens the archive, records, and closes it."""
        self.disk.before = self._before
        journal = Journal.open(ARCHIVE, "huobi", clock=self.clock, options=self._options, disk=self.disk)
        self.disk.before = None
        found = look(ARCHIVE, self.disk)
        self.witness.check(found, journal.next_pos)
        self.witness.began(journal.next_pos, found)
        self.disk.before = self._before
        journal._writer._sync_lock = self._turns  # type: ignore[assignment]
        self._journal = journal
        self._left = records
        for pump in self._next:
            self._next[pump] = self.clock.now + self._period(pump)
        while self._left or journal.in_flight:
            self._pass_to(min(self._next.values()))
        if close:
            self._turns.current = "close"
            journal.close()
            self.witness.told(journal.durable_pos)
        self._journal = None

    def waited(self, since: int) -> int:
        """How long the disk kept the journal waiting from then until now, ns."""
        now = self.clock.now
        return sum(min(end, now) - max(begin, since) for begin, end in self.waits if end > since)

    def _period(self, pump: str) -> int:
        if pump == "append":
            return self._rng.randrange(1, 60) * _MS
        if pump == "write":
            return self._options.write_interval_ms * _MS
        return (self._options.fsync_interval_ms - self._options.write_interval_ms) * _MS

    def _pass_to(self, until: int) -> None:
        """Lets time pass; what is due meanwhile is done, but for a pump that is being run already."""
        while True:
            running = self._turns.current
            due, pump = min((at, pump) for pump, at in self._next.items() if pump != running)
            if due > until:
                break
            self.clock.now = max(self.clock.now, due)
            # From start to start, as the threads do.
            self._next[pump] = max(due + self._period(pump), self.clock.now)
            self._do(pump)
        self.clock.now = max(self.clock.now, until)

    def _do(self, pump: str) -> None:
        journal, turns = self._journal, self._turns
        assert journal is not None, "it is open"
        if pump == "append":
            if self._left:
                self._left -= 1
                self._append(journal)
            return
        before, turns.current = turns.current, pump
        try:
            journal.pump_write() if pump == "write" else journal.pump_sync()
        except Blocked:
            self._next[pump] = self.clock.now + _MS
        finally:
            turns.current = before
        self.witness.told(journal.durable_pos)

    def _append(self, journal: Journal) -> None:
        now = self.clock.now
        payload = self._rng.randbytes(self._rng.randrange(8, self._payload_max))
        pos = journal.append(now, now, "feed-0", 1, Direction.IN, Kind.COMPRESSED, payload)
        self.witness.gave(pos, payload, now)

    def _before(self, operation: str, path: Path) -> None:
        self.operations += 1
        if self.watch is not None:
            self.watch(operation, path)
        if operation in _WAITING and self._journal is not None and self._turns.current in ("write", "sync"):
            took = self._rng.randrange(1, 30) * _MS
            self.waits.append((self.clock.now, self.clock.now + took))
            self._pass_to(self.clock.now + took)
            if self.watch is not None:
                self.watch(operation, path)
