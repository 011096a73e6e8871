"""The lines of a recording: one connection after another, what was asked on them, how often something speaks."""

from __future__ import annotations

from typing import Final

import msgspec

from bookreel.venues.message import RequestId, Topic

__all__ = ["IMPORTED", "PAUSES", "PAUSE_FLOOR_NS", "REQUESTS_MAX", "Cadence", "Line", "LineState"]

REQUESTS_MAX: Final = 1024
"""Unanswered requests remembered for each line; older ones stay without a topic when they are refused."""

PAUSES: Final = 2.0
"""A stream silent for so many times its longest usual pause may be dead..."""

PAUSE_FLOOR_NS: Final = 500_000_000
"""...but not sooner than this."""

IMPORTED: Final = "import-"
"""How the name of a line begins that is a capture, taken in later than it was received."""

_PAUSE_MEMORY: Final = 64
"""Messages after which a third of the longest pause is left."""

_INT64: Final = 2**63


class Cadence(msgspec.Struct):
    """A stream's signs of life: when the last one came (receive time, ns), and its longest usual pause (ns)."""

    last_ts: int = 0
    pause: int = 0

    def spoke(self, ts_recv: int) -> None:
        """A message came. The hot path."""
        pause = ts_recv - self.last_ts
        scale = self.pause
        self.pause = pause if pause > scale else scale - (scale - pause) // _PAUSE_MEMORY
        self.last_ts = ts_recv

    def good_until(self, ts_good: int) -> int:
        """``ts_good``, unless it had been silent by then for longer than is usual: then its last sign of life."""
        explained = max(PAUSE_FLOOR_NS, PAUSES * self.pause)
        return self.last_ts if ts_good - self.last_ts > explained else ts_good


class LineState(msgspec.Struct):
    """A :class:`Line` for a checkpoint."""

    conn: str
    epoch: int
    last_ts: int
    good_ts: int
    requests: list[tuple[RequestId, Topic]]


class Line:
    """One connection of a line. ``last_ts``: receive time (ns) of its last frame; ``good_ts``: of the last one that
    could be read.
    """

    __slots__ = ("conn", "epoch", "good_ts", "last_ts", "requests")

    def __init__(self, conn: str, epoch: int, ts_recv: int) -> None:
        self.conn = conn
        self.epoch = epoch
        self.last_ts = ts_recv
        self.good_ts = ts_recv
        self.requests: dict[RequestId, Topic] = {}

    @property
    def imported(self) -> bool:
        """Whether it is a capture, perhaps one of two lines that were merged."""
        return self.conn.rpartition("/")[2].startswith(IMPORTED)

    def asked(self, request_id: RequestId, topic: Topic) -> None:
        """A request for ``topic`` went out."""
        # Nobody needs an id beyond 64 bits, and a checkpoint cannot hold one.
        if request_id is not None and (isinstance(request_id, str) or -_INT64 <= request_id < _INT64):
            self.requests[request_id] = topic
            if len(self.requests) > REQUESTS_MAX:
                del self.requests[next(iter(self.requests))]

    def forget(self, topic: Topic) -> None:
        """What was asked about ``topic`` so far counts no more."""
        self.requests = {key: asked for key, asked in self.requests.items() if asked != topic}

    def answered(self, request_id: RequestId) -> Topic | None:
        """The topic of the request that this answers."""
        return self.requests.pop(request_id, None)
