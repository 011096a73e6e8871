"""Keeping one incremental book right: the venue's chain of sequence numbers as a state machine.

Theory of operation
-------------------
Deltas form a chain: each one's ``prev_seq`` is the ``seq`` of the one before. A book is right as long as it
started from a snapshot that is a link of that chain and no link was skipped. So there are four states, and
:data:`TRANSITIONS` says all there is to say about moving between them:

``IDLE``
    not subscribed; nothing is known.
``SUBSCRIBED``
    deltas are buffered and a snapshot is wanted (:attr:`BookSync.wants_snapshot`).
``AWAITING_SNAPSHOT``
    as before, and a request for one is on its way.
``LIVE``
    the book is right as of :attr:`BookSync.last_seq`.

Joining a snapshot with number S to the buffered deltas: those with seq <= S are dropped; the first one kept
must have prev_seq == S. If it has prev_seq > S the snapshot is too old, and if prev_seq < S < seq it lies
inside that delta, where a level that changed before S and back after it would be missed: both are refused,
and another is asked for. If none is kept the book is right already and the next delta decides. A snapshot
older than what was already known is refused too, since a quiet book would be wound back, unless the deltas
prove that the venue began its numbering anew.

The rule is stated by the venue at huobi-spot-api "Market By Price (incremental update)" and its notice
900001078223; what is wrong with accepting ``prev_seq <= S < seq`` is told in docs/venues.md.

Nothing here does I/O, keeps time or logs: the caller passes receive times in and sends the requests.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final

import msgspec

from bookreel.book.l2 import Book, L2Book
from bookreel.book.model import Cause, Delta, Gap, Levels, Snapshot
from bookreel.book.packed import unpacked

__all__ = [
    "BUFFER_LIMIT",
    "TRANSITIONS",
    "BookSync",
    "Input",
    "OpenGap",
    "Outcome",
    "Stamped",
    "State",
    "SyncState",
]

BUFFER_LIMIT: Final = 4096
"""Deltas kept while a snapshot is awaited, oldest given up first: minutes of a 100 ms feed, seconds of a
tick-by-tick one.
"""

RESTART_EVIDENCE: Final = 8
"""So many deltas in a row, linked to each other and all older than what is known, prove that the numbering
began anew.
"""


class State(enum.Enum):
    """Where a book stands; see the module's theory."""

    IDLE = "idle"
    SUBSCRIBED = "subscribed"
    AWAITING_SNAPSHOT = "awaiting_snapshot"
    LIVE = "live"


class Input(enum.Enum):
    """What can happen to a book, after the sequence numbers were looked at."""

    ACK = "the venue acknowledged the subscription"
    REQUESTED = "a snapshot was asked for"
    TIMED_OUT = "the request was not answered"
    LINK = "a delta that continues the chain"
    OLD = "a delta at or before what is known"
    BREAK = "a delta that does not continue the chain"
    SPOIL = "a delta that makes the book impossible"
    JOIN = "a snapshot that joins the buffered deltas"
    REFUSE = "a snapshot that does not"
    LOSE = "the connection or the stream is gone"


TRANSITIONS: Final[dict[tuple[State, Input], State]] = {
    (State.IDLE, Input.ACK): State.SUBSCRIBED,
    # A captured file may begin after the subscription was acknowledged.
    (State.IDLE, Input.LINK): State.SUBSCRIBED,
    (State.IDLE, Input.JOIN): State.LIVE,
    (State.IDLE, Input.REFUSE): State.IDLE,
    (State.IDLE, Input.LOSE): State.IDLE,
    (State.SUBSCRIBED, Input.ACK): State.SUBSCRIBED,
    (State.SUBSCRIBED, Input.REQUESTED): State.AWAITING_SNAPSHOT,
    (State.SUBSCRIBED, Input.TIMED_OUT): State.SUBSCRIBED,
    (State.SUBSCRIBED, Input.LINK): State.SUBSCRIBED,
    (State.SUBSCRIBED, Input.OLD): State.SUBSCRIBED,
    (State.SUBSCRIBED, Input.BREAK): State.SUBSCRIBED,
    (State.SUBSCRIBED, Input.JOIN): State.LIVE,
    (State.SUBSCRIBED, Input.REFUSE): State.SUBSCRIBED,
    (State.SUBSCRIBED, Input.LOSE): State.IDLE,
    (State.AWAITING_SNAPSHOT, Input.ACK): State.AWAITING_SNAPSHOT,
    (State.AWAITING_SNAPSHOT, Input.REQUESTED): State.AWAITING_SNAPSHOT,
    (State.AWAITING_SNAPSHOT, Input.TIMED_OUT): State.SUBSCRIBED,
    (State.AWAITING_SNAPSHOT, Input.LINK): State.AWAITING_SNAPSHOT,
    (State.AWAITING_SNAPSHOT, Input.OLD): State.AWAITING_SNAPSHOT,
    (State.AWAITING_SNAPSHOT, Input.BREAK): State.AWAITING_SNAPSHOT,
    (State.AWAITING_SNAPSHOT, Input.JOIN): State.LIVE,
    (State.AWAITING_SNAPSHOT, Input.REFUSE): State.SUBSCRIBED,
    (State.AWAITING_SNAPSHOT, Input.LOSE): State.IDLE,
    (State.LIVE, Input.ACK): State.LIVE,
    (State.LIVE, Input.REQUESTED): State.LIVE,
    (State.LIVE, Input.TIMED_OUT): State.LIVE,
    (State.LIVE, Input.LINK): State.LIVE,
    (State.LIVE, Input.OLD): State.LIVE,
    (State.LIVE, Input.BREAK): State.SUBSCRIBED,
    (State.LIVE, Input.SPOIL): State.SUBSCRIBED,
    (State.LIVE, Input.REFUSE): State.LIVE,
    (State.LIVE, Input.LOSE): State.IDLE,
}
"""(state, input) to state. A pair that is missing cannot happen."""


class Outcome(enum.Enum):
    """What was done with a delta or a snapshot."""

    APPLIED = "applied to the book"
    BUFFERED = "kept until a snapshot comes"
    DUPLICATE = "known already, not applied"
    GAP = "the book is not right any more; a gap is open"
    ADOPTED = "the snapshot, and the buffered deltas after it, are the book"
    AUDIT = "a snapshot while the book is live: good for comparing, not adopted"
    REFUSED = "the snapshot cannot be joined; ask again"
    IGNORED = "of no use"


# Looking a member up in its class takes as long as applying two levels (Python 3.11).
_LIVE: Final = State.LIVE
_APPLIED: Final = Outcome.APPLIED


class OpenGap(msgspec.Struct):
    """A gap that has not ended. Fields as in :class:`bookreel.book.model.Gap`; ``next_seq`` is filled in when
    it is known.
    """

    conn: str
    epoch: int | None
    cause: Cause
    last_seq: int | None
    next_seq: int | None
    start: int


class Stamped(msgspec.Struct, frozen=True, gc=False):
    """A buffered delta with its journal position and receive time (ns)."""

    delta: Delta
    pos: int
    ts_recv: int


class SyncState(msgspec.Struct):
    """All of a :class:`BookSync`, for a checkpoint."""

    symbol: str
    feed: str
    conn: str
    state: State
    epoch: int | None
    first_seq: int | None
    last_seq: int | None
    last_ts: int
    wire_seq: int | None
    joined: bool
    old_seq: int | None
    old_run: int
    suspicion: tuple[Cause, int] | None
    bids: Levels
    asks: Levels
    buffer: list[Stamped]
    gap: OpenGap | None


class BookSync:
    """One (symbol, feed): its book, whether the book is right, and since when not.

    After :attr:`Outcome.ADOPTED`, ``replayed`` holds the buffered deltas that were applied and ``closed`` the
    gap that ended (None at the first snapshot ever). After :attr:`Outcome.REFUSED`, ``refusal`` says why.
    ``engine``: what keeps the levels.
    """

    __slots__ = (
        "_engine",
        "_first_seq",
        "_joined",
        "_last_ts",
        "_old_run",
        "_old_seq",
        "_suspicion",
        "_wire_seq",
        "book",
        "buffer",
        "closed",
        "conn",
        "epoch",
        "feed",
        "gap",
        "last_seq",
        "refusal",
        "replayed",
        "state",
        "symbol",
    )

    def __init__(
        self, symbol: str, feed: str, *, buffer_limit: int = BUFFER_LIMIT, engine: type[Book] = L2Book
    ) -> None:
        self._engine = engine
        self.symbol = symbol
        self.feed = feed
        self.conn = ""
        self.state = State.IDLE
        self.book = engine()
        self.epoch: int | None = None
        self.last_seq: int | None = None
        self.gap: OpenGap | None = None
        self.closed: Gap | None = None
        self.replayed: list[Stamped] = []
        self.refusal = ""
        self.buffer: deque[Stamped] = deque(maxlen=buffer_limit)
        self._first_seq: int | None = None
        self._last_ts = 0
        # The newest delta that came over the wire, whether it was used or not.
        self._wire_seq: int | None = None
        # Whether a delta has confirmed that the adopted snapshot is a link of the chain.
        self._joined = False
        # Deltas older than the run, linked to each other: the numbering may have begun anew.
        self._old_seq: int | None = None
        self._old_run = 0
        self._suspicion: tuple[Cause, int] | None = None

    @property
    def valid(self) -> bool:
        """Whether ``book`` is right as of ``last_seq``."""
        return self.state is _LIVE

    @property
    def wants_snapshot(self) -> bool:
        """Whether a snapshot should be asked for now."""
        return self.state is State.SUBSCRIBED

    @property
    def last_ts(self) -> int:
        """Receive time (ns) of the last frame that was good for this book, 0 before the first."""
        return self._last_ts

    def subscribed(self, conn: str) -> None:
        """The venue acknowledged the subscription on line ``conn``."""
        self.conn = conn
        self._move(Input.ACK)

    def requested(self) -> None:
        """A snapshot was asked for."""
        self._move(Input.REQUESTED)

    def timed_out(self) -> None:
        """The request was not answered in time."""
        self._move(Input.TIMED_OUT)

    def suspect(self, cause: Cause, ts_recv: int) -> None:
        """Should the chain turn out broken at the next delta, ``cause`` is why: a frame of its line could not
        be read.
        """
        self._suspicion = (cause, ts_recv)

    def lost(self, cause: Cause, ts_good: int) -> None:
        """The connection or the stream is gone; the book was right until ``ts_good`` (receive time, ns)."""
        if self.state is State.LIVE:
            self._open_gap(cause, None, max(ts_good, self._last_ts))
        self.buffer.clear()
        self._wire_seq = None
        self._move(Input.LOSE)

    def delta(self, delta: Delta, pos: int, ts_recv: int) -> Outcome:
        """Take one delta, received at ``ts_recv`` (ns) as journal record ``pos``. The hot path."""
        if self.state is _LIVE:
            if delta.prev_seq == self.last_seq:
                if self.book.apply(delta):
                    return self._break(delta, pos, ts_recv, Input.SPOIL, "crossed")
                self.last_seq = delta.seq
                self._last_ts = ts_recv
                self._joined = True
                return _APPLIED
            return self._unlinked(delta, pos, ts_recv)
        return self._hold(delta, pos, ts_recv)

    def snapshot(self, snapshot: Snapshot | None, pos: int, ts_recv: int) -> Outcome:
        """Take one reply to a request (None: the venue sent no data), received at ``ts_recv`` (ns) as record
        ``pos``.
        """
        if self.state is State.LIVE:
            assert self._first_seq is not None, "a live book began with a snapshot"
            if snapshot is None or snapshot.seq is None or snapshot.crossed:
                return Outcome.IGNORED
            return Outcome.AUDIT if snapshot.seq >= self._first_seq else Outcome.IGNORED
        if self.state is State.IDLE and self.epoch is not None:
            # Late: its subscription has ended, and the next one asks for its own. Only a capture may begin with it.
            return Outcome.IGNORED
        if snapshot is None or snapshot.seq is None:
            return self._refuse("no data")
        seq = snapshot.seq
        kept = [held for held in self.buffer if held.delta.seq > seq]
        if kept and kept[0].delta.prev_seq != seq:
            first = kept[0].delta
            if first.prev_seq > seq:
                return self._refuse(
                    f"too old: {seq} is before the first delta kept ({first.prev_seq} to {first.seq})"
                )
            return self._refuse(f"inside a delta: {first.prev_seq} < {seq} < {first.seq}")
        restarted = False
        if self.last_seq is not None and seq < self.last_seq:
            restarted = (
                bool(kept) and len(self.buffer) >= RESTART_EVIDENCE and kept[-1].delta.seq < self.last_seq
            )
            if not restarted:
                return self._refuse(f"backward: {seq} is before {self.last_seq}, which is known already")
        return self._adopt(snapshot, seq, kept, pos, ts_recv, restarted)

    def checkpoint(self) -> SyncState:
        """Everything, to go on from later with :meth:`restore`."""
        return SyncState(
            symbol=self.symbol,
            feed=self.feed,
            conn=self.conn,
            state=self.state,
            epoch=self.epoch,
            first_seq=self._first_seq,
            last_seq=self.last_seq,
            last_ts=self._last_ts,
            wire_seq=self._wire_seq,
            joined=self._joined,
            old_seq=self._old_seq,
            old_run=self._old_run,
            suspicion=self._suspicion,
            bids=list(self.book.bids.items()),
            asks=list(self.book.asks.items()),
            buffer=list(self.buffer),
            gap=self.gap,
        )

    @classmethod
    def restore(cls, saved: SyncState, *, buffer_limit: int = BUFFER_LIMIT) -> BookSync:
        """A book that behaves from here on as the one that made the checkpoint."""
        self = cls(saved.symbol, saved.feed, buffer_limit=buffer_limit)
        self.conn = saved.conn
        self.state = saved.state
        self.epoch = saved.epoch
        self._first_seq = saved.first_seq
        self.last_seq = saved.last_seq
        self._last_ts = saved.last_ts
        self._wire_seq = saved.wire_seq
        self._joined = saved.joined
        self._old_seq = saved.old_seq
        self._old_run = saved.old_run
        self._suspicion = saved.suspicion
        self.book.load(saved.bids, saved.asks)
        self.buffer.extend(saved.buffer)
        self.gap = saved.gap
        return self

    def _move(self, happened: Input) -> None:
        self.state = TRANSITIONS[self.state, happened]

    def _hold(self, delta: Delta, pos: int, ts_recv: int) -> Outcome:
        """Buffer a delta; only the newest unbroken chain is of use."""
        newest = self.buffer[-1].delta if self.buffer else None
        if newest is not None and delta.prev_seq != newest.seq:
            if delta.seq <= newest.seq and not self._began_anew(delta):
                self._move(Input.OLD)
                return Outcome.DUPLICATE
            self.buffer.clear()
            self._move(Input.BREAK)
        else:
            self._move(Input.LINK)
        self.buffer.append(Stamped(unpacked(delta), pos, ts_recv))
        self._wire_seq = delta.seq
        if self.gap is not None and self.gap.next_seq is None:
            self.gap.next_seq = delta.seq
        return Outcome.BUFFERED

    def _unlinked(self, delta: Delta, pos: int, ts_recv: int) -> Outcome:
        """A live book met a delta that does not follow its last one."""
        assert self.last_seq is not None, "a live book has a sequence number"
        if delta.seq <= self.last_seq:
            if self._first_seq is not None and delta.seq < self._first_seq and self._began_anew(delta):
                outcome = self._break(delta, pos, ts_recv, Input.BREAK, "seq_restart")
                self.last_seq = None
                return outcome
            if not self._joined:
                self._wire_seq = delta.seq
            self._move(Input.OLD)
            return Outcome.DUPLICATE
        cause: Cause = "seq_gap"
        if self._suspicion is not None and self._suspicion[1] >= self._last_ts:
            cause = self._suspicion[0]
        elif not self._joined and (self._wire_seq is None or delta.prev_seq == self._wire_seq):
            # The wire's own chain is whole: it is the snapshot that does not fit.
            cause = "misaligned"
        return self._break(delta, pos, ts_recv, Input.BREAK, cause)

    def _began_anew(self, delta: Delta) -> bool:
        """Whether old deltas, linked to each other, have proved by now that the numbering restarted."""
        self._old_run = self._old_run + 1 if delta.prev_seq == self._old_seq else 1
        self._old_seq = delta.seq
        return self._old_run >= RESTART_EVIDENCE

    def _break(self, delta: Delta, pos: int, ts_recv: int, happened: Input, cause: Cause) -> Outcome:
        """The book is not right from here on: open a gap, and begin a buffer with this delta."""
        self._open_gap(cause, delta.seq, self._last_ts)
        self._move(happened)
        self.buffer.append(Stamped(unpacked(delta), pos, ts_recv))
        self._wire_seq = delta.seq
        return Outcome.GAP

    def _open_gap(self, cause: Cause, next_seq: int | None, start: int) -> None:
        assert self.gap is None, "a live book has no open gap"
        self.gap = OpenGap(self.conn, self.epoch, cause, self.last_seq, next_seq, start)

    def _refuse(self, why: str) -> Outcome:
        self.refusal = why
        self._move(Input.REFUSE)
        return Outcome.REFUSED

    def _adopt(
        self, snapshot: Snapshot, seq: int, kept: list[Stamped], pos: int, ts_recv: int, restarted: bool
    ) -> Outcome:
        book = self._engine()
        book.replace(snapshot)
        for held in kept:
            book.apply(held.delta)
        if book.crossed:
            return self._refuse(f"crossed: best bid and ask are {book.best()[0]} and {book.best()[2]}")
        self.book = book
        self.closed = None
        if self.gap is not None:
            gap = self.gap
            self.closed = Gap(
                symbol=self.symbol,
                feed=self.feed,
                conn=gap.conn,
                epoch=gap.epoch,
                cause="seq_restart" if restarted else gap.cause,
                last_seq=gap.last_seq,
                next_seq=seq if gap.next_seq is None else gap.next_seq,
                start=gap.start,
                end=ts_recv,
                repaired_by=pos,
            )
        self.gap = None
        self.replayed = kept
        self.buffer.clear()
        self.epoch = pos
        self.last_seq = kept[-1].delta.seq if kept else seq
        self._first_seq = seq
        self._last_ts = ts_recv
        self._joined = bool(kept)
        self._old_seq, self._old_run = None, 0
        self._suspicion = None
        self._move(Input.JOIN)
        return Outcome.ADOPTED
