from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from bookreel.storage.errors import NotAnArchive
from bookreel.storage.forecast import forecast
from bookreel.storage.manifest import Manifest
from tests.simulation.disk import SimDisk
from tests.storage.sealed import DAY, T0, Sealed, make_rows

ROOT = Path("/archive")
HOUR = DAY // 24


def trades(first_pos: int, start: int, end: int, count: int = 10) -> dict[str, pa.Table]:
    """Trades of two symbols from ``start`` to ``end`` (ns), inclusive."""
    step = (end - start) // (count - 1)
    rows = [
        {
            "symbol": f"s{index % 2}",
            "pos": first_pos + index,
            "ts_recv": start + index * step,
            "trade_seq": index,
        }
        for index in range(count)
    ]
    return {"trades": make_rows("trades", rows)}


def archive() -> tuple[SimDisk, Sealed]:
    disk = SimDisk()
    disk.capacity = 1 << 30
    return disk, Sealed(disk, ROOT)


def test_nothing_sealed_tells_no_rate() -> None:
    disk, _ = archive()
    found = forecast(ROOT, disk)
    assert (found.rates, found.sealed, found.journal, found.days_left) == ([], 0, 0, None)
    assert found.free == disk.free(ROOT)


def test_an_instant_tells_no_rate() -> None:
    disk, sealed = archive()
    sealed.segment(1, 2, trades(1, T0, T0 + 1, count=2))
    found = forecast(ROOT, disk)
    assert found.rates == [] and found.sealed > 0


def test_a_file_counts_for_the_part_of_its_time_that_a_window_has() -> None:
    disk, sealed = archive()
    start = T0 + 10 * HOUR
    entry = sealed.segment(1, 100, trades(1, start, start + 2 * HOUR - 1))
    (size,) = (file.bytes for file in entry.files)
    found = forecast(ROOT, disk)
    assert [rate.window for rate in found.rates] == ["1 h", "24 h", "7 d"]
    assert [rate.recorded for rate in found.rates] == pytest.approx([3600, 7200, 7200], rel=1e-6)
    # The same speed, whichever part of it is looked at.
    for rate in found.rates:
        assert rate.bytes_per_second == pytest.approx(size / 7200, rel=1e-6)
        assert rate.days_left == pytest.approx(found.free / (size / 7200) / 86_400, rel=1e-6)
    assert found.sealed == size


def test_time_in_which_nothing_was_recorded_is_left_out() -> None:
    disk, sealed = archive()
    sealed.segment(1, 100, trades(1, T0, T0 + HOUR - 1))
    sealed.segment(101, 200, trades(101, T0 + 3 * DAY, T0 + 3 * DAY + HOUR - 1))
    hour, day, week = forecast(ROOT, disk).rates
    assert (hour.recorded, day.recorded) == pytest.approx((3600, 3600), rel=1e-6)
    assert week.recorded == pytest.approx(7200, rel=1e-6)


def test_the_fastest_rate_says_how_long_it_lasts() -> None:
    disk, sealed = archive()
    sealed.segment(1, 100, trades(1, T0, T0 + 20 * HOUR - 1))
    sealed.segment(101, 9000, trades(101, T0 + 20 * HOUR, T0 + 21 * HOUR - 1, count=5000))
    found = forecast(ROOT, disk)
    hour, day, _ = found.rates
    assert hour.days_left < day.days_left
    assert found.days_left == hour.days_left


def test_what_a_compaction_replaced_does_not_count() -> None:
    from bookreel.storage.compact import compact

    disk, sealed = archive()
    for first_pos, hour in ((1, 1), (101, 2), (201, 3)):
        sealed.segment(
            first_pos, first_pos + 99, trades(first_pos, T0 + hour * HOUR, T0 + (hour + 1) * HOUR - 1)
        )
    sealed.segment(301, 400, trades(301, T0 + DAY, T0 + DAY + HOUR - 1))
    before = forecast(ROOT, disk)
    compact(ROOT, disk=disk, now_ns=T0 + 2 * DAY)
    after = forecast(ROOT, disk)
    assert after.sealed < before.sealed
    assert after.sealed == sum(file.bytes for file in Manifest.load(ROOT, disk).files("trades"))


def test_a_folder_that_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(NotAnArchive):
        forecast(tmp_path)
