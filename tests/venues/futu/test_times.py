from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from bookreel.venues.futu.times import instant, local_ns, local_text, seconds_ns

NEW_YORK, HONG_KONG = "America/New_York", "Asia/Hong_Kong"


def ns(*words: int) -> int:
    return int(datetime(*words, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[misc, arg-type]


def test_doubles_are_exact_to_the_microsecond() -> None:
    rng = random.Random(3)
    for _ in range(20_000):
        micros = rng.randrange(10**15, 2**32 * 10**6)
        assert seconds_ns(micros / 1e6) == micros * 1000
    assert seconds_ns(-1.5) == -1_500_000_000
    assert seconds_ns(0.0) is None and seconds_ns(-0.0) is None


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 2.0**32, 1e300])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="not a time"):
        seconds_ns(seconds)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-01-02 09:30:00", HONG_KONG, ns(2026, 1, 2, 1, 30)),
        ("2026-01-02 09:30:00.123456", HONG_KONG, ns(2026, 1, 2, 1, 30) + 123_456_000),
        ("2026-01-02 09:30:00.123456789", HONG_KONG, ns(2026, 1, 2, 1, 30) + 123_456_000),
        ("2026-01-02", HONG_KONG, ns(2026, 1, 1, 16)),
        ("1986-03-13", NEW_YORK, ns(1986, 3, 13, 5)),
        ("", HONG_KONG, None),
        ("0", HONG_KONG, None),
        ("1970-01-01 08:00:00", HONG_KONG, None),
    ],
)
def test_local_times(text: str, zone: str, expected: int | None) -> None:
    assert local_ns(text, zone) == expected


@pytest.mark.parametrize("text", ["soon", "2026-02-30", "1026-01-01", "2026-01-02 09:30:00+08:00"])
def test_what_is_no_local_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        local_ns(text, HONG_KONG)


@pytest.mark.parametrize(
    ("day", "open_utc"),
    [
        ((2026, 3, 6), 14),  # the Friday before clocks go forward
        ((2026, 3, 9), 13),
        ((2026, 10, 30), 13),  # the Friday before clocks go back
        ((2026, 11, 2), 14),
    ],
)
def test_the_days_around_a_change_of_the_clocks(day: tuple[int, int, int], open_utc: int) -> None:
    """The string 09:30 and the double of the same instant agree on either side of it."""
    expected = ns(*day, open_utc, 30)
    text = "{:04}-{:02}-{:02} 09:30:00.000".format(*day)
    assert local_ns(text, NEW_YORK) == seconds_ns(expected / 1e9) == expected
    assert local_text(expected, NEW_YORK) == text


def test_the_hour_that_occurs_twice_is_told_apart_by_the_double_only() -> None:
    first, second = ns(2026, 11, 1, 5, 30), ns(2026, 11, 1, 6, 30)
    text = "2026-11-01 01:30:00.000"
    assert local_text(first, NEW_YORK) == local_text(second, NEW_YORK) == text
    assert instant(text, second / 1e9, NEW_YORK) == second
    assert instant(text, 0.0, NEW_YORK) == first


def test_the_text_of_an_instant_leads_back() -> None:
    rng = random.Random(4)
    for _ in range(2000):
        at = rng.randrange(ns(2020, 1, 1), ns(2030, 1, 1)) // 10**6 * 10**6
        assert local_ns(local_text(at, HONG_KONG), HONG_KONG) == at
    assert local_text(ns(2026, 1, 2), NEW_YORK, timespec="seconds") == "2026-01-01 19:00:00"
