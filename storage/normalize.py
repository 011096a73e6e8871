"""Journal records to rows: the one place that decides what a stored row says.

A :class:`Normalizer` is a pure function of the records it was fed. How they were split, by
:meth:`Normalizer.take` or by :meth:`Normalizer.state` and :meth:`Normalizer.restore`, does not matter, so a
sealer that was killed and begins again from its last checkpoint writes the same bytes.

What is where: :mod:`bookreel.storage.streams` follows lines, streams and holes; :mod:`bookreel.book.sync` the
chain of a sequenced book; :mod:`bookreel.storage.columns` holds the rows; here is what joins them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Final

import msgspec
import pyarrow as pa

from bookreel.book.model import Bbo, Delta, Event, Gap, Snapshot, Trade
from bookreel.book.sync import Outcome
from bookreel.storage.checkpoint import STATE_VERSION, Checkpoint, decode_checkpoint
from bookreel.storage.dates import DAY_NS
from bookreel.storage.lines import Line
from bookreel.storage.recent import Recent
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.recorder_events import is_of_opening, tell
from bookreel.storage.rows import FrameFacts, RowWriter
from bookreel.storage.segment import Damage
from bookreel.storage.shedding import seq_of
from bookreel.storage.stream import Stream
from bookreel.storage.streams import STREAMS_MAX, Run, Streams
from bookreel.storage.turns import Step, Turns
from bookreel.venues.errors import DecodeError, InflateError
from bookreel.venues.message import (
    Ack,
    Acks,
    Aside,
    Data,
    Heartbeat,
    Message,
    Refusal,
    Reply,
    Request,
    Rows,
    Unknown,
    Venue,
)

__all__ = ["BLOCK_RECORDS", "KEYFRAME_NS", "Normalizer"]

KEYFRAME_NS: Final = 60_000_000_000
"""How long (ns of receive time) a book's deltas go on before the whole book is written again."""

BLOCK_RECORDS: Final = 4096
"""Records after which collected rows become Arrow: Python values of so few stay in the processor's cache."""

# Members that each frame needs: to look one up in its class takes long (Python 3.11).
_APPLIED: Final = Outcome.APPLIED
_IN: Final = Direction.IN
_COMPRESSED: Final = Kind.COMPRESSED
_TEXT: Final = Kind.TEXT


class Normalizer:
    """Makes rows of records. ``tables`` and ``symbols`` limit the rows that are kept, not what is followed:
    None is all.

    ``counts`` of what was fed to this object: frames, events, decode_errors, applied (deltas), duplicates (deltas
    and trades known already), foreign (messages on a line the stream is not subscribed on), gaps, repeated (records
    whose position was seen before), damages, inexact_numbers, unknown_fields.
    """

    def __init__(
        self, venue: Venue, *, tables: Collection[str] | None = None, symbols: Collection[str] | None = None
    ) -> None:
        self._venue = venue
        self._rows = RowWriter(venue.name, tables, symbols)
        self.counts: Counter[str] = Counter()
        self._streams = Streams(self._gap, self._rows.wants)
        self._last_pos = 0
        self._last_ts = 0
        self._damaged = False
        self._trades: dict[str, Recent] = {}
        self._instruments: dict[str, tuple[bytes, int]] = {}
        self._unpacked = 0

    @property
    def last_pos(self) -> int:
        """Position of the newest record, 0 before the first."""
        return self._last_pos

    def forget(self, ts_good: int, turns: Turns) -> None:
        """Say that what was before the first record is not known, although it was recorded until ``ts_good``
        (receive time, ns) in these turns: the checkpoint is lost. Each stream then begins with a ``corrupt`` hole
        from there.
        """
        self._streams.forgotten = ts_good
        self._streams.before = turns.copy()
        self._streams.before.end(ts_good)

    def take_steps(self) -> list[Step]:
        """Where the clock was set back since the last call."""
        steps, self._streams.steps = self._streams.steps, []
        return steps

    def feed(self, record: Record) -> None:
        """Take the next record. One whose position was seen before is a second copy and is passed over."""
        pos = record.pos
        if pos <= self._last_pos:
            self.counts["repeated"] += 1
            return
        kind = record.kind
        if self._damaged:
            self._after_damage(record)
        if kind is _COMPRESSED or kind is _TEXT:
            self._frame(record)
            self._last_ts = record.ts_recv
        elif kind is Kind.EVENT:
            self._event(record)
        else:
            self._reference(record)
            self._last_ts = record.ts_recv
        self._last_pos = pos
        self._unpacked += 1
        if self._unpacked == BLOCK_RECORDS:
            self._pack()

    def damage(self, damage: Damage) -> None:
        """Part of the journal cannot be read at this point. What that means is known with the next record."""
        self.counts["damages"] += 1
        self._damaged = True

    def take(self, *, compact: bool = False) -> dict[str, pa.Table]:
        """The rows since the last call in the order they came, a table for each that is asked for. ``compact``: leave
        ``book_deltas`` as :data:`bookreel.storage.columns.COMPACT_DELTAS`.
        """
        self._pack()
        return self._rows.take(compact=compact)

    def open_gaps(self) -> list[Gap]:
        """Holes that have not ended. A stream that was ended on purpose has none."""
        return self._streams.open_gaps()

    def coverage(self) -> list[Run]:
        """The newest run of each stream that was ever good; where it has ended, so far, with its end."""
        return self._streams.runs()

    def state(self) -> bytes:
        """A checkpoint: everything but the rows not yet taken. Equal for equal records."""
        lines, streams = self._streams.checkpoint()
        return msgspec.msgpack.encode(
            Checkpoint(
                version=STATE_VERSION,
                venue=self._venue.name,
                last_pos=self._last_pos,
                last_ts=self._last_ts,
                damaged=self._damaged,
                forgotten=self._streams.forgotten,
                now=self._streams.now,
                mono=self._streams.mono,
                ended=self._streams.ended,
                before=self._streams.before,
                clocked=True,
                lines=lines,
                streams=streams,
                trades={symbol: recent.ids() for symbol, recent in self._trades.items()},
                instruments=self._instruments,
            )
        )

    @classmethod
    def restore(
        cls,
        venue: Venue,
        state: bytes,
        *,
        tables: Collection[str] | None = None,
        symbols: Collection[str] | None = None,
        turns: Callable[[], Turns] | None = None,
    ) -> Normalizer:
        """Go on from a checkpoint. ``turns`` is asked for those of what was sealed, should the checkpoint be so old
        that it knows of none. Raises :class:`BadState`.
        """
        saved = decode_checkpoint(state, venue.name)
        self = cls(venue, tables=tables, symbols=symbols)
        self._last_pos = saved.last_pos
        self._last_ts = saved.last_ts
        self._damaged = saved.damaged
        self._streams.forgotten = saved.forgotten
        self._streams.now = saved.now
        self._streams.mono = saved.mono
        self._streams.ended = saved.ended
        self._streams.before = saved.before
        self._streams.restore(saved.lines, saved.streams)
        if not saved.clocked and turns is not None:
            self._streams.turned(turns())
        self._trades = {symbol: Recent(ids) for symbol, ids in saved.trades.items()}
        self._instruments = saved.instruments
        return self

    # Records

    def _after_damage(self, record: Record) -> None:
        """The first record after damage tells whether anything is missing, and whether a crash explains it."""
        if record.pos != self._last_pos + 1:
            if record.kind is Kind.EVENT:
                facts = decode_event(record.payload)
                if is_of_opening(facts):
                    return
                if facts["event"] == "start":
                    self._damaged = False
                    return
            self._streams.damaged("corrupt", self._last_ts)
        self._damaged = False

    def _frame(self, record: Record) -> None:
        counts = self.counts
        counts["frames"] += 1
        text = record.payload
        streams = self._streams
        if record.direction is _IN:
            streams.received(record.pos, record.ts_recv, record.mono)
        line = streams.line(record.conn, record.epoch, record.ts_recv)
        try:
            if record.kind is _COMPRESSED:
                text = self._venue.inflate(text)
            message, known = self._venue.decode_known(text)
        except (InflateError, DecodeError) as error:
            self._undecodable(record, line, text if isinstance(error, DecodeError) else None)
            return
        if record.direction is _IN:
            line.last_ts = line.good_ts = record.ts_recv
            if type(message) is Data:
                self._data(message, line, record, text)
                row: FrameFacts = "data", message.topic, message.ts_event
            else:
                row = self._reply(message, line, record)
            self.counts["inexact_numbers"] += self._venue.inexact_numbers(text)
            if not known:
                self.counts["unknown_fields"] += len(self._venue.unknown_fields(text))
        else:
            row = self._sent(message, line)
        self._rows.frame(record, row, text)

    def _undecodable(self, record: Record, line: Line, text: bytes | None) -> None:
        topic = self._venue.salvage_topic(record.payload)
        self.counts["decode_errors"] += 1
        if record.direction is _IN:
            self._streams.undecodable(line, topic, record.ts_recv)
            line.last_ts = record.ts_recv
        self._rows.frame(record, ("undecodable", topic, None), text)

    def _data(self, message: Data, line: Line, record: Record, text: bytes) -> None:
        """A push. One that the venue only sent again, since we asked whether its stream lives, makes no rows."""
        topic = message.topic
        events = message.events
        stream = self._streams.find(topic)
        sync = stream.sync
        if (stream.line is not line or stream.gap is not None) and not self._streams.heard(
            stream, line, record.pos, record.ts_recv, _first_seq(events)
        ):
            self.counts["foreign"] += 1
            if sync is not None:
                return
        fresh = stream.spoke(record.ts_recv)
        if sync is None:
            if stream.repeats(text) and not fresh:
                self.counts["duplicates"] += 1
            else:
                self._plain(events, stream, record)
            return
        for event in events:
            assert type(event) is Delta, "a sequenced topic pushes deltas"
            self._delta(event, stream, record)

    def _delta(self, delta: Delta, stream: Stream, record: Record) -> None:
        sync = stream.sync
        assert sync is not None, "only a sequenced stream has deltas"
        outcome = sync.delta(delta, record.pos, record.ts_recv)
        if stream.suspicion is not None:
            self._streams.delta_outcome(stream, outcome)
        if outcome is _APPLIED:
            self.counts["applied"] += 1
            if stream.wanted:
                self._rows.delta(delta, sync.epoch, record.pos, record.ts_recv)
            if record.ts_recv - stream.keyframe_ts >= KEYFRAME_NS:
                self._keyframe(stream, delta.ts_event, record)
        elif outcome is Outcome.DUPLICATE:
            self.counts["duplicates"] += 1

    def _keyframe(self, stream: Stream, ts_event: int, record: Record) -> None:
        sync = stream.sync
        assert sync is not None, "only a sequenced stream has keyframes"
        stream.keyframe_ts = record.ts_recv
        if stream.wanted:
            bids, asks = sync.book.top()
            book = Snapshot(sync.symbol, sync.feed, ts_event, sync.last_seq, bids, asks, "keyframe")
            self._rows.book(book, sync.epoch, record.pos, record.ts_recv)

    def _plain(self, events: list[Event], stream: Stream, record: Record) -> None:
        """Events of a stream that has no chain, or of an answer to a request."""
        ts_recv, pos = record.ts_recv, record.pos
        if len(events) > 1 and type(events[0]) is Trade:
            events = sorted(events, key=_trade_seq)
        for event in events:
            kind = type(event)
            if kind is Trade:
                self._trade(event, stream, ts_recv, pos)  # type: ignore[arg-type]
            elif kind is Bbo:
                assert isinstance(event, Bbo), "its type was looked at"
                stream.last_seq = event.seq
                if stream.wanted:
                    self._rows.bbo(event, pos, ts_recv)
            elif kind is Snapshot:
                assert isinstance(event, Snapshot), "its type was looked at"
                if event.crossed:
                    # It cannot be right, so it is no row; its frame is kept.
                    self._streams.spoiled(stream, "crossed", ts_recv)
                    continue
                stream.last_seq = event.seq
                if stream.wanted:
                    self._rows.book(event, pos if stream.run is None else stream.run, pos, ts_recv)
            elif stream.wanted:
                self._rows.bar(event, pos, ts_recv)

    def _trade(self, trade: Trade, stream: Stream, ts_recv: int, pos: int) -> None:
        if not self._is_new(trade.symbol, trade.trade_id if trade.trade_seq is None else trade.trade_seq):
            return
        stream.last_seq = trade.trade_seq
        if stream.wanted:
            self._rows.trade(trade, pos, ts_recv)

    def _is_new(self, symbol: str, trade: int | str) -> bool:
        """Whether a trade of this id was not seen before."""
        recent = self._trades.get(symbol)
        if recent is None:
            if len(self._trades) >= STREAMS_MAX:
                return False
            recent = self._trades[symbol] = Recent()
        if recent.add(trade):
            return True
        self.counts["duplicates"] += 1
        return False

    def _reply(self, message: Message, line: Line, record: Record) -> FrameFacts:
        """Anything received that is not a push; what its row in `frames` says."""
        if isinstance(message, Rows):
            self._told(message, line, record)
            return "reply" if message.asked else "data", message.topic, message.ts_event
        if isinstance(message, Heartbeat):
            return message.kind, None, None
        if isinstance(message, Ack):
            known = line.answered(message.request_id) is not None
            if message.kind == "sub":
                told = None if message.request_id is None else known
                self._streams.subscribed(message.topic, line, record.pos, record.ts_recv, asked=told)
            else:
                self._streams.unsubscribed(message.topic, line, record.ts_recv)
            return "ack", message.topic, message.ts_event
        if isinstance(message, Reply):
            asked = line.answered(message.request_id)
            if asked is not None and asked != message.topic:
                # The answer to another question than the one asked.
                self.counts["foreign"] += 1
            else:
                self._answer(message, line, record)
            return "reply", message.topic, message.ts_event
        if isinstance(message, Refusal):
            return "error", line.answered(message.request_id), message.ts_event
        if isinstance(message, Acks):
            for topic in message.topics:
                if message.kind == "sub":
                    self._streams.subscribed(topic, line, record.pos, record.ts_recv)
                else:
                    self._streams.unsubscribed(topic, line, record.ts_recv)
            return "ack", None, None
        if isinstance(message, Aside):
            return message.kind, message.text, None
        if isinstance(message, Unknown):
            return "unknown", message.topic_text, message.ts_event
        assert isinstance(message, Request), "every kind of message has its row"
        return message.kind, message.topic or message.text, None

    def _told(self, message: Rows, line: Line, record: Record) -> None:
        """A push or an answer whose rows are made. Only a push is a sign of life."""
        stream = self._streams.find(message.topic)
        if not message.asked:
            key = message.rows[0].key if message.rows else None
            if (stream.line is not line or stream.gap is not None) and not self._streams.heard(
                stream, line, record.pos, record.ts_recv, key
            ):
                self.counts["foreign"] += 1
            fresh = stream.spoke(record.ts_recv)
            if stream.repeats(record.payload) and not fresh:
                self.counts["duplicates"] += 1
                return
        epoch = record.pos if stream.run is None else stream.run
        for row in message.rows:
            if row.key is not None:
                if not self._is_new(row.symbol, row.key):
                    continue
                stream.last_seq = row.key
            self._rows.made(row, epoch, record.pos, record.ts_recv)

    def _answer(self, message: Reply, line: Line, record: Record) -> None:
        """The answer to a request: a snapshot of a sequenced book, or rows as they are."""
        stream = self._streams.find(message.topic)
        sync = stream.sync
        if sync is None:
            self._plain(message.events, stream, record)
            return
        # A capture may begin with the answer. After the end of a subscription it is too late.
        if stream.line is not line and (
            sync.epoch is not None or not self._streams.heard(stream, line, record.pos, record.ts_recv, None)
        ):
            self.counts["foreign"] += 1
            return
        snapshot = message.events[0] if message.events else None
        assert snapshot is None or isinstance(snapshot, Snapshot), (
            "a sequenced topic is answered with a snapshot"
        )
        outcome = sync.snapshot(snapshot, record.pos, record.ts_recv)
        if outcome is Outcome.ADOPTED:
            assert snapshot is not None, "only a snapshot is adopted"
            self._streams.adopted(stream, record.pos, record.ts_recv)
            if stream.wanted:
                self._rows.book(snapshot, sync.epoch, record.pos, record.ts_recv)
            self.counts["applied"] += len(sync.replayed)
            ts_event = snapshot.ts_event
            for held in sync.replayed:
                if stream.wanted:
                    self._rows.delta(held.delta, sync.epoch, held.pos, held.ts_recv)
                ts_event = held.delta.ts_event
            self._keyframe(stream, ts_event, record)
        elif outcome is Outcome.AUDIT and stream.wanted:
            assert snapshot is not None, "only a snapshot can be compared"
            self._rows.book(snapshot, sync.epoch, record.pos, record.ts_recv)

    def _sent(self, message: Message, line: Line) -> FrameFacts:
        """A frame we sent; what its row in `frames` says."""
        if isinstance(message, Request):
            if message.topic is not None:
                line.asked(message.request_id, message.topic)
            return message.kind, message.topic or message.text, None
        if isinstance(message, Heartbeat):
            return message.kind, None, None
        return "unknown", None, None

    def _event(self, record: Record) -> None:
        """An event of the recorder itself."""
        self.counts["events"] += 1
        facts = decode_event(record.payload)
        of_opening = is_of_opening(facts)
        name = facts.pop("event")
        tell(self._streams, name, facts, record, self._last_ts)
        if not of_opening:
            self._last_ts = record.ts_recv
        self._rows.session(record, name, msgspec.json.encode(facts))

    def _reference(self, record: Record) -> None:
        """The venue's reference data: a row for each symbol that changed, and for all once a UTC day."""
        self.counts["frames"] += 1
        self._rows.frame(record, ("reference", None, None), record.payload)
        try:
            instruments = self._venue.decode_instruments(record.payload)
        except DecodeError:
            self.counts["decode_errors"] += 1
            return
        day = record.ts_recv // DAY_NS
        for item in instruments:
            mark = blake2b(item.raw.encode(), digest_size=16).digest(), day
            if self._instruments.get(item.symbol) == mark:
                continue
            if len(self._instruments) < STREAMS_MAX or item.symbol in self._instruments:
                self._instruments[item.symbol] = mark
            self._rows.instrument(item, record.pos, record.ts_recv)

    # Helpers of the above

    def _gap(self, gap: Gap, pos: int, ts_recv: int) -> None:
        self.counts["gaps"] += 1
        self._rows.gap(gap, pos, ts_recv)

    def _pack(self) -> None:
        self._unpacked = 0
        self._rows.pack()


def _first_seq(events: list[Event]) -> int | None:
    """The number of the first event, where it has one."""
    return seq_of(events[0]) if events else None


def _trade_seq(event: Event) -> int:
    """What trades of one frame are sorted by; those without a number keep their order."""
    return event.trade_seq or 0 if isinstance(event, Trade) else 0
