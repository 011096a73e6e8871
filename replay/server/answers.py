"""Answers that are one JSON value, as types: what is sent, and what the OpenAPI document says of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bookreel.book.model import Gap, Levels
from bookreel.replay.server.delivery import Parts
from bookreel.replay.server.wire import Head
from bookreel.replay.times import stamp

__all__ = [
    "BookAnswer",
    "Column",
    "CountAnswer",
    "GapAnswer",
    "Span",
    "SymbolsAnswer",
    "TableAnswer",
    "json_answer",
]

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class GapAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A hole in a stream; ``end`` is null while it is open. Times are receive times, ISO-8601 text, UTC."""

    symbol: str
    feed: str
    cause: str
    start: str | None
    end: str | None
    last_seq: int | None
    next_seq: int | None
    records_lost: int | None

    @classmethod
    def of(cls, gap: Gap) -> GapAnswer:
        """A gap with its times as text."""
        return cls(
            symbol=gap.symbol,
            feed=gap.feed,
            cause=gap.cause,
            start=stamp(gap.start),
            end=stamp(gap.end),
            last_seq=gap.last_seq,
            next_seq=gap.next_seq,
            records_lost=gap.records_lost,
        )


class BookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A book, best first; a level is price (in quote currency) and size (in base currency). Times are ISO-8601 text,
    UTC. ``age_ns``: how old its push was, of a feed that only pushes.
    """

    symbol: str
    feed: str
    seq: int | None
    epoch: int | None
    ts_event: str | None
    ts_recv: str | None
    valid: bool
    gap: GapAnswer | None
    bids: Levels
    asks: Levels
    age_ns: int | None


class SymbolsAnswer(msgspec.Struct, frozen=True):
    """Every symbol that was recorded."""

    symbols: list[str]


class Column(msgspec.Struct, frozen=True):
    """``about``: unit or meaning."""

    name: str
    type: str
    about: str


class TableAnswer(msgspec.Struct, frozen=True):
    """A table and its columns."""

    name: str
    columns: list[Column]


class Span(msgspec.Struct, frozen=True):
    """A part of a stream's life; a null end is open. ``state`` is a gap's cause, or else ``covered``, but of an
    unsequenced stream only ``connected``: nothing shows whether it is complete. ``class`` is ``sequenced``,
    ``id-only`` or ``unsequenced``; null where the stream never began.
    """

    symbol: str
    feed: str
    start: str
    end: str | None
    state: str
    class_: str | None = msgspec.field(name="class")


class CountAnswer(msgspec.Struct, frozen=True):
    """What a query would give: how many rows, and about how many bytes: as NDJSON, and as Parquet as it is stored."""

    table: str
    rows: int
    bytes: dict[str, int]


def json_answer(value: Any) -> Parts:
    """An answer of one value."""
    yield Head({"Content-Type": "application/json"})
    yield _ENCODER.encode(value) + b"\n"
