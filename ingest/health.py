"""Is a line alive, and is each of its streams? Heartbeats prove nothing about data.

Each stream's own pace is learned. One that has been silent for several times its longest usual pause is
*suspected*, and then we ask instead of guessing, since a quiet market looks just the same:

- The topic is requested (or, where the venue answers no request for it, subscribed once more, upon which the
  venue sends its last message again).
- The answer holds nothing new: a quiet market. The stream is left alone, twice as long the next time.
- The answer is newer than all that was pushed, and no push comes within a grace time, or there is no answer:
  the stream is dead. If nothing else came on the line either, the whole line is.
- The stream speaks again while the answer is overdue: what came in between is not known. A sequenced stream's
  chain tells; for any other the pause is a hole.

A line on which nothing at all comes, no heartbeat either, is half-open. Where the venue answers our pings
this is found by one; else by waiting for three of the venue's.

Pure: times are monotonic ns and passed in; the session does what the findings say. When checks come late (the
process was stopped, the machine slept), frames may still wait unread, so silence is counted from then.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias

import msgspec

from bookreel.ingest.config import RecordConfig

__all__ = ["CHECK_INTERVAL_S", "Finding", "HealthSettings", "LineHealth", "Pace", "Phase", "StreamHealth"]

CHECK_INTERVAL_S: Final = 0.25

_MS: Final = 1_000_000
_LATE_NS: Final = 1_000_000_000
"""Checks further apart than this were late."""
_PONG_NS: Final = 2_000_000_000
"""A venue that answers pings does so within this time, over a bad line too."""
_SERVER_PING_NS: Final = 5_500_000_000
"""The venue's own pings come every 5 s."""
_OVERDUE_NS: Final = 1_000_000_000
"""An answer takes a round trip, and a request its turn."""
_GRACE_NS: Final = 1_000_000_000
_GRACE_CAP_NS: Final = 5_000_000_000
_LEARNED: Final = 3
"""So many pauses must have been seen before a stream's pace is believed."""
_PATIENCE_CAP: Final = 1 << 16
_LEAK: Final = 1 / 64
"""How fast the longest pause is forgotten: to a third after 64 messages."""

FindingKind: TypeAlias = Literal["ask", "compare", "quiet", "hole", "dead", "ping", "half_open", "silence"]


class HealthSettings(msgspec.Struct, frozen=True):
    """As in :class:`RecordConfig`, in ns."""

    floor_ns: int
    factor: float
    unknown_ns: int
    cap_ns: int
    half_open_ns: int

    @classmethod
    def of(cls, config: RecordConfig) -> HealthSettings:
        return cls(
            floor_ns=config.silence_floor_ms * _MS,
            factor=config.silence_factor,
            unknown_ns=config.silence_unknown_ms * _MS,
            cap_ns=config.silence_cap_s * 1000 * _MS,
            half_open_ns=config.half_open_ms * _MS,
        )


class Finding(msgspec.Struct, frozen=True):
    """What to do. ``ask``: about the stream ``topic``. ``compare``: its message with the one ``before``, and
    call :meth:`LineHealth.answered`. ``quiet``: all is well. ``hole``: it was silent after ``since`` (receive
    time, ns) and is back. ``dead``: it is silent since then; subscribe anew. ``ping``: ping the venue.
    ``half_open`` and ``silence`` (known good until ``since``): give the line up.
    """

    kind: FindingKind
    topic: str = ""
    since: int = 0
    before: bytes | None = None


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
        "asked_at",
        "began",
        "count",
        "good_wall",
        "last_at",
        "pace",
        "patience",
        "payload",
        "phase",
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
        self.asked_at = 0
        self.until = 0

    def threshold(self, settings: HealthSettings) -> float:
        """Silence, in ns, after which to ask."""
        base: float = settings.unknown_ns
        if self.pace.pauses >= _LEARNED:
            base = max(float(settings.floor_ns), settings.factor * self.pace.scale)
        return min(float(settings.cap_ns), base * (self.patience << min(self.strikes, 16)))


class LineHealth:
    """All streams of one connection; a reconnect makes a new one. ``paces`` are kept over all of them, by
    topic. ``pongs``: the venue is known to answer pings.
    """

    def __init__(
        self,
        settings: HealthSettings,
        now: int,
        *,
        paces: dict[str, Pace] | None = None,
        pongs: bool = False,
    ) -> None:
        self.settings = settings
        self._paces = {} if paces is None else paces
        self.streams: dict[str, StreamHealth] = {}
        self.any_at = now
        """When anything last came."""
        self.data_at = now
        """When a stream last spoke."""
        self.pongs = pongs
        self._data_pace = Pace()
        self._pinged_at = 0
        self._checked_at = now
        # Streams found dead since the line last brought data, which was then.
        self._deaths = 0
        self._death_mark = -1

    def data(self, topic: str, now: int, wall: int, payload: bytes) -> Finding | None:
        """A stream spoke, by the wall clock at ``wall``. The hot path."""
        self.any_at = now
        stream = self.streams.get(topic)
        if stream is None or stream.phase is Phase.OFF:
            return None
        pause = now - stream.last_at
        stream.last_at = now
        stream.count += 1
        since, stream.good_wall = stream.good_wall, wall
        before, stream.payload = stream.payload, payload
        phase = stream.phase
        # A subscription is answered with the venue's last message: no pause to learn, and no proof of life.
        if phase is Phase.RESENT:
            return Finding("compare", topic, since, before)
        if stream.count == 1:
            return None
        stream.pace.learn(pause)
        stream.patience = 1
        stream.strikes = 0
        self._data_pace.learn(now - self.data_at)
        self.data_at = now
        if phase is Phase.WATCHED:
            return None
        stream.phase = Phase.WATCHED
        overdue = phase is Phase.ASKED and now - stream.asked_at > _OVERDUE_NS
        return Finding("hole", topic, since) if overdue and not stream.sequenced else None

    def acked(self, topic: str, now: int, wall: int, began: int, *, sequenced: bool) -> None:
        """A subscription was acknowledged at ``wall``, by the venue's clock at ``began`` (ns)."""
        stream = self.streams.get(topic)
        if stream is None:
            pace = self._paces.setdefault(topic, Pace())
            stream = self.streams[topic] = StreamHealth(pace, sequenced=sequenced)
        if stream.phase is Phase.ASKED:
            stream.phase = Phase.RESENT
            stream.until = now + _GRACE_NS
        elif stream.phase is Phase.OFF:
            stream.phase = Phase.WATCHED
            stream.last_at = now
            stream.count = 0
            stream.good_wall = wall
            stream.began = began

    def ended(self, topic: str) -> None:
        """A stream is no longer expected: refused, or about to be subscribed anew."""
        stream = self.streams.get(topic)
        if stream is not None:
            stream.phase = Phase.OFF

    def asked(self, topic: str) -> bool:
        """Whether an answer about this stream is awaited."""
        stream = self.streams.get(topic)
        return stream is not None and (stream.phase is Phase.ASKED or stream.phase is Phase.RESENT)

    def answered(
        self, topic: str, now: int, wall: int, *, newer: bool, since: int | None = None
    ) -> Finding | None:
        """The answer about a suspected stream came at ``wall``. ``since``: as in the finding ``compare``."""
        stream = self.streams.get(topic)
        if stream is None or not self.asked(topic):
            return None
        if not newer:
            stream.phase = Phase.WATCHED
            stream.last_at = now
            stream.good_wall = wall
            stream.patience = min(stream.patience * 2, _PATIENCE_CAP)
            return Finding("quiet", topic)
        if stream.phase is Phase.RESENT:
            # Had the stream been alive, this message would have come before we asked.
            if since is not None:
                stream.good_wall = since
            return self._dead(topic, stream, now, proven=True)
        stream.phase = Phase.CONFIRM
        stream.until = now + int(min(max(_GRACE_NS, 2 * stream.pace.scale), _GRACE_CAP_NS))
        return None

    def unanswered(self, topic: str, now: int) -> Finding | None:
        """The question itself was not answered in time."""
        stream = self.streams.get(topic)
        if stream is None or stream.phase is not Phase.ASKED:
            return None
        return self._dead(topic, stream, now, proven=False)

    def postponed(self, topic: str, now: int) -> None:
        """The question was refused for now; wait as for a quiet stream."""
        stream = self.streams.get(topic)
        if stream is not None and stream.phase is Phase.ASKED:
            stream.phase = Phase.WATCHED
            stream.last_at = now

    def check(self, now: int) -> list[Finding]:
        """What is wrong now; call it every :data:`CHECK_INTERVAL_S`."""
        if now - self._checked_at > _LATE_NS:
            self._excuse(now)
        self._checked_at = now
        line = self._check_line(now)
        if line is not None:
            return [line]
        findings: list[Finding] = []
        settings = self.settings
        for topic, stream in self.streams.items():
            phase = stream.phase
            if phase is Phase.WATCHED:
                if now - stream.last_at > stream.threshold(settings):
                    stream.phase = Phase.ASKED
                    stream.asked_at = now
                    findings.append(Finding("ask", topic))
            elif (phase is Phase.CONFIRM or phase is Phase.RESENT) and now > stream.until:
                finding = self._dead(topic, stream, now, proven=phase is Phase.CONFIRM)
                if finding.kind == "silence":
                    return [finding]
                findings.append(finding)
        return findings

    def _check_line(self, now: int) -> Finding | None:
        settings = self.settings
        silent = now - self.any_at
        if silent > settings.half_open_ns:
            return Finding("half_open")
        if not self.pongs:
            return None
        if self._pinged_at > self.any_at:
            return Finding("half_open") if now - self._pinged_at > _PONG_NS else None
        usual = float(_SERVER_PING_NS)
        if self._data_pace.pauses >= _LEARNED:
            usual = min(usual, max(float(settings.floor_ns), settings.factor * self._data_pace.scale))
        if silent > usual:
            self._pinged_at = now
            return Finding("ping")
        return None

    def _dead(self, topic: str, stream: StreamHealth, now: int, *, proven: bool) -> Finding:
        """A stream is dead, ``proven`` by a newer answer or only presumed for want of one; and so perhaps the
        line.
        """
        stream.phase = Phase.OFF
        stream.strikes += 1
        self._deaths = self._deaths + 1 if self._death_mark == self.data_at else 1
        self._death_mark = self.data_at
        others = any(other.phase is not Phase.OFF for other in self.streams.values())
        settings = self.settings
        usual = max(float(settings.floor_ns), settings.factor * self._data_pace.scale)
        if others and now - self.data_at > usual and (proven or self._deaths > 1):
            return Finding("silence", topic, stream.good_wall)
        return Finding("dead", topic, stream.good_wall)

    def _excuse(self, now: int) -> None:
        self.any_at = max(self.any_at, now)
        self._pinged_at = 0
        for stream in self.streams.values():
            stream.last_at = max(stream.last_at, now)
            stream.until = max(stream.until, now + _GRACE_NS)
