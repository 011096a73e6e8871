"""The exchange's time: a clock that is passed in, and a steady time made from it."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SteadyTime", "SystemClock"]


class Clock(Protocol):
    """Two readings: ``wall_ns`` since the UNIX epoch, UTC; ``mono_ns`` since some fixed instant, never going
    back."""

    def wall_ns(self) -> int: ...

    def mono_ns(self) -> int: ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        """Nanoseconds since the UNIX epoch."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Nanoseconds of the monotonic clock."""
        return time.monotonic_ns()


class SteadyTime:
    """Nanoseconds since the UNIX epoch that never go back: the wall time at the start plus what the monotonic
    clock adds.

    A step of the wall clock would otherwise stop the market or make it jump.
    """

    def __init__(self, clock: Clock) -> None:
        self._mono_ns = clock.mono_ns
        self._offset_ns = clock.wall_ns() - clock.mono_ns()

    def now_ns(self) -> int:
        """The present instant."""
        return self._mono_ns() + self._offset_ns
