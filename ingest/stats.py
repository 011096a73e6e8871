"""What is counted about one line, over all its connections. Written by the session, read by metrics and
status.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

import msgspec

__all__ = ["LineState", "LineStats"]

LineState: TypeAlias = Literal["waiting", "connecting", "up", "stopped"]


class LineStats(msgspec.Struct, eq=False):
    """Counts since the recorder started. Times are ns UTC, 0: never."""

    name: str
    url: str
    topics: int
    state: LineState = "waiting"
    epoch: int = 0
    """Connections so far."""
    connect_failures: int = 0
    failures: int = 0
    """Connections lost to errors of our own."""
    disconnects: Counter[str] = msgspec.field(default_factory=Counter)
    """By gap cause."""
    frames: int = 0
    frame_bytes: int = 0
    shed: int = 0
    sent: Counter[str] = msgspec.field(default_factory=Counter)
    """By verb."""
    sent_bytes: int = 0
    pings: int = 0
    decode_errors: int = 0
    unknown: int = 0
    foreign: int = 0
    """Answers to what was not asked."""
    timeouts: int = 0
    silences: int = 0
    quiet: int = 0
    refusals: Counter[str] = msgspec.field(default_factory=Counter)
    """By kind."""
    acked: set[str] = msgspec.field(default_factory=set)
    """Topics that are subscribed now."""
    refused: set[str] = msgspec.field(default_factory=set)
    """Topics that the venue refused for good."""
    pongs: bool = False
    """Whether the venue is known to answer our pings."""
    resends: int = 0
    """Second subscriptions answered with the last message."""
    verbatim: int = 0
    """Those of them where it was just as pushed."""
    turns: int = 0
    """Times the line stood aside for the others with frames waiting."""
    last_frame_wall: int = 0
    connected_wall: int = 0
    latency_ns: int = 0
    """Age of the last book message by the two wall clocks, so with what they differ by."""
