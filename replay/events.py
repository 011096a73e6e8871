"""Stored rows as the typed values they were, in the order of the journal.

What comes out is what went in: a :class:`~bookreel.book.model.Trade` is a ``Trade`` again, a delta's levels
are together again. Each value also carries ``ts_recv`` (ns), when it was received, and ``pos``, its place
in the journal. As JSON each has a ``type``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Bbo, Delta, Gap, Instrument, Kline, Snapshot, Ticker, Trade
from bookreel.replay.book_columns import delta_columns
from bookreel.replay.selection import REPLAY_TABLES
from bookreel.replay.sweep import ORDER
from bookreel.storage.changes import doubles, integers, piece_wholes
from bookreel.storage.schema import TIME

__all__ = [
    "CRYPTO",
    "NUMBERS",
    "PLACE",
    "PLAIN",
    "Arranged",
    "End",
    "Maker",
    "Numbers",
    "Part",
    "RecordedBbo",
    "RecordedDelta",
    "RecordedFrame",
    "RecordedGap",
    "RecordedInstrument",
    "RecordedKline",
    "RecordedSnapshot",
    "RecordedTicker",
    "RecordedTrade",
    "Session",
    "Times",
    "arrange",
    "books",
    "column_values",
    "in_order",
    "iso_times",
    "ns_times",
    "open_gap_events",
    "row_part",
    "rows_as",
]

Numbers: TypeAlias = Literal["float", "decimal"]
"""``decimal``: prices and sizes as ``Decimal``, with every digit that the venue sent."""


class RecordedDelta(Delta, frozen=True, gc=False, tag_field="type", tag="book_delta"):
    """A delta that was applied. ``epoch``: the run it belongs to. One that had waited for the snapshot of
    its run comes after that, though its ``pos`` and ``ts_recv`` are older.
    """

    epoch: int
    ts_recv: int
    pos: int


class RecordedSnapshot(Snapshot, frozen=True, gc=False, tag_field="type", tag="book_snapshot"):
    """A whole book. ``epoch``: the run it begins or belongs to."""

    epoch: int
    ts_recv: int
    pos: int


class RecordedBbo(Bbo, frozen=True, gc=False, tag_field="type", tag="bbo"):
    """A best bid and offer."""

    ts_recv: int
    pos: int


class RecordedTrade(Trade, frozen=True, gc=False, tag_field="type", tag="trade"):
    """A trade."""

    ts_recv: int
    pos: int


class RecordedKline(Kline, frozen=True, gc=False, tag_field="type", tag="kline"):
    """One push of a bar."""

    ts_recv: int
    pos: int


class RecordedTicker(Ticker, frozen=True, gc=False, tag_field="type", tag="ticker"):
    """A 24 h summary."""

    ts_recv: int = 0
    pos: int = 0


class RecordedInstrument(Instrument, frozen=True, gc=False, tag_field="type", tag="instrument"):
    """Reference data of one symbol as of ``ts_recv``."""

    ts_recv: int
    pos: int


class RecordedGap(Gap, frozen=True, tag_field="type", tag="gap"):
    """A gap, at the record that ended it (``pos``, ``ts_recv``): between the last good and the first good event
    of its stream. One that is still open comes last; its ``pos`` and ``end`` are None, and ``ts_recv`` is that of
    the newest record.
    """

    ts_recv: int = 0
    pos: int | None = None


class Session(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="session"):
    """What happened to a line (``conn``), or to the recorder where that is empty; ``event`` is ``start``, ``stop``,
    ``connect``, ``disconnect``... ``detail``: JSON object of further facts.
    """

    conn: str
    event: str
    detail: str
    ts_recv: int
    pos: int


class RecordedFrame(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="frame"):
    """A frame as received or sent; see the table ``frames``. ``payload_bytes`` only where there is no text."""

    symbol: str
    ts_event: int
    conn: str
    direction: str
    kind: str
    topic: str | None
    payload: str | None
    payload_bytes: bytes | None
    ts_recv: int
    pos: int


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="end"):
    """The end of a stream: a replay without one was cut off. ``reason``: ``complete``, or ``stopped`` on request.
    ``token`` resumes after it.
    """

    reason: Literal["complete", "stopped"]
    token: str


class Arranged(NamedTuple):
    """Events, the positions at which they stand, and their receive times (ns)."""

    events: list[Any]
    order: memoryview
    ts: memoryview


class Part(NamedTuple):
    """The events of one table, or some of them: values, or an Arrow array of their lines. At one position those of a
    lower rank come first.
    """

    rank: float
    events: Any
    order: Any
    ts: Any


Times: TypeAlias = Callable[[Any], list[Any]]
"""What makes values of a column of times."""

_Kind: TypeAlias = type[msgspec.Struct]

Maker: TypeAlias = Callable[[float, pa.Table, Times], list[Part]]
"""What makes events of rows of a table, by its rank."""

_QUOTE: Final = ("bid", "bid_size", "ask", "ask_size")
_BAR: Final = ("open", "high", "low", "close", "volume", "turnover", "count")
PLACE: Final = ("ts_recv", "pos")

NUMBERS: Final[dict[type[Any], tuple[str, ...]]] = {
    RecordedTrade: ("price", "size"),
    RecordedBbo: _QUOTE,
    RecordedKline: _BAR[:-1],
    RecordedTicker: (*_BAR[:-1], *_QUOTE, "last", "last_size"),
    RecordedDelta: ("bids", "asks"),
    RecordedSnapshot: ("bids", "asks"),
}
"""The fields of each kind of event that are prices and sizes."""


def arrange(rows: Mapping[str, pa.Table], times: Times, makers: Mapping[str, Maker]) -> Arranged:
    """The rows of a window as values in their order. ``times`` makes those of a column of times, ``makers`` those
    of each table's rows.
    """
    parts: list[Part] = []
    for table, piece in rows.items():
        parts += makers[table](REPLAY_TABLES.index(table), piece, times)
    if len(parts) == 1:
        part = parts[0]
        return Arranged(part.events, _view(part.order), _view(part.ts))
    places, order, ts = in_order(parts)
    events = list(chain.from_iterable(part.events for part in parts))
    return Arranged([events[place] for place in places.to_pylist()], order, ts)


def in_order(parts: Sequence[Part]) -> tuple[Any, memoryview, memoryview]:
    """Where each event of the parts, one after the other, is to come from; positions and receive times in that
    order.
    """
    order = pa.chunked_array([chunk for part in parts for chunk in part.order.chunks], pa.int64())
    ts = pa.chunked_array([chunk for part in parts for chunk in part.ts.chunks], pa.int64())
    ranks = pa.chunked_array(
        [pa.repeat(pa.scalar(part.rank, pa.float64()), len(part.order)) for part in parts]
    )
    keys = pa.table({"order": order, "rank": ranks})
    places: Any = pc.sort_indices(keys, [("order", "ascending"), ("rank", "ascending")])
    return places, _view(order.take(places)), _view(ts.take(places))


def open_gap_events(rows: pa.Table, horizon: int, times: Times) -> list[RecordedGap]:
    """Gaps that had not ended when the newest record was received (``horizon``, ns)."""
    received = pa.repeat(pa.scalar(horizon, TIME), rows.num_rows)
    index = rows.schema.get_field_index("ts_recv")
    kind, names = _GAP
    return _values(kind, names, rows.set_column(index, "ts_recv", received), times)


def ns_times(column: Any) -> list[int | None]:
    """Times as integers, ns."""
    return [*integers(column)] if not column.null_count else column.cast(pa.int64()).to_pylist()


def iso_times(column: Any) -> list[str | None]:
    """Times as ISO-8601 text in UTC with nine digits."""
    text: Any = pc.binary_replace_slice(column.cast(pa.string()), start=10, stop=11, replacement="T")
    joiner: Any = pc.binary_join_element_wise
    found: list[str | None] = joiner(text, pa.scalar("Z"), pa.scalar("")).to_pylist()
    return found


def _view(column: Any) -> memoryview:
    chunk: Any = column.combine_chunks()
    chunk = chunk.chunk(0) if isinstance(chunk, pa.ChunkedArray) else chunk
    return memoryview(chunk.buffers()[1]).cast("q")[chunk.offset : chunk.offset + len(chunk)]


def row_part(rank: float, events: Any, rows: pa.Table) -> Part:
    """Events, one for each of these rows."""
    return Part(rank, events, rows[ORDER], rows["ts_recv"].cast(pa.int64()))


def rows_as(kind: _Kind, names: Sequence[str]) -> Maker:
    """Each row as a value of this kind: the columns are a value's fields in their order. ``=x``: always x; ``kline``:
    the feed of a bar; ``x?``: null stays None, also where it is a time.
    """

    def make(rank: float, rows: pa.Table, times: Times) -> list[Part]:
        return [row_part(rank, _values(kind, names, rows, times), rows)]

    return make


def _values(kind: _Kind, names: Sequence[str], rows: pa.Table, times: Times) -> list[Any]:
    return list(map(kind, *(column_values(rows, name, times) for name in names)))


def column_values(piece: pa.Table, name: str, times: Times) -> list[Any]:
    """A column, or what stands for it (see :func:`rows_as`), as Python values."""
    if name.startswith("="):
        return [name[1:]] * piece.num_rows
    if name == "kline":
        return [f"kline.{period}" for period in _texts(piece["period"])]
    column: Any = piece[name.removesuffix("?")]
    type_ = column.type
    values: list[Any]
    if type_ == TIME:
        values = times(column)
        if name == "ts_event" and column.null_count and times is ns_times:
            return [ts or 0 for ts in values]
    elif type_ == pa.float64() and not column.null_count:
        values = doubles(column)
    elif type_ == pa.int64() and not column.null_count:
        values = integers(column)
    elif _is_few(type_, name) and not column.null_count:
        values = _texts(column)
    else:
        values = column.to_pylist()
    return values


_LONG_TEXTS: Final = frozenset({"payload", "trade_id", "detail", "raw"})
"""Text columns of which hardly two values are alike."""


def _is_few(type_: Any, name: str) -> bool:
    return pa.types.is_dictionary(type_) or (type_ == pa.string() and name not in _LONG_TEXTS)


def _texts(column: Any) -> list[str]:
    """A column of few different texts, without nulls: each is made once."""
    values: list[str] = []
    for chunk in column.dictionary_encode().chunks:
        known = chunk.dictionary.to_pylist()
        indices = memoryview(chunk.indices.buffers()[1]).cast("i")
        values += map(known.__getitem__, indices[chunk.offset : chunk.offset + len(chunk)].tolist())
    return values


_HEADS: Final = ("symbol", "feed", "ts_event", "seq", "prev_seq", "epoch", *PLACE, ORDER)


def _deltas(rank: float, rows: pa.Table, times: Times) -> list[Part]:
    """Rows of ``book_deltas`` as values."""
    found = delta_columns(rows, _HEADS)
    columns = [column_values(found.heads, name, times) for name in _HEADS[:-1]]
    events = list(map(RecordedDelta, *columns[:5], *found.sides(), *columns[5:]))
    return [row_part(rank, events, found.heads)]


def books(kind: _Kind, ts_event: str = "ts_event", further: Sequence[str] = ()) -> Maker:
    """Rows of ``book_snapshots`` as values of this kind; ``further``: columns after those that all have."""

    def make(rank: float, rows: pa.Table, times: Times) -> list[Part]:
        # A keyframe is the book after the deltas of its record; every other whole book is the one before.
        keyframe = pc.equal(rows["source"], pa.scalar("keyframe"))
        parts = []
        for after, mask in ((0.0, pc.invert(keyframe)), (1.5, keyframe)):
            piece = rows.filter(mask)
            if piece.num_rows:
                columns = [column_values(piece, name, times) for name in ("symbol", "feed", ts_event, "seq")]
                wholes = list(piece_wholes(piece))
                levels = ([whole.bids for whole in wholes], [whole.asks for whole in wholes])
                own = [column_values(piece, name, times) for name in ("source", "epoch", *PLACE, *further)]
                parts.append(row_part(rank + after, list(map(kind, *columns, *levels, *own)), piece))
        return parts

    return make


_GAP: Final = (
    RecordedGap,
    (
        *("symbol", "feed", "conn", "epoch", "cause", "last_seq", "next_seq", "start", "end"),
        *("records_lost", "repaired_by", *PLACE),
    ),
)

PLAIN: Final[dict[str, Maker]] = {
    "frames": rows_as(
        RecordedFrame,
        ("symbol", "ts_event", "conn", "direction", "kind", "topic", "payload", "payload_bytes", *PLACE),
    ),
    "gaps": rows_as(*_GAP),
    "sessions": rows_as(Session, ("conn", "event", "detail", *PLACE)),
    "instruments": rows_as(
        RecordedInstrument,
        ("symbol", "base", "quote", "price_precision", "amount_precision", "state", "raw", *PLACE),
    ),
}
"""Of the tables that are alike for every venue."""

CRYPTO: Final[dict[str, Maker]] = {
    "trades": rows_as(
        RecordedTrade,
        ("symbol", "=trade.detail", "ts_event", "trade_id", "trade_seq", "side", "price", "size", *PLACE),
    ),
    "bbo": rows_as(RecordedBbo, ("symbol", "=bbo", "ts_event", "seq", *_QUOTE, *PLACE)),
    "klines": rows_as(RecordedKline, ("symbol", "kline", "ts_event", "period", "open_time", *_BAR, *PLACE)),
    "tickers": rows_as(
        RecordedTicker, ("symbol", "feed", "ts_event", *_BAR, *_QUOTE, "last", "last_size", *PLACE)
    ),
    "book_snapshots": books(RecordedSnapshot),
    "book_deltas": _deltas,
}
"""Of huobi."""
