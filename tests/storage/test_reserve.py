from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import pytest

from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import NotDurable
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.layout import Layout
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, Record, decode_event, encode_event
from bookreel.storage.reserve import RESERVE_BYTES, Note, Reserve, read_note
from bookreel.storage.segment import SegmentReader, list_segments
from bookreel.venues.huobi import Huobi
from tests.clocks import START_NS, ManualClock
from tests.simulation.disk import Crash, SimDisk

ARCHIVE = Path("/archive")
RESERVE = Layout(ARCHIVE).reserve
ID = b"archive0"
OPTIONS = JournalOptions(threads=False, archive_id=ID, segment_bytes=20_000)
MS = 1_000_000
TOPIC = "market.btcusdt.bbo"


class Recorder:
    """One life of a recorder on a simulated disk, a frame every millisecond."""

    def __init__(self, disk: SimDisk, clock: ManualClock) -> None:
        self.disk = disk
        self.clock = clock
        self.journal = Journal.open(ARCHIVE, "huobi", clock=clock, options=OPTIONS, disk=disk)
        self.times: dict[int, int] = {}
        self._append(Direction.INTERNAL, Kind.EVENT, encode_event("start"))
        self._append(
            Direction.IN, Kind.TEXT, b'{"id":"1","status":"ok","subbed":"%s","ts":1}' % TOPIC.encode()
        )

    def _append(self, direction: Direction, kind: Kind, payload: bytes) -> int:
        self.clock.now += MS
        pos = self.journal.append(self.clock.now, self.clock.now - START_NS, "a", 1, direction, kind, payload)
        self.times[pos] = self.clock.now
        return pos

    def hear(self) -> int:
        seq = self.journal.next_pos
        frame = b'{"ch":"%s","ts":1,"tick":{"seqId":%d,"bid":1,"ask":2}}' % (TOPIC.encode(), seq)
        return self._append(Direction.IN, Kind.TEXT, frame)

    def run(self, frames: int) -> None:
        for _ in range(frames):
            self.hear()
            self.journal.pump_write()
            self.journal.pump_sync()

    def fill(self) -> int:
        """The disk fills up; since when it is known."""
        self.disk.capacity = self.disk.used + 300
        while self.journal.disk_full_since is None:
            self.run(1)
        return self.journal.disk_full_since


def records(disk: SimDisk) -> list[Record]:
    found: list[Record] = []
    for segment in list_segments(ARCHIVE, disk):
        with SegmentReader(segment.path, disk, after=found[-1].pos if found else 0, closed=True) as reader:
            found += (item for item in reader.read() if isinstance(item, Record))
    return found


def events(disk: SimDisk, name: str) -> list[dict[str, Any]]:
    found = [decode_event(each.payload) for each in records(disk) if each.kind is Kind.EVENT]
    return [event for event in found if event["event"] == name]


def holes(disk: SimDisk) -> list[tuple[str, int]]:
    """Cause and start of each hole, those that ended and those that have not."""
    normalizer = Normalizer(Huobi())
    last = 0
    for record in records(disk):
        if last and record.pos != last + 1:
            normalizer.damage(None)  # type: ignore[arg-type]
        normalizer.feed(record)
        last = record.pos
    ended = normalizer.take()["gaps"]
    starts = [start.value for start in ended["start"]]
    return [*zip(ended["cause"].to_pylist(), starts, strict=True)] + [
        (gap.cause, gap.start) for gap in normalizer.open_gaps()
    ]


def test_a_recorder_that_dies_on_a_full_disk_is_known_to_have_lost_to_that() -> None:
    disk, clock = SimDisk(), ManualClock()
    life = Recorder(disk, clock)
    life.run(30)
    since = life.fill()
    life.run(20)
    good = life.journal.written
    disk = disk.killed()
    disk.capacity = None
    clock.now += 1000 * MS
    opened = clock.now
    again = Recorder(disk, clock)
    again.run(5)
    last = max(each.ts_recv for each in records(disk) if each.kind is Kind.TEXT and each.ts_recv < opened)
    assert life.times[good] == last
    assert holes(disk) == [("disk_full", last)]
    assert events(disk, "disk_full") == [{"event": "disk_full", "from": since, "to": opened, "lost": True}]
    again.journal.close()
    assert read_note(RESERVE, ID, disk) is None
    Recorder(disk, clock).run(1)
    assert len(events(disk, "disk_full")) == 1, "said once"


def test_a_recorder_that_survives_a_full_disk_has_no_hole() -> None:
    disk, clock = SimDisk(), ManualClock()
    life = Recorder(disk, clock)
    life.run(5)
    since = life.fill()
    life.run(100)
    assert read_note(RESERVE, ID, disk) == Note(since, life.journal.written + 1)
    disk.capacity = None
    clock.now += 250 * MS
    life.run(1)
    assert life.journal.disk_full_since is None
    clock.now += 1000 * MS
    life.run(2)
    assert read_note(RESERVE, ID, disk) is None, "what it said is durable in the journal"
    life.journal.close()
    assert holes(disk) == []
    ((event),) = events(disk, "disk_full")
    assert (event["from"], "lost" in event) == (since, False)


def test_a_crash_after_space_came_back_is_a_crash() -> None:
    disk, clock = SimDisk(), ManualClock()
    life = Recorder(disk, clock)
    since = life.fill()
    disk.capacity = None
    clock.now += 250 * MS
    life.hear()
    life.journal.pump_write()
    disk = disk.killed()
    Recorder(disk, clock).run(1)
    assert [cause for cause, _ in holes(disk)] == ["crash_tail"]
    assert [(event["from"], event.get("lost")) for event in events(disk, "disk_full")] in (
        [(since, None)],
        [(since, False)],
    )


def test_the_note_is_kept_until_the_journal_says_the_same_durably() -> None:
    disk, clock = SimDisk(), ManualClock()
    life = Recorder(disk, clock)
    life.run(5)
    since = life.fill()
    disk.capacity = None
    for _ in range(3):
        # Time enough for a fresh reserve. The event is written, but no sync makes it durable.
        clock.now += 2000 * MS
        life.hear()
        life.journal.pump_write()
    for seed in range(20):
        left = disk.power_loss(random.Random(seed))
        Recorder(left, ManualClock()).run(1)
        assert [event["from"] for event in events(left, "disk_full")] == [since], seed


def test_it_may_fill_up_more_often_than_there_are_slots() -> None:
    """As long as no event of it is durable it counts as one time, from the first."""
    disk, clock = SimDisk(), ManualClock()
    life = Recorder(disk, clock)
    notes: list[Note | None] = []
    since = None
    for _ in range(12):
        disk.capacity = disk.used
        while life.journal.disk_full_since is None:
            life.hear()
            life.journal.pump_write()
        notes.append(read_note(RESERVE, ID, disk))
        since = since or life.journal.disk_full_since
        disk.capacity = None
        clock.now += 250 * MS
        life.journal.pump_write()
    assert [note.since for note in notes if note is not None] == [since] * 12
    assert sorted({note.pos for note in notes if note is not None}) == [
        note.pos for note in notes if note is not None
    ]
    life.journal.flush()
    disk.capacity = disk.used
    while life.journal.disk_full_since is None:
        life.run(1)
    note = read_note(RESERVE, ID, disk)
    assert note is not None
    assert note.since == life.journal.disk_full_since


@pytest.mark.parametrize("content", [b"", bytes(RESERVE_BYTES), b"\xff" * RESERVE_BYTES, b"bookfull" * 99])
def test_an_archive_without_a_good_reserve_is_opened(content: bytes, tmp_path: Path) -> None:
    path = Layout(tmp_path).reserve
    Journal.open(tmp_path, "huobi", clock=ManualClock(), options=OPTIONS).close()
    path.write_bytes(content)
    Journal.open(tmp_path, "huobi", clock=ManualClock(), options=OPTIONS).close()
    assert path.read_bytes() == bytes(RESERVE_BYTES)
    path.unlink()
    Journal.open(tmp_path, "huobi", clock=ManualClock(), options=OPTIONS).close()
    assert path.read_bytes() == bytes(RESERVE_BYTES)


def test_the_note_of_another_archive_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve = Reserve(path, b"another!", OsDisk())
    reserve.renew()
    reserve.note(Note(5, 6))
    reserve.close()
    assert read_note(path, ID, OsDisk()) is None
    assert read_note(path, b"another!", OsDisk()) == Note(5, 6)


def test_a_torn_note_destroys_no_other() -> None:
    disk = SimDisk()
    disk.make_folder(ARCHIVE)
    reserve = Reserve(RESERVE, ID, disk)
    reserve.renew()
    reserve.note(Note(1, 1))

    def die(operation: str, path: Path) -> None:
        if operation == "datasync":
            raise Crash

    disk.before = die
    with pytest.raises(Crash):
        reserve.note(Note(2, 2))
    found = {read_note(RESERVE, ID, disk.power_loss(random.Random(seed))) for seed in range(60)}
    assert found == {Note(1, 1), Note(2, 2)}


@pytest.mark.parametrize("operation", ["create", "writev", "datasync", "rename", "sync_folder", "overwrite"])
def test_without_a_reserve_everything_goes_on(operation: str) -> None:
    disk, clock = SimDisk(), ManualClock()
    Journal.open(ARCHIVE, "huobi", clock=clock, options=OPTIONS, disk=disk).close()

    made = False

    def fail(at: str, path: Path) -> None:
        nonlocal made
        made |= path.name == "reserve.new"
        if at == operation and (path.name.startswith("reserve") or (made and path == ARCHIVE)):
            raise OSError(errno.EIO, "broken")

    disk.before = fail
    life = Recorder(disk, clock)
    life.fill()
    life.run(10)
    disk.before = None
    disk.capacity = None
    clock.now += 1000 * MS
    life.run(1)
    life.journal.close()
    assert [event["from"] for event in events(disk, "disk_full")]
    assert holes(disk) == []


def test_an_archive_on_a_full_disk_can_be_opened_and_closed() -> None:
    disk, clock = SimDisk(), ManualClock()
    Recorder(disk, clock).journal.close()
    disk.capacity = disk.used
    life = Recorder(disk, clock)
    life.run(3)
    since = life.journal.disk_full_since
    with pytest.raises(NotDurable):
        life.journal.close()
    disk.capacity = None
    again = Recorder(disk, clock)
    again.run(1)
    again.journal.close()
    assert [(event["from"], event["lost"]) for event in events(disk, "disk_full")] == [(since, True)]
