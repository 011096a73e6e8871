"""The rows of all tables as they are collected: which values a record's facts become, and whose rows are wanted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa

from bookreel.book.model import Bbo, Delta, Event, Gap, Instrument, Kline, Snapshot, Ticker, Trade
from bookreel.storage.columns import BookRows, LevelRows, Rows
from bookreel.storage.local_paths import hide
from bookreel.storage.record import Direction, Record
from bookreel.storage.schema import TABLES
from bookreel.venues.message import Row, Topic

__all__ = ["FrameFacts", "RowWriter"]

FrameFacts: TypeAlias = tuple[str, Topic | str | None, int | None]
"""What a frame's row says: kind, topic (its text where it is unknown), time of the event (ns)."""

_OUT: Final = Direction.OUT
_SHAPED: Final = ("book_deltas", "book_snapshots")

_LISTS: Final = ("bids", "asks", "bid_orders", "ask_orders")

_OWN: Final = {
    table: tuple(name for name in schema.names[5:] if name not in _LISTS) for table, schema in TABLES.items()
}
"""The plain columns of each table after those that all tables have."""


class RowWriter:
    """Collects rows of the ``tables`` and ``symbols`` that are wanted; None is all.

    ``ts_event`` of 0, which is how events say that they have no time, becomes null.
    """

    def __init__(self, venue: str, tables: Collection[str] | None, symbols: Collection[str] | None) -> None:
        self._symbols = None if symbols is None else frozenset(symbols)
        self._want = {name: tables is None or name in tables for name in TABLES}
        self._want_frames = self._want["frames"]
        self._want_deltas = self._want["book_deltas"]
        self._want_books = self._want["book_snapshots"]
        self._rows = {table: Rows(table, venue) for table in TABLES if table not in _SHAPED}
        self._levels = LevelRows(venue)
        self._books = BookRows(venue)

    def wants(self, symbol: str) -> bool:
        """Whether rows of this symbol are kept."""
        return self._symbols is None or symbol in self._symbols

    def pack(self) -> None:
        """Turn what was collected into Arrow, which needs a fraction of the memory."""
        for rows in self._rows.values():
            rows.pack()
        self._levels.pack()
        self._books.pack()

    def take(self, *, compact: bool) -> dict[str, pa.Table]:
        """The rows since the last call, by table; ``book_deltas`` compact if so asked."""
        taken: dict[str, pa.Table] = {}
        for table in TABLES:
            if not self._want[table]:
                continue
            if table == "book_deltas":
                taken[table] = self._levels.take_compact() if compact else self._levels.take()
            elif table == "book_snapshots":
                taken[table] = self._books.take()
            else:
                taken[table] = self._rows[table].take()
        return taken

    def frame(self, record: Record, facts: FrameFacts, text: bytes | None) -> None:
        """A frame; ``text`` is None where it could not be had."""
        if not self._want_frames:
            return
        kind, topic, ts_event = facts
        known = topic if isinstance(topic, Topic) else None
        symbol = "" if known is None else known.symbol
        if not self.wants(symbol):
            return
        readable = text is not None and (text.isascii() or _is_utf8(text))
        direction = "out" if record.direction is _OUT else "in"
        name = topic if known is None else known.text
        payloads = (text, None) if readable else (None, record.payload)
        self._rows["frames"].append(
            (ts_event, record.ts_recv, symbol, record.pos, record.conn, direction, kind, name, *payloads)
        )

    def delta(self, delta: Delta, epoch: int | None, pos: int, ts_recv: int) -> None:
        """A delta that was applied."""
        if not self._want_deltas:
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

    def book(self, book: Snapshot, epoch: int | None, pos: int, ts_recv: int) -> None:
        """A whole book."""
        if self._want_books:
            row = (book.ts_event or None, ts_recv, book.symbol, pos, book.feed, epoch, book.seq, book.source)
            self._books.append(row, book.bids, book.asks)

    def bbo(self, bbo: Bbo, pos: int, ts_recv: int) -> None:
        """A best bid and offer."""
        if self._want["bbo"]:
            shared = (bbo.ts_event or None, ts_recv, bbo.symbol, pos, bbo.seq)
            self._rows["bbo"].append((*shared, bbo.bid, bbo.bid_size, bbo.ask, bbo.ask_size))

    def trade(self, trade: Trade, pos: int, ts_recv: int) -> None:
        """A trade that was not seen before."""
        if self._want["trades"]:
            shared = (trade.ts_event or None, ts_recv, trade.symbol, pos)
            own = (trade.trade_id, trade.trade_seq, trade.side, trade.price, trade.size)
            self._rows["trades"].append((*shared, *own))

    def bar(self, event: Event, pos: int, ts_recv: int) -> None:
        """A bar or a 24 h summary: the event's own fields, in their order, are the table's."""
        if isinstance(event, Kline):
            table, own = "klines", msgspec.structs.astuple(event)[3:]
        else:
            assert isinstance(event, Ticker), "deltas come only in sequenced streams"
            table, own = "tickers", (event.feed, *msgspec.structs.astuple(event)[3:])
        if self._want[table]:
            self._rows[table].append((event.ts_event or None, ts_recv, event.symbol, pos, *own))

    def made(self, row: Row, epoch: int | None, pos: int, ts_recv: int) -> None:
        """A row that the venue's decoder made; ``epoch`` where its table has one."""
        if not self._want[row.table] or not self.wants(row.symbol):
            return
        get = row.values.get
        own = tuple(epoch if name == "epoch" else get(name) for name in _OWN[row.table])
        plain = (row.ts_event, ts_recv, row.symbol, pos, *own)
        if row.table == "book_snapshots":
            orders = (get("bid_orders"), get("ask_orders"))
            self._books.append(plain, row.values["bids"], row.values["asks"], orders)
        else:
            self._rows[row.table].append(plain)

    def gap(self, gap: Gap, pos: int, ts_recv: int) -> None:
        """A hole that has ended, with the record that ended it."""
        if self._want["gaps"] and self.wants(gap.symbol):
            shared = (None, ts_recv, gap.symbol, pos, gap.feed, gap.conn, gap.epoch, gap.cause)
            own = (gap.last_seq, gap.next_seq, gap.start, gap.end, gap.records_lost, gap.repaired_by)
            self._rows["gaps"].append((*shared, *own))

    def session(self, record: Record, name: str, detail: bytes) -> None:
        """An event of the recorder."""
        if self._want["sessions"]:
            shown = hide(detail)
            self._rows["sessions"].append((None, record.ts_recv, "", record.pos, record.conn, name, shown))

    def instrument(self, item: Instrument, pos: int, ts_recv: int) -> None:
        """Reference data of a symbol."""
        if self._want["instruments"] and self.wants(item.symbol):
            shared = (None, ts_recv, item.symbol, pos, item.base, item.quote)
            own = (item.price_precision, item.amount_precision, item.state, item.raw)
            self._rows["instruments"].append((*shared, *own))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
