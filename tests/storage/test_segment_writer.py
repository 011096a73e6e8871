from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import pytest

from bookreel.storage.errors import NotDurable
from bookreel.storage.journal import Journal, JournalOptions, is_recording
from bookreel.storage.segment import SegmentReader, list_segments
from tests.clocks import ManualClock
from tests.simulation.disk import Crash, Short, SimDisk, SimFile
from tests.storage.journals import (
    MANUAL,
    SECOND,
    FaultyDisk,
    append,
    check_counts,
    events_of,
    frames_of,
    payload_of,
    read_archive,
)


def test_segments_end_by_size_by_time_and_on_request(tmp_path: Path) -> None:
    clock = ManualClock()
    options = JournalOptions(threads=False, segment_bytes=1000, segment_seconds=60)
    with Journal.open(tmp_path, "huobi", clock=clock, options=options) as journal:

        def step(number: int) -> list[int]:
            append(journal, number)
            journal.pump_write()
            return [segment.first_pos for segment in list_segments(tmp_path)]

        assert step(1) == [1]
        clock.now += 59 * SECOND
        assert step(2) == [1]
        clock.now += SECOND
        assert step(3) == [1, 3]
        journal.append(1, 1, "feed-0", 1, 0, 0, bytes(1000))
        journal.pump_write()
        assert step(4) == [1, 3, 5]
        append(journal, 5)
        journal.rotate()
        assert [segment.first_pos for segment in list_segments(tmp_path)] == [1, 3, 5, 7]
        journal.rotate()
        assert len(list_segments(tmp_path)) == 5
        check_counts(journal)
        closed = list_segments(tmp_path)[:-1]
        for segment in closed:
            with SegmentReader(segment.path, closed=True) as reader:
                list(reader.read())
                assert reader.footer == (reader.records, reader.last_pos)
        assert step(6)[-1] == 8
    records, damage = read_archive(tmp_path)
    assert [record.pos for record in records] == list(range(1, 10))
    assert damage == []


@pytest.mark.parametrize("call", ["write", "datasync"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_no_error_of_the_disk_loses_a_record(tmp_path: Path, call: str, code: int) -> None:
    """The error at every place in turn; rotation included."""
    met = True
    number = 0
    while met:
        number += 1
        archive = tmp_path / str(number)
        Journal.open(archive, "huobi", clock=ManualClock(), options=MANUAL).close()
        clock, disk = ManualClock(), FaultyDisk((call, number, code))
        options = JournalOptions(threads=False, segment_bytes=300)
        journal = Journal.open(archive, "huobi", clock=clock, options=options, disk=disk)
        sent = {}
        for step in range(8):
            for item in range(3):
                sent[append(journal, step * 3 + item)] = payload_of(step * 3 + item)
            journal.pump_write()
            if step % 2:
                journal.pump_sync()
            check_counts(journal)
            acknowledged = journal.durable_pos
            records, _ = read_archive(archive)
            assert (
                frames_of(records).items() >= {pos: sent[pos] for pos in sent if pos <= acknowledged}.items()
            )
            clock.now += SECOND
        journal.close()
        check_counts(journal)
        assert journal.in_flight == 0
        records, damage = read_archive(archive)
        assert frames_of(records) == sent
        assert all(item.lost == 0 for item in damage)
        met = disk.calls.get(call, 0) >= number and journal.counts().failures > 0
        assert {event["event"] for event in events_of(records)} <= {"disk_error", "disk_full"}
    assert number > 5


@pytest.mark.parametrize("call", ["create", "rename", "sync_folder"])
def test_a_segment_that_cannot_be_begun_is_tried_again(tmp_path: Path, call: str) -> None:
    Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL).close()
    clock, disk = ManualClock(), FaultyDisk((call, 1, errno.EIO))
    with Journal.open(tmp_path, "huobi", clock=clock, options=MANUAL, disk=disk) as journal:
        append(journal, 1)
        assert journal.pump_write() == 0
        assert journal.pump_write() == 0, "not before the pause is over"
        assert disk.calls[call] == 1
        append(journal, 2)
        clock.now += SECOND
        assert journal.pump_write() == 2
    assert list(frames_of(read_archive(tmp_path)[0])) == [1, 2]


def test_a_failed_sync_is_never_tried_again_on_the_same_file(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL, disk=disk) as journal:
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        append(journal, 3)
        journal.pump_write()
        disk.fail = ("datasync", disk.calls["datasync"] + 1, errno.EIO)
        assert journal.pump_sync() == 0
        synced = disk.calls["datasync"]
        assert journal.pump_sync() == 0
        assert disk.calls["datasync"] == synced
        assert journal.durable_pos == 1
        journal.pump_write()
        assert journal.durable_pos >= 3
        assert [segment.first_pos for segment in list_segments(tmp_path)] == [1, 2]
        assert journal.counts().rewritten == 2
    records, damage = read_archive(tmp_path)
    assert events_of(records) == [
        {
            "event": "disk_error",
            "segment": "0000000000000001",
            "detail": "[Errno 5] Input/output error",
            "rewritten": 2,
        }
    ]
    assert [(item.reason, item.lost) for item in damage] == [("torn tail", 0)]


def test_a_segment_that_failed_a_write_is_left(tmp_path: Path) -> None:
    disk = FaultyDisk()
    with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL, disk=disk) as journal:
        append(journal, 1)
        journal.flush()
        append(journal, 2)
        disk.fail = ("write", disk.calls["write"] + 1, errno.EIO)
        assert journal.pump_write() == 0
        append(journal, 3)
        journal.pump_write()
        assert [segment.first_pos for segment in list_segments(tmp_path)] == [1, 2]
    records, damage = read_archive(tmp_path)
    assert list(frames_of(records)) == [1, 2, 3]
    assert damage == []


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    clock, disk = ManualClock(), FaultyDisk()
    with Journal.open(tmp_path, "huobi", clock=clock, options=MANUAL, disk=disk) as journal:
        append(journal, 1)
        journal.flush()
        disk.room = 30
        began = clock.now
        for number in range(2, 10):
            append(journal, number)
            journal.pump_write()
            check_counts(journal)
            clock.now += SECOND
        assert journal.disk_full_since == began
        assert (journal.written, journal.in_flight) == (1, 8)
        disk.room = None
        clock.now += SECOND
        journal.flush()
        assert journal.disk_full_since is None
    records, damage = read_archive(tmp_path)
    assert list(frames_of(records)) == list(range(1, 10))
    assert events_of(records) == [{"event": "disk_full", "from": began, "to": clock.now}]
    assert damage == []
    assert len(list_segments(tmp_path)) == 1, "a full disk makes no segment suspect"


def test_closing_gives_up_on_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    journal = Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL, disk=disk)
    append(journal, 1)
    disk.room = 0
    with pytest.raises(NotDurable, match="1 records"):
        journal.flush()
    with pytest.raises(NotDurable, match="no space"):
        journal.close()
    assert not is_recording(tmp_path)
    journal.close()


def live(journal: Journal, clock: ManualClock, chance: random.Random, pending: dict[int, bytes]) -> None:
    for _ in range(chance.randrange(40)):
        clock.now += SECOND
        step = chance.randrange(5)
        if step < 3:
            number = chance.randrange(1000)
            pending[append(journal, number)] = payload_of(number)
        elif step == 3:
            journal.pump_write()
        else:
            journal.pump_sync()


class _Lying:
    """A disk on which a sync of a segment's content does nothing."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)

    def create(self, path: Path) -> Any:
        file = self._disk.create(path)
        return _LyingFile(file) if ".seg" in path.name else file


class _LyingFile:
    def __init__(self, file: SimFile) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def datasync(self) -> None:
        """Says that it did."""


class _Trouble:
    """The power goes after so many changes; once it is ``on``, writes are short and syncs fail now and then."""

    def __init__(self, chance: random.Random, changes: int) -> None:
        self.on = False
        self._chance = chance
        self._left = changes

    def __call__(self, operation: str, path: Path) -> None:
        if operation == "read":
            return
        self._left -= 1
        if self._left < 0:
            raise Crash
        if self.on and operation == "writev" and self._chance.random() < 0.2:
            raise Short(self._chance.randint(1, 600))
        if self.on and operation == "datasync" and self._chance.random() < 0.1:
            raise OSError(errno.EIO, "pages dropped")


def lose_power_often(chance: random.Random, *, lies: bool) -> str | None:
    """One archive with power losses at any step, and with a failing disk; what is wrong with it, or None."""
    archive = Path("/a")
    disk = SimDisk()
    clock = ManualClock()
    acknowledged: dict[int, bytes] = {}
    ever: dict[int, set[bytes]] = {}
    for _ in range(4):
        options = JournalOptions(
            threads=False, segment_bytes=chance.choice((300, 2000)), archive_id=b"archive0"
        )
        trouble = disk.before = _Trouble(chance, chance.randrange(60))
        seen: Any = _Lying(disk) if lies else disk
        pending: dict[int, bytes] = {}
        journal = None
        try:
            journal = Journal.open(archive, "huobi", clock=clock, options=options, disk=seen)
            trouble.on = True
            live(journal, clock, chance, pending)
        except Crash:
            pass
        for pos, payload in pending.items():
            ever.setdefault(pos, set()).add(payload)
        if journal is not None:
            durable = journal.durable_pos
            acknowledged |= {pos: payload for pos, payload in pending.items() if pos <= durable}
        disk = disk.power_loss(chance)
        records, _ = read_archive(archive, disk)
        found = frames_of(records)
        if not found.items() >= acknowledged.items():
            return f"lost {sorted(set(acknowledged) - set(found))}"
        if any(payload not in ever[pos] for pos, payload in found.items()):
            return "made up"
        if [record.pos for record in records] != sorted({record.pos for record in records}):
            return "order"
        for segment in list_segments(archive, disk):
            with SegmentReader(segment.path, disk, closed=True) as reader:
                next(reader.read(1), None)
                if reader.records == 0 and not lies:
                    return "a segment without a record"
    return None


def test_nothing_acknowledged_is_lost_with_the_power() -> None:
    for seed in range(1500):
        assert lose_power_often(random.Random(seed), lies=False) is None, seed


def test_the_power_loss_test_finds_a_disk_that_lies() -> None:
    wrong = [lose_power_often(random.Random(seed), lies=True) for seed in range(40)]
    assert sum(text is not None and "lost" in text for text in wrong) > 10
