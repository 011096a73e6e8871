"""What a killed process left: damage is registered, and what the next one builds on is made durable by that one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from bookreel.storage.disk import Disk
from bookreel.storage.errors import ArchiveOwned
from bookreel.storage.journal import Journal
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import Manifest
from bookreel.storage.record import Direction, Kind
from bookreel.storage.seal import seal
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from tests.clocks import ManualClock
from tests.simulation.disk import Crash, SimDisk
from tests.storage.journals import MANUAL, append, events_of, read_archive

ARCHIVE = Path("/data/archive")


def journal_on(disk: SimDisk) -> Journal:
    return Journal.open(ARCHIVE, "huobi", clock=ManualClock(), options=MANUAL, disk=disk)


def append_text(journal: Journal, payload: bytes) -> int:
    return journal.append(1, 1, "ws-0", 1, Direction.IN, Kind.TEXT, payload)


def texts(disk: SimDisk) -> list[bytes]:
    found = []
    for segment in list_segments(ARCHIVE, disk):
        with SegmentReader(segment.path, disk, closed=True) as reader:
            found += [
                item.payload
                for item in reader.read()
                if not isinstance(item, Damage) and item.kind is Kind.TEXT
            ]
    return found


def die_at(disk: SimDisk, operation: str, at: Path, *, skip: int = 0) -> None:
    """The process dies before this operation; the first few of its kind are let pass."""
    left = skip

    def before(name: str, path: Path) -> None:
        nonlocal left
        if name == operation and path == at:
            left -= 1
            if left < 0:
                raise Crash

    disk.before = before


def test_what_is_found_at_opening_survives_a_power_loss() -> None:
    disk = SimDisk()
    journal = journal_on(disk)
    append_text(journal, b"synced")
    journal.flush()
    append_text(journal, b"only written")
    journal.pump_write()
    disk = disk.killed()
    again = journal_on(disk)
    assert again.durable_pos == again.next_pos - 1
    assert {tuple(texts(state)) for state in disk.power_losses(100)} == {(b"synced", b"only written")}


def test_a_footer_does_not_say_that_a_segment_is_durable() -> None:
    disk = SimDisk()
    journal = journal_on(disk)
    append_text(journal, b"synced")
    journal.flush()
    append_text(journal, b"only written")
    journal.pump_write()

    def die_when_the_footer_is_written(operation: str, path: Path) -> None:
        if operation == "datasync":
            raise Crash

    disk.before = die_when_the_footer_is_written
    with pytest.raises(Crash):
        journal.rotate()
    disk = disk.killed()
    journal_on(disk)
    assert {tuple(texts(state)) for state in disk.power_losses(100)} == {(b"synced", b"only written")}


def test_a_segment_that_cannot_be_synced_does_not_stop_the_recorder() -> None:
    disk = SimDisk()
    append_text(journal := journal_on(disk), b"1")
    journal.flush()
    disk = disk.killed()

    def fail(operation: str, path: Path) -> None:
        if operation == "datasync" and path.suffix == ".seg":
            raise OSError(5, "injected")

    disk.before = fail
    again = journal_on(disk)
    append_text(again, b"2")
    again.flush()
    assert texts(disk) == [b"1", b"2"]


@pytest.mark.parametrize("folder", ["/", "/data", "/data/archive"])
def test_an_archive_half_made_is_made_durable_by_the_next_one(folder: str) -> None:
    """Died after a folder or ``archive.json`` got its name, and before that was durable."""
    disk = SimDisk()
    at = Path(folder)
    die_at(disk, "sync_folder", at, skip=4 if folder == "/data/archive" else 1 if folder == "/" else 0)
    with pytest.raises(Crash):
        journal_on(disk)
    disk = disk.killed()
    journal = journal_on(disk)
    append_text(journal, b"1")
    journal.flush()
    for state in disk.power_losses(100):
        assert texts(state) == [b"1"]
        assert state.names(ARCHIVE).count(Layout(ARCHIVE).meta.name) == 1


@pytest.mark.parametrize("name", ["archive.json", "0000000000000001.seg"])
def test_names_found_are_durable_before_anything_is_built_on_them(name: str) -> None:
    """Died after a file got its name, and before that was durable."""
    disk = SimDisk()
    named = False

    def before(operation: str, path: Path) -> None:
        nonlocal named
        if named and operation == "sync_folder":
            raise Crash
        named = operation == "rename" and path.name == name + ".new"

    disk.before = before
    with pytest.raises(Crash):
        journal = journal_on(disk)
        append_text(journal, b"1")
        journal.flush()
    disk = disk.killed()
    journal_on(disk)
    for state in disk.power_losses(100):
        folder = ARCHIVE if name == "archive.json" else Layout(ARCHIVE).journal
        assert name in state.names(folder)


def test_a_segment_is_not_removed_before_its_entry_is_durable() -> None:
    disk = SimDisk()
    journal = journal_on(disk)
    append_text(journal, b'{"ping":1}')
    journal.close()
    layout = Layout(ARCHIVE)
    die_at(disk, "sync_folder", layout.manifest)
    with pytest.raises(Crash):
        seal(ARCHIVE, disk=disk)
    disk = disk.killed()
    assert Manifest.load(ARCHIVE, disk).segments, "the entry has its name"
    seal(ARCHIVE, disk=disk)
    for state in disk.power_losses(200):
        assert texts(state) or Manifest.load(ARCHIVE, state).segments


@pytest.mark.parametrize("operation", ["writev", "datasync", "rename", "sync_folder"])
def test_a_disk_that_is_full_at_the_entry_takes_no_file_from_it(operation: str) -> None:
    disk = SimDisk()
    journal = journal_on(disk)
    append_text(journal, b'{"ping":1}')
    journal.close()
    layout = Layout(ARCHIVE)

    def refuse(name: str, path: Path) -> None:
        if name == operation and layout.manifest in (path, path.parent):
            raise OSError(errno.ENOSPC, "injected")

    disk.before = refuse
    with pytest.raises(OSError, match="injected"):
        seal(ARCHIVE, disk=disk)
    disk.before = None
    Manifest.load(ARCHIVE, disk)._check(disk)
    seal(ARCHIVE, disk=disk)
    Manifest.load(ARCHIVE, disk)._check(disk)
    assert texts(disk) == []


def test_who_is_refused_changes_nothing() -> None:
    disk = SimDisk()
    journal = journal_on(disk)
    append_text(journal, b"1")
    journal.flush()
    changes: list[str] = []
    disk.before = lambda operation, path: changes.append(operation)
    with pytest.raises(ArchiveOwned):
        journal_on(disk)
    assert set(changes) <= {"names", "lock", "open", "read"}


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
