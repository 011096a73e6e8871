from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.exchange.bars import PERIODS, Bar, Bars, bar_start, next_bar

SECONDS = st.integers(1_501_174_800, 2_000_000_000)
SHANGHAI = timezone(timedelta(hours=8))


@given(SECONDS)
def test_long_bars_begin_at_midnight_gmt8(second: int) -> None:
    starts = {
        p: datetime.fromtimestamp(bar_start(p, second), SHANGHAI) for p in ("1day", "1week", "1mon", "1year")
    }
    assert all((d.hour, d.minute, d.second) == (0, 0, 0) for d in starts.values())
    now = datetime.fromtimestamp(second, SHANGHAI)
    assert starts["1day"].date() == now.date()
    assert starts["1week"].weekday() == 0 and now - starts["1week"] < timedelta(days=7)
    assert (starts["1mon"].year, starts["1mon"].month, starts["1mon"].day) == (now.year, now.month, 1)
    assert (starts["1year"].year, starts["1year"].month, starts["1year"].day) == (now.year, 1, 1)


@given(SECONDS, st.sampled_from(PERIODS))
def test_bars_tile_time(second: int, period: str) -> None:
    start = bar_start(period, second)
    after = next_bar(period, start)
    assert start <= second < after
    assert bar_start(period, start) == start
    assert bar_start(period, after) == after
    assert bar_start(period, after - 1) == start


def make(second: int) -> Bars:
    return Bars(random.Random(3), second * 10**9, 50.0, 0.01, 2.0, 5.0)


def test_the_past_joins_up_in_every_period() -> None:
    second = int(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp())
    bars = make(second)
    minutes = bars.between("1min", 0, 2**40, 5000)
    assert minutes[-1].id == second - 7 and minutes[-1].count == 0
    for period in PERIODS:
        series = bars.between(period, 0, 2**40, 5000)
        assert [b.id for b in series] == sorted({b.id for b in series})
        assert all(next_bar(period, a.id) == b.id for a, b in itertools.pairwise(series))
        assert all(b.low <= min(b.open, b.close) <= max(b.open, b.close) <= b.high for b in series)
        assert all((b.count == 0) == (b.amount == 0.0) for b in series)
    hours = {b.id: b for b in bars.between("60min", 0, 2**40, 5000)}
    for start, hour in list(hours.items())[-7:-1]:
        inside = [m for m in minutes if start <= m.id < start + 3600 and m.count]
        assert hour.count == sum(m.count for m in inside)
        assert hour.high == max(m.high for m in inside) and hour.open == inside[0].open


def test_trades_make_bars_and_quiet_minutes_are_flat() -> None:
    second = 1_790_000_000
    bars = make(second)
    start = bar_start("1min", second)
    bars.trade(51.0, 2.0)
    bars.trade(49.0, 1.0)
    bar = bars.current("1min")
    assert (bar.open, bar.high, bar.low, bar.close, bar.amount, bar.vol, bar.count) == (
        51,
        51,
        49,
        49,
        3,
        151,
        2,
    )
    assert not bars.roll(start + 59)
    assert bars.roll(start + 190)
    assert bars.rolled[0] == "1min"
    quiet = bars.between("1min", start + 60, start + 180, 10)
    assert [b.id for b in quiet] == [start + 60, start + 120, start + 180]
    assert all((b.open, b.high, b.low, b.close, b.count) == (49, 49, 49, 49, 0) for b in quiet)
    assert bars.current("5min").close == 49


def test_the_day_is_the_last_1440_minutes() -> None:
    bars = make(1_790_000_000)
    minutes = bars.between("1min", 0, 2**40, 1440)
    bars.trade(77.0, 1.0)
    day = bars.day()
    assert day.count == sum(m.count for m in minutes)
    assert day.high == 77.0 and day.close == 77.0
    assert day.amount == pytest.approx(sum(m.amount for m in minutes))


def test_joining_an_empty_bar_changes_nothing() -> None:
    bar = Bar(0, 5.0)
    bar.trade(6.0, 1.0, 6.0)
    bar.join(Bar(60, 9.0))
    assert (bar.open, bar.close, bar.high, bar.count) == (6.0, 6.0, 6.0, 1)
