"""Is each stream of a connection alive? Asks about those that are silent, and judges the answers.

:mod:`bookreel.ingest.health` says whom to suspect and what follows from an answer; here the answer is compared
with what was pushed. What is to be done about a finding is the dialogue's business.
"""

from __future__ import annotations

from typing import Final

from bookreel.book.model import Event, Snapshot
from bookreel.ingest.books import LiveBook
from bookreel.ingest.frames import FrameReader
from bookreel.ingest.freshness import newer
from bookreel.ingest.health import LineHealth
from bookreel.ingest.stats import LineStats
from bookreel.ingest.watch import Finding, HealthSettings, Pace, StreamHealth
from bookreel.ingest.witness import Witnesses
from bookreel.venues.message import Data, Dialect, Reply, Topic

__all__ = ["Inquiry"]

_QUIET_NS: Final = 1_000_000_000
"""So long answers of "nothing new" are collected: one record then tells of all."""
_VERBATIM: Final = 3
"""So many messages sent again just as they were, and the venue is known to do so."""
_EARLIER_NS: Final = 10_000_000
"""What is stamped so long before the acknowledgement was not made to answer it: it was a push."""
_LATEST_NS: Final = 500_000_000
"""A push that is stamped so long before an acknowledgement came before it, if it came."""


class Inquiry:
    """Of one connection. Times are monotonic ns, or receive times in ns where they are called ``wall``."""

    def __init__(
        self,
        topics: dict[str, Topic],
        books: dict[str, LiveBook],
        stats: LineStats,
        settings: HealthSettings,
        *,
        venue: Dialect,
        reader: FrameReader,
        witnesses: Witnesses,
        paces: dict[str, Pace],
        now: int,
    ) -> None:
        self._topics = topics
        self._books = books
        self._stats = stats
        self._venue = venue
        self._reader = reader
        self._witnesses = witnesses
        self.health = LineHealth(
            settings,
            now,
            paces=paces,
            pongs=stats.pongs,
            resends=stats.resends > 0,
            testimony=self._testimony if books else None,
            unready=(lambda name: not books[name].sync.valid) if books else None,
        )
        # Streams with the symbol's number: whether nothing happens that they would not show.
        self._numbered = {
            text: told == "whole"
            for text, topic in topics.items()
            if (told := venue.witness(topic)) is not None
        }
        # How far each book is known to have nothing to say, beyond its own number.
        self._proven: dict[str, int] = {}
        # Answers that were newer than what was pushed and yet prove nothing, and how many pushes there were then.
        self._excused: dict[str, tuple[int, list[Event]]] = {}
        # Found quiet, and not told yet: topic to receive time.
        self._quiet: dict[str, int] = {}
        self._quiet_at = 0

    def spoke(self, name: str, frame: bytes | str, text: bytes, wall: int, mono: int) -> Finding | None:
        """A push came: its stream lives. The hot path."""
        payload = frame if isinstance(frame, bytes) else text
        whole = self._numbered.get(name)
        if whole is not None:
            topic = self._topics[name]
            self._witnesses.spoke(topic.symbol, topic.feed, payload, mono, whole=whole)
        finding = self.health.data(name, mono, wall, payload)
        if finding is None:
            return None
        if finding.kind == "compare":
            return self._compare(finding, text, wall, mono)
        if finding.kind == "confirm":
            answer, events = self._reader.push(finding.before), self._reader.events(text)
            # A push that cannot be read may have been the answer, or not: it confirms nothing.
            missed = answer is not None and (
                not events or newer(events, answer.events, 0, verbatim=self._verbatim(name, answer))
            )
            return Finding("hole", name, finding.since, why="the answer was never pushed") if missed else None
        return finding

    def acked(self, topic: Topic, mono: int, wall: int, began: int) -> None:
        """A subscription was acknowledged."""
        self.health.acked(topic.text, mono, wall, began, sequenced=topic.coverage == "sequenced")

    def replied(self, reply: Reply, wall: int, mono: int) -> Finding | None:
        """A request was answered, whatever it was sent for."""
        name = reply.topic.text
        stream = self.health.streams.get(name)
        if stream is None or not self.health.asked(name):
            return None
        book = self._books.get(name)
        snapshot = reply.events[0] if reply.events else None
        if book is not None and not isinstance(snapshot, Snapshot):
            return self.health.blank(name, mono)
        if book is not None and isinstance(snapshot, Snapshot) and book.sync.valid:
            is_newer = book.newer(snapshot)
            excused = is_newer and self._proves_nothing(name, stream, reply.events)
            if (excused or not is_newer) and snapshot.seq is not None:
                self._proven[name] = max(snapshot.seq, self._proven.get(name, 0))
        else:
            # Where nothing was pushed yet, nothing tells what should have been.
            known = self._reader.events(stream.payload)
            is_newer = bool(known) and newer(reply.events, known, stream.began)
            excused = is_newer and self._proves_nothing(name, stream, reply.events)
        if excused:
            self.health.excused(name, mono)
            return None
        return self._answered(name, mono, wall, newer=is_newer)

    def unanswered(self, name: str, mono: int) -> Finding | None:
        """A question was not answered in time."""
        return self.health.unanswered(name, mono)

    def check(self, now: int, *, backlog: bool) -> list[Finding]:
        """What is wrong now."""
        return self.health.check(now, backlog=backlog)

    def ended(self, name: str) -> None:
        """A stream is no longer expected."""
        self.health.ended(name)
        self._excused.pop(name, None)
        topic = self._topics[name]
        self._witnesses.gone(topic.symbol, topic.feed)

    def close(self) -> None:
        """The connection is gone, and its streams testify no more."""
        for name in self._numbered:
            self._witnesses.gone(self._topics[name].symbol, self._topics[name].feed)

    def quiet(self, now: int, *, all_of_them: bool = False) -> tuple[list[str], int] | None:
        """Streams found quiet lately and until when (receive time, ns) all of them were; told once."""
        if not self._quiet or (now - self._quiet_at < _QUIET_NS and not all_of_them):
            return None
        found = list(self._quiet), min(self._quiet.values())
        self._quiet.clear()
        return found

    def _compare(self, finding: Finding, text: bytes, wall: int, mono: int) -> Finding | None:
        """The first message after a second subscription: the venue's last one, known already or not."""
        name, before = finding.topic, finding.before
        stats, stream = self._stats, self.health.streams[finding.topic]
        if before is None:
            # Nothing was ever said, so this may as well be the first push, or from before the subscription.
            first = self._reader.push(text)
            made = None if first is None else first.ts_event
            withheld = made is not None and stream.began < made <= stream.resent_began - _LATEST_NS
            if withheld and stream.blurred:
                self._excuse(stream, finding, mono)
                return None
            since = finding.since if withheld else None
            return self._answered(name, mono, wall, newer=withheld, since=since, answer=text)
        if before == text or self._reader.text(before) == text:
            stats.verbatim += 1
            is_newer = False
        else:
            known, answer_read = self._reader.events(before), self._reader.push(text)
            is_newer = answer_read is not None and newer(
                answer_read.events, known, stream.began, verbatim=self._verbatim(name, answer_read)
            )
            if is_newer and (stream.blurred or not known):
                stats.resends += 1
                self._excuse(stream, finding, mono)
                return None
        stats.resends += 1
        return self._answered(name, mono, wall, newer=is_newer, since=finding.since, answer=text)

    def _excuse(self, stream: StreamHealth, finding: Finding, mono: int) -> None:
        """What could not be read may be what is now sent again; from here on it is known."""
        stream.blurred = False
        self.health.excused(finding.topic, mono, since=finding.since)

    def _answered(
        self,
        name: str,
        mono: int,
        wall: int,
        *,
        newer: bool,
        since: int | None = None,
        answer: bytes | None = None,
    ) -> Finding | None:
        finding = self.health.answered(name, mono, wall, newer=newer, since=since, answer=answer)
        if finding is None or finding.kind != "quiet":
            return finding
        self._stats.quiet += 1
        if name in self._numbered:
            self._witnesses.lives(self._topics[name].symbol, self._topics[name].feed, mono)
        if not self._quiet:
            self._quiet_at = mono
        self._quiet[name] = wall
        return None

    def _proves_nothing(self, name: str, stream: StreamHealth, answer: list[Event]) -> bool:
        """Whether something else explains a newer answer: a frame that could not be read, or a book that was not told
        anything since it was subscribed, whose snapshot may have been older than that. From the second one on, what
        is newer than the first is proof.
        """
        if not stream.blurred and (stream.count or name not in self._books):
            return False
        count, before = self._excused.get(name, (-1, []))
        self._excused[name] = stream.count, answer
        return count != stream.count or not newer(answer, before, 0)

    def _verbatim(self, name: str, answer: Data) -> bool:
        """Whether a message that was sent again is known to be a push, as it was."""
        made = answer.ts_event
        earlier = made is not None and made <= self.health.streams[name].resent_began - _EARLIER_NS
        return earlier or self._stats.verbatim >= _VERBATIM

    def _testimony(self, name: str, now: int) -> bool | None:
        book = self._books[name]
        last_seq = book.sync.last_seq
        if last_seq is None or not book.sync.valid:
            return None
        return self._witnesses.testify(book.topic.symbol, max(last_seq, self._proven.get(name, 0)), now)
