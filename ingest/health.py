"""Is a line alive, and is each of its streams? Heartbeats prove nothing about data.

A quiet market looks just like a dead stream, so we ask instead of guessing, and soon: a stream that was
silent for several times its longest usual pause, and in any case for ``ceiling_ns``, is *suspected*.

- The topic is subscribed once more, upon which the venue sends its last message again; an incremental book,
  which has none, is requested. No second answer either: the other way is tried, where there is one.
- The answer holds nothing new: a quiet market. The stream is left alone for as long again.
- The answer is newer than all that was pushed. Within a grace time the push may still come, for it and the
  answer take different ways inside the venue; if not, or if there was no answer, the stream is dead. If
  nothing else came on the line either, the whole line is.
- The stream speaks again, but says more than the answer did, or says it while the answer is overdue: what
  came in between was missed. A sequenced stream's chain tells; for any other the pause is a hole.

Asking has a budget per line; the streams that were silent longest come first. A *witness* may save the
question: a symbol's other streams carry numbers of the same space (:mod:`bookreel.ingest.witness`).

A line on which nothing at all comes, no heartbeat either, is half-open. Where the venue answers our pings
this is found by one, sent as soon as the line is still for a moment; else by waiting for three of the venue's.

Pure: times are monotonic ns and passed in; the session does what the findings say. When checks come late (the
process was stopped, the machine slept), frames may still wait unread, so silence is counted from then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from bookreel.ingest.watch import Finding, HealthSettings, Pace, Phase, StreamHealth

__all__ = ["CHECK_INTERVAL_S", "SOONEST_NS", "LineHealth", "Testimony"]

CHECK_INTERVAL_S: Final = 0.25
"""The longest time between two checks; :meth:`LineHealth.next_check` says when one may be needed sooner."""

_MS: Final = 1_000_000
SOONEST_NS: Final = 20 * _MS
"""The shortest time between two checks."""

_S: Final = 1_000_000_000
_LATE_NS: Final = _S
"""Checks further apart than this were late."""
_FIRST_NS: Final = 3 * _S
"""A venue answers something within this time: a connection begins with subscriptions and a ping."""
_OVERDUE_NS: Final = _S
"""An answer takes a round trip, and a request its turn."""
_VENUE_NS: Final = 300 * _MS
"""An answer may take so much longer than a pong."""
_GRACE_NS: Final = 500 * _MS
"""A push that makes an answer old is at most this much later than it."""
_LAG_NS: Final = 300 * _MS
"""Silence of a sequenced stream after which its witnesses are heard."""
_STILL_NS: Final = 50 * _MS
"""A line that brought something so lately needs no ping to show that it lives."""
_PATIENCE_CAP: Final = 1 << 16
_BURST_NS: Final = 250 * _MS
"""Questions saved up while nobody was suspected."""

# For each frame and each look at all streams: to look a member up in its class takes long (Python 3.11).
_OFF: Final = Phase.OFF
_WATCHED: Final = Phase.WATCHED
_ASKED: Final = Phase.ASKED
_RESENT: Final = Phase.RESENT
_CONFIRM: Final = Phase.CONFIRM

Testimony: TypeAlias = Callable[[str, int], bool | None]
"""What other streams say of a silent topic now (monotonic ns). True: it has nothing to say; False: it should have
spoken; None: they do not know."""


class LineHealth:
    """All streams of one connection; a reconnect makes a new one. ``paces`` are kept over all of them, by
    topic. ``pongs``: the venue is known to answer pings. ``resends``: it is known to answer a second subscription
    with its last message. ``testimony``: what other streams say of the sequenced ones. ``unready``: whether one of
    these has no book to compare an answer with; that is being asked for already.
    """

    def __init__(
        self,
        settings: HealthSettings,
        now: int,
        *,
        paces: dict[str, Pace] | None = None,
        pongs: bool = False,
        resends: bool = False,
        testimony: Testimony | None = None,
        unready: Callable[[str], bool] | None = None,
    ) -> None:
        self.settings = settings
        self._paces = {} if paces is None else paces
        self._testimony = testimony
        self._unready = unready
        self.streams: dict[str, StreamHealth] = {}
        self.any_at = now
        """When anything last came."""
        self.data_at = now
        """When a stream last spoke."""
        self.pongs = pongs
        self.resends = resends
        self.round_trip = Pace()
        """From our pings to the venue's pongs."""
        self._data_pace = Pace()
        self._opened_at = now
        self._pinged_at = 0
        self._checked_at = now
        self._ask_at = 0
        # Streams found dead since the line last brought data, which was then.
        self._deaths = 0
        self._death_mark = -1

    def data(self, topic: str, now: int, wall: int, payload: bytes) -> Finding | None:
        """A stream spoke, by the wall clock at ``wall``. The hot path."""
        self.any_at = now
        stream = self.streams.get(topic)
        if stream is None or stream.phase is _OFF:
            return None
        pause = now - stream.last_at
        stream.last_at = now
        stream.count += 1
        since, stream.good_wall = stream.good_wall, wall
        before, stream.payload = stream.payload, payload
        phase = stream.phase
        # A subscription is answered with the venue's last message: no pause to learn, and no proof of life.
        if phase is _RESENT and not stream.sequenced:
            return Finding("compare", topic, since, before)
        if stream.echo and phase is _CONFIRM:
            stream.echo = False
            stream.good_wall = since
            return None
        stream.blurred = False
        if stream.count == 1:
            return None
        stream.pace.learn(pause)
        stream.patience = 1
        stream.strikes = 0
        self._data_pace.learn(now - self.data_at)
        self.data_at = now
        if phase is _WATCHED:
            return None
        stream.phase = _WATCHED
        if stream.sequenced:
            return None
        if phase is _CONFIRM and stream.answer is not None:
            return Finding("confirm", topic, since, stream.answer)
        overdue = phase is _ASKED and now - stream.asked_at > max(_OVERDUE_NS, self.answer_ns)
        return Finding("hole", topic, since, why="it was back before it was asked") if overdue else None

    def acked(self, topic: str, now: int, wall: int, began: int, *, sequenced: bool) -> None:
        """A subscription was acknowledged at ``wall``, by the venue's clock at ``began`` (ns)."""
        stream = self.streams.get(topic)
        if stream is None:
            pace = self._paces.setdefault(topic, Pace())
            stream = self.streams[topic] = StreamHealth(pace, sequenced=sequenced)
        if stream.phase is Phase.ASKED:
            stream.phase = Phase.RESENT
            stream.until = now + _GRACE_NS
            stream.resent_began = began
            stream.echo = False
        elif stream.phase is Phase.CONFIRM:
            stream.echo = True
        elif stream.phase is Phase.OFF:
            stream.phase = Phase.WATCHED
            stream.last_at = now
            stream.count = 0
            stream.good_wall = wall
            stream.began = began
            stream.again = False
            stream.blurred = False

    def silent_ns(self, topic: str, now: int) -> int:
        """For how long a stream that is expected to speak did not."""
        stream = self.streams.get(topic)
        return 0 if stream is None or stream.phase is Phase.OFF else now - stream.last_at

    def told(self, topic: str, now: int) -> None:
        """All that a stream had to say until now is known otherwise."""
        stream = self.streams.get(topic)
        if stream is not None and stream.phase is Phase.WATCHED:
            stream.last_at = now

    def unreadable(self, topic: str | None, now: int) -> None:
        """A frame could not be read, or was given up unread; None: it may have been any stream's."""
        for name, stream in self.streams.items():
            if topic is None or name == topic:
                stream.blurred = True
                if stream.phase is Phase.RESENT:
                    # Perhaps the answer: it is asked for once more, at once.
                    stream.until = now
                    stream.again = False

    def ended(self, topic: str) -> None:
        """A stream is no longer expected: refused, or about to be subscribed anew."""
        stream = self.streams.get(topic)
        if stream is not None:
            stream.phase = Phase.OFF

    @property
    def answer_ns(self) -> int:
        """How long an answer is waited for: on a slow line its round trips count."""
        return max(self.settings.answer_ns, int(self.round_trip.scale) + _VENUE_NS)

    def questioned(self) -> list[str]:
        """Streams with a question under way: somebody must be asking, or :meth:`unanswered` be told."""
        return [topic for topic, stream in self.streams.items() if stream.phase is Phase.ASKED]

    def asked(self, topic: str) -> bool:
        """Whether an answer about this stream is awaited."""
        stream = self.streams.get(topic)
        return stream is not None and (stream.phase is Phase.ASKED or stream.phase is Phase.RESENT)

    def answered(
        self,
        topic: str,
        now: int,
        wall: int,
        *,
        newer: bool,
        since: int | None = None,
        answer: bytes | None = None,
    ) -> Finding | None:
        """The answer about a suspected stream came at ``wall``. ``since``: as in the finding ``compare``.
        ``answer``: the message itself where it can be compared with a later push.
        """
        stream = self.streams.get(topic)
        if stream is None or not self.asked(topic):
            return None
        if stream.phase is Phase.RESENT:
            self.resends = True
        stream.again = False
        if not newer:
            stream.phase = Phase.WATCHED
            stream.last_at = now
            stream.good_wall = wall
            stream.patience = min(stream.patience * 2, _PATIENCE_CAP)
            return Finding("quiet", topic)
        if since is not None:
            stream.good_wall = since
        stream.phase = Phase.CONFIRM
        stream.until = now + _GRACE_NS
        stream.answer = answer
        return None

    def excused(self, topic: str, now: int, *, since: int | None = None) -> None:
        """The answer proved neither life nor death: what is newer than this one will, so ask again soon.
        ``since``: as in the finding ``compare``.
        """
        stream = self.streams.get(topic)
        if stream is None or not self.asked(topic):
            return
        if stream.phase is Phase.RESENT:
            self.resends = True
        self._watch(stream, now - max(0, int(stream.threshold(self.settings)) - _GRACE_NS))
        if since is not None:
            stream.good_wall = since

    def unanswered(self, topic: str, now: int) -> Finding | None:
        """The question itself was not answered in time."""
        stream = self.streams.get(topic)
        if stream is None or stream.phase is not Phase.ASKED:
            return None
        if self.any_at <= stream.asked_at:
            # Nothing else came either: perhaps that is the line's trouble. A pong tells.
            if not self.pongs:
                stream.phase = Phase.WATCHED
                return None
            if self._pinged_at > self.any_at:
                return None
            self._pinged_at = now
            return Finding("ping")
        if not stream.again:
            return self._ask(topic, stream, now, again=True)
        return self._dead(topic, stream, now, proven=False, why="no answer")

    def blank(self, topic: str, now: int) -> Finding | None:
        """The question was answered with nothing at all, or with trouble of the venue: it is asked once more, and
        then later. That it was not answered cannot be said, so the other chance remains.
        """
        stream = self.streams.get(topic)
        if stream is None or stream.phase is not Phase.ASKED:
            return None
        if stream.blank:
            self._watch(stream, now)
            return None
        finding = self._ask(topic, stream, now, again=stream.again)
        stream.blank = True
        return finding

    def postponed(self, topic: str, now: int) -> None:
        """The question was refused for now; wait as for a quiet stream."""
        stream = self.streams.get(topic)
        if stream is not None and stream.phase is Phase.ASKED:
            self._watch(stream, now)

    def check(self, now: int, *, backlog: bool = False) -> list[Finding]:
        """What is wrong now; call it as :meth:`next_check` says. ``backlog``: frames wait to be looked at, so
        that no stream can be told to be silent, nor the line: where too many wait it is not read.
        """
        if now - self._checked_at > _LATE_NS:
            self._excuse(now)
        self._checked_at = now
        if backlog:
            return []
        line = self._check_line(now)
        if line is not None:
            return [line]
        findings: list[Finding] = []
        due: list[tuple[float, str, StreamHealth]] = []
        for topic, stream in self.streams.items():
            phase = stream.phase
            if phase is _WATCHED:
                if self._waits(topic, stream):
                    continue
                overdue = now - stream.last_at - stream.threshold(self.settings)
                told = self._told(topic, stream, now)
                if told is False:
                    findings.append(self._ask(topic, stream, now))
                    continue
                if told is True and overdue > 0:
                    stream.last_at = now
                    continue
                if overdue > 0:
                    due.append((-overdue, topic, stream))
            elif (phase is _CONFIRM or phase is _RESENT) and now > stream.until:
                finding = self._late(topic, stream, now)
                if finding is None:
                    continue
                if finding.kind == "silence":
                    return [finding]
                findings.append(finding)
        if due:
            due.sort(key=lambda each: each[:2])
            interval = self.settings.ask_interval_ns
            self._ask_at = max(self._ask_at, now - _BURST_NS)
            for _, topic, stream in due:
                if self._ask_at > now:
                    break
                self._ask_at += interval
                findings.append(self._ask(topic, stream, now))
        return findings

    def doubts(self, now: int) -> bool:
        """Whether a ping is to go with a question: that this is not answered says something about its stream only if
        its line lives.
        """
        still = self.pongs and self.any_at < now - _STILL_NS and self._pinged_at <= self.any_at
        if still:
            self._pinged_at = now
        return still

    def next_check(self, now: int) -> int:
        """Ns until :meth:`check` may have something to say, unless something comes."""
        settings = self.settings
        at = self._checked_at + int(CHECK_INTERVAL_S * _S)
        if self.pongs:
            pinged = self._pinged_at > self.any_at
            at = min(
                at,
                self._hopeless_at() if pinged else self.any_at + settings.ping_after_ns,
            )
        for topic, stream in self.streams.items():
            phase = stream.phase
            if phase is _WATCHED and not self._waits(topic, stream):
                due = max(stream.last_at + int(stream.threshold(settings)), self._ask_at)
            elif phase is _CONFIRM or phase is _RESENT:
                due = stream.until
            else:
                continue
            at = min(at, due)
        return max(at - now + 1, SOONEST_NS)

    def _check_line(self, now: int) -> Finding | None:
        settings = self.settings
        silent = now - self.any_at
        if silent > settings.half_open_ns or (self.any_at == self._opened_at and silent > _FIRST_NS):
            return Finding("half_open")
        if not self.pongs:
            return None
        if self._pinged_at > self.any_at:
            return Finding("half_open") if now > self._hopeless_at() else None
        if silent > settings.ping_after_ns:
            self._pinged_at = now
            return Finding("ping")
        return None

    def _hopeless_at(self) -> int:
        """When a line that was pinged is given up."""
        settings = self.settings
        silent_at = self.any_at + settings.ping_after_ns + settings.pong_timeout_ns
        return max(silent_at, self._pinged_at + settings.pong_timeout_ns)

    def _waits(self, topic: str, stream: StreamHealth) -> bool:
        return self._unready is not None and stream.sequenced and self._unready(topic)

    def _told(self, topic: str, stream: StreamHealth, now: int) -> bool | None:
        if self._testimony is None or not stream.sequenced or now - stream.last_at < _LAG_NS:
            return None
        return self._testimony(topic, now)

    @staticmethod
    def _watch(stream: StreamHealth, last_at: int) -> None:
        """No question is under way any more; go on as if the stream had spoken at ``last_at``."""
        stream.phase = Phase.WATCHED
        stream.last_at = last_at
        stream.again = False

    def _ask(self, topic: str, stream: StreamHealth, now: int, *, again: bool = False) -> Finding:
        stream.phase = Phase.ASKED
        stream.asked_at = now
        stream.again = again
        stream.blank = False
        stream.answer = None
        return Finding("ask", topic, again=again)

    def _late(self, topic: str, stream: StreamHealth, now: int) -> Finding | None:
        """The push, or the message sent again, did not come."""
        if stream.phase is Phase.CONFIRM:
            return self._dead(topic, stream, now, proven=True, why="the answer was newer")
        if not stream.again:
            return self._ask(topic, stream, now, again=True)
        if self.resends and stream.payload is not None:
            return self._dead(topic, stream, now, proven=False, why="acknowledged, but not sent again")
        # There may be nothing to send again, or this venue may not do it: no proof of anything.
        self._watch(stream, now)
        return None

    def _dead(self, topic: str, stream: StreamHealth, now: int, *, proven: bool, why: str) -> Finding:
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
            return Finding("silence", topic, stream.good_wall, why=why)
        return Finding("dead", topic, stream.good_wall, why=why)

    def _excuse(self, now: int) -> None:
        self.any_at = max(self.any_at, now)
        self._pinged_at = 0
        for stream in self.streams.values():
            stream.last_at = max(stream.last_at, now)
            stream.until = max(stream.until, now + _GRACE_NS)
