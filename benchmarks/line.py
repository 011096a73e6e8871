"""What a table of measurements is made of, and how their values are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["Grown", "Line", "Measured", "Size", "Target", "duration", "significant"]

_UNITS: Final = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))


class Line(NamedTuple):
    """One measurement. ``name``: its file without ``bench_`` and its test without ``test_``. ``against``: the line
    its median is divided by; ours are compared with nothing.
    """

    name: str
    title: str
    includes: str
    against: str = ""


class Size(NamedTuple):
    """A quotient of two sizes of a run; ``per`` none for a size by itself."""

    title: str
    value: str
    per: str
    unit: str
    includes: str


class Grown(NamedTuple):
    """What grows in a row of measurements, the unit whose cost is told, and why it is as it is."""

    title: str
    unit: str
    reason: str


class Measured:
    """A run's values, as ``results.json`` has them. Each method raises KeyError for what was not measured."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._lines: dict[str, Any] = results["lines"]
        self._sizes: dict[str, float] = results["sizes"]

    def each(self, name: str, unit: str) -> float:
        """Median seconds for one frame, level, row..."""
        line = self._lines[name]
        return float(line["median"] / line["units"][unit])

    def whole(self, name: str) -> float:
        """Median seconds of a round."""
        return float(self._lines[name]["median"])

    def p99(self, name: str) -> float:
        """Seconds, of lines that time each unit by itself."""
        return float(self._lines[name]["p99"])

    def rate(self, name: str, unit: str) -> float:
        """How many a second."""
        return 1 / self.each(name, unit)

    def ratio(self, name: str, against: str, statistic: str = "median") -> float:
        """How many times as long as ``against`` one takes, by the unit that each has first."""
        return self.first(name, statistic) / self.first(against, statistic)

    def first(self, name: str, statistic: str = "median") -> float:
        """Seconds for one of the unit that a line has first."""
        line = self._lines[name]
        return float(line[statistic] / next(iter(line["units"].values())))

    def figure(self, name: str, figure: str) -> float:
        """One of the ``figures`` that a line has beside its time."""
        return float(self._lines[name]["figures"][figure])

    def size(self, value: str, per: str = "") -> float:
        """A size, or a quotient of two."""
        return self._sizes[value] / (self._sizes[per] if per else 1.0)


class Target(NamedTuple):
    """What was set as a goal. ``value`` is to be at most ``limit`` of ``unit``, or with ``least`` at least.

    ``why``: what stands in the way where it is missed, found by a profile.
    """

    title: str
    value: Callable[[Measured], float]
    limit: float
    unit: str
    least: bool = False
    why: str = ""

    def met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.limit if self.least else value <= self.limit


def significant(value: float, digits: int = 5) -> float:
    """Rounded to so many digits."""
    return float(f"{value:.{digits}g}")


def duration(seconds: float) -> str:
    """Three digits, in the unit that fits."""
    unit, scale = next((found for found in _UNITS if seconds >= found[1]), _UNITS[-1])
    return f"{significant(seconds / scale, 3):g} {unit}"
