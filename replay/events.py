"""Stored rows as the typed values they were, in the order of the journal.

What comes out is what went in: a :class:`~bookreel.book.model.Trade` is a ``Trade`` again, a delta's levels
are together again. Each value also carries ``ts_recv`` (ns), when it was received, and ``pos``, its place
in the journal.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Bbo, Delta, Gap, Instrument, Kline, Snapshot, SnapshotSource, Ticker, Trade
from bookreel.storage.changes import integers, piece_steps, piece_wholes, times
from bookreel.storage.contents import Contents
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.schema import TABLES, TIME

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = [
    "EVENT_TABLES",
    "Numbers",
    "Recorded",
    "RecordedBbo",
    "RecordedDelta",
    "RecordedGap",
    "RecordedInstrument",
    "RecordedKline",
    "RecordedSnapshot",
    "RecordedTicker",
    "RecordedTrade",
    "Session",
    "read_events",
]

Numbers: TypeAlias = Literal["float", "decimal"]
"""``decimal``: prices and sizes as ``Decimal``, with every digit that the venue sent."""


class RecordedDelta(Delta, frozen=True, gc=False, kw_only=True):
    """A delta that was applied. ``epoch``: the run it belongs to."""

    epoch: int
    ts_recv: int
    pos: int


class RecordedSnapshot(Snapshot, frozen=True, gc=False, kw_only=True):
    """A whole book. ``epoch``: the run it begins or belongs to."""

    epoch: int
    ts_recv: int
    pos: int


class RecordedBbo(Bbo, frozen=True, gc=False, kw_only=True):
    """A best bid and offer."""

    ts_recv: int
    pos: int


class RecordedTrade(Trade, frozen=True, gc=False, kw_only=True):
    """A trade."""

    ts_recv: int
    pos: int


class RecordedKline(Kline, frozen=True, gc=False, kw_only=True):
    """One push of a bar."""

    ts_recv: int
    pos: int


class RecordedTicker(Ticker, frozen=True, gc=False, kw_only=True):
    """A 24 h summary."""

    ts_recv: int
    pos: int


class RecordedInstrument(Instrument, frozen=True, gc=False, kw_only=True):
    """Reference data of one symbol as of ``ts_recv``."""

    ts_recv: int
    pos: int


class RecordedGap(Gap, frozen=True, kw_only=True):
    """A gap. ``pos`` is of the record that ended it; one that is still open comes last, without."""

    ts_recv: int
    pos: int | None


class Session(msgspec.Struct, frozen=True, gc=False):
    """What happened to a line (``conn``), or to the recorder where that is empty. ``detail``: JSON object
    of further facts.
    """

    conn: str
    event: str
    detail: str
    ts_recv: int
    pos: int


Recorded: TypeAlias = (
    RecordedDelta
    | RecordedSnapshot
    | RecordedBbo
    | RecordedTrade
    | RecordedKline
    | RecordedTicker
    | RecordedInstrument
    | RecordedGap
    | Session
)
"""Anything that :func:`read_events` gives."""

_Rows: TypeAlias = Iterator[Recorded]
_Reader: TypeAlias = Callable[[pa.Table], Iterator[_Rows]]

_LAST: Final = (1 << 63) - 1
_EXACT: Final = 1 << 53
"""Integers below it are doubles."""

_DECIMALS: Final = msgspec.json.Decoder(float_hook=Decimal)


def _deltas(piece: pa.Table) -> Iterator[_Rows]:
    for symbol, feed, rows in _streams(piece):
        yield (
            RecordedDelta(
                symbol,
                feed,
                step.ts_event or 0,
                step.seq,
                step.prev_seq,
                step.bids,
                step.asks,
                epoch=step.epoch,
                ts_recv=step.ts_recv,
                pos=step.pos,
            )
            for step in piece_steps(rows)
        )


def _snapshots(piece: pa.Table) -> Iterator[_Rows]:
    for symbol, feed, rows in _streams(piece):
        yield (
            RecordedSnapshot(
                symbol,
                feed,
                whole.ts_event or 0,
                whole.seq,
                whole.bids,
                whole.asks,
                cast(SnapshotSource, whole.source),
                epoch=whole.epoch,
                ts_recv=whole.ts_recv,
                pos=whole.pos,
            )
            for whole in piece_wholes(rows)
        )


def _streams(piece: pa.Table) -> Iterator[tuple[str, str, pa.Table]]:
    """A piece by (symbol, feed), so that the generators below bind their own."""
    for row in piece.group_by(["symbol", "feed"], use_threads=False).aggregate([]).to_pylist():
        symbol, feed = row["symbol"], row["feed"]
        mask = pc.and_(pc.equal(piece["symbol"], symbol), pc.equal(piece["feed"], feed))
        yield symbol, feed, piece.filter(mask)


def _plain(kind: type[Any], feed: str | None, *columns: str) -> _Reader:
    """A reader of rows whose columns are the values of ``kind`` in their order, ``ts_event`` being 0 where
    it is null. ``feed``: what stands for the column ``feed`` that a table does not have.
    """

    def read(piece: pa.Table) -> Iterator[_Rows]:
        count = piece.num_rows
        values: list[Any] = []
        for name in columns:
            if name == "feed" and feed is not None:
                values.append(_feeds(feed, piece))
            elif name == "ts_event":
                values.append([ts or 0 for ts in times(piece[name])])
            elif piece.schema.field(name).type == TIME:
                values.append(times(piece[name]))
            else:
                values.append(piece[name].to_pylist())
        ts_recv, pos = integers(piece["ts_recv"]), piece["pos"].to_pylist()
        yield (
            kind(*row, ts_recv=ts_recv[index], pos=pos[index])
            for index, row in zip(range(count), zip(*values, strict=True), strict=True)
        )

    return read


def _feeds(feed: str, piece: pa.Table) -> list[str]:
    if feed == "kline":
        return [f"kline.{period}" for period in piece["period"].to_pylist()]
    return [feed] * piece.num_rows


_QUOTE: Final = ("bid", "bid_size", "ask", "ask_size")
_BAR: Final = ("open", "high", "low", "close", "volume", "turnover", "count")

_READERS: Final[dict[str, _Reader]] = {
    # Values of one record come in this order: what ended, what happened, what changed, and the book after it.
    "gaps": _plain(
        RecordedGap,
        None,
        *("symbol", "feed", "conn", "epoch", "cause", "last_seq", "next_seq", "start", "end"),
        *("records_lost", "repaired_by"),
    ),
    "sessions": _plain(Session, None, "conn", "event", "detail"),
    "instruments": _plain(
        RecordedInstrument,
        None,
        *("symbol", "base", "quote", "price_precision", "amount_precision", "state", "raw"),
    ),
    "trades": _plain(
        RecordedTrade,
        "trade.detail",
        *("symbol", "feed", "ts_event", "trade_id", "trade_seq", "side", "price", "size"),
    ),
    "bbo": _plain(RecordedBbo, "bbo", "symbol", "feed", "ts_event", "seq", *_QUOTE),
    "klines": _plain(RecordedKline, "kline", "symbol", "feed", "ts_event", "period", "open_time", *_BAR),
    "tickers": _plain(
        RecordedTicker, None, "symbol", "feed", "ts_event", *_BAR, *_QUOTE, "last", "last_size"
    ),
    "book_deltas": _deltas,
    "book_snapshots": _snapshots,
}

EVENT_TABLES: Final = tuple(_READERS)
"""Tables whose rows are events."""


def read_events(
    scanner: Scanner,
    contents: Contents,
    tables: Collection[str],
    symbols: Collection[str] | None,
    start: int | None,
    end: int | None,
    numbers: Numbers,
) -> Iterator[Recorded]:
    """Everything in ``tables`` received from ``start`` to ``end`` (ns, exclusive), by position; gaps that
    are still open come last.

    ``symbols`` does not leave out ``sessions``, which are of no one symbol. One segment's rows are held at
    a time.
    """
    wanted = [table for table in EVENT_TABLES if table in tables]
    only = next(iter(symbols)) if symbols is not None and len(symbols) == 1 else None
    pending: list[Recorded] = []
    for part in _parts(contents, wanted):
        sources: list[Iterator[tuple[int, int, Recorded]]] = []
        for rank, table in enumerate(wanted):
            bounds = Bounds(symbol=None if table == "sessions" else only, since=start, until=end)
            pieces = _pieces(scanner, part, table, bounds)
            rows = pa.concat_tables(pieces) if pieces else TABLES[table].empty_table()
            if symbols is not None and table != "sessions":
                rows = rows.filter(pc.is_in(rows["symbol"], pa.array(list(symbols), pa.string())))
            if not rows.num_rows:
                continue
            if table == "gaps":
                still_open = pc.is_null(rows["pos"])
                for read in _READERS[table](rows.filter(still_open)):
                    pending += read
                rows = rows.filter(pc.invert(still_open))
            rows = rows.take(pc.sort_indices(rows["pos"]))
            sources += [_ranked(rank, read) for read in _READERS[table](rows)]
        ordered = (event for _, _, event in heapq.merge(*sources, key=itemgetter(0, 1)))
        yield from ordered if numbers == "float" else _exact(scanner, part, ordered)
    yield from pending


def _ranked(rank: int, events: _Rows) -> Iterator[tuple[int, int, Recorded]]:
    return ((event.pos or 0, rank, event) for event in events)


def _parts(contents: Contents, tables: Collection[str]) -> Iterator[Contents]:
    """The archive in parts that do not overlap in position, one after the other: mostly a part is a segment.

    A delta that waited for a snapshot is stored with it, maybe one segment after its frame: those two are
    one part.
    """
    spans: list[tuple[int, int, str, FileEntry | None]] = [
        (entry.pos_min, entry.pos_max, table, entry)
        for table in tables
        for entry in contents.files.get(table, ())
    ]
    for table in tables:
        rows = contents.tail.get(table)
        if rows is not None and rows.num_rows:
            ends: Any = pc.min_max(rows["pos"]).as_py()
            spans.append((ends["min"] or _LAST, ends["max"] or _LAST, table, None))
    spans.sort(key=itemgetter(0, 1))
    part: list[tuple[int, int, str, FileEntry | None]] = []
    reach = 0
    for span in spans:
        if part and span[0] > reach:
            yield _part(contents, part)
            part = []
        part.append(span)
        reach = max(reach, span[1])
    if part:
        yield _part(contents, part)


def _part(contents: Contents, spans: list[tuple[int, int, str, FileEntry | None]]) -> Contents:
    files: dict[str, list[FileEntry]] = {}
    tail: dict[str, pa.Table] = {}
    least, greatest = min(span[0] for span in spans), max(span[1] for span in spans)
    for _, _, table, entry in spans:
        if entry is None:
            tail[table] = contents.tail[table]
        else:
            files.setdefault(table, []).append(entry)
    # The frames of these positions, should their text be asked for.
    files.setdefault(
        "frames",
        [e for e in contents.files.get("frames", ()) if e.pos_max >= least and e.pos_min <= greatest],
    )
    if "frames" in contents.tail:
        tail.setdefault("frames", contents.tail["frames"])
    return msgspec.structs.replace(contents, files=files, tail=tail)


def _pieces(scanner: Scanner, part: Contents, table: str, bounds: Bounds) -> list[pa.Table]:
    return list(scanner.scan(part, table, TABLES[table].names, bounds))


def _exact(scanner: Scanner, part: Contents, events: _Rows) -> _Rows:
    """The events with their numbers as in the text of their frames."""
    texts: dict[int, Any] = {}
    for piece in scanner.scan(part, "frames", ("pos", "payload")):
        texts.update(zip(integers(piece["pos"]), piece["payload"].to_pylist(), strict=True))
    for event in events:
        if isinstance(event, (RecordedGap, Session, RecordedInstrument)):
            yield event
            continue
        tokens: dict[float, Decimal] = {}
        # A keyframe is ours: its levels came in many frames, and each of those doubles is its shortest
        # decimal.
        if not (isinstance(event, RecordedSnapshot) and event.source == "keyframe"):
            _collect(_DECIMALS.decode(texts[event.pos]), tokens)
        changed: dict[str, Any] = {}
        for name in event.__struct_fields__:
            value = getattr(event, name)
            if isinstance(value, float):
                changed[name] = _token(tokens, value)
            elif isinstance(value, list):
                changed[name] = [(_token(tokens, price), _token(tokens, size)) for price, size in value]
        yield msgspec.structs.replace(event, **changed)


def _collect(value: Any, tokens: dict[float, Decimal]) -> None:
    """Every number of a decoded frame, by the double it stands for."""
    if isinstance(value, Decimal):
        tokens.setdefault(float(value), value)
    elif isinstance(value, int):
        if -_EXACT < value < _EXACT:
            tokens.setdefault(float(value), Decimal(value))
    elif isinstance(value, dict):
        for inner in value.values():
            _collect(inner, tokens)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, tokens)


def _token(tokens: dict[float, Decimal], value: float) -> Decimal:
    found = tokens.get(value)
    return Decimal(repr(value)) if found is None else found
