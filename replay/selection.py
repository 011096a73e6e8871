"""What a replay is of: tables, symbols, feeds and a range of receive times."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.errors import NoSuchTable
from bookreel.venues import Venue

__all__ = ["EVENT_TABLES", "REPLAY_TABLES", "Choice", "Names", "Selection"]

REPLAY_TABLES: Final = (
    "frames",
    "gaps",
    "sessions",
    "instruments",
    "trades",
    "bbo",
    "klines",
    "tickers",
    "quotes",
    "broker_queue",
    "timeshare",
    "book_snapshots",
    "book_deltas",
)
"""Every table that can be replayed. Events of one record come in this order: the frame, what ended, what happened,
what changed; a keyframe comes after the deltas that it is the book of.
"""

EVENT_TABLES: Final = REPLAY_TABLES[1:]
"""Tables that are replayed unless others are named: all but ``frames``, which the others are made of."""

_OF_NO_SYMBOL: Final = frozenset({"sessions"})
_OF_NO_FEED: Final = frozenset({"sessions", "instruments"})
_KLINE: Final = "kline."
_DIGEST_BYTES: Final = 4

Names: TypeAlias = Collection[str] | str | None
"""Some names, or one; None is all."""


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one of several streams is of; None is everything but ``frames``."""

    symbols: list[str] | None = None
    tables: list[str] | None = None
    feeds: list[str] | None = None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """``tables`` in the order of :data:`REPLAY_TABLES`; ``symbols`` and ``feeds``: None is all. ``start`` inclusive
    and ``end`` exclusive bound the receive time (ns), None does not bound.

    ``sessions`` are of no symbol and no feed, and ``instruments`` of no feed: those filters leave them in.
    """

    tables: tuple[str, ...]
    symbols: frozenset[str] | None = None
    feeds: frozenset[str] | None = None
    start: int | None = None
    end: int | None = None

    @staticmethod
    def order(tables: Iterable[str]) -> tuple[str, ...]:
        """These tables in their order, each once. Raises NoSuchTable."""
        wanted = set(tables)
        for table in sorted(wanted):
            if table not in REPLAY_TABLES:
                raise NoSuchTable(table, REPLAY_TABLES)
        return tuple(table for table in REPLAY_TABLES if table in wanted)

    @property
    def digest(self) -> bytes:
        """What the places of a replay depend on: everything but the times."""
        parts = [sorted(part) if part is not None else None for part in (self.symbols, self.feeds)]
        return blake2b(msgspec.json.encode([self.tables, *parts]), digest_size=_DIGEST_BYTES).digest()

    def includes(self, ts: int | None) -> bool:
        """Whether a receive time (ns) is in the range; a time that is not known is in it."""
        if ts is None:
            return True
        return (self.start is None or ts >= self.start) and (self.end is None or ts < self.end)

    def may_hold(self, table: str, least: str, greatest: str) -> bool:
        """Whether rows whose symbols are between these two can be of a wanted one."""
        if self.symbols is None or table in _OF_NO_SYMBOL:
            return True
        return any(least <= symbol <= greatest for symbol in self.symbols)

    def keep(self, table: str, rows: pa.Table, venue: Venue) -> pa.Table:
        """The rows of wanted symbols and feeds."""
        if self.symbols is not None and table not in _OF_NO_SYMBOL:
            rows = _kept(rows, "symbol", self.symbols)
        if self.feeds is None or table in _OF_NO_FEED:
            return rows
        if table in venue.row_feeds:
            return rows if venue.row_feeds[table] in self.feeds else rows.slice(0, 0)
        if table == "klines":
            periods = {feed.removeprefix(_KLINE) for feed in self.feeds if feed.startswith(_KLINE)}
            return _kept(rows, "period", periods)
        if table == "frames":
            texts = [text for text in pc.unique(rows["topic"]).to_pylist() if text is not None]
            topics = {text: venue.parse_topic(text) for text in texts}
            wanted = {
                text for text, topic in topics.items() if topic is not None and topic.feed in self.feeds
            }
            return _kept(rows, "topic", wanted)
        return _kept(rows, "feed", self.feeds)


def _kept(rows: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows of which a column has one of these values, mostly all: to copy them takes longer than to look."""
    wanted: Any = pc.is_in(rows[column], pa.array(sorted(values), pa.string()))
    return rows if pc.all(wanted).as_py() else rows.filter(wanted)
