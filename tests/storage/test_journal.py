from __future__ import annotations

import errno
import os
import random
import signal
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.ingest.clock import SystemClock
from bookreel.storage.disk import Disk, File, OsDisk
from bookreel.storage.errors import (
    ArchiveOwned,
    JournalClosed,
    JournalFailed,
    NotAnArchive,
    NotDurable,
    RecordTooLarge,
    UnknownFormat,
)
from bookreel.storage.journal import Journal, JournalOptions, is_recording
from bookreel.storage.manifest import MANIFEST_FORMAT, CorruptManifest, SegmentEntry, encode_entry
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.seal import seal
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from tests.clocks import ManualClock

MANUAL = JournalOptions(threads=False, archive_id=b"archive0")
SECOND = 1_000_000_000


def payload_of(number: int) -> bytes:
    return b"%d:" % number + random.Random(number).randbytes(number % 90)


def append(journal: Journal, number: int) -> int:
    return journal.append(
        number * 3, number * 2, "feed-0", 1, Direction.IN, Kind.COMPRESSED, payload_of(number)
    )


def read_archive(archive: Path, disk: Disk | None = None) -> tuple[list[Record], list[Damage]]:
    """Everything in the journal, as one who follows it would see it."""
    records: list[Record] = []
    damage: list[Damage] = []
    for segment in list_segments(archive, disk):
        after = records[-1].pos if records else 0
        with SegmentReader(segment.path, disk, after=after, closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Damage):
                    damage.append(item)
                else:
                    records.append(item)
    return records, damage


def frames_of(records: list[Record]) -> dict[int, bytes]:
    return {record.pos: record.payload for record in records if record.kind is Kind.COMPRESSED}


def events_of(records: list[Record]) -> list[dict[str, Any]]:
    return [decode_event(record.payload) for record in records if record.kind is Kind.EVENT]


def check_counts(journal: Journal) -> None:
    counts = journal.counts()
    assert counts.received == counts.durable + counts.in_flight + counts.shed
    assert (counts.held_bytes > 0) == (counts.in_flight > 0)
    assert counts.in_flight == journal.in_flight
    assert counts.written >= counts.durable


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.002)


# -- a disk that fails when it is told to


class FaultyFile:
    def __init__(self, file: File, disk: FaultyDisk, path: Path) -> None:
        self._file = file
        self._disk = disk
        self._other = os.open(path, os.O_RDWR)
        self._synced = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        self._disk.met("write")
        if self._disk.room is None and self._disk.most is None:
            return self._file.writev(buffers)
        whole = b"".join(buffers)
        take = len(whole)
        if self._disk.most is not None:
            take = min(take, self._disk.most)
        if self._disk.room is not None:
            take = min(take, self._disk.room)
            if take == 0:
                raise OSError(errno.ENOSPC, "no space left")
            self._disk.room -= take
        return self._file.writev([whole[:take]])

    def datasync(self) -> None:
        size = self._file.size()
        try:
            self._disk.met("datasync")
        except OSError:
            # What a kernel may do: drop the pages, and be fine with the next sync.
            os.pwrite(self._other, bytes(size - self._synced), self._synced)
            raise
        self._file.datasync()
        self._synced = size

    def close(self) -> None:
        os.close(self._other)
        self._file.close()


class FaultyDisk(OsDisk):
    """Fails in the journal's folder. ``fail``: call, its number over all files, error.

    ``room``: bytes left. ``most``: bytes that a write takes.
    """

    def __init__(self, fail: tuple[str, int, int] | None = None) -> None:
        self.fail = fail
        self.room: int | None = None
        self.most: int | None = None
        self.calls: dict[str, int] = {}
        self.hook: Callable[[str], None] | None = None

    def met(self, call: str) -> None:
        self.calls[call] = number = self.calls.get(call, 0) + 1
        if self.hook is not None:
            self.hook(call)
        if self.fail is not None and self.fail[:2] == (call, number):
            raise OSError(self.fail[2], os.strerror(self.fail[2]))

    def create(self, path: Path) -> File:
        if path.parent.name != "journal":
            return super().create(path)
        self.met("create")
        return FaultyFile(super().create(path), self, path)  # type: ignore[return-value]

    def rename(self, old: Path, new: Path) -> None:
        if new.parent.name == "journal":
            self.met("rename")
        super().rename(old, new)

    def sync_folder(self, folder: Path) -> None:
        if folder.name == "journal":
            self.met("sync_folder")
        super().sync_folder(folder)


# -- a disk in memory that can lose its power


class Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.synced = 0


class PowerLost(BaseException):
    """Nothing that is done after it matters."""


class MemoryFile:
    def __init__(self, inode: Inode, disk: MemoryDisk, path: Path) -> None:
        self._inode = inode
        self._disk = disk
        self._path = path

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        self._disk.step()
        whole = b"".join(buffers)
        if self._disk.trouble is not None and self._disk.trouble.random() < 0.2:
            whole = whole[: self._disk.trouble.randint(1, len(whole))]
        self._inode.content += whole
        return len(whole)

    def datasync(self) -> None:
        self._disk.step()
        if self._disk.trouble is not None and self._disk.trouble.random() < 0.1:
            size = len(self._inode.content) - self._inode.synced
            self._inode.content[self._inode.synced :] = bytes(size)
            raise OSError(errno.EIO, "pages dropped")
        if not (self._disk.lies and ".seg" in self._path.name):
            self._inode.synced = len(self._inode.content)

    def overwrite(self, offset: int, data: bytes) -> None:
        self._disk.step()
        self._inode.content[offset : offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._inode.content[offset : offset + size])

    def size(self) -> int:
        return len(self._inode.content)

    def linked(self) -> bool:
        return self._disk.files.get(self._path) is self._inode

    def close(self) -> None:
        pass


class MemoryLock:
    def release(self) -> None:
        pass


class MemoryDisk:
    """Keeps apart what is durable. ``lies``: a sync of a segment's content does nothing."""

    def __init__(self, *, lies: bool = False) -> None:
        self.lies = lies
        self.steps_left = 10**9
        self.trouble: random.Random | None = None
        self.files: dict[Path, Inode] = {}
        self.folders: set[Path] = set()
        self.states: list[dict[Path, Inode]] = [{}]
        """What the names may be after a power loss: the last durable ones, then each later step."""

    def step(self) -> None:
        """Before every change: the power may go."""
        self.steps_left -= 1
        if self.steps_left < 0:
            raise PowerLost

    def create(self, path: Path) -> File:
        self.step()
        if path in self.files:
            raise FileExistsError(path)
        self.files[path] = Inode()
        self.states.append(dict(self.files))
        return MemoryFile(self.files[path], self, path)

    def open(self, path: Path) -> File:
        if path not in self.files:
            raise FileNotFoundError(path)
        return MemoryFile(self.files[path], self, path)

    def reopen(self, path: Path) -> File:
        return self.open(path)

    def names(self, folder: Path) -> list[str]:
        return sorted({path.name for path in (*self.files, *self.folders) if path.parent == folder})

    def make_folder(self, folder: Path) -> None:
        self.folders.add(folder)

    def rename(self, old: Path, new: Path) -> None:
        self.step()
        self.files[new] = self.files.pop(old)
        self.states.append(dict(self.files))

    def unlink(self, path: Path) -> None:
        self.step()
        if self.files.pop(path, None) is not None:
            self.states.append(dict(self.files))

    def sync_folder(self, folder: Path) -> None:
        self.step()
        self.states = [dict(self.files)]

    def lock(self, path: Path, note: str) -> MemoryLock:
        return MemoryLock()

    def locked(self, path: Path) -> bool:
        return False

    def free(self, folder: Path) -> int:
        return 1 << 40

    def lose_power(self, chance: random.Random) -> MemoryDisk:
        """One of the states in which the disk may be found."""
        found = MemoryDisk()
        found.folders = set(self.folders)
        for path, inode in chance.choice(self.states).items():
            copy = Inode()
            unsynced = bytearray(inode.content[inode.synced :])
            for at in range(0, len(unsynced), 64):
                how = chance.randrange(4)
                block = unsynced[at : at + 64]
                if how == 0:
                    block = bytearray(len(block))
                elif how == 1:
                    block = bytearray(chance.randbytes(len(block)))
                unsynced[at : at + 64] = block
            copy.content = inode.content[: inode.synced] + unsynced[: chance.randint(0, len(unsynced))]
            copy.synced = len(copy.content)
            found.files[path] = copy
        found.states = [dict(found.files)]
        return found


# -- opening


def test_what_was_appended_is_read_back_over_many_runs(tmp_path: Path) -> None:
    archive = tmp_path / "deep" / "archive"
    clock = SystemClock()
    sent = {}
    for run in range(3):
        with Journal.open(archive, "huobi", clock=clock) as journal:
            assert is_recording(archive)
            for number in range(run * 100, run * 100 + 100):
                sent[append(journal, number)] = payload_of(number)
        assert not is_recording(archive)
    records, damage = read_archive(archive)
    assert frames_of(records) == sent
    assert sorted(sent) == list(range(1, 301))
    assert damage == []
    first = records[7]
    assert (first.ts_recv, first.mono, first.conn, first.epoch) == (21, 14, "feed-0", 1)
    assert len(list_segments(archive)) == 3


def test_an_archive_that_only_was_opened_has_no_segment(tmp_path: Path) -> None:
    for _ in range(2):
        with Journal.open(tmp_path, "huobi", clock=SystemClock()) as journal:
            assert journal.next_pos == 1
    assert list_segments(tmp_path) == []


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock()):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        with pytest.raises(ArchiveOwned, match=rf"process {os.getpid()}, started at 20\d\d-") as caught:
            Journal.open(tmp_path, "huobi", clock=SystemClock())
        assert caught.value.exit_code == 2
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_one_of_many_that_open_at_once_wins(tmp_path: Path) -> None:
    """Each child says what became of it, and holds the archive until all have tried."""
    for race in range(10):
        archive = tmp_path / str(race)
        go_read, go_write = os.pipe()
        told_read, told_write = os.pipe()
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                os.close(go_write)
                os.read(go_read, 1)
                try:
                    journal = Journal.open(archive, "huobi", clock=SystemClock(), options=MANUAL)
                    append(journal, 1)
                    journal.flush()
                    os.write(told_write, b"W")
                    signal.pause()
                except ArchiveOwned:
                    os.write(told_write, b"L")
                except BaseException:
                    os.write(told_write, b"?")
                os._exit(0)
            children.append(child)
        os.close(go_read)
        os.close(go_write)
        told = b"".join(os.read(told_read, 1) for _ in children)
        assert sorted(told) == sorted(b"WLLL"), told
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(told_read)
        os.close(told_write)
        with Journal.open(archive, "huobi", clock=SystemClock(), options=MANUAL) as journal:
            assert journal.next_pos == 3


def test_another_venue_may_follow_and_a_newer_format_may_not(tmp_path: Path) -> None:
    Journal.open(tmp_path, "huobi", clock=SystemClock()).close()
    with Journal.open(tmp_path, "futu", clock=SystemClock()) as journal:
        assert journal.meta.venue == "huobi"
    (tmp_path / "archive.json").write_text('{"format": 9}')
    with pytest.raises(UnknownFormat, match="format 9"):
        Journal.open(tmp_path, "huobi", clock=SystemClock())
    assert not is_recording(tmp_path), "a refused opening lets go of the lock"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(NotAnArchive, match=r"photo\.jpg"):
        Journal.open(tmp_path, "huobi", clock=SystemClock())
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_positions_go_on_above_what_was_sealed_and_removed(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        append(journal, 1)
    list_segments(tmp_path)[0].path.unlink()
    entry = SegmentEntry(
        format=MANIFEST_FORMAT,
        segment="0000000000000001",
        first_pos=1,
        last_pos=41,
        records=41,
        ts_min=None,
        ts_max=None,
        files=[],
        state="",
        state_sha256="",
        counts={},
        damage=[],
    )
    (tmp_path / "manifest" / "0000000000000001.json").write_bytes(encode_entry(entry))
    (tmp_path / "manifest" / "0000000000000001.json.new").write_text("{")
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        assert append(journal, 2) == 42


def test_a_damaged_manifest_entry_stops_no_recorder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        append(journal, 1)
    (tmp_path / "manifest" / "0000000000000007.json").write_text("{}")
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        # Above every position that the segment of the entry can have had.
        assert append(journal, 2) > 7 + (1 << 31)
    assert "0000000000000007.json" in caplog.text and "recording goes on" in caplog.text
    with pytest.raises(CorruptManifest, match=r"0000000000000007\.json"):
        seal(tmp_path)


# -- appending, rotating


def test_limits(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        with pytest.raises(RecordTooLarge, match="payload"):
            journal.append(1, 1, "a", 1, 0, 0, bytes(16 * 1024 * 1024 + 1))
        with pytest.raises(RecordTooLarge, match="line name"):
            journal.append(1, 1, "ä" * 128, 1, 0, 0, b"")
        with pytest.raises(struct.error):
            journal.append(1, 1, "a", -1, 0, 0, b"")
        check_counts(journal)
        assert journal.received == 0
        assert journal.append(1, 1, "ä" * 127, 1, 0, 0, bytes(16 * 1024 * 1024)) == 1
    journal.close()
    with pytest.raises(JournalClosed, match="closed"):
        append(journal, 1)
    records, _ = read_archive(tmp_path)
    assert (records[0].conn, len(records[0].payload)) == ("ä" * 127, 16 * 1024 * 1024)


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


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from("aaaawwsrbt") | st.integers(0, 3000), max_size=40))
def test_the_counts_agree_after_every_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]
) -> None:
    """a: append, w: write, s: sync, r: rotate, b: short writes, t: time passes, a number: bytes of space left."""
    archive = tmp_path_factory.mktemp("counts")
    clock, disk = ManualClock(), FaultyDisk()
    options = JournalOptions(threads=False, segment_bytes=700, spool_bytes=1500)
    journal = Journal.open(archive, "huobi", clock=clock, options=options, disk=disk)
    sent = {}
    for number, step in enumerate(steps):
        if step == "a":
            pos = append(journal, number)
            if pos:
                sent[pos] = payload_of(number)
        elif step == "w":
            journal.pump_write()
        elif step == "s":
            journal.pump_sync()
        elif step == "r" and disk.room is None:
            journal.rotate()
        elif step == "b":
            disk.most = 7
        elif step == "t":
            clock.now += SECOND
            disk.room = disk.most = None
        elif isinstance(step, int):
            disk.room = step
        check_counts(journal)
        assert journal.counts().held_bytes <= 1500 + 1000, "events alone may go beyond the bound"
    disk.room = None
    clock.now += SECOND
    shed = journal.shed
    journal.close()
    check_counts(journal)
    assert journal.in_flight == 0
    records, damage = read_archive(archive)
    assert frames_of(records) == sent
    assert damage == []
    assert sum(event["records"] for event in events_of(records) if event["event"] == "shed") == shed


def test_a_full_spool_sheds_and_says_so(tmp_path: Path) -> None:
    """Records of no stream are shed at the ceiling, and may have told of any; test_shedding.py has the others."""
    clock = ManualClock()
    options = JournalOptions(threads=False, spool_bytes=4000)
    with Journal.open(tmp_path, "huobi", clock=clock, options=options) as journal:
        taken = [append(journal, number) for number in range(60)]
        assert taken.count(0) == journal.shed > 0
        assert journal.pressed
        clock.now += SECOND
        journal.flush()
        assert append(journal, 99) == max(taken) + 3, "two events come before the first record taken again"
        assert not journal.pressed
        check_counts(journal)
    first, last = (
        number * 3 for number in range(60) if taken[number] == 0 and number in (taken.index(0), 59)
    )
    facts = {"cause": "shed", "from": first}
    assert events_of(read_archive(tmp_path)[0]) == [
        {"event": "shedding", "topic": None, **facts},
        {
            "event": "shed",
            **facts,
            "to": last,
            "records": journal.shed,
            "others": journal.shed,
            "streams": [],
        },
    ]


# -- failures of the disk


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


# -- crashes


def crash(archive: Path, count: int, disk: Disk | None = None) -> None:
    """Leaves an archive as a killed process does: no footer, no farewell."""
    journal = Journal.open(archive, "huobi", clock=ManualClock(), options=MANUAL, disk=disk)
    for number in range(count):
        append(journal, number)
    journal.flush()
    journal._owner.release()


def test_a_crash_between_records_is_no_damage(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL) as journal:
        assert append(journal, 9) == 5, "a torn record may have had position 4"
    records, damage = read_archive(tmp_path)
    assert [record.pos for record in records] == [1, 2, 3, 5]
    assert (damage, events_of(records)) == ([], [])


def test_a_torn_tail_is_registered_once_however_often_it_is_opened(tmp_path: Path) -> None:
    crash(tmp_path, 3)
    torn = list_segments(tmp_path)[0]
    os.truncate(torn.path, torn.size - 1)
    content = torn.path.read_bytes()
    for _ in range(3):
        with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL):
            pass
        crash(tmp_path, 1)
    assert torn.path.read_bytes() == content, "nothing is ever truncated or repaired"
    records, damage = read_archive(tmp_path)
    recoveries = [event for event in events_of(records) if event["event"] == "recovery"]
    assert [(item.reason, item.segment) for item in damage] == [("torn tail", torn.name)]
    assert recoveries == [
        {
            "event": "recovery",
            "segment": torn.name,
            "offset": damage[0].offset,
            "reason": "torn tail",
            "lost_bytes": damage[0].length,
            "after": 2,
            "before": 5,
        }
    ]
    assert records[2].pos == 5, "the event is the first record of its segment"


def test_each_damaged_region_is_registered(tmp_path: Path) -> None:
    for _ in range(2):
        with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL) as journal:
            for number in range(50, 59):
                append(journal, number)
    for segment in list_segments(tmp_path):
        content = bytearray(segment.path.read_bytes())
        content[200] ^= 1
        content[700] ^= 1
        segment.path.write_bytes(content)
    with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL) as journal:
        assert journal.in_flight == 4
    records, damage = read_archive(tmp_path)
    assert len(damage) == 4
    assert [(event["segment"], event["after"], event["before"]) for event in events_of(records)] == [
        (item.segment, item.after, item.before) for item in damage
    ]
    Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL).close()
    assert len(list_segments(tmp_path)) == 3


def test_a_position_is_not_given_out_again_because_its_record_is_damaged(tmp_path: Path) -> None:
    crash(tmp_path, 5)
    segment = list_segments(tmp_path)[0]
    segment.path.write_bytes(bytes(segment.size))
    with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL) as journal:
        journal.flush()
        assert list_segments(tmp_path)[1].first_pos > 6
    assert len(list_segments(tmp_path)) == 2


def test_an_unfinished_segment_file_is_removed(tmp_path: Path) -> None:
    crash(tmp_path, 1)
    left = tmp_path / "journal" / "0000000000000003.seg.new"
    left.write_bytes(b"half a head")
    with Journal.open(tmp_path, "huobi", clock=ManualClock(), options=MANUAL) as journal:
        assert not left.exists()
        assert append(journal, 1) == 3


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


def lose_power_often(chance: random.Random, *, lies: bool) -> str | None:
    """One archive with power losses at any step, and with a failing disk; what is wrong with it, or None."""
    archive = Path("/a")
    disk = MemoryDisk()
    clock = ManualClock()
    acknowledged: dict[int, bytes] = {}
    ever: dict[int, set[bytes]] = {}
    for _ in range(4):
        options = JournalOptions(
            threads=False, segment_bytes=chance.choice((300, 2000)), archive_id=b"archive0"
        )
        disk.lies = lies
        disk.steps_left = chance.randrange(60)
        pending: dict[int, bytes] = {}
        journal = None
        try:
            journal = Journal.open(archive, "huobi", clock=clock, options=options, disk=disk)
            disk.trouble = chance
            live(journal, clock, chance, pending)
        except PowerLost:
            pass
        for pos, payload in pending.items():
            ever.setdefault(pos, set()).add(payload)
        if journal is not None:
            durable = journal.durable_pos
            acknowledged |= {pos: payload for pos, payload in pending.items() if pos <= durable}
        disk = disk.lose_power(chance)
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


def test_nothing_acknowledged_is_lost_with_the_process(tmp_path: Path) -> None:
    """Children are killed at random moments; each has told which records it was promised."""
    archive = tmp_path / "archive"
    chance = random.Random(7)
    acknowledged: dict[int, bytes] = {}
    base = 0
    for life in range(30):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                options = JournalOptions(write_interval_ms=1, fsync_interval_ms=2, segment_bytes=20_000)
                journal = Journal.open(archive, "huobi", clock=SystemClock(), options=options)
                for number in range(base, base + 1_000_000):
                    pos = append(journal, number)
                    os.write(write_end, struct.pack("<qqq", pos, number, journal.durable_pos))
            finally:
                os._exit(1)
        os.close(write_end)
        told = b""
        want = chance.randrange(24, 60_000)
        while len(told) < want and (more := os.read(read_end, 65536)):
            told += more
        os.kill(child, signal.SIGKILL)
        while more := os.read(read_end, 65536):
            told += more
        os.close(read_end)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        rows = [struct.unpack_from("<qqq", told, at) for at in range(0, len(told) // 24 * 24, 24)]
        durable = max(row[2] for row in rows)
        acknowledged |= {pos: payload_of(number) for pos, number, _ in rows if pos <= durable}
        base += len(rows) + 1
        records, _ = read_archive(archive)
        found = frames_of(records)
        assert found.items() >= acknowledged.items(), f"life {life}"
        assert [record.pos for record in records] == sorted({record.pos for record in records})
    assert len(acknowledged) > 1000


# -- threads


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


def test_how_long_records_took_to_be_durable(tmp_path: Path) -> None:
    clock = ManualClock()
    options = JournalOptions(threads=False)
    with Journal.open(tmp_path, "huobi", clock=clock, options=options) as journal:
        for age_s in (0.04, 0.09):
            received = clock.mono_ns()
            for _ in range(3):
                journal.append(1, received, "line-0", 1, Direction.IN, Kind.COMPRESSED, b"frame")
            journal.pump_write()
            clock.now += int(age_s * 1e9)
            journal.pump_sync()
        times = journal.durable_times
        took = {bound: count for bound, count in zip(times.bounds, times.counts, strict=False) if count}
        assert journal.durable == sum(times.counts) == 6
    assert took == {0.01: 3, 0.1: 3}, "the first ones are durable with the segment's name"


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
                assert go_on.wait(20)

        disk.hook = hold
        append(journal, 1)
        assert inside.wait(20)
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
            journal.flush(20)
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
        journal.flush(20)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(JournalFailed):
        append(journal, 2)
    with pytest.raises(JournalFailed):
        journal.close()
    assert not is_recording(tmp_path)
