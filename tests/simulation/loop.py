"""Virtual time: an asyncio loop that moves its clock on instead of waiting, in one thread.

The loop never asks the system for time or for sockets, so what runs on it depends on nothing but its inputs.
Production code needs no change: it is given a :class:`VirtualClock`, and its sleeps and timeouts are the loop's.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

__all__ = ["START_NS", "VirtualClock", "run"]

START_NS: Final = 1_790_000_000 * 10**9
"""Wall clock at the beginning, ns since the UNIX epoch."""

_T = TypeVar("_T")


class _Selector(selectors.SelectSelector):
    """Instead of waiting, moves the clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everybody waits for something that will never happen"
        self.now += max(0.0, timeout)
        return []


class VirtualClock:
    """Both clocks and the sleep of a virtual loop; meets the ``Clock`` protocols of ingest, storage and exchange."""

    def __init__(self, selector: _Selector, start_ns: int) -> None:
        self._selector = selector
        self._offset_ns = start_ns

    def mono_ns(self) -> int:
        return round(self._selector.now * 1e9)

    def wall_ns(self) -> int:
        return self._offset_ns + self.mono_ns()

    def step(self, ns: int) -> None:
        """Sets the wall clock forward, or back."""
        self._offset_ns += ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Callable[[VirtualClock], Coroutine[Any, Any, _T]], *, start_ns: int = START_NS) -> _T:
    """Runs ``main(clock)`` to its end in virtual time, and returns what it returns."""
    selector = _Selector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(main(VirtualClock(selector, start_ns)))
    finally:
        loop.close()
