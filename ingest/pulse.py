"""The recorder's own pulse: how late its event loop turns, and whether the wall clock stepped."""

from __future__ import annotations

import logging
from typing import Final

from bookreel.ingest.clock import Clock
from bookreel.ingest.tape import Tape

__all__ = ["Pulse"]

_INTERVAL_S: Final = 0.25
_STEP_NS: Final = 50_000_000
"""A clock that is slewed moves far less than this between two beats."""

_log = logging.getLogger(__name__)


class Pulse:
    """``lag_s``: how late the last beat came; ``lag_max_s``: the latest; ``beat_mono``: when (monotonic ns)
    it was.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lag_s = 0.0
        self.lag_max_s = 0.0
        self.beat_mono = clock.mono_ns()
        self.clock_steps = 0

    async def run(self, tape: Tape) -> None:
        """Beat for ever; a step of the wall clock is journaled as an event ``clock``."""
        clock = self._clock
        offset = clock.wall_ns() - clock.mono_ns()
        while True:
            before = clock.mono_ns()
            await clock.sleep(_INTERVAL_S)
            now = self.beat_mono = clock.mono_ns()
            self.lag_s = max(0.0, (now - before) / 1e9 - _INTERVAL_S)
            self.lag_max_s = max(self.lag_max_s, self.lag_s)
            step = clock.wall_ns() - now - offset
            if abs(step) > _STEP_NS:
                offset += step
                self.clock_steps += 1
                tape.event("clock", step_ns=step)
                _log.warning("wall clock stepped: step_s=%.3f", step / 1e9)
