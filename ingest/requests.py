"""What one connection asks: subscriptions, requests, pings; why each was sent, and what is not answered yet.

:mod:`bookreel.ingest.pacing` says when something may be sent, this module what, and what follows where no answer
comes. What an answer means is the dialogue's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from bookreel.ingest.books import LiveBook
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.health import LineHealth
from bookreel.ingest.pacing import IN_FLIGHT, Outgoing, Pacer, Purpose, Verb
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.storage.lines import REQUESTS_MAX
from bookreel.venues.message import Dialect, Refusal, RequestId, Topic

__all__ = ["Requests"]

_MS: Final = 1_000_000
_S: Final = 1_000_000_000
_BUSY_PAUSE_NS: Final = 2 * _S
_BACKFILL_TRIES: Final = 4
_FIRST_DELTA_NS: Final = 150 * _MS
"""A book just subscribed waits so long for a delta before it is asked for: an image that is older than the first
delta is useless.
"""
_PINGS_MAX: Final = 64
"""So many are remembered, where the venue does not answer them."""
_FIRST_AUDIT_NS: Final = 5 * _S
"""An archive that goes on may know newer numbers than the first snapshot has, and then needs a second one."""
_FOR_BOOKS: Final = (Purpose.SNAPSHOT, Purpose.HEDGE)
_ONCE: Final = (Purpose.ASK, Purpose.AUDIT)
"""Not asked again by themselves: somebody else decides."""

_log = logging.getLogger(__name__)


class Requests:
    """Of one connection. ``wake`` is called when there may be something new to send; ``recover``: an earlier
    connection may have missed something. Times are monotonic ns.
    """

    def __init__(
        self,
        books: dict[str, LiveBook],
        stats: LineStats,
        health: LineHealth,
        *,
        config: RecordConfig,
        venue: Dialect,
        tape: Tape,
        rng: Random,
        wake: Callable[[], None],
        recover: bool,
    ) -> None:
        self._books = books
        self._stats = stats
        self._health = health
        self._config = config
        self._venue = venue
        self._tape = tape
        self._wake = wake
        self._conn = stats.name
        self._epoch = stats.epoch
        self._pacer = Pacer(
            f"{self._conn}.{self._epoch}",
            req_interval_ns=max(config.req_interval_ms * _MS, venue.min_req_interval_ns),
            sub_interval_ns=config.sub_interval_ms * _MS,
            timeout_ns=config.req_timeout_ms * _MS,
            rng=rng,
        )
        self._makers = {"sub": venue.sub, "unsub": venue.unsub, "req": venue.req}
        # What was asked, by request id, oldest forgotten first.
        self._issued: dict[RequestId, str] = {}
        self._last_pulled: Outgoing | None = None
        self._unaskable: set[str] = set()
        self._ping_due = True
        # Pings that were not answered yet, oldest first: value to when it was sent.
        self._pings: dict[int, int] = {}
        interval = config.audit_interval_s * _S
        earliest = _FIRST_AUDIT_NS if recover else 0
        latest = 2 * _FIRST_AUDIT_NS if recover else interval
        now = tape.clock.mono_ns()
        # When the next one of each book is due.
        self._audits = {text: now + int(rng.uniform(earliest, latest)) for text in books} if interval else {}

    # What is sent

    def outgoing(self, now: int) -> bytes | None:
        """What is to be sent now, already journaled; None: nothing, see :meth:`wait`."""
        if self._ping_due:
            self._ping_due = False
            value = self._tape.clock.wall_ns() // _MS
            self._pings[value] = now
            if len(self._pings) > _PINGS_MAX:
                del self._pings[next(iter(self._pings))]
            return self.sent(self._venue.ping(value))
        while (out := self._pacer.pull(now)) is not None:
            topic = out.topic
            book = self._books.get(topic.text)
            asked = self._health.asked(topic.text)
            if out.purpose in _FOR_BOOKS:
                if book is not None and book.asking():
                    self._hedge(out, now)
                elif not asked:
                    self._pacer.withdraw(out, now)
                    continue
            if asked:
                self._pacer.hasten(topic, now + self._health.answer_ns)
            self._stats.sent[out.verb] += 1
            self._last_pulled = out
            self._issued[out.request_id] = topic.text
            if len(self._issued) > REQUESTS_MAX:
                del self._issued[next(iter(self._issued))]
            return self.sent(self._makers[out.verb](topic, out.request_id))
        return None

    def sent(self, text: bytes) -> bytes:
        """A frame that is about to be sent, journaled."""
        self._tape.sent(text, self._conn, self._epoch)
        self._stats.sent_bytes += len(text)
        return text

    def left(self, now: int) -> None:
        """What :meth:`outgoing` gave last has left."""
        if self._last_pulled is not None:
            self._pacer.left(self._last_pulled, now)
            self._last_pulled = None

    def wait(self, now: int) -> int | None:
        """Ns until :meth:`outgoing` may have something; None: not before ``wake`` is called."""
        return self._pacer.wait(now)

    @property
    def pending(self) -> int:
        """Requests queued or not answered yet."""
        return self._pacer.queued + self._pacer.pending

    # What is asked

    def ping(self) -> None:
        """Ask the venue whether it hears us."""
        self._ping_due = True
        self._wake()

    def subscribe(self, topic: Topic) -> None:
        """Begin a stream."""
        self._put("sub", topic, Purpose.STREAM)

    def renew(self, topic: Topic) -> None:
        """End a stream and begin it anew; what was asked about it before is of no account any more."""
        self._issued = {key: name for key, name in self._issued.items() if name != topic.text}
        self._pacer.drop(topic)
        self._put("unsub", topic, Purpose.STREAM)
        self.subscribe(topic)

    def pursue(self, book: LiveBook, now: int) -> None:
        """Ask for a snapshot if the book wants one and none is on its way."""
        if book.sync.wants_snapshot:
            pause = book.pause_ns
            if not pause and not book.sync.buffer:
                pause = _FIRST_DELTA_NS
            self._put("req", book.topic, Purpose.SNAPSHOT, now + pause)

    def ask(self, topic: Topic, now: int, *, again: bool) -> None:
        """Ask about a silent stream, ``again``: for the second time."""
        askable = self._venue.req_supported(topic) and topic.text not in self._unaskable
        # The venue takes subscriptions more readily than requests; a book's says nothing.
        self._put("req" if askable and (again or topic.text in self._books) else "sub", topic, Purpose.ASK)
        self._pacer.hasten(topic, now + self._health.answer_ns)
        self._ping_due |= self._health.doubts(now)

    def backfill(self, topic: Topic) -> None:
        """Ask for what may have been missed, where ids let what is known already be dropped."""
        if self._config.backfill_trades and topic.coverage == "id-only" and self._venue.req_supported(topic):
            self._put("req", topic, Purpose.BACKFILL)

    def audit(self, now: int) -> None:
        """Ask for snapshots to compare live books with, where they are due."""
        interval = self._config.audit_interval_s * _S
        for name, due in self._audits.items():
            if now >= due:
                self._audits[name] = now + interval
                book = self._books[name]
                if book.sync.valid and name not in self._unaskable:
                    self._put("req", book.topic, Purpose.AUDIT)

    def _put(self, verb: Verb, topic: Topic, purpose: Purpose, due: int | None = None) -> None:
        due = self._tape.clock.mono_ns() if due is None else due
        self._pacer.put(Outgoing(verb, topic, purpose, due))
        self._wake()

    def _hedge(self, out: Outgoing, now: int) -> None:
        """The answer may be late, lost or too old: ask once more where there is room, long before it is overdue."""
        hedge = self._config.snapshot_hedge_ms * _MS
        under_way = self._pacer.under_way("req", out.topic)
        if hedge and under_way < IN_FLIGHT and not out.tries:
            self._put("req", out.topic, Purpose.HEDGE, now + hedge)

    # What is answered

    def pong(self, value: int, now: int) -> int | None:
        """How long the answer to this ping took (ns); None: it is no answer to one of ours."""
        sent_at = self._pings.pop(value, None)
        return None if sent_at is None else now - sent_at

    def answered(self, request_id: RequestId) -> str | None:
        """The topic text that was asked about; None where nothing like that was sent, or it is forgotten. A late
        answer, or a second one, counts as well.
        """
        self._pacer.answered(request_id)
        return self._issued.pop(request_id, None)

    def refused(self, refusal: Refusal, now: int) -> Outgoing | None:
        """What was refused; None where nobody waits for it."""
        if refusal.reason == "busy":
            self._pacer.complaint(now + _BUSY_PAUSE_NS)
        self._issued.pop(refusal.request_id, None)
        return self._pacer.answered(refusal.request_id)

    def retry(self, refused: Outgoing, reason: str, now: int) -> None:
        """Ask again later for what was refused, as long as this may help."""
        base = {"busy": _BUSY_PAUSE_NS, "not_open": 30 * _S}.get(reason, _S)
        if _is_repeated(refused):
            self._pacer.retry(refused, now, base_ns=base, cap_ns=max(60 * _S, 20 * base))
        self._wake()

    def refused_for_good(self, refused: Outgoing) -> None:
        """Never ask this again."""
        if refused.verb == "sub":
            self._pacer.drop(refused.topic)
        elif refused.verb == "req":
            self._unaskable.add(refused.topic.text)
        self._wake()

    # What is not answered

    @property
    def deadline(self) -> int | None:
        """When :meth:`overdue` will have something, if nothing is answered."""
        return self._pacer.deadline

    def expected(self, now: int) -> set[str]:
        """Topics of which something is to be answered: sent, or to be sent as soon as it is its turn."""
        return self._pacer.expected(now)

    def overdue(self, now: int) -> Iterator[Topic]:
        """Give up what was not answered in time, or ask again; topics of books to which neither data nor answers
        come, to be renewed.
        """
        for out in self._pacer.expired(now):
            self._stats.timeouts += 1
            _log.warning(
                "no answer: line=%s epoch=%d verb=%s topic=%s tries=%d",
                self._conn,
                self._epoch,
                out.verb,
                out.topic.text,
                out.tries,
            )
            if out.purpose in _FOR_BOOKS:
                book = self._books.get(out.topic.text)
                # One of several requests that are under way is no reason for another.
                again = (
                    book is not None and not book.sync.valid and not self._pacer.under_way("req", out.topic)
                )
                silent_ns = self._health.silent_ns(out.topic.text, now)
                if again and out.tries and silent_ns >= self._config.req_timeout_ms * _MS:
                    # While the line lives: who asks for ever may never be heard.
                    yield out.topic
                    continue
                if again and out.purpose is Purpose.HEDGE:
                    out.purpose = Purpose.SNAPSHOT
                    out.tries += 1
            elif out.purpose is Purpose.BACKFILL:
                again = out.tries < _BACKFILL_TRIES
            else:
                again = _is_repeated(out)
            if again:
                self._pacer.retry(out, now, base_ns=_S // 2, cap_ns=60 * _S)


def _is_repeated(out: Outgoing) -> bool:
    """Whether it is asked again by itself. An end that is asked for again would end the subscription that follows
    it.
    """
    return out.purpose not in _ONCE and out.verb != "unsub"
