from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bookreel.ingest.clock import SystemClock
from bookreel.storage.errors import JournalFailed
from bookreel.storage.journal import Journal, JournalOptions, is_recording
from bookreel.storage.record import Record
from bookreel.storage.segment import SegmentReader, list_segments
from tests.storage.journals import FaultyDisk, append, check_counts, frames_of, payload_of, read_archive


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.002)


def test_records_become_durable_by_themselves_and_can_be_read_meanwhile(tmp_path: Path) -> None:
    options = JournalOptions(write_interval_ms=1, fsync_interval_ms=5, segment_bytes=30_000)
    seen: list[Record] = []
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=options) as journal:
        reader: SegmentReader | None = None
        for number in range(3000):
            append(journal, number)
            check_counts(journal)
            if number % 50 == 0:
                for segment in list_segments(tmp_path):
                    if (
                        not seen
                        or segment.first_pos > seen[-1].pos
                        or (reader and reader.path == segment.path)
                    ):
                        if reader is None or reader.path != segment.path:
                            reader = SegmentReader(segment.path, after=seen[-1].pos if seen else 0)
                        for item in reader.read():
                            assert isinstance(item, Record)
                            seen.append(item)
        wait_until(lambda: journal.durable == 3000)
        assert journal.in_flight == 0
    assert seen == read_archive(tmp_path)[0][: len(seen)]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("journal")]


def test_a_slow_sync_does_not_stop_writes(tmp_path: Path) -> None:
    disk = FaultyDisk()
    options = JournalOptions(write_interval_ms=1, fsync_interval_ms=2)
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=options, disk=disk) as journal:
        append(journal, 0)
        journal.flush()
        inside, go_on = threading.Event(), threading.Event()

        def hold(call: str) -> None:
            if call == "datasync":
                inside.set()
                assert go_on.wait(60)

        disk.hook = hold
        append(journal, 1)
        assert inside.wait(60)
        append(journal, 2)
        wait_until(lambda: journal.written == 3)
        assert journal.durable == 1
        disk.hook = None
        go_on.set()
        journal.flush()
        assert journal.durable == 3


def test_rotation_under_load_loses_nothing(tmp_path: Path) -> None:
    options = JournalOptions(write_interval_ms=1, fsync_interval_ms=2)
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=options) as journal:
        stop = threading.Event()
        rotator = threading.Thread(target=lambda: [journal.rotate() for _ in range(10)] and stop.set())
        rotator.start()
        number = 0
        while not stop.is_set() and number < 500_000:
            append(journal, number)
            number += 1
            if number % 100 == 0:
                check_counts(journal)
                time.sleep(0)
        rotator.join()
        assert len(list_segments(tmp_path)) >= 10
    records, damage = read_archive(tmp_path)
    assert [record.pos for record in records] == list(range(1, number + 11))
    assert damage == []


def test_errors_in_the_threads_are_survived(tmp_path: Path) -> None:
    disk = FaultyDisk()
    options = JournalOptions(write_interval_ms=1, fsync_interval_ms=2, retry_interval_ms=1)
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=options, disk=disk) as journal:
        for number in range(40):
            append(journal, number)
            if number % 4 == 3:
                call = ("datasync", "write")[number // 4 % 2]
                disk.fail = (call, disk.calls.get(call, 0) + 1, errno.EIO)
            journal.flush(60)
        assert journal.counts().failures >= 5
    records, damage = read_archive(tmp_path)
    assert list(frames_of(records).values()) == [payload_of(number) for number in range(40)]
    assert all(item.lost == 0 for item in damage)


def test_a_fault_of_the_journal_itself_reaches_who_appends(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = Journal.open(tmp_path, "huobi", clock=SystemClock(), disk=disk)

    def explode(call: str) -> None:
        raise ValueError("a bug")

    disk.hook = explode
    append(journal, 1)
    with pytest.raises(JournalFailed, match="ValueError: a bug") as caught:
        journal.flush(60)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(JournalFailed):
        append(journal, 2)
    with pytest.raises(JournalFailed):
        journal.close()
    assert not is_recording(tmp_path)
