"""Which streams are covered at a point of the journal, on which line, and which holes are open.

A stream is one (symbol, feed). It is *on* a line from the venue's ack, or from its first message where no ack
was seen, until the line is lost, the subscription ends or the recorder stops. Streams come in two kinds:

*plain*
    The venue's numbering proves nothing. A hole opens when the line is lost or a frame that may have been the
    stream's cannot be read, and ends with the next ack or message.
*sequenced*
    :class:`~bookreel.book.sync.BookSync` watches the chain and keeps the hole. A frame that cannot be read only
    makes the stream suspect: an unbroken chain proves that it was not missed.

So a hole begins here in one of these ways, always with the last instant that is known to be good:

====================================  ====================================  ==============================
what the journal says                 which streams                         start
====================================  ====================================  ==============================
``disconnect``, or a new connect      all on the line                       last sign of life (*)
``silence``                           those named (**)                      as told
frame that cannot be read             the one it names, else all on the     line's last good frame
                                      line
damaged journal                       all on any line                       record before
``shedding``                          the one it names, else all on any     last sign of life
                                      line
``start`` without a ``stop``,         all on any line                       last sign of life (*)
``disk_full`` with ``lost``
``stop``, unsub, ``operator``         these have *ended*: no hole until     line's last frame (*);
disconnect                            they are subscribed again             unsub: its ack
====================================  ====================================  ==============================

(*) TCP keeps order: what a living stream sent before the line's last frame was received. Yet a stream may have died
unnoticed before its line did, so its hole begins with its own last sign of life: a message, or the answer that
there is none. The recorder asks a silent stream soon, so this claims a little too little and never too much. Only
where the recorder stops in order is a silence that the stream's usual pause explains taken for quiet.

(**) Where the event says that the recorder subscribes anew, neither a message nor the acknowledgement of anything
that was asked before ends the hole: the recorder is about to end the subscription that they are of.

A hole that is open already keeps its cause and start, so that one real hole is one row; only one of a frame that
could not be read becomes that of a stream or line that died, where that turns out to have begun before it. An
acknowledgement ends no hole of a stream that is being shed: only ``shed`` does, with the next message. Its count is
the hole's ``records_lost`` where nothing else added to the hole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from msgspec.structs import replace

from bookreel.book.model import Cause, Gap
from bookreel.book.sync import OpenGap, Outcome
from bookreel.storage.lines import Line, LineState
from bookreel.storage.newest import Newest
from bookreel.storage.shedding import SHED_CAUSES
from bookreel.storage.stream import Stream, StreamState
from bookreel.storage.turns import Span, Step, Turn, Turns, overlaps
from bookreel.venues.message import Topic

__all__ = ["STREAMS_MAX", "Run", "Streams"]


STREAMS_MAX: Final = 65_536
"""Every feed of every listed symbol fits. A venue that pushes of ever new symbols must not fill the memory."""


class Run(msgspec.Struct, frozen=True):
    """The newest run of a stream. ``first``: when the stream was good for the first time ever; ``start``: when
    this run began; ``end``: when it ended, None if it goes on (all receive times, ns). ``epoch``: position of the
    frame that began it. ``turns`` of its journal, and instants (``doubts``) at which nothing is promised for them.
    """

    symbol: str
    feed: str
    conn: str
    epoch: int
    first: int
    start: int
    end: int | None
    turns: tuple[Turn, ...] = ()
    doubts: tuple[Span, ...] = ()


class Streams:
    """All lines and streams of a journal. ``closed`` is called with each hole that ends, the position of the record
    that ended it, and its receive time (ns). ``wanted`` says whose rows are asked for.
    """

    def __init__(self, closed: Callable[[Gap, int, int], None], wanted: Callable[[str], bool]) -> None:
        self._closed = closed
        self._wanted = wanted
        self._lines: dict[str, Line] = {}
        self._streams: dict[tuple[str, str], Stream] = {}
        self.forgotten: int | None = None
        """Set where the state before the journal's first record is lost: its last receive time (ns). Each stream then
        begins with a ``corrupt`` hole."""
        self.before: Turns | None = None
        """Set with :attr:`forgotten`: the turns of all that was sealed until then, whichever streams were in them."""
        self.now = self.mono = 0
        """When the newest frame of this life of the recorder was received, by both of its clocks, ns."""
        self.ended = 0
        """:attr:`now` of the life before, until the first frame of this one; 0: there was none."""
        self.steps: list[Step] = []
        """Where the clock was set back, for whoever seals to take."""

    def received(self, pos: int, ts_recv: int, mono: int) -> None:
        """The next frame. Only the wall clock is ever set back; what is older by both was only written down late."""
        if self.ended:
            if ts_recv < self.ended:
                self.steps.append(Step(pos, self.ended, ts_recv))
            self.ended = 0
        if ts_recv < self.now and mono >= self.mono:
            self.steps.append(Step(pos, self.now, ts_recv))
            for stream in self._streams.values():
                stream.turns.set_back(pos, self.now, ts_recv)
                if stream.line is not None and stream.first is not None:
                    stream.first = min(stream.first, ts_recv)
        self.now, self.mono = ts_recv, mono

    # Lines

    def line(self, conn: str, epoch: int, ts_recv: int) -> Line:
        """The connection a record of (``conn``, ``epoch``) belongs to."""
        line = self._lines.get(conn)
        if line is None or line.epoch != epoch:
            line = self.connected(conn, epoch, ts_recv)
        return line

    def connected(self, conn: str, epoch: int, ts_recv: int) -> Line:
        """A line connected anew; its last connection, should nobody have said that it ended, has ended."""
        self.disconnected(conn, "disconnect")
        line = self._lines[conn] = Line(conn, epoch, ts_recv)
        return line

    def disconnected(self, conn: str, cause: Cause) -> None:
        """A line's connection is gone."""
        line = self._lines.pop(conn, None)
        if line is None:
            return
        for stream in self._streams.values():
            stream.renewed = stream.renewed and stream.conn != conn
        for stream in self._on(line):
            pace = stream.pace
            stream.leave(cause, pace.good_until(line.last_ts) if cause == "operator" else pace.last_ts)

    def stopped(self) -> None:
        """The recorder stopped in order."""
        for conn in list(self._lines):
            self.disconnected(conn, "operator")

    def crashed(self, cause: Cause = "crash_tail") -> None:
        """The recorder died."""
        for stream in self._streams.values():
            stream.shed = stream.renewed = False
            if stream.line is not None:
                stream.leave(cause, stream.pace.last_ts)
            stream.turns.end(self.now)
        self._lines.clear()
        self.ended = self.now or self.ended
        self.now = self.mono = 0

    # Subscriptions

    def find(self, topic: Topic) -> Stream:
        """The stream of a topic, made when it is new; beyond :data:`STREAMS_MAX` it is not kept, and has no rows."""
        key = (topic.symbol, topic.feed)
        stream = self._streams.get(key)
        if stream is None:
            stream = Stream(topic, wanted=self._wanted(topic.symbol) and len(self._streams) < STREAMS_MAX)
            if self.before is not None:
                stream.turns = self.before.copy()
            if len(self._streams) < STREAMS_MAX:
                self._streams[key] = stream
        return stream

    def subscribed(
        self, topic: Topic, line: Line, pos: int, ts_recv: int, *, asked: bool | None = None
    ) -> None:
        """The venue acknowledged a subscription. ``asked``: whether it is known which one; None: it does not say."""
        stream = self.find(topic)
        if stream.renewed and asked is False and stream.conn == line.conn:
            return
        stream.renewed = False
        stream.acked_ts = ts_recv
        if stream.line is None:
            self._begin(stream, line, pos, ts_recv, None)
        elif stream.line is not line:
            # The subscription moves. A plain stream was whole until now; a chain may differ between connections.
            if stream.sync is not None:
                stream.leave("operator", stream.line.last_ts)
            self._begin(stream, line, pos, ts_recv, None)
        elif stream.gap is not None and stream.sync is None:
            self._begin(stream, line, pos, ts_recv, None)

    def unsubscribed(self, topic: Topic, line: Line, ts_recv: int) -> None:
        """The venue acknowledged the end of a subscription."""
        stream = self.find(topic)
        if stream.line is line:
            stream.leave("operator", ts_recv)

    def silent(
        self, conn: str, texts: Iterable[str], since: int | None = None, *, renewed: bool = False
    ) -> None:
        """The streams of these topic texts are dead, although their line is alive. ``since``: known good until then
        only. ``renewed``: the recorder is about to end them and to subscribe anew.
        """
        dead = set(texts)
        line = self._lines.get(conn)
        for stream in self._on(line):
            if stream.topic.text in dead:
                assert line is not None, "a stream is on a line"
                if renewed:
                    stream.renewed = True
                    line.forget(stream.topic)
                stream.leave("silence", stream.pace.last_ts if since is None else since)

    def quiet(self, conn: str, text: str, ts_recv: int) -> None:
        """The stream of this topic text was asked about: it lives, and there was nothing to say."""
        for stream in self._on(self._lines.get(conn)):
            if stream.topic.text == text:
                stream.pace.last_ts = max(stream.pace.last_ts, ts_recv)

    def heard(self, stream: Stream, line: Line, pos: int, ts_recv: int, seq: int | None) -> bool:
        """A message of a stream came over ``line`` where it was not expected or a plain stream had a hole. False: the
        stream is subscribed on another line, or is being subscribed anew, and this is not part of it.
        """
        if stream.renewed and stream.conn == line.conn:
            return False
        if stream.line is None or (stream.gap is not None and stream.line is line and stream.sync is None):
            self._begin(stream, line, pos, ts_recv, seq)
        return stream.line is line

    # Damage

    def undecodable(self, line: Line, topic: Topic | None, ts_recv: int) -> None:
        """A frame of ``line`` could not be read; ``topic`` where its beginning still told."""
        named = None if topic is None else self._streams.get((topic.symbol, topic.feed))
        for stream in self._on(line) if topic is None else [] if named is None else [named]:
            if stream.line is line:
                stream.doubt("decode_error", line.good_ts, ts_recv)

    def damaged(self, cause: Cause, ts_good: int) -> None:
        """Records after the one of ``ts_good`` are lost, of whichever stream."""
        for stream in self._covered():
            stream.doubt(cause, ts_good, ts_good)

    # Shedding

    def shedding(self, text: str | None, cause: Cause, ts_recv: int) -> None:
        """Frames of the stream of this topic text are given up from ``ts_recv`` (ns) on; None: of whichever."""
        for stream in self._covered():
            if text is None:
                stream.doubt(cause, stream.pace.last_ts, ts_recv)
            elif stream.topic.text == text:
                stream.give_up(cause)
            else:
                continue
            stream.shed = True

    def shed(self, text: str, records: int) -> None:
        """That is over, and so many were given up."""
        for stream in self._streams.values():
            if stream.topic.text == text:
                stream.shed = False
                hole = stream.hole
                if stream.lost is not None and hole is not None and hole.cause in SHED_CAUSES:
                    stream.lost += records

    def shed_others(self, cause: Cause, ts_recv: int) -> None:
        """That is over at ``ts_recv`` (ns), and what was given up belonged to no stream: it may have told of any."""
        for stream in self._streams.values():
            if stream.line is not None:
                stream.doubt(cause, stream.pace.last_ts, ts_recv)
            stream.shed = False
            stream.lost = None

    def spoiled(self, stream: Stream, cause: Cause, ts_recv: int) -> None:
        """A message of a plain stream, received at ``ts_recv`` (ns), cannot be right: what it should have said is
        missing from then on.
        """
        if stream.gap is None and stream.line is not None:
            stream.open_gap(cause, ts_recv)

    # Books

    def adopted(self, stream: Stream, pos: int, ts_recv: int) -> None:
        """A sequenced stream's book is right from record ``pos`` on."""
        sync = stream.sync
        assert sync is not None, "only a sequenced stream adopts a snapshot"
        hole = sync.closed or stream.gap
        if sync.closed is not None:
            self._report(stream, replace(sync.closed, records_lost=stream.lost or None), pos, ts_recv)
        elif stream.gap is not None:
            self._close(stream, pos, ts_recv, sync.last_seq)
        stream.gap = None
        stream.suspicion = None
        stream.lost = 0
        self._run(stream, pos, ts_recv)
        if hole is not None:
            stream.turns.doubts += stream.turns.crossed(hole.start, ts_recv)

    def delta_outcome(self, stream: Stream, outcome: Outcome) -> None:
        """A suspect stream's chain was looked at: whole or broken, the suspicion is settled."""
        if outcome is not Outcome.DUPLICATE:
            stream.suspicion = None
        if outcome is Outcome.APPLIED:
            stream.lost = 0

    # Answers

    def open_gaps(self) -> list[Gap]:
        """Holes that have not ended, of streams that are still wanted by the recorder."""
        return [
            _gap(stream, stream.hole, None, None, None)
            for stream in self._streams.values()
            if stream.hole is not None and not stream.ended and stream.wanted
        ]

    def runs(self) -> list[Run]:
        """The newest run of each stream that was ever good."""
        found: list[Run] = []
        for stream in self._streams.values():
            epoch = stream.run if stream.sync is None else stream.sync.epoch
            if epoch is None or stream.first is None or not stream.wanted:
                continue
            hole = stream.hole
            end = None if hole is None else hole.start
            topic = stream.topic
            turns = stream.turns
            doubts = [*turns.doubts, *overlaps(turns.turns)]
            if hole is not None and not stream.ended:
                doubts += turns.crossed(hole.start)
            run = Run(topic.symbol, topic.feed, stream.conn, epoch, stream.first, stream.since, end)
            found.append(replace(run, turns=tuple(turns.turns), doubts=tuple(doubts)))
        return found

    def checkpoint(self) -> tuple[list[LineState], list[StreamState]]:
        """Everything, to go on from later with :meth:`restore`."""
        lines = [
            LineState(
                line.conn,
                line.epoch,
                line.last_ts,
                line.good_ts,
                list(line.requests.items()),
            )
            for line in self._lines.values()
        ]
        streams = [stream.state() for stream in self._streams.values()]
        return lines, streams

    def restore(self, lines: Iterable[LineState], streams: Iterable[StreamState]) -> None:
        """Go on where :meth:`checkpoint` was called."""
        for saved in lines:
            line = self._lines[saved.conn] = Line(saved.conn, saved.epoch, saved.last_ts)
            line.good_ts = saved.good_ts
            line.requests = dict(saved.requests)
        for kept in streams:
            stream = self.find(kept.topic)
            stream.resume(kept, None if kept.conn is None else self._lines[kept.conn])

    def turned(self, turns: Turns) -> None:
        """The checkpoint is of a version that knew nothing of turns: those of the journal are each stream's."""
        for stream in self._streams.values():
            if stream.first is not None and not stream.turns.turns:
                stream.turns = turns.copy()
                if stream.line is None and stream.hole is not None:
                    stream.turns.end(stream.hole.start)

    # Steps of the above

    def _on(self, line: Line | None) -> Iterator[Stream]:
        return (s for s in self._streams.values() if line is not None and s.line is line)

    def _covered(self) -> Iterator[Stream]:
        return (stream for stream in self._streams.values() if stream.line is not None)

    def _begin(self, stream: Stream, line: Line, pos: int, ts_recv: int, seq: int | None) -> None:
        """The stream is on ``line`` from record ``pos`` on."""
        moved = stream.line is not None and stream.line is not line
        stream.line = line
        stream.pace.last_ts = ts_recv
        stream.ended = False
        if self.forgotten is not None and stream.first is None and stream.gap is None:
            stream.gap = OpenGap(line.conn, None, "corrupt", None, None, self.forgotten)
        if stream.sync is not None:
            stream.conn = line.conn
            stream.sync.subscribed(line.conn)
            return
        if stream.gap is not None and stream.shed:
            return
        hole = stream.gap
        if hole is not None:
            self._close(stream, pos, ts_recv, seq)
        elif moved:
            stream.conn = line.conn
            return
        stream.conn = line.conn
        self._run(stream, pos, ts_recv)
        if hole is not None:
            stream.turns.doubts += stream.turns.crossed(hole.start, ts_recv)

    def _run(self, stream: Stream, pos: int, ts_recv: int) -> None:
        stream.run = pos
        stream.newest = Newest()
        stream.since = stream.pace.last_ts = ts_recv
        if stream.first is None or ts_recv < stream.first:
            stream.first = ts_recv
        stream.turns.begin(pos, ts_recv)

    def _close(self, stream: Stream, pos: int, ts_recv: int, seq: int | None) -> None:
        assert stream.gap is not None, "only an open hole can end"
        hole, stream.gap = stream.gap, None
        lost, stream.lost = stream.lost, 0
        gap = replace(_gap(stream, hole, seq, ts_recv, pos), records_lost=lost or None)
        self._report(stream, gap, pos, ts_recv)

    def _report(self, stream: Stream, gap: Gap, pos: int, ts_recv: int) -> None:
        # An older capture taken in after newer data: the time between them was never meant to be covered. Where the
        # clock was set back, a hole that ends before it starts is one all the same.
        older = gap.end is not None and gap.end <= gap.start
        if gap.cause != "operator" or not older or stream.line is None or not stream.line.imported:
            self._closed(gap, pos, ts_recv)


def _gap(stream: Stream, hole: OpenGap | None, seq: int | None, end: int | None, pos: int | None) -> Gap:
    assert hole is not None, "a gap is made of a hole"
    return Gap(
        symbol=stream.topic.symbol,
        feed=stream.topic.feed,
        conn=hole.conn,
        epoch=hole.epoch,
        cause=hole.cause,
        last_seq=hole.last_seq,
        next_seq=hole.next_seq if seq is None else seq,
        start=hole.start,
        end=end,
        repaired_by=pos,
    )
