"""One unsequenced stream out of several lines that recorded it: one line at a time is in use.

Another one takes over from the instant at which the line in use ceased to be good, or where it speaks while that one
is silent for longer than is usual. Until then, what the others received since its last sign of life waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bookreel.book.model import Gap
from bookreel.storage.stream import Stream

__all__ = ["PlainLines", "Row"]


class Row(NamedTuple):
    """A row of a line that is not in use. ``order``: the venue's, time (ns) and number."""

    ts_recv: int
    order: tuple[int, int]
    write: Callable[[], None]


class PlainLines:
    """One unsequenced stream: which line is in use, and what the others received since its last sign of life."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        self._used: int | None = None
        self._newest = (0, 0)
        self._waiting: list[deque[Row]] = [deque() for _ in streams]

    def row(self, line: int, row: Row) -> None:
        """A line received something."""
        used = self._used
        if used is not None and used != line:
            hole = self._streams[used].hole
            pace = self._streams[used].pace
            explained = row.ts_recv <= pace.last_ts or pace.good_until(row.ts_recv) > pace.last_ts
            self._waiting[line].append(row)
            if hole is None and explained:
                return
            self._fill(pace.last_ts if hole is None else hole.start, None)
            self._used = line
        else:
            self._used = line
            self._write(row)
        good = self._streams[line].pace.last_ts
        for waiting in self._waiting:
            while waiting and waiting[0].ts_recv <= good:
                waiting.popleft()

    def gap(self, line: int, gap: Gap) -> None:
        """A hole of a line is over."""
        if line == self._used:
            self._fill(gap.start, gap.end)

    def finish(self) -> None:
        """Nothing more will come."""
        if self._used is not None and (hole := self._streams[self._used].hole) is not None:
            self._fill(hole.start, None)

    def _fill(self, start: int, end: int | None) -> None:
        """Write what the first line that has something received in a hole."""
        for waiting in self._waiting:
            rows = [row for row in waiting if row.ts_recv > start and (end is None or row.ts_recv < end)]
            waiting.clear()
            for row in rows:
                # The last message before the hole may come a little later over another line.
                if row.order == (0, 0) or row.order > self._newest:
                    self._write(row)

    def _write(self, row: Row) -> None:
        row.write()
        self._newest = max(self._newest, row.order)
