"""Real processes that write and open, each killed at a random instant; the next one must need no help.

A child tells its parent through a pipe what it appended and what the journal said was durable. What came through the
pipe before the kill is what the archive must have.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bookreel.ingest.clock import SystemClock
from bookreel.storage.disk import OsDisk
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, decode_event
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from tests.crash.witness import Lost, look

__all__ = ["WORK", "Kills", "Work", "in_child", "kill", "open_archive"]

_WRITING: Final = JournalOptions(
    write_interval_ms=1, fsync_interval_ms=3, segment_bytes=16 * 1024, archive_id=b"archive0"
)
_CHECKING: Final = JournalOptions(threads=False)
_TOLD: Final = struct.Struct("<qqq")
"""First position of the run, records appended, durable position."""
_MEMORY: Final = Path("/dev/shm")
_KILLS_AN_ARCHIVE: Final = 12


class Kills(msgspec.Struct):
    """What was done. ``kills``: by what the process was doing. ``checked``: how often an acknowledged record was
    looked for. ``torn``: damaged regions that were registered.
    """

    kills: Counter[str] = msgspec.field(default_factory=Counter)
    checked: int = 0
    torn: int = 0
    archives: int = 0

    def add(self, other: Kills) -> None:
        """Joins two counts."""
        self.kills += other.kills
        self.checked += other.checked
        self.torn += other.torn
        self.archives += other.archives


def text_of(run: int, number: int) -> bytes:
    """What record ``number`` of a run holds; sizes differ, so that records lie anywhere."""
    filler = "x" * (run * 31 + number * 17) if number % 50 == 0 else "y" * (number % 90)
    return f'{{"run":{run},"number":{number},"filler":"{filler}"}}'.encode()


def open_archive(archive: Path) -> Journal:
    """As a recorder does, with short intervals and small segments."""
    return Journal.open(archive, "huobi", clock=SystemClock(), options=_WRITING)


def _write(archive: Path, run: int, pipe: int) -> None:
    """Appends for ever, and tells what is durable."""
    journal = open_archive(archive)
    first = journal.next_pos
    number = 0
    while True:
        for _ in range(6):
            now = time.time_ns()
            pos = journal.append(now, now, "feed-0", 1, Direction.IN, Kind.TEXT, text_of(run, number))
            assert pos == first + number, "nobody else appends"
            number += 1
        os.write(pipe, _TOLD.pack(first, number, journal.durable_pos))
        time.sleep(0.0002)


def _open_and_close(archive: Path, run: int, pipe: int) -> None:
    """Recovers and closes, for ever; a record each time leaves a segment."""
    number = 0
    while True:
        with open_archive(archive) as journal:
            first = journal.next_pos - number
            now = time.time_ns()
            journal.append(now, now, "feed-0", 1, Direction.IN, Kind.TEXT, text_of(run, number))
            number += 1
        os.write(pipe, _TOLD.pack(first, number, journal.durable_pos))


Work = Callable[[Path, int, int], None]

WORK: Final[dict[str, tuple[Work, int, float]]] = {
    "writing": (_write, 16, 0.012),
    "opening": (_open_and_close, 3, 0.008),
}
"""What a child does until it is killed, how often it is chosen, and how many seconds it lives at most."""


def kill(
    kills: int,
    seed: int,
    work: dict[str, tuple[Work, int, float]] = WORK,
    check: Callable[[Path, dict[int, bytes]], None] | None = None,
) -> Kills:
    """Kills so many processes, one after the other. ``check`` is called in the end with each archive and what it must
    have, in a process of its own. Raises Lost.
    """
    rng = random.Random(seed)
    total = Kills()
    names = list(work)
    weights = [weight for _, weight, _ in work.values()]
    while total.kills.total() < kills:
        # In memory a process gets further before it is killed; on a real disk it is often killed in a sync.
        in_memory = _MEMORY.is_dir() and total.archives % 5
        with tempfile.TemporaryDirectory(dir=_MEMORY if in_memory else None) as home:
            archive = Path(home) / "archive"
            account = _Account(archive)
            for run in range(1, _KILLS_AN_ARCHIVE + 1):
                name = rng.choices(names, weights)[0]
                do, _, longest_s = work[name]
                told = _live_and_die(do, archive, run, longest_s * rng.random())
                account.told(run, told)
                total.kills[name] += 1
                if archive.is_dir():
                    total.torn += account.check()
            if check is not None and archive.is_dir():
                expected = account.expected
                in_child(lambda at=archive, expected=expected: check(at, expected))  # type: ignore[misc]
            total.checked += account.checked
            total.archives += 1
    return total


def _live_and_die(work: Work, archive: Path, run: int, seconds: float) -> bytes:
    """What the child said before it was killed. Only a kill that hit it returns."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        _be_child(lambda: work(archive, run, into))
    os.close(into)
    deadline = time.monotonic() + seconds
    said = b""
    os.set_blocking(out, False)
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            said += os.read(out, 1 << 16)
        time.sleep(min(0.002, max(0.0, deadline - time.monotonic())))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.set_blocking(out, True)
    while part := os.read(out, 1 << 16):
        said += part
    os.close(out)
    if not os.WIFSIGNALED(status):
        raise Lost(f"a process needed help in {archive}: it ended by itself, see above")
    return said


def _be_child(work: Callable[[], None]) -> None:
    """Never returns."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def in_child(work: Callable[[], None]) -> None:
    """Does it in a process of its own: the parent, which forks, keeps no thread of a library."""
    child = os.fork()
    if child == 0:
        _be_child(work)
    _, status = os.waitpid(child, 0)
    if status:
        raise Lost("the archive is not what was acknowledged, see above")


class _Account:
    """What the runs of one archive were told."""

    def __init__(self, archive: Path) -> None:
        self.checked = 0
        self._archive = archive
        self.expected: dict[int, bytes] = {}

    def told(self, run: int, said: bytes) -> None:
        whole = len(said) // _TOLD.size * _TOLD.size
        numbers = 0
        for first, appended, durable_pos in _TOLD.iter_unpack(said[:whole]):
            for number in range(numbers, appended):
                if first + number > durable_pos:
                    break
                self.expected[first + number] = text_of(run, number)
                numbers = number + 1

    def check(self) -> int:
        """Opens as the next recorder would; returns torn tails found."""
        disk = OsDisk()
        before = look(self._archive, disk)
        with Journal.open(self._archive, "huobi", clock=SystemClock(), options=_CHECKING) as journal:
            if journal.next_pos <= before.last_pos:
                raise Lost(f"position {journal.next_pos} is given out again")
            journal.flush()
        for pos, text in self.expected.items():
            if pos > before.sealed and before.payloads.get(pos) != text:
                raise Lost(f"acknowledged record {pos} is lost or changed in {self._archive}")
        self.checked += len(self.expected)
        if before.damage:
            registered = _registered(self._archive)
            for damage in before.damage:
                if (damage.segment, damage.offset) not in registered:
                    raise Lost(f"{damage} is not registered")
        return len(before.damage)


def _registered(archive: Path) -> set[tuple[object, object]]:
    found = set()
    for segment in list_segments(archive):
        with SegmentReader(segment.path, closed=True) as reader:
            for item in reader.read():
                if not isinstance(item, Damage) and item.kind is Kind.EVENT:
                    event = decode_event(item.payload)
                    found.add((event.get("segment"), event.get("offset")))
    return found
