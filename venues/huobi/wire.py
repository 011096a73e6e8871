"""The spot venue's frames as they are on the wire, field by field.

Constraints sit in the types, so that a wrong number is refused while the text is parsed and no level is looked at
twice. Numbers may be written with an exponent (``9.377E-11``); those that do not fit a float64 are refused by
the parser. A key this version does not know is skipped here and reported by ``unknown_fields``.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

__all__ = [
    "ABSENT",
    "BboPush",
    "BboTick",
    "DepthImage",
    "DepthPush",
    "Envelope",
    "Int64",
    "KlinePush",
    "KlineTick",
    "MbpDelta",
    "MbpImage",
    "MbpPush",
    "Millis",
    "RefreshPush",
    "SummaryPush",
    "SummaryTick",
    "SymbolItem",
    "SymbolsBody",
    "TradeItem",
    "TradePush",
    "TradeTick",
    "WireLevels",
]

Price: TypeAlias = Annotated[float, Meta(gt=0)]
Size: TypeAlias = Annotated[float, Meta(ge=0)]
WireLevels: TypeAlias = Annotated[list[tuple[Price, Size]], Meta(max_length=10_000)]
"""The deepest feed has 400 levels a side."""
Number: TypeAlias = Annotated[float, Meta(ge=0)] | str | None
"""The documentation quotes the numbers of a bbo, the venue does not: both are read."""

Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Int32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Millis: TypeAlias = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000)]
"""Unix time in ms that still fits int64 as ns."""
Seconds: TypeAlias = Annotated[int, Meta(ge=0, le=(2**63 - 1) // 1_000_000_000)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]

ABSENT: Final = Raw(b"")
"""The value of a ``Raw`` field whose key is missing."""


class Envelope(Struct, gc=False):
    """The outer keys of any frame, either way: enough to tell what it is. What may be of any type is kept ``Raw``."""

    ch: str | None = None
    rep: str | None = None
    ts: Millis | None = None
    status: str | None = None
    ping: int | None = None
    pong: int | None = None
    id: Raw = ABSENT
    tick: Raw = ABSENT
    data: Raw = ABSENT
    subbed: Raw = ABSENT
    unsubbed: Raw = ABSENT
    sub: Raw = ABSENT
    unsub: Raw = ABSENT
    req: Raw = ABSENT
    action: Raw = ABSENT
    op: Raw = ABSENT
    code: Raw = ABSENT
    err_code: str | int | None = msgspec.field(default=None, name="err-code")
    err_msg: str | None = msgspec.field(default=None, name="err-msg")


class MbpDelta(Struct, gc=False):
    """Tick of ``mbp.N``. A side that did not change is missing in ``mbp.5`` and ``mbp.20``, empty in the others."""

    seq: Int64 = msgspec.field(name="seqNum")
    prev_seq: Int64 = msgspec.field(name="prevSeqNum")
    bids: WireLevels | None = None
    asks: WireLevels | None = None


class MbpPush(Struct, gc=False):
    ts: Millis
    tick: MbpDelta


class MbpImage(Struct, gc=False):
    """Tick of ``mbp.refresh.N`` and data of the answer to a ``req`` of ``mbp.N``."""

    seq: Int64 = msgspec.field(name="seqNum")
    bids: WireLevels | None = None
    asks: WireLevels | None = None


class RefreshPush(Struct, gc=False):
    ts: Millis
    tick: MbpImage


class DepthImage(Struct, gc=False):
    """Tick of ``depth.stepN``, pushed, answered or from REST."""

    bids: WireLevels | None = None
    asks: WireLevels | None = None
    version: Int64 | None = None
    ts: Millis | None = None


class DepthPush(Struct, gc=False):
    """``update`` is set in frames of 2019 whose tick lists changes only. ``status`` is there in REST's answer."""

    ts: Millis
    tick: DepthImage
    update: bool = False
    status: str | None = None


class BboTick(Struct, gc=False):
    seq: Int64 | None = msgspec.field(default=None, name="seqId")
    bid: Number = None
    bid_size: Number = msgspec.field(default=None, name="bidSize")
    ask: Number = None
    ask_size: Number = msgspec.field(default=None, name="askSize")
    quote_time: Millis | str | None = msgspec.field(default=None, name="quoteTime")


class BboPush(Struct, gc=False):
    ts: Millis
    tick: BboTick


class TradeItem(Struct, gc=False):
    """One trade. ``id`` has 24 or 27 digits, a number or a string; ``tradeId`` is missing in frames of 2019."""

    price: Price
    amount: Size
    direction: Literal["buy", "sell"]
    ts: Millis | None = None
    id: Raw = ABSENT
    trade_id: Int64 | None = msgspec.field(default=None, name="tradeId")


class TradeTick(Struct, gc=False):
    data: list[TradeItem]
    ts: Millis | None = None


class TradePush(Struct, gc=False):
    ts: Millis
    tick: TradeTick


class KlineTick(Struct, gc=False):
    """A bar. ``id`` is its start in seconds; prices may be 0 where the symbol never traded."""

    id: Seconds
    open: Size
    high: Size
    low: Size
    close: Size
    amount: Size
    vol: Size
    count: Count


class KlinePush(Struct, gc=False):
    ts: Millis
    tick: KlineTick


class SummaryTick(Struct, gc=False):
    """Tick of ``detail`` and ``ticker``; the last six are in ``ticker`` only."""

    open: Size
    high: Size
    low: Size
    close: Size
    amount: Size
    vol: Size
    count: Count
    ts: Millis | None = None
    bid: Size | None = None
    bid_size: Size | None = msgspec.field(default=None, name="bidSize")
    ask: Size | None = None
    ask_size: Size | None = msgspec.field(default=None, name="askSize")
    last: Size | None = msgspec.field(default=None, name="lastPrice")
    last_size: Size | None = msgspec.field(default=None, name="lastSize")


class SummaryPush(Struct, gc=False):
    ts: Millis
    tick: SummaryTick


class SymbolItem(Struct, rename="kebab"):
    """The part of a ``/v1/common/symbols`` item that bookreel reads; the other keys vary from symbol to symbol."""

    symbol: str
    base_currency: str
    quote_currency: str
    price_precision: Int32 | None = None
    amount_precision: Int32 | None = None
    state: str = "unknown"


class SymbolsBody(Struct, rename="kebab"):
    """The whole ``/v1/common/symbols`` reply."""

    status: str | None = None
    data: list[Raw] | None = None
    err_msg: str | None = None
