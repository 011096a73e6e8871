"""The values that flow through bookreel, the same live, in sealing, in replay and in tests.

Times are integer nanoseconds since the UNIX epoch, UTC. Prices are in the quote currency, sizes in the base
currency, both as the venue's own ``float64`` (venues print Java doubles, so nothing is lost). Sequence
numbers are ``int64``; ids of more digits are text. Every event carries ``symbol`` and ``feed``: the venue's
topic without its symbol part, such as ``mbp.150``.
"""

from __future__ import annotations

from typing import Final, Literal, NewType, TypeAlias

import msgspec

__all__ = [
    "CAUSES",
    "Bbo",
    "BookSide",
    "Cause",
    "Delta",
    "Event",
    "Gap",
    "Instrument",
    "Kline",
    "Levels",
    "Nanos",
    "Position",
    "Snapshot",
    "SnapshotSource",
    "TakerSide",
    "Ticker",
    "Trade",
]

Nanos = NewType("Nanos", int)
"""Nanoseconds since the UNIX epoch, UTC."""

Position = NewType("Position", int)
"""A record's number in the archive's journal: unique, rising, the way back to the raw frame."""

Levels: TypeAlias = list[tuple[float, float]]
"""(price, size) pairs. In a delta a size of 0 removes the level, and the order is the venue's."""

BookSide: TypeAlias = Literal["bid", "ask"]
TakerSide: TypeAlias = Literal["buy", "sell"]
SnapshotSource: TypeAlias = Literal["refresh", "push", "keyframe"]
"""``refresh``: the venue's answer to our request; ``push``: sent by itself; ``keyframe``: made by us from the
deltas.
"""

Cause: TypeAlias = Literal[
    "disconnect",
    "half_open",
    "silence",
    "seq_gap",
    "seq_restart",
    "misaligned",
    "crossed",
    "bad_value",
    "overflow",
    "decode_error",
    "shed",
    "disk_full",
    "crash_tail",
    "corrupt",
    "clock",
    "operator",
]

CAUSES: Final[dict[Cause, str]] = {
    "disconnect": "the connection closed",
    "half_open": "the connection was open, but nothing came through it",
    "silence": "the stream stopped while its connection stayed alive",
    "seq_gap": "the venue's sequence chain broke: at least one message is missing",
    "seq_restart": "the venue began its numbering anew",
    "misaligned": "no message is missing, but the snapshot could not be joined to the deltas after it",
    "crossed": "the best bid reached the best ask: the book cannot be right",
    "bad_value": "a price or size that cannot be right",
    "overflow": "more deltas waited for a snapshot than the buffer holds",
    "decode_error": "a frame could not be read",
    "shed": "the recorder dropped frames because it could not keep up",
    "disk_full": "the disk had no space left",
    "crash_tail": "the recorder died: what came after its last durable record is lost",
    "corrupt": "stored bytes failed their checksum",
    "clock": "the clock stepped",
    "operator": "the recorder was stopped",
}
"""Every cause a gap can have, with the sentence shown to users."""


class Delta(msgspec.Struct, frozen=True, gc=False):
    """New sizes for some levels, all taking effect together; ``seq`` follows ``prev_seq`` in the venue's
    chain."""

    symbol: str
    feed: str
    ts_event: int
    seq: int
    prev_seq: int
    bids: Levels
    asks: Levels


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A whole book, both sides best first. ``seq`` is None where the venue gives no number."""

    symbol: str
    feed: str
    ts_event: int
    seq: int | None
    bids: Levels
    asks: Levels
    source: SnapshotSource

    @property
    def crossed(self) -> bool:
        """Whether the best bid has reached the best ask. Levels of size 0 are none."""
        bid = next((price for price, size in self.bids if size), None)
        ask = next((price for price, size in self.asks if size), None)
        return bid is not None and ask is not None and bid >= ask


class Bbo(msgspec.Struct, frozen=True, gc=False):
    """A best bid and offer. A side that the venue left out or sent as empty is None."""

    symbol: str
    feed: str
    ts_event: int
    seq: int | None
    bid: float | None
    bid_size: float | None
    ask: float | None
    ask_size: float | None


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade. ``trade_id`` keeps every digit of the venue's long id; ``trade_seq`` is the short one, unique
    per symbol.
    """

    symbol: str
    feed: str
    ts_event: int
    trade_id: str
    trade_seq: int | None
    side: TakerSide
    price: float
    size: float


class Kline(msgspec.Struct, frozen=True, gc=False):
    """One push of a bar. ``open_time`` in ns; ``volume`` in base, ``turnover`` in quote currency."""

    symbol: str
    feed: str
    ts_event: int
    period: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    count: int


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """A 24 h summary. The quote and last-trade fields are None where the feed has none."""

    symbol: str
    feed: str
    ts_event: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    count: int
    bid: float | None = None
    bid_size: float | None = None
    ask: float | None = None
    ask_size: float | None = None
    last: float | None = None
    last_size: float | None = None


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """Reference data of one symbol; ``raw`` is the venue's own JSON object, every key kept."""

    symbol: str
    base: str
    quote: str
    price_precision: int | None
    amount_precision: int | None
    state: str
    raw: str


Event: TypeAlias = Delta | Snapshot | Bbo | Trade | Kline | Ticker
"""What a frame of market data decodes to."""


class Gap(msgspec.Struct, frozen=True):
    """One hole in one stream: nothing is promised for any instant t with ``start < t < end``.

    ``start`` is the last instant known good and ``end`` the first good one after (None while the gap is
    open), both receive times in ns. ``epoch`` is the run that ended (None if none had begun). ``last_seq`` is
    the last good sequence number, ``next_seq`` the first one received after the hole. ``repaired_by`` is the
    position of the frame that ended it; for a book that is the snapshot, and so the next epoch.
    ``records_lost`` is None where the venue's numbering does not tell.
    """

    symbol: str
    feed: str
    conn: str
    epoch: int | None
    cause: Cause
    last_seq: int | None
    next_seq: int | None
    start: int
    end: int | None
    records_lost: int | None = None
    repaired_by: int | None = None
