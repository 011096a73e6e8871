"""The only reader of clocks. Everything else is given a :class:`Clock`, so that a simulation can bring its
own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Two clocks and a sleep. Timers of the event loop must run on the same time as ``mono_ns``."""

    def wall_ns(self) -> int:
        """Nanoseconds since the UNIX epoch, UTC; may step."""
        ...

    def mono_ns(self) -> int:
        """Nanoseconds of a clock that never steps; comparable within one run only."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    wall_ns = staticmethod(time.time_ns)
    mono_ns = staticmethod(time.monotonic_ns)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
