"""Values as tardis-machine's clients know them; as JSON the names and the shapes are those of its ``types.ts``.

Times are text with milliseconds, as JavaScript's ``Date`` has them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from bookreel.replay.times import iso

__all__ = [
    "BookChange",
    "BookSnapshot",
    "BookTicker",
    "Disconnect",
    "Trade",
    "TradeBar",
    "Value",
    "plain",
    "stamp",
]

_MS_NS: Final = 1_000_000
_SECOND_MS: Final = 1_000
_PARTS: Final = tuple(f".{ms:03d}Z" for ms in range(_SECOND_MS))


def stamp(ms: int) -> str:
    """Milliseconds since the epoch as text.

    >>> stamp(1_700_000_000_012)
    '2023-11-14T22:13:20.012Z'
    """
    seconds, rest = divmod(ms, _SECOND_MS)
    return _whole(seconds) + _PARTS[rest]


def plain(number: float) -> float:
    """A number as JavaScript writes it: a whole one without a fraction."""
    return int(number) if number == int(number) else number


@lru_cache(maxsize=16)
def _whole(seconds: int) -> str:
    return iso(seconds * _SECOND_MS * _MS_NS).removesuffix("Z")


class Value(msgspec.Struct, kw_only=True, tag_field="type", rename="camel"):
    """``timestamp`` is the venue's time, ``local_timestamp`` that of receiving."""

    symbol: str
    exchange: str


class Trade(Value, kw_only=True, tag="trade"):
    id: str
    price: float
    amount: float
    side: str
    timestamp: str
    local_timestamp: str


class BookChange(Value, kw_only=True, tag="book_change"):
    """A level of ``amount`` 0 is removed. Levels and times are written with those of other messages."""

    is_snapshot: bool
    bids: Raw
    asks: Raw
    timestamp: Raw
    local_timestamp: Raw


class BookSnapshot(Value, kw_only=True, tag="book_snapshot"):
    """``interval`` in milliseconds, 0: after each change. A level that is missing has neither price nor amount."""

    name: str
    depth: int
    interval: float
    bids: Raw
    asks: Raw
    timestamp: Raw
    local_timestamp: Raw


class BookTicker(Value, kw_only=True, tag="book_ticker"):
    ask_amount: float | UnsetType = UNSET
    ask_price: float | UnsetType = UNSET
    bid_price: float | UnsetType = UNSET
    bid_amount: float | UnsetType = UNSET
    timestamp: str
    local_timestamp: str


class TradeBar(Value, kw_only=True, tag="trade_bar"):
    name: str
    interval: float
    kind: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    buy_volume: float
    sell_volume: float
    trades: int
    vwap: float
    open_timestamp: str
    close_timestamp: str
    local_timestamp: str
    timestamp: str


class Disconnect(msgspec.Struct, kw_only=True, tag_field="type", tag="disconnect", rename="camel"):
    exchange: str
    local_timestamp: str
