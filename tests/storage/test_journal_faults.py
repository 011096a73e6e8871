"""The journal on a disk that is slow, or whose syncs fail: at every place where it is asked."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from pathlib import Path

import pytest

from bookreel.ingest.clock import SystemClock
from bookreel.storage.disk import Disk
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.segment import SegmentReader, list_segments
from tests.clocks import ManualClock
from tests.crash.held import HeldDisk
from tests.simulation.disk import SimDisk

ARCHIVE = Path("/archive")
SECOND = 1_000_000_000


def append(journal: Journal, number: int) -> int:
    payload = b"%d" % number + bytes(300)
    return journal.append(number, number, "feed-0", 1, Direction.IN, Kind.COMPRESSED, payload)


def payloads(archive: Path, disk: Disk | None = None) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for segment in list_segments(archive, disk):
        with SegmentReader(segment.path, disk, after=max(found, default=0), closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Record) and item.kind is Kind.COMPRESSED:
                    found[item.pos] = item.payload
    return found


# -- a disk that takes its time


CALLS = ["writev", "datasync", "create", "rename", "unlink", "sync_folder", "close", "free"]


@pytest.mark.parametrize("call", CALLS)
def test_nobody_who_appends_or_looks_waits_for_the_disk(tmp_path: Path, call: str) -> None:
    """Each call in turn does not return. It would hang here, if it waited; a timer makes that a failure."""
    disk = HeldDisk()
    options = JournalOptions(segment_bytes=20_000)
    journal = Journal.open(tmp_path, "huobi", clock=SystemClock(), options=options, disk=disk)
    late = threading.Event()
    timer = threading.Timer(60, lambda: (late.set(), disk.release()))
    timer.start()
    turns = 0

    async def main() -> None:
        nonlocal turns
        number = 0
        disk.hold = call
        # Segments end, so that sooner or later each call is made.
        while not disk.held.is_set():
            # A writer that is ever further behind comes to no end of its batch, and asks the disk for nothing else.
            if journal.in_flight < 1000:
                number += 1
                assert append(journal, number)
            await asyncio.sleep(0)
        for _ in range(5000):
            number += 1
            assert append(journal, number)
            counts = journal.counts()
            assert counts.received == counts.durable + counts.in_flight + counts.shed
            assert (journal.disk_full_since, journal.disk_free) != (0, 0)
            journal.began("market.btcusdt.bbo")
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(main())
    assert not late.is_set()
    assert turns == 5000
    assert journal.in_flight > 0 or call == "free"
    timer.cancel()
    disk.release()
    journal.close()
    assert len(payloads(tmp_path)) == journal.durable == journal.received


# -- syncs that fail


class Watch:
    """Fails the n-th sync of a file, and sees that no file is synced again after a failure."""

    def __init__(self, disk: SimDisk, fail_at: int, code: int) -> None:
        self.syncs = 0
        self.again: list[Path] = []
        self._failed: set[Path] = set()
        self._fail_at = fail_at
        self._code = code
        disk.before = self

    def __call__(self, operation: str, path: Path) -> None:
        if operation == "create":
            # Another file of the same name.
            self._failed.discard(path)
        elif operation == "datasync":
            self.syncs += 1
            if path in self._failed:
                self.again.append(path)
            if self.syncs == self._fail_at:
                self._failed.add(path)
                raise OSError(self._code, "sync failed")


def work(disk: SimDisk, fail_at: int, code: int) -> tuple[Watch, Journal, dict[int, bytes]]:
    """A short life with segments begun, synced, rotated and closed."""
    Journal.open(ARCHIVE, "huobi", clock=ManualClock(), options=MANUAL, disk=disk).close()
    watch = Watch(disk, fail_at, code)
    clock = ManualClock()
    journal = Journal.open(ARCHIVE, "huobi", clock=clock, options=MANUAL, disk=disk)
    sent: dict[int, bytes] = {}
    for number in range(40):
        pos = append(journal, number)
        sent[pos] = b"%d" % number + bytes(300)
        journal.pump_write()
        if number % 3 == 0:
            journal.pump_sync()
        clock.now += SECOND // 10
        counts = journal.counts()
        assert counts.received == counts.durable + counts.in_flight + counts.shed
    return watch, journal, sent


MANUAL = JournalOptions(threads=False, archive_id=b"archive0", segment_bytes=2500)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_failed_is_never_repeated_whichever_it_was(code: int) -> None:
    syncs = work(SimDisk(), 0, code)[0].syncs
    assert syncs > 20
    for fail_at in range(1, syncs + 3):
        for drops in (True, False):
            disk = SimDisk()
            # Whether the failed sync keeps what was pending, or drops it: an own choice of the simulated disk's.
            disk.rng = Always(drops)  # type: ignore[assignment]
            watch, journal, sent = work(disk, fail_at, code)
            assert watch.again == [], fail_at
            promised = {pos: payload for pos, payload in sent.items() if pos <= journal.durable_pos}
            for seed in range(3):
                left = disk.power_loss(random.Random(seed))
                assert payloads(ARCHIVE, left).items() >= promised.items(), (fail_at, seed)
            journal.close()
            assert payloads(ARCHIVE, disk.power_loss(random.Random(9))) == sent, fail_at
            assert watch.again == [], fail_at


class Always(random.Random):
    """A die that decides one way."""

    def __init__(self, drops: bool) -> None:
        super().__init__(0)
        self._drops = drops

    def random(self) -> float:
        return 0.0 if self._drops else 0.9
