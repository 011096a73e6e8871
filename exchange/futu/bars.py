"""Bars of every period, kept from a security's trades."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

__all__ = ["Bar", "Bars", "label_of"]

_MINUTES: Final = {
    "1min": 1, "3min": 3, "5min": 5, "10min": 10, "15min": 15, "30min": 30, "60min": 60, "2hour": 120, "3hour": 180,
    "4hour": 240,
}  # fmt: skip
_CALENDAR: Final[dict[str, Callable[[datetime], datetime]]] = {
    "1day": lambda day: day,
    "1week": lambda day: day - timedelta(days=day.weekday()),
    "1mon": lambda day: day.replace(day=1),
    "1quarter": lambda day: day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1),
    "1year": lambda day: day.replace(month=1, day=1),
}
_KEPT: Final = 400
_PAST: Final = 60


def label_of(period: str, at: datetime) -> datetime:
    """The time by which the bar of a local time is known: the end of its minutes, or its calendar's first day."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    if period in _CALENDAR:
        return _CALENDAR[period](day)
    width = _MINUTES[period]
    return day + timedelta(minutes=((at.hour * 60 + at.minute) // width + 1) * width)


class Bar:
    """One bar; ``label`` is naive local time."""

    __slots__ = ("close", "high", "label", "last_close", "low", "open", "turnover", "volume")

    def __init__(self, label: datetime, price: float, last_close: float) -> None:
        self.label = label
        self.open = self.high = self.low = self.close = price
        self.last_close = last_close
        self.volume = 0
        self.turnover = 0.0

    def add(self, price: float, volume: int) -> None:
        """A trade."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += volume
        self.turnover = round(self.turnover + price * volume, 6)


class Bars:
    """The newest bars of each period, oldest first; the past before the start is made up."""

    def __init__(self, rng: random.Random, start: datetime, price: float, spread: float, lot: int) -> None:
        self._bars: dict[str, deque[Bar]] = {}
        for period in (*_MINUTES, *_CALENDAR):
            self._bars[period] = deque(maxlen=_KEPT)
            labels = [label_of(period, start)]
            while len(labels) <= _PAST:
                back = timedelta(minutes=_MINUTES[period]) if period in _MINUTES else timedelta(days=1)
                labels.append(
                    label_of(period, labels[-1] - 2 * back if period in _MINUTES else labels[-1] - back)
                )
            for label in reversed(labels[1:]):
                bar = Bar(label, price, price)
                for _ in range(4):
                    bar.add(
                        round(max(spread, price + rng.randint(-5, 5) * spread), 6), rng.randint(1, 50) * lot
                    )
                self._bars[period].append(bar)

    def add(self, at: datetime, price: float, volume: int) -> None:
        """A trade at a naive local time."""
        for period, bars in self._bars.items():
            label = label_of(period, at)
            if bars[-1].label != label:
                bars.append(Bar(label, price, bars[-1].close))
            bars[-1].add(price, volume)

    def newest(self, period: str, count: int) -> list[Bar]:
        """The newest bars of a period, oldest first."""
        return list(self._bars[period])[-count:]
