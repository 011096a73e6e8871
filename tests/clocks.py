"""Clocks for tests of what takes one."""

from __future__ import annotations

from typing import Final

__all__ = ["START_NS", "ManualClock"]

START_NS: Final = 1_700_000_000 * 1_000_000_000
"""An instant of 2023, ns."""


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, now: int = START_NS) -> None:
        self.now = now

    def wall_ns(self) -> int:
        return self.now

    def mono_ns(self) -> int:
        return self.now - START_NS
