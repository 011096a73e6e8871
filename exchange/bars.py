"""Candles of all ten periods and the rolling day, made from one symbol's trades over an invented past.

A bar begins at a multiple of its period; days, weeks, months and years begin at midnight GMT+8, weeks on
Monday. A bar without a trade is flat at the last close and counts 0; the first trade of a bar sets its open.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

__all__ = ["PERIODS", "Bar", "Bars", "bar_start", "join_bars", "next_bar"]

PERIODS: Final = ("1min", "5min", "15min", "30min", "60min", "4hour", "1day", "1week", "1mon", "1year")
_SECONDS: Final = {"1min": 60, "5min": 300, "15min": 900, "30min": 1800, "60min": 3600, "4hour": 14400}
_DAY: Final = 86_400
_ZONE: Final = 8 * 3600
_KEPT: Final = 2_000
_PAST_DAYS: Final = 420


class Bar:
    """``id`` is the bar's first second since the UNIX epoch; ``amount`` base, ``vol`` quote currency."""

    __slots__ = ("amount", "close", "count", "high", "id", "low", "open", "vol")

    def __init__(self, start: int, price: float) -> None:
        self.id = start
        self.open = self.close = self.high = self.low = price
        self.amount = 0.0
        self.vol = 0.0
        self.count = 0

    def trade(self, price: float, amount: float, vol: float) -> None:
        """Add one trade."""
        if not self.count:
            self.open = self.high = self.low = price
        elif price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.amount += amount
        self.vol += vol
        self.count += 1

    def join(self, later: Bar) -> None:
        """Add a bar that comes after."""
        if not later.count:
            return
        if not self.count:
            self.open, self.high, self.low = later.open, later.high, later.low
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close = later.close
        self.amount += later.amount
        self.vol += later.vol
        self.count += later.count


def bar_start(period: str, second: int) -> int:
    """The first second of the bar that ``second`` belongs to."""
    if period in _SECONDS:
        return second - second % _SECONDS[period]
    day = (second + _ZONE) // _DAY
    if period == "1week":
        day -= (day + 3) % 7  # 1970-01-01 was a Thursday
    elif period != "1day":
        date = datetime.fromtimestamp(day * _DAY, UTC)
        first = date.replace(day=1) if period == "1mon" else date.replace(month=1, day=1)
        return int(first.timestamp()) - _ZONE
    return day * _DAY - _ZONE


def next_bar(period: str, start: int) -> int:
    """The start of the bar after the one that starts at ``start``."""
    longest = {"1day": _DAY, "1week": 7 * _DAY, "1mon": 31 * _DAY, "1year": 366 * _DAY}
    return bar_start(period, start + (_SECONDS.get(period) or longest[period]))


class Bars:
    """The series of one symbol, each at most 2000 bars, the last one still open."""

    def __init__(
        self,
        rng: random.Random,
        opening_ns: int,
        price: float,
        tick: float,
        usual_amount: float,
        trades_a_minute: float,
    ) -> None:
        second = opening_ns // 1_000_000_000
        minutes_from = bar_start("1day", second) - _DAY
        last_minute = bar_start("1min", second)
        minutes = _invent(
            rng, minutes_from, last_minute, 60, price, tick, usual_amount, trades_a_minute, 6e-4
        )
        first_price = minutes[0].open
        days_from = minutes_from - _PAST_DAYS * _DAY
        days = _invent(
            rng, days_from, minutes_from, _DAY, first_price, tick, usual_amount, trades_a_minute * 1440, 0.02
        )
        self._series: dict[str, deque[Bar]] = {}
        for period in PERIODS:
            parts: Iterable[Bar] = minutes if period in _SECONDS else (*days, *minutes)
            self._series[period] = deque(join_bars(period, parts), _KEPT)
        self._rolls: dict[str, int] = {}
        self._next_roll = 0
        self._day_until = 0
        self._closed = minutes[0]
        self.rolled: list[str] = []
        self.roll(second)

    def roll(self, second: int) -> bool:
        """Move on to ``second``: True if a bar began; ``rolled`` then names the periods."""
        if second < self._next_roll:
            return False
        self.rolled = []
        for period, series in self._series.items():
            while (after := next_bar(period, series[-1].id)) <= second:
                series.append(Bar(after, series[-1].close))
                if not self.rolled or self.rolled[-1] != period:
                    self.rolled.append(period)
            self._rolls[period] = after
        self._next_roll = min(self._rolls.values())
        return True

    def trade(self, price: float, amount: float) -> None:
        """Add a trade to the open bar of every period."""
        vol = price * amount
        for series in self._series.values():
            series[-1].trade(price, amount, vol)

    def current(self, period: str) -> Bar:
        """The open bar."""
        return self._series[period][-1]

    def between(self, period: str, first: int, last: int, size: int) -> list[Bar]:
        """Bars whose start is in [first, last]: the newest ``size`` of them, oldest first."""
        found = [bar for bar in self._series[period] if first <= bar.id <= last]
        return found[-size:]

    def day(self) -> Bar:
        """The last 24 hours, to the minute, as one bar."""
        minutes = self._series["1min"]
        now = minutes[-1]
        if self._day_until != now.id:
            self._day_until = now.id
            past = list(islice(minutes, max(0, len(minutes) - 1440), len(minutes) - 1))
            self._closed = Bar(past[0].id, past[0].open) if past else Bar(now.id, now.open)
            for bar in past:
                self._closed.join(bar)
        whole = Bar(self._closed.id, self._closed.open)
        whole.join(self._closed)
        whole.join(now)
        return whole


def join_bars(period: str, parts: Iterable[Bar]) -> Iterator[Bar]:
    """Bars of a longer period, made of shorter ones in order."""
    whole: Bar | None = None
    end = 0
    for part in parts:
        if whole is None or part.id >= end:
            if whole is not None:
                yield whole
            start = bar_start(period, part.id)
            whole, end = Bar(start, part.open), next_bar(period, start)
        whole.join(part)
        whole.close = part.close
    if whole is not None:
        yield whole


def _invent(
    rng: random.Random,
    start: int,
    end: int,
    seconds: int,
    last_close: float,
    tick: float,
    usual_amount: float,
    trades: float,
    width: float,
) -> list[Bar]:
    """Bars from ``start`` to ``end`` (without) whose walk arrives at ``last_close``."""
    count = (end - start) // seconds
    prices = [last_close]
    price = last_close
    for _ in range(count):
        price *= 1.0 + width * (rng.random() - rng.random()) + (last_close - price) / last_close * 0.002
        prices.append(max(tick, round(price / tick) * tick))
    prices.reverse()
    digits = max(0, -math.floor(math.log10(tick) + 0.5))
    prices = [round(p, digits) for p in prices]
    bars = []
    for i in range(count):
        bar = Bar(start + i * seconds, prices[i])
        bar.count = int(trades * 2 * rng.random())
        if not bar.count:
            prices[i + 1] = prices[i]
        else:
            bar.close = prices[i + 1]
            stretch = width * 0.4 * rng.random()
            bar.high = max(bar.open, bar.close, round(round(bar.close * (1 + stretch) / tick) * tick, digits))
            bar.low = min(
                bar.open, bar.close, max(tick, round(round(bar.open * (1 - stretch) / tick) * tick, digits))
            )
            bar.amount = usual_amount * bar.count * (0.5 + rng.random())
            bar.vol = bar.amount * (bar.high + bar.low) / 2
        bars.append(bar)
    return bars
