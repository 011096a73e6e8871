"""The recorder's own pulse: how late its event loop turns, how far the disk lags, whether the clock stepped, and
how long frames took.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

from bookreel.ingest.clock import Clock
from bookreel.ingest.tape import Tape
from bookreel.storage.histogram import Histogram

__all__ = ["Pulse", "Watermarks"]

_INTERVAL_S: Final = 0.25
_STEP_NS: Final = 50_000_000
"""A clock that is slewed moves far less than this between two beats."""
_MARKS_MAX: Final = 4096
_TOLD_NS: Final = 60_000_000_000
"""How often it is journaled how long frames took."""

_log = logging.getLogger(__name__)


class Watermarks(Protocol):
    """What is looked at of the journal."""

    @property
    def durable_pos(self) -> int: ...

    @property
    def next_pos(self) -> int: ...


class Pulse:
    """Beats four times a second. ``lag_s``: how late the last beat came; ``lag_max_s``: the latest so far."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lag_s = 0.0
        self.lag_max_s = 0.0
        self.durable_lag_s = 0.0
        """Age of the oldest record that is not durable, to a beat's length."""
        self.clock_steps = 0
        # (next position, monotonic ns) at past beats that are not durable yet; when full, the lag stays
        # exact.
        self._marks: deque[tuple[int, int]] = deque()

    async def run(
        self, tape: Tape, journal: Watermarks, times: Mapping[str, Histogram] | None = None
    ) -> None:
        """Beat for ever; a step of the wall clock is journaled as an event ``clock``, and what was added to ``times``
        in each minute as an event ``latency``.
        """
        clock = self._clock
        offset = clock.wall_ns() - clock.mono_ns()
        told_at = clock.mono_ns()
        told: dict[str, list[int]] = {}
        while True:
            before = clock.mono_ns()
            await clock.sleep(_INTERVAL_S)
            now = clock.mono_ns()
            self.lag_s = max(0.0, (now - before) / 1e9 - _INTERVAL_S)
            self.lag_max_s = max(self.lag_max_s, self.lag_s)
            self._look(journal, now)
            step = clock.wall_ns() - now - offset
            if abs(step) > _STEP_NS:
                offset += step
                self.clock_steps += 1
                tape.event("clock", step_ns=step)
                _log.warning("wall clock stepped: step_s=%.3f", step / 1e9)
            if times and now - told_at >= _TOLD_NS:
                told_at = now
                facts: dict[str, Any] = {name: _since(each, name, told) for name, each in times.items()}
                tape.event("latency", **facts)

    def _look(self, journal: Watermarks, now: int) -> None:
        marks = self._marks
        durable = journal.durable_pos
        while marks and marks[0][0] <= durable + 1:
            marks.popleft()
        self.durable_lag_s = (now - marks[0][1]) / 1e9 if marks else 0.0
        if len(marks) < _MARKS_MAX and journal.next_pos > durable + 1:
            marks.append((journal.next_pos, now))


def _since(times: Histogram, name: str, told: dict[str, list[int]]) -> dict[str, list[float] | list[int]]:
    """What was added since it was ``told`` last: inclusive upper bounds (s), and counts, one more than those."""
    counts = list(times.counts)
    before = told.get(name, [0] * len(counts))
    told[name] = counts
    return {
        "bounds_s": list(times.bounds),
        "counts": [now - then for now, then in zip(counts, before, strict=True)],
    }
