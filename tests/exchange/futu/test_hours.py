from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from bookreel.exchange.futu.hours import is_trading_day, local, session, trading_days
from bookreel.venues.futu.codes import MARKET_STATES, MARKETS


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("market", "utc", "state", "trading", "until"),
    [
        ("HK", "2026-01-05 00:59:59", "closed", False, "2026-01-05 01:00"),
        ("HK", "2026-01-05 01:00", "auction", False, "2026-01-05 01:30"),
        ("HK", "2026-01-05 01:30", "morning", True, "2026-01-05 04:00"),
        ("HK", "2026-01-05 03:59:59", "morning", True, "2026-01-05 04:00"),
        ("HK", "2026-01-05 04:00", "rest", False, "2026-01-05 05:00"),
        ("HK", "2026-01-05 05:00", "afternoon", True, "2026-01-05 08:00"),
        ("HK", "2026-01-05 08:00", "closed", False, "2026-01-05 16:00"),
        ("HK", "2026-01-03 02:00", "closed", False, "2026-01-03 16:00"),  # a Saturday
        ("SH", "2026-01-05 03:30", "rest", False, "2026-01-05 05:00"),
        ("US", "2026-01-05 14:29", "pre_market_begin", False, "2026-01-05 14:30"),
        ("US", "2026-01-05 14:30", "morning", True, "2026-01-05 17:00"),
        ("US", "2026-01-05 21:00", "after_hours_begin", False, "2026-01-06 01:00"),
        ("US", "2026-03-06 14:29:59", "pre_market_begin", False, "2026-03-06 14:30"),
        ("US", "2026-03-09 13:30", "morning", True, "2026-03-09 16:00"),  # clocks went forward
        ("US", "2026-10-30 13:30", "morning", True, "2026-10-30 16:00"),
        ("US", "2026-11-02 14:29:59", "pre_market_begin", False, "2026-11-02 14:30"),  # and back
        ("US", "2026-12-25 15:00", "closed", False, "2026-12-26 05:00"),
    ],
)
def test_what_a_market_does(market: str, utc: str, state: str, trading: bool, until: str) -> None:
    found = session(MARKETS[market], at(utc))
    assert (MARKET_STATES[found.state], found.trading, found.until_ns) == (state, trading, at(until))


def test_a_day_is_whole_and_has_a_lunch_break() -> None:
    for name, hours in (("HK", 5.5), ("SH", 4.0), ("US", 6.5)):
        market = MARKETS[name]
        now, traded = at("2026-01-05 00:00"), 0
        for _ in range(20):
            found = session(market, now)
            assert found.until_ns > now
            end = min(found.until_ns, at("2026-01-06 00:00"))
            traded += (end - now) * found.trading
            now = end
            if now == at("2026-01-06 00:00"):
                break
        assert traded == hours * 3600 * 10**9


def test_trading_days() -> None:
    days = list(trading_days(date(2025, 12, 24), date(2026, 1, 5)))
    assert [f"{day:%m-%d}" for day in days] == ["12-24", "12-26", "12-29", "12-30", "12-31", "01-02", "01-05"]
    assert not is_trading_day(date(2026, 1, 1))
    assert list(trading_days(date(2026, 1, 5), date(2026, 1, 4))) == []


def test_local_time_keeps_microseconds() -> None:
    moment = local(MARKETS["HK"], at("2026-01-05 01:30") + 123_456_789)
    assert moment.utcoffset() == timedelta(hours=8)
    assert (moment.hour, moment.minute, moment.microsecond) == (9, 30, 123_456)
