from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.replay import Archive
from bookreel.storage import compact as compaction
from bookreel.storage import compact_plan, compact_rows
from bookreel.storage.compact import (
    CompactRunning,
    DayOpen,
    DiskFull,
    ExchangeUnsupported,
    compact,
    leftovers,
    plan,
)
from bookreel.storage.dates import BadDate
from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.errors import CorruptFile, FileGone
from bookreel.storage.manifest import Manifest
from bookreel.storage.query import Database
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import SORT_KEYS, TABLES
from bookreel.storage.sealed_file import Mismatch, SealedFile
from bookreel.storage.tail import Tail
from bookreel.storage.verify import verify
from tests.simulation.disk import Crash, SimDisk
from tests.storage.sealed import DAY, T0, Sealed, decoded, glob_rows, make_rows

ROOT = Path("/a")
LATER = T0 + 9 * DAY
SECOND = 1_000_000_000
SYMBOLS = ("btcusdt", "ethusdt", "xrpusdt")


def deltas(first: int, count: int, at: int, symbols: tuple[str, ...] = SYMBOLS) -> pa.Table:
    """``count`` frames of each symbol, a second apart, of three levels each."""
    rows: list[dict[str, Any]] = []
    for frame in range(count * len(symbols)):
        symbol = symbols[frame % len(symbols)]
        row = {"symbol": symbol, "pos": first + frame, "ts_recv": at + frame * SECOND}
        rows += [row | {"price": float(level), "size": float(first + frame)} for level in (3, 1, 2)]
    return make_rows("book_deltas", rows)


def trades(first: int, count: int, at: int) -> pa.Table:
    return make_rows(
        "trades",
        [
            {
                "symbol": SYMBOLS[i % 2],
                "pos": first + i,
                "ts_recv": at + i * SECOND,
                "trade_id": str(first + i),
            }
            for i in range(count)
        ],
    )


def two_days(disk: Disk, root: Path = ROOT, segments: int = 4) -> Sealed:
    """Segments of 6 hours from noon on; the third has rows of both days."""
    sealed = Sealed(disk, root)
    for index in range(segments):
        first, at = index * 100 + 1, T0 + DAY // 2 + index * (DAY // 4 - 4 * SECOND)
        sealed.segment(
            first,
            first + 99,
            {"book_deltas": deltas(first, 3, at), "trades": trades(first, 9, at)},
        )
    return sealed


def ordered(rows: pa.Table) -> pa.Table:
    """By the sort keys; rows of one frame keep their order."""
    return rows.take(pc.sort_indices(rows, sort_keys=[(key, "ascending") for key in SORT_KEYS]))


def everything(disk: Disk, root: Path = ROOT) -> dict[str, pa.Table]:
    """What a plain glob has, table by table."""
    return {table: ordered(glob_rows(disk, root, table)) for table in disk.names(root / "parquet")}


def listed(disk: Disk, root: Path = ROOT) -> dict[str, pa.Table]:
    """What our own readers have."""
    manifest = Manifest.load(root, disk)
    manifest._check(disk)
    found = {}
    for table, files in manifest.tables().items():
        parts = [TABLES[table].empty_table()]
        for file in files:
            opened = disk.open(root / file.path)
            parts.append(decoded(table, opened.read(0, opened.size())))
            assert parts[-1].num_rows == file.rows
            opened.close()
        found[table] = ordered(pa.concat_tables(parts))
    return found


def files(disk: Disk, root: Path = ROOT) -> dict[str, int]:
    """Files that a glob sees, by table."""
    return {
        table: sum(1 for _ in walk(disk, root / "parquet" / table)) for table in disk.names(root / "parquet")
    }


def walk(disk: Disk, folder: Path) -> Iterator[Path]:
    for name in disk.names(folder):
        if name.endswith(".parquet"):
            yield folder / name
        else:
            yield from walk(disk, folder / name)


def assert_settled(disk: Disk, expected: dict[str, pa.Table]) -> None:
    """Nothing is left to do, nothing is left over, and every row is where it belongs."""
    assert everything(disk) == expected
    assert listed(disk) == expected
    assert plan(ROOT, disk=disk, now_ns=LATER) == []
    assert leftovers(ROOT, disk) == []
    assert all(not day.entry.before for day in Manifest.load(ROOT, disk).days.values())
    names = disk.names(ROOT / "manifest" / "days")
    assert len({name.rsplit(".", 2)[0] for name in names}) == len(names)


def test_a_day_becomes_one_file_a_table_with_the_same_rows() -> None:
    disk = SimDisk()
    two_days(disk)
    before = everything(disk)
    assert files(disk) == {"book_deltas": 5, "trades": 5}
    report = compact(ROOT, disk=disk, now_ns=LATER)
    assert (report.days, report.folders, report.files_before, report.files_after) == (2, 4, 10, 4)
    assert report.rows == 4 * (27 + 9)
    assert files(disk) == {"book_deltas": 2, "trades": 2}
    assert_settled(disk, before)


def test_rows_are_in_the_order_of_a_sealed_file_and_those_of_a_frame_keep_theirs() -> None:
    disk = SimDisk()
    two_days(disk)
    compact(ROOT, disk=disk, now_ns=LATER)
    for table in ("book_deltas", "trades"):
        for path in walk(disk, ROOT / "parquet" / table):
            opened = disk.open(path)
            rows = pq.read_table(pa.BufferReader(opened.read(0, opened.size())))
            opened.close()
            assert ordered(rows) == rows
            if table == "book_deltas":
                assert rows["price"].to_pylist() == [3.0, 1.0, 2.0] * (rows.num_rows // 3)


def test_compacting_again_does_nothing() -> None:
    disk = SimDisk()
    two_days(disk)
    compact(ROOT, disk=disk, now_ns=LATER)
    count = disk.operations
    writes: list[str] = []
    disk.before = lambda operation, path: writes.append(operation)
    assert compact(ROOT, disk=disk, now_ns=LATER).folders == 0
    assert disk.operations > count
    assert not {"create", "writev", "rename", "unlink", "exchange", "make_folder"} & set(writes)


def killed_at(disk: SimDisk, k: int, work: Callable[[SimDisk], object]) -> bool:
    """Whether the work was killed at its k-th operation."""
    start = disk.operations

    def before(operation: str, path: Path) -> None:
        if disk.operations - start >= k:
            raise Crash

    disk.before = before
    try:
        work(disk)
    except Crash:
        return True
    finally:
        disk.before = None
    return False


def run(disk: SimDisk) -> None:
    compact(ROOT, disk=disk, now_ns=LATER)


@pytest.fixture(scope="module")
def small() -> SimDisk:
    """One day of one table in two segments, and what was sealed for the day after."""
    disk = SimDisk()
    sealed = Sealed(disk, ROOT)
    for index in range(3):
        first = index * 100 + 1
        at = T0 + index * DAY // 2 + (index == 1) * (DAY // 2 - 4 * SECOND)
        sealed.segment(first, first + 99, {"trades": trades(first, 7, at)})
    disk.sync_folder(ROOT)
    return disk


@pytest.fixture(scope="module")
def kill_points(small: SimDisk) -> int:
    """Operations of one compaction of it."""
    disk = small.killed()
    start = disk.operations
    run(disk)
    return disk.operations - start


def test_killed_or_without_power_at_any_operation_each_row_is_seen_once(
    small: SimDisk, kill_points: int
) -> None:
    expected = everything(small)
    rng = random.Random(5)
    for k in range(1, kill_points + 1):
        disk = small.killed()
        assert killed_at(disk, k, run)
        after = disk.killed()
        for state in (after, *(disk.power_loss(rng) for _ in range(3))):
            assert everything(state) == expected, k
            assert listed(state) == expected, k
        if k % 2:
            # The next run makes good what either of them left.
            disk = after if k % 4 == 1 else state
            run(disk)
            assert_settled(disk, expected)


def test_killed_again_while_it_makes_good_a_kill(small: SimDisk, kill_points: int) -> None:
    expected = everything(small)
    rng = random.Random(7)
    for _ in range(40):
        disk = small.killed()
        while killed_at(disk, rng.randint(1, kill_points), run):
            disk = disk.killed() if rng.random() < 0.5 else disk.power_loss(rng)
            assert everything(disk) == expected
            assert listed(disk) == expected
        assert_settled(disk, expected)


def test_rows_sealed_after_a_kill_are_seen_once_and_taken_next_time(small: SimDisk, kill_points: int) -> None:
    for k in range(1, kill_points + 1, 3):
        disk = small.killed()
        assert killed_at(disk, k, run)
        disk = disk.killed()
        late = Sealed.__new__(Sealed)
        late.disk, late.root, late._layout = disk, ROOT, compaction.Layout(ROOT)
        late.segment(901, 1000, {"trades": trades(901, 5, T0 + DAY // 3)})
        expected = everything(disk)
        assert expected["trades"].num_rows == 3 * 7 + 5
        assert listed(disk) == expected
        run(disk)
        assert_settled(disk, expected)


def test_only_days_that_are_over_are_compacted() -> None:
    disk = SimDisk()
    two_days(disk)
    assert {task.date for task in plan(ROOT, disk=disk, now_ns=T0 + DAY + 1)} == {"2024-08-08"}
    assert plan(ROOT, disk=disk, now_ns=T0 + 1) == []
    with pytest.raises(DayOpen):
        compact(ROOT, date="2024-08-09", disk=disk, now_ns=T0 + DAY + 1)
    # Someone records: the day that the sealer is at is not over, whatever the clock says.
    lock = disk.lock(ROOT / "owner.lock", "a recorder")
    assert lock is not None
    assert {task.date for task in plan(ROOT, disk=disk, now_ns=LATER)} == {"2024-08-08"}


def test_one_day_is_compacted_alone_and_oldest_come_first() -> None:
    disk = SimDisk()
    two_days(disk)
    dates = [task.date for task in plan(ROOT, disk=disk, now_ns=LATER)]
    assert dates == sorted(dates)
    report = compact(ROOT, date="2024-08-09", disk=disk, now_ns=LATER)
    assert (report.days, report.folders) == (1, 2)
    assert {task.date for task in plan(ROOT, disk=disk, now_ns=LATER)} == {"2024-08-08"}
    with pytest.raises(BadDate):
        plan(ROOT, date="2024-13-01", disk=disk)


def test_rows_that_come_later_keep_files_of_their_own_where_others_lie_between() -> None:
    disk = SimDisk()
    sealed = two_days(disk)
    run(disk)
    for first in (901, 1001):
        sealed.segment(first, first + 99, {"trades": trades(first, 5, T0 + DAY // 3)})
    expected = everything(disk)
    assert listed(disk) == expected
    assert len(plan(ROOT, disk=disk, now_ns=LATER)) == 1
    run(disk)
    assert_settled(disk, expected)
    # The file of the first compaction, and one of the two that came later.
    assert len(disk.names(ROOT / "parquet/trades/venue=huobi/date=2024-08-08")) == 2
    positions = [(file.pos_min, file.pos_max) for file in Manifest.load(ROOT, disk).files("trades")]
    assert positions == sorted(positions)
    assert all(left[1] < right[0] for left, right in pairwise(positions))


def test_files_are_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimDisk()
    two_days(disk, segments=9)
    monkeypatch.setitem(compact_plan.FILE_ROWS, "book_deltas", 60)
    expected = everything(disk)
    run(disk)
    assert_settled(disk, expected)
    sizes = [file.rows for file in Manifest.load(ROOT, disk).files("book_deltas")]
    assert max(sizes) <= 60 and len(sizes) > 3


@pytest.mark.parametrize("part_bytes", [1, 3_000])
def test_little_memory_gives_the_same_rows(monkeypatch: pytest.MonkeyPatch, part_bytes: int) -> None:
    disk = SimDisk()
    sealed = Sealed(disk, ROOT)
    # Three recordings of the same hours: every file overlaps every other in time.
    for index in range(3):
        first = index * 1000 + 1
        sealed.segment(first, first + 999, {"book_deltas": deltas(first, 30, T0 + index)})
    expected = everything(disk)
    monkeypatch.setattr(compact_rows, "PART_BYTES", part_bytes)
    monkeypatch.setattr(compact_rows, "GROUP_BYTES", 2_000)
    run(disk)
    assert_settled(disk, expected)
    (path,) = walk(disk, ROOT / "parquet")
    opened = disk.open(path)
    file = pq.ParquetFile(pa.BufferReader(opened.read(0, opened.size())))
    opened.close()
    assert ordered(file.read()) == file.read().cast(TABLES["book_deltas"])
    assert file.num_row_groups > 10
    # A frame's three levels are in one row group, and a symbol's rows are told by statistics.
    assert all(file.metadata.row_group(index).num_rows % 3 == 0 for index in range(file.num_row_groups))
    column = file.schema_arrow.names.index("symbol")
    spans = [file.metadata.row_group(index).column(column).statistics for index in range(file.num_row_groups)]
    touched = sum(span.min <= "ethusdt" <= span.max for span in spans)
    assert 0 < touched < file.num_row_groups / 2


def test_a_damaged_file_is_not_merged() -> None:
    disk = SimDisk()
    two_days(disk)
    path = next(walk(disk, ROOT / "parquet" / "trades"))
    opened = disk.open(path)
    content = bytearray(opened.read(0, opened.size()))
    opened.close()
    content[len(content) // 2] ^= 1
    disk.unlink(path)
    file = disk.create(path)
    file.writev([bytes(content)])
    file.close()
    with pytest.raises(CorruptFile):
        run(disk)
    assert leftovers(ROOT, disk) == []
    assert bytes(content) == disk.open(path).read(0, len(content))
    disk.unlink(path)
    with pytest.raises(FileGone):
        run(disk)


def test_a_merge_that_loses_or_repeats_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SimDisk()
    two_days(disk)
    expected = everything(disk)
    honest = SealedFile.read

    def forgetful(self: Any, group: int, start: int = 0, stop: int | None = None) -> pa.RecordBatch:
        rows = honest(self, group, start, stop)
        if stop is None:
            return rows
        column = rows.schema.get_field_index("pos")
        return rows.set_column(column, "pos", pc.add(rows.column("pos"), pa.scalar(1)))

    monkeypatch.setattr(SealedFile, "read", forgetful)
    with pytest.raises(Mismatch):
        run(disk)
    assert everything(disk) == listed(disk) == expected
    assert leftovers(ROOT, disk) == []


@pytest.mark.parametrize("room", [0, 3_000])
def test_a_full_disk_changes_nothing(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    disk = SimDisk()
    two_days(disk)
    expected = everything(disk)
    with pytest.raises(DiskFull):
        disk.capacity = disk.used + room
        run(disk)
    monkeypatch.setattr(compaction, "KEEP_FREE_BYTES", -(1 << 40))
    with pytest.raises(DiskFull) as caught:
        run(disk)
    assert caught.value.exit_code == 3
    disk.capacity = None
    assert everything(disk) == listed(disk) == expected
    assert leftovers(ROOT, disk) == []
    run(disk)
    assert_settled(disk, expected)


def test_where_folders_cannot_be_exchanged_nothing_is_done() -> None:
    disk = SimDisk()
    two_days(disk)
    expected = everything(disk)

    def refuse(operation: str, path: Path) -> None:
        if operation == "exchange":
            raise OSError(errno.EINVAL, "Invalid argument")

    disk.before = refuse
    with pytest.raises(ExchangeUnsupported) as caught:
        run(disk)
    disk.before = None
    assert "ext4" in str(caught.value)
    assert everything(disk) == listed(disk) == expected


def test_a_second_compaction_is_refused_or_waits_until_stopped() -> None:
    disk = SimDisk()
    two_days(disk)
    assert disk.lock(ROOT / "compact.lock", "another") is not None
    with pytest.raises(CompactRunning):
        run(disk)
    stop = threading.Event()
    stop.set()
    assert compact(ROOT, disk=disk, now_ns=LATER, wait=True, stop=stop).stopped


def test_a_stop_leaves_what_is_done_and_nothing_else() -> None:
    disk = SimDisk()
    two_days(disk)
    expected = everything(disk)
    stop = threading.Event()
    report = compact(ROOT, disk=disk, now_ns=LATER, stop=stop, progress=lambda _: stop.set())
    assert report.stopped and report.folders == 1
    assert everything(disk) == listed(disk) == expected
    assert leftovers(ROOT, disk) == []
    run(disk)
    assert_settled(disk, expected)


def test_what_a_sealer_left_half_written_is_not_taken_away() -> None:
    disk = SimDisk()
    two_days(disk)
    half = ROOT / "parquet/trades/venue=huobi/date=2024-08-08" / f"{901:016d}.parquet"
    disk.create(half).close()
    report = compact(ROOT, disk=disk, now_ns=LATER)
    assert [text.partition(":")[0] for text in report.skipped] == [
        "parquet/trades/venue=huobi/date=2024-08-08"
    ]
    assert half.name in disk.names(half.parent)
    assert leftovers(ROOT, disk) == []


def test_rows_sealed_while_a_day_is_built_wait_for_the_next_run() -> None:
    disk = SimDisk()
    sealed = two_days(disk)
    waiting = [True]

    def before(operation: str, path: Path) -> None:
        # The last moment: the new folder is complete, the sealer's lock not yet taken.
        if operation == "lock" and path.name == "seal.lock" and waiting:
            waiting.clear()
            sealed.segment(901, 1000, {"book_deltas": deltas(901, 2, T0 + DAY // 3)})

    disk.before = before
    report = compact(ROOT, disk=disk, now_ns=LATER)
    disk.before = None
    assert len(report.skipped) == 1
    expected = everything(disk)
    assert listed(disk) == expected
    run(disk)
    assert_settled(disk, expected)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_small_archive(data: st.DataObject) -> None:
    disk = SimDisk()
    sealed = Sealed(disk, ROOT)
    pos = 1
    for _ in range(data.draw(st.integers(1, 5))):
        first = pos
        rows = []
        for _ in range(data.draw(st.integers(0, 6))):
            frame = {
                "pos": pos,
                "symbol": data.draw(st.sampled_from(["a", "b", "b\u00e9", "zz"])),
                "ts_recv": T0 + data.draw(st.integers(0, 5)) * DAY // 3,
            }
            rows += [frame | {"price": float(level)} for level in range(data.draw(st.integers(1, 3)))]
            pos += 1
        pos += 1
        sealed.segment(first, pos - 1, {"book_deltas": make_rows("book_deltas", rows)})
        if data.draw(st.booleans()):
            if data.draw(st.booleans()):
                killed_at(disk, data.draw(st.integers(1, 200)), run)
                disk = disk.killed()
                sealed.disk = disk
            else:
                run(disk)
            expected = everything(disk)
            assert listed(disk) == expected
    expected = everything(disk)
    run(disk)
    assert_settled(disk, expected)


def test_on_a_real_disk(tmp_path: Path) -> None:
    disk = OsDisk()
    two_days(disk, tmp_path)
    expected = everything(disk, tmp_path)
    inode = (tmp_path / "parquet/trades/venue=huobi/date=2024-08-08").stat().st_ino
    assert compact(tmp_path, now_ns=LATER).folders == 4
    assert everything(disk, tmp_path) == listed(disk, tmp_path) == expected
    assert (tmp_path / "parquet/trades/venue=huobi/date=2024-08-08").stat().st_ino != inode
    assert leftovers(tmp_path) == []


def test_readers_that_looked_before_the_switch_look_again(tmp_path: Path) -> None:
    two_days(OsDisk(), tmp_path)
    tail = Tail(tmp_path, ["trades"])
    contents = tail.look(["trades"])
    with Archive(tmp_path) as archive:
        before = [event.pos for event in archive.events(tables="trades")]
        events = archive.events(tables="trades")
        first = next(events)
        compact(tmp_path, now_ns=LATER)
        # What is not given yet comes from the new files.
        assert [first.pos, *(event.pos for event in events)] == before
        assert [event.pos for event in archive.events(tables="trades")] == before
        with pytest.raises(FileGone):
            list(Scanner().scan(contents, "trades", ["pos"]))
        with pytest.raises(FileGone):
            Database(tmp_path).view([contents], ["trades"])
        rows = sum(piece.num_rows for piece in Scanner().scan(tail.look(["trades"]), "trades", ["pos"]))
        assert rows == len(before)
        # A query that looked in the moment before is asked again.
        looks = [contents]
        archive._tail.look = lambda tables=(): looks.pop() if looks else tail.look(tables)  # type: ignore[method-assign]
        [(count,)] = archive.sql("SELECT count(*) FROM trades").fetchall()
        assert (count, looks) == (len(before), [])
    tail.close()


def test_verify_knows_compacted_days(tmp_path: Path) -> None:
    two_days(OsDisk(), tmp_path)
    compact(tmp_path, now_ns=LATER)
    report = verify(tmp_path)
    assert [problem for problem in report.problems if problem.kind in ("file", "manifest")] == []
    assert (report.counts["days"], report.counts["files"], report.counts["rows"]) == (2, 4, 144)
    (tmp_path / "compact/trades/venue=huobi/date=x").mkdir()
    (tmp_path / "compact/trades/venue=huobi/date=x/y.parquet").touch()
    assert verify(tmp_path).counts["leftovers"] == 1
    next((tmp_path / "parquet/trades").rglob("*.parquet")).unlink()
    assert "it is missing" in {problem.text for problem in verify(tmp_path).problems}
