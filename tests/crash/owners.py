"""Recorders that open one archive at the same instant: one has it, and the others are told so."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import ArchiveOwned
from bookreel.storage.journal import is_recording
from bookreel.storage.record import Direction, Kind
from tests.crash.kills import open_archive
from tests.crash.trace import Clock
from tests.crash.witness import Lost, look

__all__ = ["Races", "race"]

_MEMORY: Final = Path("/dev/shm")
_WON, _REFUSED, _FAILED = b"w", b"r", b"f"
_RACES_AN_ARCHIVE: Final = 5


class Races(msgspec.Struct):
    """``races`` that were run, ``recorders`` in them; ``killed``: winners that were killed instead of closing."""

    races: int = 0
    recorders: int = 0
    killed: int = 0

    def add(self, other: Races) -> None:
        """Joins two counts."""
        self.races += other.races
        self.recorders += other.recorders
        self.killed += other.killed


class _Racer:
    """A process that opens an archive when it is told to, appends, and closes it when told again."""

    def __init__(self, archive: Path) -> None:
        order, self._order = os.pipe()
        self._answer, answer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _be_racer(archive, order, answer)
            except BaseException:
                os.write(answer, _FAILED)
            finally:
                os._exit(0)
        os.close(order)
        os.close(answer)

    def go(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._order, b"!")

    def answer(self) -> bytes:
        return os.read(self._answer, 1)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self._pid, 0)
        os.close(self._order)
        os.close(self._answer)


def _be_racer(archive: Path, order: int, answer: int) -> None:
    os.read(order, 1)
    try:
        journal = open_archive(archive)
    except ArchiveOwned:
        os.write(answer, _REFUSED)
        return
    now = Clock().now
    journal.append(now, now, "feed-0", 1, Direction.IN, Kind.TEXT, b"%d" % os.getpid())
    journal.flush()
    os.write(answer, _WON)
    os.read(order, 1)
    journal.close()


def race(races: int, seed: int) -> Races:
    """So many races, some of them for an archive that is not there yet. Raises Lost."""
    rng = random.Random(seed)
    total = Races()
    while total.races < races:
        with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as home:
            archive = Path(home) / "archive"
            for number in range(min(_RACES_AN_ARCHIVE, races - total.races)):
                killed = rng.random() < 0.5
                count = rng.choice((2, 2, 3, 4))
                _race(archive, count, number + 1, killed=killed)
                total.races += 1
                total.recorders += count
                total.killed += killed
    return total


def _race(archive: Path, count: int, records: int, *, killed: bool) -> None:
    racers = [_Racer(archive) for _ in range(count)]
    time.sleep(0.001)
    for racer in racers:
        racer.go()
    answers = [racer.answer() for racer in racers]
    owned = is_recording(archive)
    winner = racers[answers.index(_WON)] if _WON in answers else None
    for racer in racers:
        if racer is winner and killed:
            racer.kill()
        racer.go()
    for racer in racers:
        racer.wait()
    if sorted(answers) != [_REFUSED] * (count - 1) + [_WON]:
        raise Lost(f"of {count} recorders these came of it: {answers}")
    if not owned or is_recording(archive):
        raise Lost("the lock is not held while one records, and free afterwards")
    found = look(archive, OsDisk())
    if len(found.payloads) != records or found.damage:
        raise Lost(f"{len(found.payloads)} records of {records} winners")
