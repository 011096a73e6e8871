"""One stream of a recording: on which line it is, whether a hole of it is open, and its turns.

:mod:`bookreel.storage.streams` says when what is called here.
"""

from __future__ import annotations

import msgspec

from bookreel.book.model import Cause
from bookreel.book.sync import BookSync, OpenGap, SyncState
from bookreel.storage.lines import PAUSE_FLOOR_NS, Cadence, Line
from bookreel.storage.newest import Newest
from bookreel.storage.shedding import SHED_CAUSES
from bookreel.storage.turns import Turns
from bookreel.venues.message import Topic

__all__ = ["Stream", "StreamState"]


class StreamState(msgspec.Struct):
    """A :class:`Stream` for a checkpoint."""

    topic: Topic
    conn: str | None
    line: str
    ended: bool
    run: int | None
    first: int | None
    since: int
    pace: Cadence
    acked_ts: int
    last_seq: int | None
    keyframe_ts: int
    gap: OpenGap | None
    suspicion: tuple[Cause, int] | None
    sync: SyncState | None
    shed: bool = False
    renewed: bool = False
    lost: int | None = 0
    digest: bytes = b""
    turns: Turns = msgspec.field(default_factory=Turns)


class Stream:
    """One (symbol, feed). ``line`` is None while it is not subscribed; ``sync`` is None for a plain one."""

    __slots__ = (
        "acked_ts",
        "conn",
        "ended",
        "first",
        "gap",
        "keyframe_ts",
        "last_seq",
        "line",
        "lost",
        "newest",
        "pace",
        "renewed",
        "run",
        "shed",
        "since",
        "suspicion",
        "sync",
        "topic",
        "turns",
        "wanted",
    )

    def __init__(self, topic: Topic, *, wanted: bool = True) -> None:
        self.topic = topic
        self.wanted = wanted
        self.sync = BookSync(topic.symbol, topic.feed) if topic.coverage == "sequenced" else None
        self.line: Line | None = None
        self.conn = ""
        self.ended = False
        self.run: int | None = None
        self.first: int | None = None
        self.since = 0
        self.pace = Cadence()
        # When a subscription was last acknowledged, until the next message.
        self.acked_ts = 0
        self.last_seq: int | None = None
        self.keyframe_ts = 0
        # A plain stream's hole; of a sequenced one only a hole from before its first run.
        self.gap: OpenGap | None = None
        # Of a sequenced stream: why it may have missed something, and the last instant known good then.
        self.suspicion: tuple[Cause, int] | None = None
        # Whether its frames are being shed.
        self.shed = False
        # Whether it was dead and is being subscribed anew, the acknowledgement of which is awaited.
        self.renewed = False
        # Of a hole that is open or suspected, frames known to be lost; None: there may be more.
        self.lost: int | None = 0
        # Of a plain stream: its newest message in this run.
        self.newest = Newest()
        self.turns = Turns()

    def spoke(self, ts_recv: int) -> bool:
        """A message came. False if it may be the last one again, with which the venue answers a subscription: that is
        no sign of life. The hot path.
        """
        acked_ts = self.acked_ts
        if acked_ts:
            self.acked_ts = 0
            if ts_recv - acked_ts < PAUSE_FLOOR_NS:
                return False
        self.pace.spoke(ts_recv)
        return True

    def repeats(self, text: bytes) -> bool:
        """Whether a plain stream's message is the one before it in this run, which it replaces."""
        return self.newest.repeats(text)

    @property
    def hole(self) -> OpenGap | None:
        """What is missing now, also where the stream has ended."""
        return self.sync.gap if self.sync is not None and self.sync.gap is not None else self.gap

    def leave(self, cause: Cause, ts_good: int) -> None:
        """It is on no line any more and was good until ``ts_good`` (ns)."""
        self.line = None
        if self.suspicion is not None:
            suspected, since = self.suspicion
            if not self._dead_before(cause, ts_good, suspected, since):
                cause, ts_good = suspected, since
            self.suspicion = None
        self.lost = None
        whole = self.hole is None
        if self.sync is not None:
            self.sync.lost(cause, ts_good)
        elif self.gap is None:
            self.open_gap(cause, ts_good)
        elif self._dead_before(cause, ts_good, self.gap.cause, self.gap.start):
            self.gap.start, self.gap.cause = ts_good, cause
        self.ended = whole and cause == "operator" and self.hole is not None
        if self.ended and self.hole is not None:
            self.turns.end(self.hole.start)

    def _dead_before(self, cause: Cause, ts_good: int, known: Cause, since: int) -> bool:
        """Whether what ends it now, good until ``ts_good``, began before a frame could not be read: then the hole is
        as old as that. A frame that is nobody's says nothing of when a stream died.
        """
        # The smaller instant need not be the earlier one: the clock may have been set back in between.
        return known == "decode_error" and cause != "operator" and self.since <= ts_good < since

    def give_up(self, cause: Cause) -> None:
        """What comes next of it is known to be missing."""
        if self.sync is None:
            if self.gap is None:
                self.open_gap(cause, self.pace.last_ts)
            return
        if self.suspicion is not None:
            cause = self.suspicion[0]
            self.suspicion = None
            self.lost = None
        self.sync.lost(cause, self.sync.last_ts)

    def doubt(self, cause: Cause, ts_good: int, ts_recv: int) -> None:
        """It may have missed something after ``ts_good`` (ns), as was known at ``ts_recv``."""
        if cause not in SHED_CAUSES:
            self.lost = None
        if self.sync is None:
            if self.gap is None:
                self.open_gap(cause, ts_good)
        elif self.sync.valid and self.suspicion is None:
            self.suspicion = (cause, ts_good)
            self.sync.suspect(cause, max(ts_recv, self.sync.last_ts))

    def open_gap(self, cause: Cause, ts_good: int) -> None:
        """A plain stream's hole begins after ``ts_good`` (ns)."""
        self.gap = OpenGap(self.conn, self.run, cause, self.last_seq, None, ts_good)

    def state(self) -> StreamState:
        """Everything, to go on from later with :meth:`resume`."""
        return StreamState(
            topic=self.topic,
            conn=None if self.line is None else self.line.conn,
            line=self.conn,
            ended=self.ended,
            run=self.run,
            first=self.first,
            since=self.since,
            pace=self.pace,
            acked_ts=self.acked_ts,
            digest=self.newest.digest,
            turns=self.turns,
            last_seq=self.last_seq,
            keyframe_ts=self.keyframe_ts,
            gap=self.gap,
            suspicion=self.suspicion,
            shed=self.shed,
            renewed=self.renewed,
            lost=self.lost,
            sync=None if self.sync is None else self.sync.checkpoint(),
        )

    def resume(self, kept: StreamState, line: Line | None) -> None:
        """Go on where :meth:`state` was called. ``line``: the connection it was on."""
        self.line = line
        self.conn = kept.line
        self.ended = kept.ended
        self.run = kept.run
        self.first = kept.first
        self.since = kept.since
        self.pace = kept.pace
        self.acked_ts = kept.acked_ts
        self.newest = Newest(kept.digest)
        self.turns = kept.turns
        self.last_seq = kept.last_seq
        self.keyframe_ts = kept.keyframe_ts
        self.gap = kept.gap
        self.suspicion = kept.suspicion
        self.shed = kept.shed
        self.renewed = kept.renewed
        self.lost = kept.lost
        if kept.sync is not None:
            self.sync = BookSync.restore(kept.sync)
