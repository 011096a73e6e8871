"""When each market trades: its states through the day, trading days, and the lunch break.

Days are the exchange's own, so that a change of the clocks moves the opening in UTC. Holidays are only the two that
all of these markets share; weekends are closed.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from bookreel.venues.futu.codes import Market

__all__ = ["ALWAYS", "Session", "is_trading_day", "local", "session", "trading_days"]

_CLOSED, _AUCTION, _MORNING, _REST, _AFTERNOON = 6, 1, 3, 4, 5
_PRE, _AFTER = 8, 10
_TRADING: Final = (_MORNING, _AFTERNOON)

_HONG_KONG: Final = (
    (0, _CLOSED),
    (540, _AUCTION),
    (570, _MORNING),
    (720, _REST),
    (780, _AFTERNOON),
    (960, _CLOSED),
)
_CHINA: Final = (
    (0, _CLOSED),
    (555, _AUCTION),
    (570, _MORNING),
    (690, _REST),
    (780, _AFTERNOON),
    (900, _CLOSED),
)
_US: Final = ((0, _CLOSED), (240, _PRE), (570, _MORNING), (720, _AFTERNOON), (960, _AFTER), (1200, _CLOSED))
"""Minute of the local day and the state that begins with it, as ``codes.MARKET_STATES`` has it."""

_DAYS: Final = {"HK": _HONG_KONG, "SH": _CHINA, "SZ": _CHINA, "US": _US}
_CLOSED_DAY: Final = ((0, _CLOSED),)
_HOLIDAYS: Final = ((1, 1), (12, 25))
_FOREVER_NS: Final = 2**63 - 1

_zone: Final = functools.cache(ZoneInfo)


class Session(NamedTuple):
    """What a market does, and until when."""

    state: int
    trading: bool
    until_ns: int


ALWAYS: Final = Session(_MORNING, True, _FOREVER_NS)
"""A market that never closes."""


def local(market: Market, at_ns: int) -> datetime:
    """The exchange's local time, to the microsecond."""
    seconds, rest = divmod(at_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, _zone(market.zone)).replace(microsecond=rest // 1000)


def is_trading_day(day: date) -> bool:
    """Whether the exchange opens on that day."""
    return day.weekday() < 5 and (day.month, day.day) not in _HOLIDAYS


def session(market: Market, at_ns: int) -> Session:
    """What a market does at an instant."""
    now = local(market, at_ns)
    day = now.date()
    rows = _DAYS.get(market.name, _HONG_KONG) if is_trading_day(day) else _CLOSED_DAY
    at = bisect_right(rows, (now.hour * 60 + now.minute, 99)) - 1
    state = rows[at][1]
    if at + 1 < len(rows):
        hour, minute = divmod(rows[at + 1][0], 60)
        end = datetime.combine(day, time(hour, minute), _zone(market.zone))
    else:
        end = datetime.combine(day + timedelta(days=1), time(), _zone(market.zone))
    return Session(state, state in _TRADING, int(end.timestamp()) * 1_000_000_000)


def trading_days(begin: date, end: date) -> Iterator[date]:
    """Every trading day from ``begin`` to ``end``, both included."""
    for number in range((end - begin).days + 1):
        day = begin + timedelta(days=number)
        if is_trading_day(day):
            yield day
