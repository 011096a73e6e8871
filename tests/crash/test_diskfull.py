from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, Record, decode_event, encode_event
from bookreel.storage.segment import SegmentReader, list_segments
from tests.crash.diskfull import ENDS, MS, Clock, run


def test_a_full_disk_at_any_moment_with_any_room_left(caplog: pytest.LogCaptureFixture) -> None:
    """A slice; `make crash` has them all."""
    figures = run(cases=150, seed=0)
    assert {f"disk full: end: {end}" for end in ENDS} <= figures.keys()
    assert figures["disk full: times full"] > 100
    assert figures["disk full: records shed"] > 1000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MiB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_real_file_system_that_is_full(small_disk: Path) -> None:
    """Survived, and then not: what the simulated disk says of a reserve is true of the system's."""
    clock, archive, filler = Clock(), small_disk / "archive", small_disk / "filler"
    options = JournalOptions(threads=False, segment_bytes=100_000)

    def begin() -> Journal:
        journal = Journal.open(archive, "huobi", clock=clock, options=options)
        journal.append(clock.now, 0, "", 0, Direction.INTERNAL, Kind.EVENT, encode_event("start"))
        return journal

    def fill(journal: Journal) -> int:
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        since = None
        while since is None:
            journal.append(clock.now, 0, "a", 1, Direction.IN, Kind.TEXT, bytes(500))
            journal.pump_write()
            journal.pump_sync()
            clock.now += MS
            since = journal.disk_full_since
        return since

    journal = begin()
    journal.flush()
    survived = fill(journal)
    filler.unlink()
    clock.now += 250 * MS
    journal.flush()
    assert journal.disk_full_since is None
    journal.close()
    journal = begin()
    journal.flush()
    killed = fill(journal)
    acknowledged = journal.durable_pos
    # As a killed process leaves it.
    journal._owner.release()
    filler.unlink()
    clock.now += 1000 * MS
    begin().close()
    positions: set[int] = set()
    told = []
    for segment in list_segments(archive):
        with SegmentReader(segment.path, closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Record):
                    positions.add(item.pos)
                    event = decode_event(item.payload) if item.kind is Kind.EVENT else {}
                    if event.get("event") == "disk_full":
                        told.append((event["from"], event.get("lost")))
    assert told == [(survived, None), (killed, True)]
    assert positions >= set(range(1, acknowledged + 1))
