"""How long something took, counted by size."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["Histogram"]


class Histogram:
    """Counts of durations. ``bounds``: inclusive upper bounds in seconds, rising; what took longer has a count of its
    own. One thread adds, any may look.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """``times`` durations of so many seconds each."""
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum_s += seconds * times
