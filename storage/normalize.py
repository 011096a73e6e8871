"""Journal records to rows: the one place that decides what a stored row says.

A :class:`Normalizer` is a pure function of the records it was fed. How they were split, by
:meth:`Normalizer.take` or by :meth:`Normalizer.state` and :meth:`Normalizer.restore`, does not matter, so a
sealer that was killed and begins again from its last checkpoint writes the same bytes.

What is where: :mod:`bookreel.storage.streams` follows lines, streams and holes; :mod:`bookreel.book.sync` the
chain of a sequenced book; :mod:`bookreel.storage.columns` holds the rows; here is what joins them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection
from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa

from bookreel.book.model import CAUSES, Bbo, Delta, Event, Gap, Kline, Snapshot, Ticker, Trade
from bookreel.book.sync import Outcome
from bookreel.storage.columns import BookRows, LevelRows, Rows
from bookreel.storage.errors import StorageError
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.schema import TABLES
from bookreel.storage.segment import Damage
from bookreel.storage.streams import Line, LineState, Run, Stream, Streams, StreamState
from bookreel.venues.errors import DecodeError, InflateError
from bookreel.venues.message import (
    Ack,
    Data,
    Heartbeat,
    Message,
    Refusal,
    Reply,
    Request,
    Topic,
    Unknown,
    Venue,
)

__all__ = ["KEYFRAME_NS", "BadState", "Normalizer"]

KEYFRAME_NS: Final = 60_000_000_000
"""How long (ns of receive time) a book's deltas go on before the whole book is written again."""

TRADES_SEEN: Final = 2048
"""Trade ids remembered for each symbol; the venue repeats only its last message, or 300 trades on request."""

BLOCK_RECORDS: Final = 4096
"""Records after which collected rows become Arrow: Python values of so few stay in the processor's cache."""

SAMPLE_RECORDS: Final = 64
"""One record of so many is looked through for unknown fields, which costs more than decoding it."""

STATE_VERSION: Final = 1

_DAY_NS: Final = 86_400_000_000_000

_FrameFacts: TypeAlias = tuple[str, Topic | str | None, int | None]
"""What a frame's row says: kind, topic (its text where it is unknown), time of the event (ns)."""


class BadState(StorageError):
    """A checkpoint cannot be used."""

    exit_code = 3

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the sealer's checkpoint cannot be used: {reason}; seal without it to go on")


class _State(msgspec.Struct):
    """A checkpoint. ``instruments``: digest of the raw object and UTC day of the last row, by symbol."""

    version: int
    venue: str
    last_pos: int
    last_ts: int
    damaged: bool
    forgotten: int | None
    lines: list[LineState]
    streams: list[StreamState]
    trades: dict[str, list[int | str]]
    instruments: dict[str, tuple[bytes, int]]


class _Recent:
    """The newest ids of one symbol's trades."""

    __slots__ = ("_known", "_order")

    def __init__(self, ids: Collection[int | str] = ()) -> None:
        self._order = deque(ids)
        self._known = set(ids)

    def add(self, id_: int | str) -> bool:
        """Whether ``id_`` is new."""
        if id_ in self._known:
            return False
        self._known.add(id_)
        self._order.append(id_)
        if len(self._order) > TRADES_SEEN:
            self._known.discard(self._order.popleft())
        return True

    def ids(self) -> list[int | str]:
        return list(self._order)


class Normalizer:
    """Makes rows of records. ``tables`` and ``symbols`` limit the rows that are kept, not what is followed:
    None is all.

    ``counts`` of what was fed to this object: frames, events, decode_errors, applied (deltas), duplicates (deltas
    and trades known already), foreign (messages on a line the stream is not subscribed on), gaps, repeated (records
    whose position was seen before), damages, inexact_numbers, and unknown_fields (of one record in 64).
    """

    def __init__(
        self, venue: Venue, *, tables: Collection[str] | None = None, symbols: Collection[str] | None = None
    ) -> None:
        self._venue = venue
        self._tables = [name for name in TABLES if tables is None or name in tables]
        self._symbols = None if symbols is None else frozenset(symbols)
        self.counts: Counter[str] = Counter()
        self._streams = Streams(self._gap, self._wants)
        self._last_pos = 0
        self._last_ts = 0
        self._damaged = False
        self._trades: dict[str, _Recent] = {}
        self._instruments: dict[str, tuple[bytes, int]] = {}
        self._unpacked = 0
        name = venue.name
        self._rows = {
            table: Rows(table, name) for table in TABLES if table not in ("book_deltas", "book_snapshots")
        }
        self._levels = LevelRows(name)
        self._books = BookRows(name)
        self._want = dict.fromkeys(TABLES, False) | dict.fromkeys(self._tables, True)
        self._want_frames = self._want["frames"]
        self._want_deltas = self._want["book_deltas"]
        self._want_books = self._want["book_snapshots"]

    @property
    def last_pos(self) -> int:
        """Position of the newest record, 0 before the first."""
        return self._last_pos

    def forget(self, ts_good: int) -> None:
        """Say that what was before the first record is not known, although it was recorded until ``ts_good``
        (receive time, ns): the checkpoint is lost. Each stream then begins with a ``corrupt`` hole from there.
        """
        self._streams.forgotten = ts_good

    def feed(self, record: Record) -> None:
        """Take the next record. One whose position was seen before is a second copy and is passed over."""
        pos = record.pos
        if pos <= self._last_pos:
            self.counts["repeated"] += 1
            return
        kind = record.kind
        if self._damaged:
            self._after_damage(record)
        if kind is Kind.COMPRESSED or kind is Kind.TEXT:
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
        taken: dict[str, pa.Table] = {}
        for table in self._tables:
            if table == "book_deltas":
                taken[table] = self._levels.take_compact() if compact else self._levels.take()
            elif table == "book_snapshots":
                taken[table] = self._books.take()
            else:
                taken[table] = self._rows[table].take()
        return taken

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
            _State(
                version=STATE_VERSION,
                venue=self._venue.name,
                last_pos=self._last_pos,
                last_ts=self._last_ts,
                damaged=self._damaged,
                forgotten=self._streams.forgotten,
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
    ) -> Normalizer:
        """Go on from a checkpoint. Raises :class:`BadState`."""
        try:
            saved = msgspec.msgpack.decode(state, type=_State)
        except msgspec.MsgspecError as error:
            raise BadState(str(error)) from error
        if saved.version != STATE_VERSION:
            raise BadState(f"it is of version {saved.version}, this is version {STATE_VERSION}")
        if saved.venue != venue.name:
            raise BadState(f"it is of venue {saved.venue!r}, not {venue.name!r}")
        self = cls(venue, tables=tables, symbols=symbols)
        self._last_pos = saved.last_pos
        self._last_ts = saved.last_ts
        self._damaged = saved.damaged
        self._streams.forgotten = saved.forgotten
        self._streams.restore(saved.lines, saved.streams)
        self._trades = {symbol: _Recent(ids) for symbol, ids in saved.trades.items()}
        self._instruments = saved.instruments
        return self

    # Records

    def _after_damage(self, record: Record) -> None:
        """The first record after damage tells whether anything is missing, and whether a crash explains it."""
        if record.pos != self._last_pos + 1:
            if record.kind is Kind.EVENT:
                event = decode_event(record.payload)["event"]
                if event == "recovery":
                    # Written by the next run, ahead of its `start`.
                    return
                if event == "start":
                    self._damaged = False
                    return
            self._streams.damaged("corrupt", self._last_ts)
        self._damaged = False

    def _frame(self, record: Record) -> None:
        counts = self.counts
        counts["frames"] += 1
        text = record.payload
        line = self._streams.line(record.conn, record.epoch, record.ts_recv)
        try:
            if record.kind is Kind.COMPRESSED:
                text = self._venue.inflate(text)
            message = self._venue.decode(text)
        except (InflateError, DecodeError) as error:
            self._undecodable(record, line, text if isinstance(error, DecodeError) else None)
            return
        if record.direction is Direction.IN:
            line.last_ts = line.good_ts = record.ts_recv
            if type(message) is Data:
                self._data(message, line, record)
                row: _FrameFacts = "data", message.topic, message.ts_event
            else:
                row = self._reply(message, line, record)
            counts["inexact_numbers"] += self._venue.inexact_numbers(text)
            if record.pos % SAMPLE_RECORDS == 0:
                counts["unknown_fields"] += len(self._venue.unknown_fields(text))
        else:
            row = self._sent(message, line)
        if self._want_frames:
            self._frame_row(record, row, text)

    def _frame_row(self, record: Record, row: _FrameFacts, text: bytes | None) -> None:
        """``text``: None where there is none."""
        kind, topic, ts_event = row
        symbol = topic.symbol if isinstance(topic, Topic) else ""
        if self._symbols is not None and symbol not in self._symbols:
            return
        readable = text is not None and (text.isascii() or _is_utf8(text))
        self._rows["frames"].append(
            (
                ts_event,
                record.ts_recv,
                symbol,
                record.pos,
                record.conn,
                "out" if record.direction is Direction.OUT else "in",
                kind,
                topic.text if isinstance(topic, Topic) else topic,
                text if readable else None,
                None if readable else record.payload,
            )
        )

    def _undecodable(self, record: Record, line: Line, text: bytes | None) -> None:
        topic = self._venue.salvage_topic(record.payload)
        self.counts["decode_errors"] += 1
        if record.direction is Direction.IN:
            self._streams.undecodable(line, topic, record.ts_recv)
            line.last_ts = record.ts_recv
        if self._want_frames:
            self._frame_row(record, ("undecodable", topic, None), text)

    def _data(self, message: Data, line: Line, record: Record) -> None:
        """A push."""
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
        if sync is None:
            stream.last_ts = record.ts_recv
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
        if outcome is Outcome.APPLIED:
            self.counts["applied"] += 1
            self._delta_rows(delta, sync.epoch, stream, record.pos, record.ts_recv)
            if record.ts_recv - stream.keyframe_ts >= KEYFRAME_NS:
                self._keyframe(stream, delta.ts_event, record)
        elif outcome is Outcome.DUPLICATE:
            self.counts["duplicates"] += 1

    def _delta_rows(self, delta: Delta, epoch: int | None, stream: Stream, pos: int, ts_recv: int) -> None:
        if not (self._want_deltas and stream.wanted):
            return
        shared = (
            delta.ts_event or None,
            ts_recv,
            delta.symbol,
            pos,
            delta.feed,
            epoch,
            delta.seq,
            delta.prev_seq,
        )
        if delta.bids:
            self._levels.append((*shared, "bid"), delta.bids)
        if delta.asks:
            self._levels.append((*shared, "ask"), delta.asks)

    def _keyframe(self, stream: Stream, ts_event: int, record: Record) -> None:
        sync = stream.sync
        assert sync is not None, "only a sequenced stream has keyframes"
        stream.keyframe_ts = record.ts_recv
        if self._want_books and stream.wanted:
            bids, asks = sync.book.top()
            self._book_row(
                Snapshot(sync.symbol, sync.feed, ts_event, sync.last_seq, bids, asks, "keyframe"),
                sync.epoch,
                record,
            )

    def _book_row(self, snapshot: Snapshot, epoch: int | None, record: Record) -> None:
        self._books.append(
            (
                snapshot.ts_event or None,
                record.ts_recv,
                snapshot.symbol,
                record.pos,
                snapshot.feed,
                epoch,
                snapshot.seq,
                snapshot.source,
            ),
            snapshot.bids,
            snapshot.asks,
        )

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
                if stream.wanted and self._want["bbo"]:
                    self._rows["bbo"].append(
                        (
                            event.ts_event or None,
                            ts_recv,
                            event.symbol,
                            pos,
                            event.seq,
                            event.bid,
                            event.bid_size,
                            event.ask,
                            event.ask_size,
                        )
                    )
            elif kind is Snapshot:
                assert isinstance(event, Snapshot), "its type was looked at"
                stream.last_seq = event.seq
                if stream.wanted and self._want_books:
                    self._book_row(event, pos if stream.run is None else stream.run, record)
            elif stream.wanted:
                self._bar(event, ts_recv, pos)

    def _trade(self, trade: Trade, stream: Stream, ts_recv: int, pos: int) -> None:
        recent = self._trades.get(trade.symbol)
        if recent is None:
            recent = self._trades[trade.symbol] = _Recent()
        if not recent.add(trade.trade_id if trade.trade_seq is None else trade.trade_seq):
            self.counts["duplicates"] += 1
            return
        stream.last_seq = trade.trade_seq
        if stream.wanted and self._want["trades"]:
            self._rows["trades"].append(
                (
                    trade.ts_event or None,
                    ts_recv,
                    trade.symbol,
                    pos,
                    trade.trade_id,
                    trade.trade_seq,
                    trade.side,
                    trade.price,
                    trade.size,
                )
            )

    def _bar(self, event: Event, ts_recv: int, pos: int) -> None:
        """A row of a bar or of a 24 h summary: the event's own fields, in their order, are the table's."""
        if isinstance(event, Kline):
            table, own = "klines", msgspec.structs.astuple(event)[3:]
        else:
            assert isinstance(event, Ticker), "deltas come only in sequenced streams"
            table, own = "tickers", (event.feed, *msgspec.structs.astuple(event)[3:])
        if self._want[table]:
            self._rows[table].append((event.ts_event or None, ts_recv, event.symbol, pos, *own))

    def _reply(self, message: Message, line: Line, record: Record) -> _FrameFacts:
        """Anything received that is not a push; what its row in `frames` says."""
        if isinstance(message, Heartbeat):
            return message.kind, None, None
        if isinstance(message, Ack):
            line.answered(message.request_id)
            if message.kind == "sub":
                self._streams.subscribed(message.topic, line, record.pos, record.ts_recv)
            else:
                self._streams.unsubscribed(message.topic, line, record.ts_recv)
            return "ack", message.topic, message.ts_event
        if isinstance(message, Reply):
            line.answered(message.request_id)
            self._answer(message, line, record)
            return "reply", message.topic, message.ts_event
        if isinstance(message, Refusal):
            return "error", line.answered(message.request_id), message.ts_event
        if isinstance(message, Unknown):
            return "unknown", message.topic_text, message.ts_event
        assert isinstance(message, Request), "every kind of message has its row"
        return message.kind, message.topic or message.text, None

    def _answer(self, message: Reply, line: Line, record: Record) -> None:
        """The answer to a request: a snapshot of a sequenced book, or rows as they are."""
        stream = self._streams.find(message.topic)
        sync = stream.sync
        if sync is None:
            self._plain(message.events, stream, record)
            return
        # A capture may begin with the answer. After the end of a subscription it is too late.
        if stream.line is not line and (
            stream.ended or not self._streams.heard(stream, line, record.pos, record.ts_recv, None)
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
            if self._want_books and stream.wanted:
                self._book_row(snapshot, sync.epoch, record)
            self.counts["applied"] += len(sync.replayed)
            ts_event = snapshot.ts_event
            for held in sync.replayed:
                self._delta_rows(held.delta, sync.epoch, stream, held.pos, held.ts_recv)
                ts_event = held.delta.ts_event
            self._keyframe(stream, ts_event, record)
        elif outcome is Outcome.AUDIT and self._want_books and stream.wanted:
            assert snapshot is not None, "only a snapshot can be compared"
            self._book_row(snapshot, sync.epoch, record)

    def _sent(self, message: Message, line: Line) -> _FrameFacts:
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
        name = facts.pop("event")
        if name == "start":
            self._streams.crashed(self._last_ts)
        elif name == "stop":
            self._streams.stopped()
        elif name == "connect":
            self._streams.connected(record.conn, record.epoch, record.ts_recv)
        elif name == "disconnect":
            cause = facts.get("cause")
            self._streams.disconnected(record.conn, cause if cause in CAUSES else "disconnect")
        elif name == "silence":
            self._streams.silent(record.conn, facts.get("topics", ()))
        elif name == "shed":
            self._streams.damaged("shed", self._last_ts)
        if name != "recovery":
            # That one is written by the run after the crash, and ahead of its `start`.
            self._last_ts = record.ts_recv
        if self._want["sessions"]:
            detail = msgspec.json.encode(facts)
            self._rows["sessions"].append((None, record.ts_recv, "", record.pos, record.conn, name, detail))

    def _reference(self, record: Record) -> None:
        """The venue's reference data: a row for each symbol that changed, and for all once a UTC day."""
        self.counts["frames"] += 1
        if self._want_frames:
            self._frame_row(record, ("reference", None, None), record.payload)
        try:
            instruments = self._venue.decode_instruments(record.payload)
        except DecodeError:
            self.counts["decode_errors"] += 1
            return
        day = record.ts_recv // _DAY_NS
        for item in instruments:
            mark = blake2b(item.raw.encode(), digest_size=16).digest(), day
            if self._instruments.get(item.symbol) == mark:
                continue
            self._instruments[item.symbol] = mark
            if self._want["instruments"] and self._wants(item.symbol):
                self._rows["instruments"].append(
                    (
                        None,
                        record.ts_recv,
                        item.symbol,
                        record.pos,
                        item.base,
                        item.quote,
                        item.price_precision,
                        item.amount_precision,
                        item.state,
                        item.raw,
                    )
                )

    # Helpers of the above

    def _gap(self, gap: Gap, pos: int, ts_recv: int) -> None:
        self.counts["gaps"] += 1
        if self._want["gaps"] and self._wants(gap.symbol):
            self._rows["gaps"].append(
                (
                    None,
                    ts_recv,
                    gap.symbol,
                    pos,
                    gap.feed,
                    gap.conn,
                    gap.epoch,
                    gap.cause,
                    gap.last_seq,
                    gap.next_seq,
                    gap.start,
                    gap.end,
                    gap.records_lost,
                    gap.repaired_by,
                )
            )

    def _wants(self, symbol: str) -> bool:
        return self._symbols is None or symbol in self._symbols

    def _pack(self) -> None:
        self._unpacked = 0
        for rows in self._rows.values():
            rows.pack()
        self._levels.pack()
        self._books.pack()


def _first_seq(events: list[Event]) -> int | None:
    """The number of the first event, where it has one."""
    event = events[0] if events else None
    if isinstance(event, Trade):
        return event.trade_seq
    return event.seq if isinstance(event, Delta | Snapshot | Bbo) else None


def _trade_seq(event: Event) -> int:
    """What trades of one frame are sorted by; those without a number keep their order."""
    return event.trade_seq or 0 if isinstance(event, Trade) else 0


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
