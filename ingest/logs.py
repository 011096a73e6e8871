"""The recorder's log: key=value lines on stderr, repeats held down."""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

from bookreel.ingest.clock import Clock

__all__ = ["RepeatFilter", "set_up_logging"]

_BURST: Final = 20
_WINDOW_NS: Final = 10_000_000_000


class RepeatFilter(logging.Filter):
    """Lets through at most :data:`_BURST` records of one message template in ten seconds; the first one after
    that tells how many were held back. Errors always pass.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        # [window's start, passed, held back] by logger and template; templates are in the source, so not
        # many.
        self._seen: dict[tuple[str, str], list[int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            return True
        now = self._clock.mono_ns()
        seen = self._seen.setdefault((record.name, str(record.msg)), [now, 0, 0])
        if now - seen[0] >= _WINDOW_NS:
            if seen[2]:
                record.msg = f"{record.msg} (and {seen[2]} more like this)"
            seen[:] = [now, 0, 0]
        if seen[1] >= _BURST:
            seen[2] += 1
            return False
        seen[1] += 1
        return True


def set_up_logging(clock: Clock, level: int = logging.INFO) -> None:
    """Send all logs to stderr, in UTC."""
    line = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
    formatter = logging.Formatter(line, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(RepeatFilter(clock))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
