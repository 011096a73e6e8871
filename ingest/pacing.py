"""The order and pace of what one connection sends, and which answer belongs to what.

The venue refuses requests (``req``) that follow each other faster than 100 ms on one connection; for
subscriptions no limit is published, so they are merely spread. These are two lanes, each with its own
interval, counted from when the last one really left. Within the requests, what a book waits for goes first; but
a book that breaks again and again must not keep all others from asking, so a question, or less, that waited for a
second is as urgent.
Heartbeats never come here. The venue's limits are in docs/venues.md.

Pure: times are monotonic ns and passed in. The caller sends what :meth:`Pacer.pull` gives it.
"""

from __future__ import annotations

import enum
from random import Random
from typing import Final, Literal, TypeAlias

import msgspec

from bookreel.venues.message import RequestId, Topic

__all__ = ["IN_FLIGHT", "Outgoing", "Pacer", "Purpose", "Verb"]

IN_FLIGHT: Final = 3
"""Requests for one book's snapshot that may be under way at the same time."""

_OLD_NS: Final = 1_000_000_000
_SLOWER_NS: Final = 10_000_000
_SLOWEST_NS: Final = 200_000_000

Verb: TypeAlias = Literal["sub", "unsub", "req"]


class Purpose(enum.IntEnum):
    """Why something is sent; the lower the sooner."""

    STREAM = 0
    """To begin or end a stream."""
    SNAPSHOT = 1
    """A book cannot go on without it."""
    ASK = 2
    """Is this silent stream alive?"""
    HEDGE = 3
    """A snapshot once more, since the first answer is not there yet and may be useless."""
    BACKFILL = 4
    """What was missed while the connection was down."""
    AUDIT = 5
    """To compare a live book with."""


class Outgoing(msgspec.Struct, eq=False):
    """Something to send. ``due``: not before this instant. ``tries``: how often it failed already.
    ``request_id`` and ``deadline`` are set when it is sent.
    """

    verb: Verb
    topic: Topic
    purpose: Purpose
    due: int = 0
    tries: int = 0
    request_id: str = ""
    deadline: int = 0


class Pacer:
    """One connection's outgoing side; a reconnect makes a new one.

    ``name`` begins every request id, so that an answer can never be taken for that of another connection.
    At most one request of a verb and topic is queued, and one (of a book's snapshot :data:`IN_FLIGHT`) under way, so
    the size is bounded by the number of topics.
    """

    def __init__(
        self,
        name: str,
        *,
        req_interval_ns: int,
        sub_interval_ns: int,
        timeout_ns: int,
        rng: Random,
    ) -> None:
        self._name = name
        self._interval = {"req": req_interval_ns, "sub": sub_interval_ns, "unsub": sub_interval_ns}
        self._timeout_ns = timeout_ns
        self._rng = rng
        self._reqs: list[Outgoing] = []
        self._subs: list[Outgoing] = []
        self._free_at = {"req": 0, "sub": 0}
        self._pending: dict[str, Outgoing] = {}
        self._count = 0

    @property
    def queued(self) -> int:
        """Waiting to be sent."""
        return len(self._reqs) + len(self._subs)

    @property
    def pending(self) -> int:
        """Sent and not answered yet."""
        return len(self._pending)

    def put(self, outgoing: Outgoing) -> bool:
        """Queue; False where the same is queued or under way already. A queued one takes over the more urgent purpose
        and the earlier instant.
        """
        verb, text = outgoing.verb, outgoing.topic.text
        lane = self._reqs if verb == "req" else self._subs
        for held in lane:
            if held.verb == verb and held.topic.text == text:
                held.purpose = min(held.purpose, outgoing.purpose)
                held.due = min(held.due, outgoing.due)
                return False
        most = IN_FLIGHT if outgoing.purpose in (Purpose.SNAPSHOT, Purpose.HEDGE) else 1
        if self.under_way(verb, outgoing.topic) >= most:
            return False
        lane.append(outgoing)
        return True

    def retry(self, outgoing: Outgoing, now: int, *, base_ns: int, cap_ns: int) -> None:
        """Queue again what failed: after about ``base_ns``, twice that the next time, and so on up to
        ``cap_ns``.
        """
        wait = min(cap_ns, base_ns << min(outgoing.tries, 20))
        outgoing.tries += 1
        outgoing.due = now + int(wait * self._rng.uniform(0.75, 1.25))
        self.put(outgoing)

    def drop(self, topic: Topic) -> None:
        """Forget all that concerns a topic."""
        text = topic.text
        self._reqs = [held for held in self._reqs if held.topic.text != text]
        self._subs = [held for held in self._subs if held.topic.text != text]
        for request_id in [key for key, held in self._pending.items() if held.topic.text == text]:
            del self._pending[request_id]

    def complaint(self, until: int) -> None:
        """The venue complained of too many requests: none before ``until``, and a longer distance from then on."""
        self._free_at["req"] = max(self._free_at["req"], until)
        self._interval["req"] = min(self._interval["req"] + _SLOWER_NS, _SLOWEST_NS)

    def left(self, outgoing: Outgoing, now: int) -> None:
        """What was pulled has really been sent only now: the venue counts from here."""
        lane = "req" if outgoing.verb == "req" else "sub"
        self._free_at[lane] = max(self._free_at[lane], now + self._interval[outgoing.verb])

    def withdraw(self, outgoing: Outgoing, now: int) -> None:
        """What was pulled just now is not needed any more: it is not sent, and its turn is another's."""
        del self._pending[outgoing.request_id]
        self._free_at["req" if outgoing.verb == "req" else "sub"] = now

    def hasten(self, topic: Topic, deadline: int) -> None:
        """Whatever is under way about a topic is to be answered by ``deadline``."""
        for held in self._pending.values():
            if held.topic.text == topic.text:
                held.deadline = min(held.deadline, deadline)

    def expected(self, now: int) -> set[str]:
        """Topics of which something is to be answered: sent, or to be sent as soon as it is its turn."""
        waiting = (held for held in (*self._reqs, *self._subs) if held.due <= now)
        return {held.topic.text for held in (*self._pending.values(), *waiting) if held.verb != "unsub"}

    def under_way(self, verb: Verb, topic: Topic) -> int:
        """How many of these were sent and not answered yet."""
        return sum(held.verb == verb and held.topic.text == topic.text for held in self._pending.values())

    def pull(self, now: int) -> Outgoing | None:
        """What is to be sent now, numbered and with its deadline; None: nothing yet, see :meth:`wait`."""
        for lane, free in ((self._subs, "sub"), (self._reqs, "req")):
            if not lane or self._free_at[free] > now:
                continue
            ready = (held for held in lane if held.due <= now)
            chosen = min(ready, key=lambda held: _urgency(held, now), default=None)
            if chosen is None:
                continue
            lane.remove(chosen)
            self._free_at[free] = now + self._interval[chosen.verb]
            self._count += 1
            chosen.request_id = f"{self._name}.{self._count}"
            chosen.deadline = now + self._timeout_ns
            self._pending[chosen.request_id] = chosen
            return chosen
        return None

    def wait(self, now: int) -> int | None:
        """Ns until :meth:`pull` may have something; None: only after another call. An unanswered request does not
        count: whoever waits here cannot give it up, and would be woken again at once until somebody did.
        """
        at: list[int] = []
        for lane, free in ((self._subs, "sub"), (self._reqs, "req")):
            if lane:
                at.append(max(self._free_at[free], min(held.due for held in lane)))
        return max(0, min(at) - now) if at else None

    @property
    def deadline(self) -> int | None:
        """When :meth:`expired` will have something, if nothing is answered."""
        return min((held.deadline for held in self._pending.values()), default=None)

    def answered(self, request_id: RequestId) -> Outgoing | None:
        """What this answer belongs to; None where nothing (any more) waits for it."""
        return self._pending.pop(request_id, None) if isinstance(request_id, str) else None

    def expired(self, now: int) -> list[Outgoing]:
        """What was not answered in time, each told once."""
        late = [held for held in self._pending.values() if held.deadline <= now]
        for held in late:
            del self._pending[held.request_id]
        return late


def _urgency(outgoing: Outgoing, now: int) -> Purpose:
    purpose = outgoing.purpose
    # One more request of a book that has its own is not worth that.
    old = purpose is not Purpose.HEDGE and outgoing.due < now - _OLD_NS
    return min(purpose, Purpose.SNAPSHOT) if old else purpose
