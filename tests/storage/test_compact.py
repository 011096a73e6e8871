from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bookreel.storage import compact as compaction
from bookreel.storage.compact import (
    compact,
    leftovers,
    plan,
)
from bookreel.storage.disk import Disk
from bookreel.storage.manifest import Manifest
from bookreel.storage.schema import SORT_KEYS, TABLES
from tests.simulation.disk import Crash, SimDisk
from tests.storage.sealed import DAY, T0, Sealed, glob_rows, make_rows

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
            parts.append(pq.read_table(pa.BufferReader(opened.read(0, opened.size()))).cast(TABLES[table]))
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


def test_killed_at_any_operation_a_glob_and_our_readers_see_each_row_once(
    small: SimDisk, kill_points: int
) -> None:
    expected = everything(small)
    for k in range(1, kill_points + 1):
        disk = small.killed()
        assert killed_at(disk, k, run)
        after = disk.killed()
        assert everything(after) == expected, k
        assert listed(after) == expected, k
        run(after)
        assert_settled(after, expected)


def test_power_lost_at_any_operation_nothing_is_lost(small: SimDisk, kill_points: int) -> None:
    expected = everything(small)
    rng = random.Random(5)
    for k in range(1, kill_points + 1):
        disk = small.killed()
        assert killed_at(disk, k, run)
        for after in disk.power_losses(4, rng):
            assert everything(after) == expected, k
            assert listed(after) == expected, k
        run(after)
        assert_settled(after, expected)


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
