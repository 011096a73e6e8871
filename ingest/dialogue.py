"""What one connection says and hears, without the connection: frames in, frames out, times passed in.

The session calls :meth:`Dialogue.receive` with each frame, sends what :attr:`Dialogue.requests` give, and calls
:meth:`Dialogue.check` as :meth:`Dialogue.next_check` says; :class:`LineDown` ends the connection. Every frame is
journaled before anything interprets it, and a frame that was shed is not interpreted, so that the live books are
what the archive's will be.

Where frames come faster than they can be read, they wait in :attr:`Dialogue.backlog`, journaled already. A ping
never waits there: it is looked for first, and its answer goes out ahead of all else.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from bookreel.book.model import Snapshot
from bookreel.book.packed import DELTAS
from bookreel.book.sync import Outcome, State
from bookreel.ingest.books import LiveBook
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import LineDown
from bookreel.ingest.frames import HEARTBEAT_BYTES, FrameReader
from bookreel.ingest.health import SOONEST_NS
from bookreel.ingest.inquiry import Inquiry
from bookreel.ingest.pacing import Outgoing
from bookreel.ingest.requests import Requests
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.ingest.watch import Finding, HealthSettings, Pace
from bookreel.ingest.witness import Witnesses
from bookreel.storage.errors import StorageError
from bookreel.storage.shedding import Victim
from bookreel.venues.errors import VenueError
from bookreel.venues.message import (
    Ack,
    Data,
    Dialect,
    Heartbeat,
    Message,
    Refusal,
    Reply,
    Topic,
)

__all__ = ["Dialogue"]

_APPLIED: Final = Outcome.APPLIED
_UNTIMED: Final = 63
"""Of positions that have none of these bits, one in 64, it is measured how long the book took."""

_log = logging.getLogger(__name__)


class Dialogue:
    """One connection, from open to close. ``wake`` is called when there may be something new to send."""

    def __init__(
        self,
        topics: dict[str, Topic],
        books: dict[str, LiveBook],
        stats: LineStats,
        *,
        config: RecordConfig,
        venue: Dialect,
        tape: Tape,
        rng: Random,
        paces: dict[str, Pace],
        wake: Callable[[], None],
        recover: bool,
        witnesses: Witnesses | None = None,
    ) -> None:
        self._topics = topics
        self._books = books
        self._stats = stats
        self._config = config
        self._venue = venue
        self._tape = tape
        self._received = tape.received
        self._recover = recover
        self._conn = stats.name
        self._epoch = stats.epoch
        now = tape.clock.mono_ns()
        self.opened_at = now
        self.last_wall = tape.clock.wall_ns()
        """Receive time (ns UTC) of the last frame."""
        self._reader = FrameReader(venue)
        self._read = self._reader.read
        self._inquiry = Inquiry(
            topics,
            books,
            stats,
            HealthSettings.of(config, books=bool(books)),
            venue=venue,
            reader=self._reader,
            witnesses=Witnesses(self._reader.events) if witnesses is None else witnesses,
            paces=paces,
            now=now,
        )
        self._spoke = self._inquiry.spoke
        self.health = self._inquiry.health
        self.requests = Requests(
            books,
            stats,
            self.health,
            config=config,
            venue=venue,
            tape=tape,
            rng=rng,
            wake=wake,
            recover=recover,
        )
        self.backlog: deque[tuple[bytes | str, int, int, int, Victim | None]] = deque()
        """Frames that are journaled and not looked at: frame, position, wall and monotonic receive time (ns), and of
        one that was shed what that cost.
        """
        self._unreadable = 0
        self._renewed: set[str] = set()

    def open(self) -> None:
        """Subscribe to everything that was not refused for good."""
        for text, topic in self._topics.items():
            if text not in self._stats.refused:
                self.requests.subscribe(topic)

    def reconsider(self) -> None:
        """Reference data is new: what was refused for good may be asked for again."""
        again = [self._topics[text] for text in self._stats.refused if text in self._topics]
        self._stats.refused.clear()
        for topic in again:
            self.requests.subscribe(topic)

    def receive(self, frame: bytes | str, wall: int, mono: int, later: bool = False) -> bytes | None:
        """Take a frame received at ``wall`` and ``mono`` (ns). Returns what must be answered before all else.

        ``later``: only journal it, unless it is a ping; see :meth:`catch_up`.
        """
        stats = self._stats
        pos = self._received(frame, wall, mono, self._conn, self._epoch)
        stats.frames += 1
        stats.frame_bytes += len(frame)
        stats.last_frame_wall = wall
        self.last_wall = wall
        self.health.any_at = mono
        if len(frame) <= HEARTBEAT_BYTES and (value := self._reader.ping_value(frame)) is not None:
            self._unreadable = 0
            if not pos:
                self._shed(frame, wall, mono, self._tape.victim)
            return self._venue.pong(value)
        if not pos:
            victim = self._tape.victim
            if self.backlog:
                self.backlog.append((frame, 0, wall, mono, victim))
            else:
                self._shed(frame, wall, mono, victim)
        elif later or self.backlog:
            self.backlog.append((frame, pos, wall, mono, None))
        else:
            self._interpret(frame, pos, wall, mono)
        return None

    def catch_up(self, frames: int) -> None:
        """Look at the oldest ``frames`` of those that wait."""
        backlog = self.backlog
        for _ in range(min(frames, len(backlog))):
            frame, pos, wall, mono, victim = backlog.popleft()
            if victim is None:
                self._interpret(frame, pos, wall, mono)
            else:
                self._shed(frame, wall, mono, victim)

    def close(self) -> None:
        """The connection is gone: look at what came before its end, which is why the end counts no more."""
        while self.backlog:
            try:
                self.catch_up(len(self.backlog))
            except LineDown as down:
                _log.debug("down already: line=%s epoch=%d %s", self._conn, self._epoch, down)
        self._tell_quiet(self._tape.clock.mono_ns(), all_of_them=True)
        self._inquiry.close()

    def _interpret(self, frame: bytes | str, pos: int, wall: int, mono: int) -> None:
        try:
            text, read = self._read(frame)
            self._unreadable = 0
            if type(read) is Data:
                self._data(read, frame, text, pos, wall, mono)
            elif isinstance(read, str):
                self._act(self._spoke(read, frame, text, wall, mono), mono)
            else:
                self._message(read, pos, wall, mono)
        except VenueError as error:
            self._undecodable(frame, wall, mono, error)
        except (LineDown, StorageError):
            raise
        except Exception:
            # A bug of ours in reading one frame must not cost the connection and all its other streams.
            _log.exception("cannot read a frame: line=%s epoch=%d pos=%d", self._conn, self._epoch, pos)
            self._undecodable(frame, wall, mono, None)

    def _message(self, message: Message, pos: int, wall: int, mono: int) -> None:
        """Anything but a push."""
        if isinstance(message, Heartbeat):
            if message.kind == "pong":
                self._stats.pongs = self.health.pongs = True
                took_ns = self.requests.pong(message.value, mono)
                if took_ns is not None:
                    self.health.round_trip.learn(took_ns)
        elif isinstance(message, Ack):
            self._acked(message, wall, mono)
        elif isinstance(message, Reply):
            self._replied(message, pos, wall, mono)
        elif isinstance(message, Refusal):
            self._refused(message, mono)
        else:
            self._stats.unknown += 1

    def _data(self, data: Data, frame: bytes | str, text: bytes, pos: int, wall: int, mono: int) -> None:
        """A push that was decoded. The hot path."""
        name = data.topic.text
        finding = self._spoke(name, frame, text, wall, mono)
        if finding is not None:
            self._act(finding, mono)
        book = self._books.get(name)
        if book is None:
            if name in self._topics:
                self._reader.learn(text, name)
            return
        if name in self._renewed:
            # On its way since before the stream was ended, and no part of what begins with the acknowledgement.
            return
        if data.ts_event is not None:
            self._stats.latency_ns = wall - data.ts_event
        for event in data.events:
            assert isinstance(event, DELTAS), "an incremental book's topic pushes deltas"
            outcome = book.delta(event, pos, wall, mono)
            if outcome is not _APPLIED:
                self._astray(book, outcome, mono)
        if not pos & _UNTIMED:
            book.updated(self._tape.clock.mono_ns() - mono)

    def _astray(self, book: LiveBook, outcome: Outcome, mono: int) -> None:
        """A delta was not applied."""
        if outcome is Outcome.GAP:
            gap = book.sync.gap
            assert gap is not None, "a break opens a gap"
            self._note(
                "resync",
                topic=book.topic.text,
                cause=gap.cause,
                last_seq=gap.last_seq,
                next_seq=gap.next_seq,
            )
        self.requests.pursue(book, mono)

    def _acked(self, ack: Ack, wall: int, mono: int) -> None:
        topic = ack.topic
        asked = self.requests.answered(ack.request_id)
        if topic.text not in self._topics:
            return
        book = self._books.get(topic.text)
        if ack.kind == "unsub":
            # Where we ended it because it was dead, it was lost then.
            if book is not None and topic.text not in self._renewed:
                book.lost("operator", wall, mono)
            return
        renewed = topic.text in self._renewed
        if renewed and asked is None and ack.request_id is not None:
            # Of a question from before the stream was ended. The archive is made by the same rule.
            return
        self._renewed.discard(topic.text)
        first = topic.text not in self._stats.acked
        self._stats.acked.add(topic.text)
        if first:
            self._tape.subscribed(topic.text)
        began = wall if ack.ts_event is None else ack.ts_event
        self._inquiry.acked(topic, mono, wall, began)
        if book is not None:
            book.acked(self._conn, mono)
            self.requests.pursue(book, mono)
        elif first and (self._recover or renewed):
            self.requests.backfill(topic)

    def _replied(self, reply: Reply, pos: int, wall: int, mono: int) -> None:
        name = reply.topic.text
        # A late answer, or a second one, is judged by its numbers; one to another question is not this topic's.
        # The archive is made by the same rule.
        if self.requests.answered(reply.request_id) not in (None, name):
            self._stats.foreign += 1
            return
        self._act(self._inquiry.replied(reply, wall, mono), mono)
        book = self._books.get(name)
        if book is None:
            return
        snapshot = reply.events[0] if reply.events else None
        assert snapshot is None or isinstance(snapshot, Snapshot), (
            "an incremental book is answered with a snapshot"
        )
        outcome = book.snapshot(snapshot, pos, wall, mono)
        if outcome is Outcome.ADOPTED:
            self.health.told(name, mono)
        if outcome is Outcome.REFUSED:
            _log.info("snapshot refused: line=%s topic=%s why=%s", self._conn, name, book.sync.refusal)
        self.requests.pursue(book, mono)

    def _refused(self, refusal: Refusal, mono: int) -> None:
        reason = refusal.reason
        self._stats.refusals[reason] += 1
        asked = self.requests.refused(refusal, mono)
        if asked is None:
            _log.warning(
                "refusal of nothing known: line=%s code=%s text=%s", self._conn, refusal.code, refusal.text
            )
            return
        if reason == "ignore":
            return
        name = asked.topic.text
        self._note(
            "refused",
            topic=name,
            verb=asked.verb,
            reason=reason,
            code=refusal.code,
            text=refusal.text.strip(),
        )
        if reason == "server":
            self._act(self.health.blank(name, mono), mono)
        else:
            self.health.postponed(name, mono)
        if reason == "permanent":
            self._refused_for_good(asked)
        else:
            self.requests.retry(asked, reason, mono)

    def _refused_for_good(self, asked: Outgoing) -> None:
        name = asked.topic.text
        if asked.verb == "sub":
            self._stats.refused.add(name)
            self._stats.acked.discard(name)
            self._inquiry.ended(name)
        self.requests.refused_for_good(asked)

    def _undecodable(self, frame: bytes | str, wall: int, mono: int, error: VenueError | None) -> None:
        stats = self._stats
        stats.decode_errors += 1
        payload = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
        topic = self._venue.salvage_topic(payload)
        self.health.unreadable(None if topic is None else topic.text, mono)
        for name, book in self._books.items():
            if topic is None or topic.text == name:
                book.doubt("decode_error", wall)
        self._unreadable += 1
        if error is not None and self._unreadable == 1:
            _log.warning("unreadable frame: line=%s epoch=%d error=%s", self._conn, self._epoch, error)
        if self._unreadable >= self._config.decode_error_limit:
            raise LineDown("decode_error", f"{self._unreadable} unreadable frames in a row")

    def _shed(self, frame: bytes | str, wall: int, mono: int, victim: Victim) -> None:
        """The journal could not take a frame."""
        self._stats.shed += 1
        name, cause = victim.topic, victim.cause
        if name is None:
            self.health.unreadable(None, mono)
            for book in self._books.values():
                book.doubt(cause, wall)
        else:
            held = self._books.get(name)
            if held is not None:
                held.lost(cause, held.sync.last_ts, mono)
            # The stream lives: nothing is to be asked about it.
            self.health.data(name, mono, wall, frame if isinstance(frame, bytes) else frame.encode())

    def check(self, now: int) -> None:
        """Look after unanswered requests, audits and silent streams. Raises :class:`LineDown`."""
        backlog = bool(self.backlog)
        if not backlog:
            for topic in self.requests.overdue(now):
                self._renew(topic, Finding("dead", topic.text, self.last_wall, why="no snapshot"), now)
            self._unattended(now)
        self.requests.audit(now)
        for finding in self._inquiry.check(now, backlog=backlog):
            self._act(finding, now)
        self._tell_quiet(now)

    def next_check(self, now: int) -> int:
        """Ns until :meth:`check` should be called."""
        wait = self.health.next_check(now)
        deadline = self.requests.deadline
        return wait if deadline is None else max(SOONEST_NS, min(wait, deadline - now))

    def _tell_quiet(self, now: int, *, all_of_them: bool = False) -> None:
        found = self._inquiry.quiet(now, all_of_them=all_of_them)
        if found is not None:
            self._note("quiet", topics=found[0], until=found[1])

    def _unattended(self, now: int) -> None:
        """Whoever waits for an answer has a request under way, whatever that was sent for; else it was not answered.
        This is looked for in one place, for a request may end in many ways.
        """
        expected = self.requests.expected(now)
        for name, book in self._books.items():
            if book.sync.state is State.AWAITING_SNAPSHOT and name not in expected:
                book.unanswered()
                self.requests.pursue(book, now)
        for name in self.health.questioned():
            if name not in expected:
                self._act(self._inquiry.unanswered(name, now), now)

    def _act(self, finding: Finding | None, now: int) -> None:
        if finding is None:
            return
        name = finding.topic
        if finding.kind == "ask":
            self.requests.ask(self._topics[name], now, again=finding.again)
        elif finding.kind == "dead":
            self._renew(self._topics[name], finding, now)
        elif finding.kind == "hole":
            self._silent(name, finding.since, finding.why)
            self.requests.backfill(self._topics[name])
        elif finding.kind == "ping":
            self.requests.ping()
        elif finding.kind == "silence":
            detail = f"heartbeats only; {name}: {finding.why}"
            raise LineDown("silence", detail, since=finding.since)
        else:
            silent_s = (now - self.health.any_at) / 1e9
            raise LineDown("half_open", f"nothing at all came for {silent_s:.1f} s")

    def _renew(self, topic: Topic, finding: Finding, now: int) -> None:
        """A stream is dead while its line lives: say so, and subscribe anew."""
        since = finding.since
        self._inquiry.ended(topic.text)
        self._stats.acked.discard(topic.text)
        book = self._books.get(topic.text)
        if book is not None:
            since = book.sync.last_ts or since
            book.lost("silence", since, now)
        self._silent(topic.text, since, finding.why, renewed=True)
        self._renewed.add(topic.text)
        self.requests.renew(topic)

    def _silent(self, name: str, since: int, why: str, *, renewed: bool = False) -> None:
        self._stats.silences += 1
        self._tell_quiet(self._tape.clock.mono_ns(), all_of_them=True)
        self._note("silence", topics=[name], since=since, why=why, renewed=renewed)

    def _note(self, event: str, **facts: object) -> None:
        self._tape.event(event, self._conn, self._epoch, **facts)
        told = " ".join(f"{key}={value}" for key, value in facts.items())
        _log.log(
            _LEVELS.get(event, logging.INFO), "%s: line=%s epoch=%d %s", event, self._conn, self._epoch, told
        )


_LEVELS: Final = {
    "silence": logging.WARNING,
    "resync": logging.WARNING,
    "refused": logging.WARNING,
    "quiet": logging.DEBUG,
}
