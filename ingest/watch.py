"""What is remembered of a stream that is watched, and what can be found out about it; :mod:`bookreel.ingest.health`
judges.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

import msgspec

from bookreel.ingest.config import RecordConfig

__all__ = ["Finding", "HealthSettings", "Pace", "Phase", "StreamHealth"]

_MS: Final = 1_000_000
_S: Final = 1_000_000_000
_LEARNED: Final = 3
"""So many pauses must have been seen before a stream's pace is believed."""
_LEAK: Final = 1 / 64
"""How fast the longest pause is forgotten: to a third after 64 messages."""

FindingKind: TypeAlias = Literal[
    "ask", "compare", "confirm", "quiet", "hole", "dead", "ping", "half_open", "silence"
]


class HealthSettings(msgspec.Struct, frozen=True):
    """As in :class:`RecordConfig`, in ns."""

    floor_ns: int
    factor: float
    ceiling_ns: int
    half_open_ns: int
    ping_after_ns: int
    pong_timeout_ns: int
    ask_interval_ns: int
    answer_ns: int

    @classmethod
    def of(cls, config: RecordConfig, *, books: bool) -> HealthSettings:
        """Of a line of incremental ``books``, which are asked by requests, or of other streams."""
        asks = config.book_asks_per_second if books else config.asks_per_second
        return cls(
            floor_ns=config.silence_floor_ms * _MS,
            factor=config.silence_factor,
            ceiling_ns=config.silence_ceiling_ms * _MS,
            half_open_ns=config.half_open_ms * _MS,
            ping_after_ns=config.ping_after_ms * _MS,
            pong_timeout_ns=config.pong_timeout_ms * _MS,
            ask_interval_ns=int(_S / asks),
            answer_ns=min(config.ask_timeout_ms, config.req_timeout_ms) * _MS,
        )


class Finding(msgspec.Struct, frozen=True):
    """What to do. ``ask``: about the stream ``topic``; ``again``: for the second time. ``compare``: its message
    with the one ``before``, and call :meth:`LineHealth.answered`. ``confirm``: its message with the answer
    ``before``; if it is newer, this is a ``hole``. ``quiet``: all is well. ``hole``: it was silent after ``since``
    (receive time, ns) and is back. ``dead``: it is silent since then; subscribe anew. ``ping``: ping the venue.
    ``half_open`` and ``silence`` (known good until ``since``): give the line up. ``why`` is for people.
    """

    kind: FindingKind
    topic: str = ""
    since: int = 0
    before: bytes | None = None
    again: bool = False
    why: str = ""


class Phase(enum.Enum):
    """Where a stream's watch stands."""

    OFF = "not subscribed, or being subscribed anew"
    WATCHED = "data is expected"
    ASKED = "a question is under way"
    RESENT = "the question was a second subscription; its last message is to come"
    CONFIRM = "the answer was newer; a push would still save it"


class Pace(msgspec.Struct, eq=False):
    """What was learned of a stream's pauses, over all its connections: how many, and the longest usual one,
    ns.
    """

    pauses: int = 0
    scale: float = 0.0

    def learn(self, pause: int) -> None:
        """One more pause, ns. A longer one counts at once and is forgotten slowly."""
        self.pauses += 1
        scale = self.scale
        self.scale = pause if pause > scale else scale - (scale - pause) * _LEAK


class StreamHealth:
    """One stream's watch."""

    __slots__ = (
        "again",
        "answer",
        "asked_at",
        "began",
        "blank",
        "blurred",
        "count",
        "echo",
        "good_wall",
        "last_at",
        "pace",
        "patience",
        "payload",
        "phase",
        "resent_began",
        "sequenced",
        "strikes",
        "until",
    )

    def __init__(self, pace: Pace, *, sequenced: bool) -> None:
        self.phase = Phase.OFF
        self.pace = pace
        self.sequenced = sequenced
        """Whether its messages form a chain that is checked."""
        self.last_at = 0
        """When it last spoke, or was acknowledged or excused."""
        self.count = 0
        """Messages since it was acknowledged."""
        self.patience = 1
        self.strikes = 0
        self.payload: bytes | None = None
        """Its last message as received, to compare answers with."""
        self.good_wall = 0
        """Until when (receive time, ns) nothing is known to be missing."""
        self.began = 0
        """Venue time of the acknowledgement, ns."""
        self.resent_began = 0
        """Venue time of the acknowledgement of the second subscription, ns."""
        self.echo = False
        """One more subscription was acknowledged, so the answer will come again: that is no push."""
        self.blurred = False
        """A frame that may have been its own was not read since it last spoke: a newer answer proves nothing."""
        self.asked_at = 0
        self.until = 0
        self.again = False
        """The question under way is the second one."""
        self.blank = False
        """The question before was answered with nothing at all."""
        self.answer: bytes | None = None
        """The message that was newer than all pushes, while a push may still make it known."""

    def threshold(self, settings: HealthSettings) -> float:
        """Silence, in ns, after which to ask."""
        base = float(settings.ceiling_ns)
        if self.pace.pauses >= _LEARNED:
            base = max(float(settings.floor_ns), settings.factor * self.pace.scale)
        # A stream that keeps dying when subscribed anew is not to be stormed.
        return min(float(settings.ceiling_ns), base * self.patience) * (1 << min(self.strikes, 8))
