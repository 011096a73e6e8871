"""The tables of an archive: their columns, types and units, and how rows are sorted.

Every table has ``ts_event`` and ``ts_recv`` (ns, UTC), ``venue``, ``symbol`` and ``pos``: the journal
position, the way back to the raw frame. Columns may be added at the end of a table; none is renamed, retyped
or dropped. A file whose rows have no value in any of the added ones (:data:`ADDED`) is without them, as files
are that were written before: readers see nulls.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import pyarrow as pa

from bookreel.storage.local_paths import without_paths

__all__ = ["ADDED", "COUNTS", "LEVELS", "SORT_KEYS", "TABLES", "TIME", "added_in", "completed"]

TIME: Final = pa.timestamp("ns")
"""UTC by definition. Not marked as such in the type: DuckDB neither compares nor adds to TIMESTAMPTZ_NS."""

LEVELS: Final = pa.list_(pa.struct([pa.field("price", pa.float64()), pa.field("size", pa.float64())]))

COUNTS: Final = pa.list_(pa.int64())
"""Of orders, one for each level of a side."""

SORT_KEYS: Final = ("symbol", "ts_recv", "pos")
"""The order of rows in a sealed file; rows of one frame keep their order in it."""

FRAME_KINDS: Final = "ping, pong, sub, unsub, req, ack, data, reply, error, reference, unknown, undecodable"
"""What the column ``kind`` of ``frames`` can hold."""

_COMMON: Final[dict[str, tuple[pa.DataType, str]]] = {
    "ts_event": (TIME, "venue's time of the event"),
    "ts_recv": (TIME, "local wall clock when the frame was received"),
    "venue": (pa.string(), "venue's name"),
    "symbol": (pa.string(), "venue's symbol; empty where the row is of no one symbol"),
    "pos": (pa.int64(), "journal position of the frame"),
}

_FURTHER: Final[dict[str, dict[str, tuple[pa.DataType, str]]]] = {
    "frames": {
        "conn": (pa.string(), "line, such as feed-0"),
        "direction": (pa.string(), "in, out"),
        "kind": (pa.string(), FRAME_KINDS),
        "topic": (pa.string(), "venue's topic, where the frame has one"),
        "payload": (pa.string(), "the frame's text, byte for byte; null where it is not UTF-8"),
        "payload_bytes": (pa.binary(), "the frame as received, where payload is null"),
    },
    "book_deltas": {
        "feed": (pa.string(), "such as mbp.150"),
        "epoch": (pa.int64(), "position of the snapshot that began the run"),
        "seq": (pa.int64(), "venue's sequence number of the delta"),
        "prev_seq": (pa.int64(), "venue's sequence number of the delta before"),
        "side": (pa.string(), "bid, ask"),
        "price": (pa.float64(), "quote currency"),
        "size": (pa.float64(), "base currency; 0 removes the level"),
    },
    "book_snapshots": {
        "feed": (pa.string(), "such as mbp.150 or depth.step0"),
        "epoch": (pa.int64(), "position of the frame that began the run"),
        "seq": (pa.int64(), "venue's sequence number, null where it gives none"),
        "source": (pa.string(), "refresh: asked for; push: sent by itself; keyframe: made from the deltas"),
        "bids": (LEVELS, "best first"),
        "asks": (LEVELS, "best first"),
        "bid_orders": (COUNTS, "orders at each bid; null where the venue does not tell"),
        "ask_orders": (COUNTS, "orders at each ask; null where the venue does not tell"),
    },
    "bbo": {
        "seq": (pa.int64(), "venue's sequence number"),
        "bid": (pa.float64(), "quote currency; null where there is none"),
        "bid_size": (pa.float64(), "base currency"),
        "ask": (pa.float64(), "quote currency; null where there is none"),
        "ask_size": (pa.float64(), "base currency"),
    },
    "trades": {
        "trade_id": (pa.string(), "venue's long id, every digit"),
        "trade_seq": (pa.int64(), "venue's short id, unique per symbol"),
        "side": (pa.string(), "taker's side: buy, sell"),
        "price": (pa.float64(), "quote currency"),
        "size": (pa.float64(), "base currency"),
        "turnover": (pa.float64(), "price times size, as the venue tells it; null where it does not"),
        "kind": (pa.int64(), "venue's number of the trade's kind; null where it tells none"),
        "sign": (pa.int64(), "venue's character code of the kind; null where it tells none"),
        "origin": (
            pa.string(),
            "live, backfill: sent late, cache: sent again; null where the venue tells none",
        ),
        "ts_gateway": (TIME, "when the venue's gateway received it; null where it has none"),
    },
    "klines": {
        "period": (pa.string(), "such as 1min"),
        "open_time": (TIME, "when the bar begins"),
        "open": (pa.float64(), "quote currency"),
        "high": (pa.float64(), "quote currency"),
        "low": (pa.float64(), "quote currency"),
        "close": (pa.float64(), "quote currency"),
        "volume": (pa.float64(), "base currency"),
        "turnover": (pa.float64(), "quote currency"),
        "count": (pa.int64(), "trades in the bar"),
        "rehab": (
            pa.string(),
            "how prices are adjusted for dividends: none; null: the venue knows no such thing",
        ),
        "last_close": (pa.float64(), "close before the bar; null where the venue does not tell"),
    },
    "tickers": {
        "feed": (pa.string(), "detail or ticker"),
        "open": (pa.float64(), "quote currency"),
        "high": (pa.float64(), "quote currency"),
        "low": (pa.float64(), "quote currency"),
        "close": (pa.float64(), "quote currency"),
        "volume": (pa.float64(), "base currency, 24 h"),
        "turnover": (pa.float64(), "quote currency, 24 h"),
        "count": (pa.int64(), "trades, 24 h"),
        "bid": (pa.float64(), "quote currency"),
        "bid_size": (pa.float64(), "base currency"),
        "ask": (pa.float64(), "quote currency"),
        "ask_size": (pa.float64(), "base currency"),
        "last": (pa.float64(), "quote currency"),
        "last_size": (pa.float64(), "base currency"),
    },
    "quotes": {
        "price": (pa.float64(), "last price, in the symbol's currency; ts_event is the time of this alone"),
        "open": (pa.float64(), "of the day"),
        "high": (pa.float64(), "of the day"),
        "low": (pa.float64(), "of the day"),
        "last_close": (pa.float64(), "of the trading day before"),
        "volume": (pa.float64(), "shares, of the day"),
        "turnover": (pa.float64(), "currency, of the day"),
        "turnover_rate": (pa.float64(), "percent of the shares that may be traded"),
        "amplitude": (pa.float64(), "percent of last_close"),
        "price_spread": (pa.float64(), "least difference of two prices"),
        "suspended": (pa.bool_(), "whether trading is suspended"),
        "status": (pa.int64(), "venue's number of the security's status"),
        "dark_status": (pa.int64(), "venue's number of the grey market's status"),
        "extended": (pa.string(), "JSON object: figures of sessions outside trading hours, by session"),
    },
    "broker_queue": {
        "side": (pa.string(), "bid, ask"),
        "place": (pa.int64(), "in the queue of its side, from the venue"),
        "broker_id": (pa.int64(), "venue's number of the broker"),
        "broker": (pa.string(), "the broker's name"),
        "order_id": (pa.int64(), "venue's; only for accounts with full depth"),
        "volume": (pa.int64(), "shares; only for accounts with full depth"),
    },
    "timeshare": {
        "minute_time": (TIME, "the venue's label of the minute"),
        "minute": (pa.int64(), "minute of the venue's local day"),
        "price": (pa.float64(), "in the symbol's currency"),
        "last_close": (pa.float64(), "of the trading day before"),
        "average": (pa.float64(), "of the day so far, by volume"),
        "volume": (pa.float64(), "shares, in the minute"),
        "turnover": (pa.float64(), "currency, in the minute"),
    },
    "gaps": {
        "feed": (pa.string(), "stream"),
        "conn": (pa.string(), "line"),
        "epoch": (pa.int64(), "the run that ended, null if none had begun"),
        "cause": (pa.string(), "see docs"),
        "last_seq": (pa.int64(), "last good sequence number"),
        "next_seq": (pa.int64(), "first sequence number received after the hole"),
        "start": (TIME, "last instant known good"),
        "end": (TIME, "first instant good again, null while open"),
        "records_lost": (pa.int64(), "null where the venue's numbering does not tell"),
        "repaired_by": (pa.int64(), "position of the frame that ended the gap"),
    },
    "sessions": {
        "conn": (pa.string(), "line; empty for the recorder itself"),
        "event": (pa.string(), "start, stop, connect, disconnect, silence, recovery, ..."),
        "detail": (pa.string(), "JSON object of further facts"),
    },
    "instruments": {
        "base": (pa.string(), "base currency"),
        "quote": (pa.string(), "quote currency"),
        "price_precision": (pa.int32(), "decimals of a price"),
        "amount_precision": (pa.int32(), "decimals of a size"),
        "state": (pa.string(), "such as online, offline, suspend"),
        "raw": (pa.string(), "venue's JSON object, every key"),
    },
}


def _schema(columns: dict[str, tuple[pa.DataType, str]]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, type_, metadata={"description": text}) for name, (type_, text) in columns.items()]
    )


TABLES: Final[dict[str, pa.Schema]] = {name: _schema(_COMMON | further) for name, further in _FURTHER.items()}
"""Name to Arrow schema; a field's metadata has its unit or meaning under ``description``."""

ADDED: Final[dict[str, tuple[str, ...]]] = {
    "book_snapshots": ("bid_orders", "ask_orders"),
    "trades": ("turnover", "kind", "sign", "origin", "ts_gateway"),
    "klines": ("rehab", "last_close"),
}
"""The columns, by table, that came after its first version: a file has all of a table's or none."""


def added_in(table: str, rows: pa.RecordBatch) -> tuple[str, ...]:
    """The added columns, if some row has a value in one of them."""
    names = ADDED.get(table, ())
    return names if any(rows.column(name).null_count < rows.num_rows for name in names) else ()


def completed(table: str, rows: pa.Table, wanted: Container[str]) -> pa.Table:
    """The rows of a sealed file as they are read now: with nulls in those of the wanted columns that their file is
    without, and without paths of the machine that recorded them.
    """
    if table == "sessions" and "detail" in wanted:
        rows = without_paths(rows)
    for name in ADDED.get(table, ()):
        if name in wanted and name not in rows.schema.names:
            field = TABLES[table].field(name)
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows
