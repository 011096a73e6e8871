"""The life of a line: each of its connections counted, journaled and logged, from open to close."""

from __future__ import annotations

import logging
from typing import Any, Final

from bookreel.ingest.errors import ConnectFailed, LineDown
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape

__all__ = ["LineLife"]

_STABLE_NS: Final = 5_000_000_000
"""A connection that brought data for this long ends the series of growing delays."""

_log = logging.getLogger(__name__)


class LineLife:
    """What becomes of one connection after another; ``stats`` are the line's."""

    def __init__(self, stats: LineStats, tape: Tape) -> None:
        self._stats = stats
        self._tape = tape
        self._opened_at = 0
        self._frames = 0

    def failed(self, error: ConnectFailed, retry_s: float) -> None:
        """There is no connection; the next attempt is in ``retry_s`` seconds."""
        stats = self._stats
        stats.connect_failures += 1
        self._tape.event("connect_failed", stats.name, stats.epoch, url=error.url, detail=error.reason)
        _log.warning("connect failed: line=%s error=%s retry_s=%.1f", stats.name, error, retry_s)

    def opened(self) -> None:
        """There is one, of the next epoch."""
        stats, clock = self._stats, self._tape.clock
        stats.epoch += 1
        stats.state = "up"
        stats.connected_wall = clock.wall_ns()
        self._opened_at = clock.mono_ns()
        self._frames = stats.frames
        self._tape.event("connect", stats.name, stats.epoch, url=stats.url)
        _log.info("connected: line=%s epoch=%d url=%s", stats.name, stats.epoch, stats.url)

    def broken(self, bugs: BaseExceptionGroup[Any]) -> LineDown:
        """A bug of ours ends it: the other lines go on, and this one tries again, ever more slowly."""
        stats = self._stats
        _log.exception("line failed: line=%s epoch=%d", stats.name, stats.epoch, exc_info=bugs)
        stats.failures += 1
        return LineDown("disconnect", f"an error of the recorder: {bugs.exceptions[0]!r}")

    def lost(self, down: LineDown) -> None:
        """It is over."""
        stats = self._stats
        stats.disconnects[down.cause] += 1
        since = {} if down.since is None else {"since": down.since}
        self._tape.event("disconnect", stats.name, stats.epoch, cause=down.cause, detail=down.detail, **since)
        _log.warning(
            "disconnected: line=%s epoch=%d cause=%s detail=%s",
            stats.name,
            stats.epoch,
            down.cause,
            down.detail,
        )

    @property
    def good(self) -> bool:
        """Whether the newest connection brought data, and has lasted."""
        lived = self._tape.clock.mono_ns() - self._opened_at
        return lived >= _STABLE_NS and self._stats.frames > self._frames
