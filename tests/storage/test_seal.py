from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bookreel.storage.disk import Disk, File, Lock, OsDisk
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.manifest import Manifest
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.schema import TABLES
from bookreel.storage.seal import KEEP_FREE_BYTES, SealRunning, seal
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from bookreel.venues.huobi import Huobi
from tests.storage.sealed import whole

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SECOND = 1_000_000_000
NOON = 1_723_118_400 * SECOND
DAY = 86_400 * SECOND


class Clock:
    """A clock that goes on by a microsecond whenever it is asked."""

    def __init__(self) -> None:
        self.now = NOON

    def wall_ns(self) -> int:
        self.now += 1_000
        return self.now

    mono_ns = wall_ns


class Recorder:
    """Writes frames to a journal, and rotates when told."""

    def __init__(self, archive: Path, **options: Any) -> None:
        self.clock = Clock()
        options = {"archive_id": b"bookreel", "segment_seconds": 1e9} | options
        self.journal = Journal.open(archive, "huobi", clock=self.clock, options=JournalOptions(**options))
        self.seq = 100

    def put(self, payload: bytes, conn: str = "ws-0", kind: Kind = Kind.COMPRESSED) -> None:
        self.clock.now += 10_000_000
        direction = Direction.INTERNAL if kind is Kind.EVENT else Direction.IN
        if kind is Kind.COMPRESSED:
            payload = gzip.compress(payload, mtime=0)
        assert self.journal.append(self.clock.now, self.clock.now, conn, 1, direction, kind, payload)

    def event(self, name: str, conn: str = "", **facts: Any) -> None:
        self.put(encode_event(name, **facts), conn, Kind.EVENT)

    def frame(self, frame: dict[str, Any], conn: str = "ws-0") -> None:
        self.put(json.dumps(frame, separators=(",", ":")).encode(), conn)

    def bbo(self, seq: int, symbol: str = "btcusdt") -> None:
        tick = {"seqId": seq, "ask": 2.5, "askSize": 1.0, "bid": 2.25, "bidSize": 3.0}
        self.frame({"ch": f"market.{symbol}.bbo", "ts": 6, "tick": tick})

    def delta(self) -> None:
        prev, self.seq = self.seq, self.seq + 3
        tick = {
            "seqNum": self.seq,
            "prevSeqNum": prev,
            "bids": [[1.0 + prev % 5, 2.0]],
            "asks": [[9.5, 1.0 + prev]],
        }
        self.frame({"ch": "market.btcusdt.mbp.150", "ts": prev, "tick": tick}, "feed-0")

    def snapshot(self, seq: int) -> None:
        book = {"seqNum": seq, "bids": [[1.0, 1.0]], "asks": [[9.0, 1.0]]}
        self.frame(
            {"id": "r", "status": "ok", "ts": 4, "rep": "market.btcusdt.mbp.150", "data": book}, "feed-0"
        )

    def trade(self, *numbers: int) -> None:
        data = [
            {"id": 10**26 + n, "ts": 5, "tradeId": n, "amount": 0.5, "price": 1.5, "direction": "sell"}
            for n in numbers
        ]
        self.frame({"ch": "market.ethusdt.trade.detail", "ts": 9, "tick": {"id": 1, "ts": 5, "data": data}})

    def rotate(self) -> None:
        self.journal.flush()
        self.journal.rotate()
        self.event("rotated")
        self.journal.flush()


def record(archive: Path) -> None:
    """Four segments: a resync crosses the first border, the date changes inside the third, the last one ends in
    order.
    """
    recorder = Recorder(archive)
    recorder.event("start")
    for seq in range(4):
        recorder.bbo(seq)
        recorder.bbo(seq, "ethusdt")
    recorder.delta()
    joint = recorder.seq
    recorder.delta()
    recorder.trade(1, 2)
    recorder.rotate()
    recorder.delta()
    recorder.snapshot(joint)
    recorder.delta()
    recorder.trade(2, 3)
    recorder.rotate()
    recorder.delta()
    recorder.put(b'{"ch":"market.btcusdt.bbo"')
    recorder.clock.now += DAY
    recorder.delta()
    recorder.bbo(9)
    recorder.rotate()
    recorder.seq += 7
    recorder.delta()
    recorder.event("stop")
    recorder.journal.close()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    record(tmp_path / "archive")
    return tmp_path / "archive"


def digests(archive: Path) -> dict[str, str]:
    """Everything an archive holds, but for the locks."""
    return {
        path.relative_to(archive).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in archive.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def copy(archive: Path, name: str) -> Path:
    other = archive.with_name(name)
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(archive, other)
    return other


def stored(archive: Path, table: str) -> pa.Table:
    """All rows of a table, by the manifest."""
    files = Manifest.load(archive).files(table)
    parts = [whole(table, pq.read_table(archive / file.path, partitioning=None)) for file in files]
    return pa.concat_tables([TABLES[table].empty_table(), *parts])


def normalized(archive: Path) -> dict[str, pa.Table]:
    """The rows of a whole journal, made in one go."""
    normalizer = Normalizer(Huobi())
    for segment in list_segments(archive):
        with SegmentReader(segment.path, closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Damage):
                    normalizer.damage(item)
                else:
                    normalizer.feed(item)
    return normalizer.take()


def in_order(table: pa.Table) -> list[dict[str, Any]]:
    """Rows in an order that does not depend on files; times as integers."""
    columns = [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in table.columns
    ]
    return sorted(
        (dict(zip(table.schema.names, row, strict=True)) for row in zip(*columns, strict=True)), key=repr
    )


def test_sealed_rows_are_those_of_the_journal(archive: Path) -> None:
    expected = normalized(archive)
    names = [segment.name for segment in list_segments(archive)]
    assert len(names) == 4
    report = seal(archive)
    manifest = Manifest.load(archive)
    manifest._check()
    assert [entry.segment for entry in manifest.segments] == names
    assert list_segments(archive) == []
    for table in TABLES:
        assert in_order(stored(archive, table)) == in_order(expected[table]), table
        assert report.rows.get(table, 0) == expected[table].num_rows
    assert (report.segments, report.frames) == (4, expected["frames"].num_rows)
    assert report.records == sum(entry.records for entry in manifest.segments)
    assert report.bytes_out == sum(file.bytes for table in TABLES for file in manifest.files(table))


def test_entries_say_what_the_files_hold(archive: Path) -> None:
    seal(archive)
    for table in TABLES:
        for file in Manifest.load(archive).files(table):
            path = archive / file.path
            content = path.read_bytes()
            assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
            rows = pq.read_table(path, partitioning=None)
            times = rows.column("ts_recv").cast(pa.int64()).to_pylist()
            positions = rows.column("pos").to_pylist()
            assert (file.rows, file.symbols) == (len(times), len(set(rows.column("symbol").to_pylist())))
            assert (file.ts_min, file.ts_max) == (min(times), max(times))
            assert (file.pos_min, file.pos_max) == (min(positions), max(positions))
            assert {time_ // DAY for time_ in times} == {file.ts_min // DAY}
    dates = {file.date for file in Manifest.load(archive).files("frames")}
    assert dates == {"2024-08-08", "2024-08-09"}


def test_a_plain_glob_sees_each_row_once(archive: Path) -> None:
    expected = {table: rows.num_rows for table, rows in normalized(archive).items()}
    seal(archive)
    for table, rows in expected.items():
        files = list((archive / "parquet").glob(f"{table}/**/*.parquet"))
        assert sum(pq.read_metadata(path).num_rows for path in files) == rows
    assert {path.suffix for path in (archive / "parquet").rglob("*") if path.is_file()} == {".parquet"}


def test_sealing_twice_gives_the_same_bytes(archive: Path) -> None:
    other = copy(archive, "other")
    seal(archive)
    seal(other)
    assert digests(archive) == digests(other)
    assert seal(archive).segments == 0
    assert digests(archive) == digests(other)


def test_sealing_segment_by_segment_gives_the_same_bytes(archive: Path) -> None:
    other = copy(archive, "other")
    seal(archive)
    for count in range(4):
        stop = threading.Event()
        report = seal(other, stop=stop, progress=lambda entry, stop=stop: stop.set())
        assert report.segments == 1, count
    assert digests(archive) == digests(other)


class Killed(BaseException):
    """The process ends here; not an error that anybody handles."""


class MortalFile:
    def __init__(self, file: File, tick: Callable[[], None]) -> None:
        self._file = file
        self._tick = tick

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        self._tick()
        # Half of it reaches the disk.
        half = memoryview(buffers[0])[: max(1, len(buffers[0]) // 2)]
        return self._file.writev([half])

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._file, name)

        def call(*args: Any) -> Any:
            if name != "close":
                self._tick()
            return method(*args)

        return call


class MortalDisk:
    """A disk that kills its user at the n-th call (0: never)."""

    def __init__(self, at: int) -> None:
        self._disk: Disk = OsDisk()
        self.calls = 0
        self.commits: list[int] = []
        self._at = at
        self._locks: list[Lock] = []

    def _tick(self) -> None:
        self.calls += 1
        if self.calls == self._at:
            raise Killed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._disk, name)

        def call(*args: Any) -> Any:
            self._tick()
            if name == "rename" and args[1].suffix == ".json":
                self.commits.append(self.calls)
            result = method(*args)
            return MortalFile(result, self._tick) if name in ("create", "open") else result

        return call


def test_killed_at_any_call_the_redo_gives_the_same_bytes(archive: Path) -> None:
    whole = copy(archive, "whole")
    counting = MortalDisk(0)
    seal(whole, disk=counting)
    expected = digests(whole)
    assert counting.calls > 100
    # Every call takes a minute: those around the first segment's commit and the end, and a step through the rest.
    commit = counting.commits[0]
    chosen = {
        *range(1, counting.calls, 13),
        *range(commit - 25, commit + 25),
        *range(counting.calls - 25, counting.calls),
    }
    for at in sorted(chosen | {counting.calls}):
        victim = copy(archive, "victim")
        with pytest.raises(Killed):
            seal(victim, disk=MortalDisk(at))
        manifest = Manifest.load(victim)
        manifest._check()
        left = {segment.name for segment in list_segments(victim)}
        sealed = {entry.segment for entry in manifest.segments}
        # No row is in neither place.
        assert len(left | sealed) == 4
        seal(victim)
        assert digests(victim) == expected, at


def test_a_newest_segment_that_is_still_written_is_left_alone(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    recorder.bbo(1)
    recorder.rotate()
    recorder.bbo(2)
    recorder.journal.flush()
    assert seal(archive).segments == 1
    assert len(list_segments(archive)) == 1
    recorder.journal.close()
    assert seal(archive).segments == 1
    assert stored(archive, "bbo").column("seq").to_pylist() == [1, 2]


def test_following_ends_when_the_recorder_is_gone_and_all_is_sealed(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    recorder.bbo(1)
    recorder.journal.flush()
    sealed = threading.Event()
    reports: list[Any] = []
    thread = threading.Thread(
        target=lambda: reports.append(
            seal(archive, follow=True, poll_seconds=0.01, progress=lambda entry: sealed.set())
        )
    )
    thread.start()
    recorder.rotate()
    assert sealed.wait(30)
    assert thread.is_alive()
    recorder.bbo(2)
    recorder.journal.close()
    thread.join(30)
    assert not thread.is_alive()
    assert reports[0].segments == 2
    assert stored(archive, "bbo").num_rows == 2


def test_a_second_sealer_is_refused_or_waits(archive: Path) -> None:
    lock = OsDisk().lock(archive / "seal.lock", "test")
    assert lock is not None
    with pytest.raises(SealRunning) as caught:
        seal(archive)
    assert caught.value.exit_code == 2
    stop = threading.Event()
    reports: list[Any] = []
    waiting = threading.Thread(
        target=lambda: reports.append(seal(archive, follow=True, stop=stop, poll_seconds=0.01))
    )
    waiting.start()
    assert len(list_segments(archive)) == 4
    lock.release()
    waiting.join(30)
    assert reports[0].segments == 4


def test_waiting_ends_when_told(archive: Path) -> None:
    lock = OsDisk().lock(archive / "seal.lock", "test")
    assert lock is not None
    stop = threading.Event()
    stop.set()
    assert seal(archive, follow=True, stop=stop).segments == 0
    lock.release()


class StoppingDisk:
    """Sets an event at the n-th file created."""

    def __init__(self, at: int, stop: threading.Event) -> None:
        self._disk = OsDisk()
        self._left = at
        self._stop = stop

    def create(self, path: Path) -> File:
        self._left -= 1
        if self._left == 0:
            self._stop.set()
        return self._disk.create(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


@pytest.mark.parametrize("at", range(1, 12))
def test_told_to_stop_a_segment_is_given_up_and_sealed_the_same_later(archive: Path, at: int) -> None:
    whole = copy(archive, "whole")
    seal(whole)
    stop = threading.Event()
    report = seal(archive, disk=StoppingDisk(at, stop), stop=stop)
    assert report.segments < 4
    Manifest.load(archive)._check()
    seal(archive)
    assert digests(archive) == digests(whole)


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_without_its_checkpoint_streams_begin_with_a_corrupt_gap(tmp_path: Path, harm: str) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    recorder.bbo(1)
    recorder.rotate()
    seal(archive)
    (state,) = (archive / "state").iterdir()
    if harm == "missing":
        state.unlink()
    else:
        state.write_bytes(state.read_bytes()[:-1] + b"\x00")
    last = Manifest.load(archive).segments[-1].ts_max
    recorder.bbo(2)
    recorder.journal.close()
    seal(archive)
    manifest = Manifest.load(archive)
    manifest._check()
    assert manifest.segments[-1].counts["forgotten"] == 1
    gaps = in_order(stored(archive, "gaps"))
    assert [(gap["feed"], gap["cause"], gap["start"]) for gap in gaps] == [("bbo", "corrupt", last)]
    assert gaps[0]["end"] > gaps[0]["start"]


def test_damage_is_registered_and_the_segment_kept_aside(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    for seq in range(20):
        recorder.bbo(seq)
    recorder.journal.close()
    (segment,) = list_segments(archive)
    content = bytearray(segment.path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.path.write_bytes(content)
    seal(archive)
    assert stored(archive, "bbo").num_rows == 19
    assert [gap["cause"] for gap in in_order(stored(archive, "gaps"))] == ["corrupt"]
    (entry,) = Manifest.load(archive).segments
    assert len(entry.damage) == 1
    assert list_segments(archive) == []
    assert [path.name for path in (archive / "journal").iterdir()] == [f"{segment.name}.seg.damaged"]
    assert seal(archive).segments == 0


def test_a_crash_leaves_a_torn_tail_and_the_next_run_a_crash_tail_gap(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    recorder.event("start")
    for seq in range(20):
        recorder.bbo(seq)
    recorder.journal.close()
    (segment,) = list_segments(archive)
    content = segment.path.read_bytes()
    segment.path.write_bytes(content[: len(content) * 2 // 3])
    again = Recorder(archive)
    again.clock.now += 60 * SECOND
    again.event("start")
    again.bbo(50)
    again.journal.close()
    other = copy(archive, "other")
    seal(archive)
    (gap,) = in_order(stored(archive, "gaps"))
    assert gap["cause"] == "crash_tail"
    good = [row["ts_recv"] for row in in_order(stored(archive, "bbo")) if row["seq"] < 50]
    assert (gap["start"], list((archive / "journal").iterdir())) == (max(good), [])
    seal(other)
    assert digests(archive) == digests(other)


def captured(name: str) -> Iterator[tuple[int, Kind, bytes]]:
    if not (SHARED / name).exists():
        pytest.skip(f"the shared captures are not there: {SHARED / name}")
    with gzip.open(SHARED / name) as file:
        for line in file:
            frame = json.loads(line)
            ts_recv = int(frame["recv_ts"] * SECOND)
            if "gz_b64" in frame:
                yield ts_recv, Kind.COMPRESSED, base64.b64decode(frame["gz_b64"])
            else:
                yield ts_recv, Kind.TEXT, frame["raw"].encode()


@pytest.mark.parametrize(
    ("name", "segment_bytes", "expected"),
    [
        ("huobi_ws_20210417.ndjson.gz", 300_000, {"book_snapshots": 292, "trades": 73, "frames": 362}),
        ("mbp150_btcusdt_20240808.ndjson.gz", 6_000_000, {"bbo": 66_089, "trades": 21_313}),
        ("mbp20_spot_20240808.ndjson.gz", 3_000_000, {"bbo": 28_040, "trades": 9_757}),
    ],
)
def test_captures_are_sealed_whole_and_the_same_twice(
    tmp_path: Path, name: str, segment_bytes: int, expected: dict[str, int]
) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive, segment_bytes=segment_bytes)
    for number, (ts_recv, kind, payload) in enumerate(captured(name)):
        assert recorder.journal.append(ts_recv, ts_recv, "c", 1, Direction.IN, kind, payload)
        if number % 5000 == 0:
            recorder.journal.flush()
    recorder.journal.close()
    other = copy(archive, "other")
    begun = time.perf_counter()
    report = seal(archive)
    print(f"{name}: {report.frames / (time.perf_counter() - begun):,.0f} frames/s")
    seal(other)
    assert digests(archive) == digests(other)
    assert report.rows | expected == report.rows
    assert "gaps" not in report.rows
    applied = sum(entry.counts.get("applied", 0) for entry in Manifest.load(archive).segments)
    assert applied == {"mbp150": 6546, "mbp20_": 3232}.get(name[:6], 0)
    if name.startswith("huobi_ws"):
        frames = sorted(in_order(stored(archive, "frames")), key=lambda row: row["pos"])
        with gzip.open(SHARED / name) as file:
            assert [row["payload"] for row in frames] == [json.loads(line)["raw"] for line in file]
        assert [row["kind"] for row in frames].count("ping") == 6


class FullDisk(OsDisk):
    """Takes a number of bytes, if one is given, and tells of them; ``waits`` counts who asked in vain."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked = threading.Event()

    def free(self, folder: Path) -> int:
        self.asked.set()
        return self.room

    def create(self, path: Path) -> File:
        return LimitedFile(super().create(path), self)  # type: ignore[return-value]


class LimitedFile:
    def __init__(self, file: File, disk: FullDisk) -> None:
        self._file = file
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        content = b"".join(buffers)[: self._disk.room]
        if not content:
            raise OSError(errno.ENOSPC, "no space left")
        self._disk.room -= len(content)
        return self._file.writev([content])


def files_of(archive: Path) -> set[str]:
    return {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}


def test_sealing_on_a_full_disk_gives_everything_back(archive: Path) -> None:
    before = files_of(archive)
    whole = copy(archive, "whole")
    seal(whole)
    for room in (0, 1000, 5000, 9000):
        with pytest.raises(OSError, match="no space"):
            seal(archive, disk=FullDisk(room))
        assert files_of(archive) - {"seal.lock"} == before
    seal(archive)
    assert digests(archive) == digests(whole)


def test_the_last_bytes_are_left_to_a_recorder(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    recorder.bbo(1)
    recorder.rotate()
    disk = FullDisk(KEEP_FREE_BYTES)
    assert seal(archive, disk=disk).segments == 0
    disk.room += list_segments(archive)[0].size
    assert seal(archive, disk=disk).segments == 1
    recorder.rotate()
    recorder.journal.close()
    disk.room = KEEP_FREE_BYTES // 4
    assert seal(archive, disk=disk).segments > 0, "without a recorder there is nobody to leave it to"


def test_a_sealer_that_follows_waits_for_room(tmp_path: Path) -> None:
    """The room goes away only when it has begun, so that what it finds is a full disk."""
    archive = tmp_path / "archive"
    recorder = Recorder(archive)
    recorder.bbo(1)
    recorder.rotate()
    disk = FullDisk(0)
    disk.free = lambda folder: disk.asked.set() or 1 << 40  # type: ignore[method-assign, func-returns-value]
    reports: list[Any] = []
    sealed = threading.Event()
    thread = threading.Thread(
        target=lambda: reports.append(
            seal(archive, disk=disk, follow=True, poll_seconds=0.01, progress=lambda entry: sealed.set())
        )
    )
    thread.start()
    for _ in range(3):
        assert disk.asked.wait(30)
        disk.asked.clear()
    assert not sealed.is_set()
    disk.room = 1 << 40
    assert sealed.wait(30)
    recorder.journal.close()
    thread.join(30)
    assert reports[0].segments == 2
