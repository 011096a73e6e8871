"""The venue's ticks to events: a book's sides in order, trades with their ids' exact digits, bars, summaries.

Raises :class:`Misfit` where something parses, and cannot be right.
"""

from __future__ import annotations

import math
import re
from operator import itemgetter
from typing import Final

import msgspec

from bookreel.book.model import Event, Kline, Levels, Snapshot, SnapshotSource, TakerSide, Ticker, Trade
from bookreel.venues.huobi import wire
from bookreel.venues.message import Topic

__all__ = [
    "NS_PER_MS",
    "Misfit",
    "depth_image",
    "kline",
    "mbp_image",
    "millis",
    "side",
    "summary",
    "trades",
]

NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
_INT64_MAX: Final = 2**63 - 1
_TRADE_ID_MAX: Final = 64
"""Digits or characters of a trade's long id: the venue's have 27, and thousands are remembered."""

_price: Final = itemgetter(0)
_string: Final = msgspec.json.Decoder(str).decode
_DECIMAL: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Misfit(ValueError):
    """A frame that parses, and cannot be right."""


def _sorted(levels: Levels | None, *, best_is_high: bool) -> Levels:
    """Best price first, each price once. On a sorted list, as the venue sends it, one pass."""
    if not levels:
        return []
    levels.sort(key=_price, reverse=best_is_high)
    if len(dict(levels)) != len(levels):
        raise Misfit("a whole book with a price twice")
    return levels


def mbp_image(image: wire.MbpImage, topic: Topic, ts: int, source: SnapshotSource) -> Snapshot:
    """A whole book of an mbp feed; ``ts``: its time (ns), as in all that follow."""
    bids = _sorted(image.bids, best_is_high=True)
    asks = _sorted(image.asks, best_is_high=False)
    return Snapshot(topic.symbol, topic.feed, ts, image.seq, bids, asks, source)


def depth_image(image: wire.DepthImage, topic: Topic, ts: int, source: SnapshotSource) -> Snapshot:
    """A whole book of a depth feed, which may have a time of its own."""
    bids = _sorted(image.bids, best_is_high=True)
    asks = _sorted(image.asks, best_is_high=False)
    taken = ts if image.ts is None else image.ts * NS_PER_MS
    return Snapshot(topic.symbol, topic.feed, taken, image.version, bids, asks, source)


def trades(items: list[wire.TradeItem], topic: Topic, ts: int) -> list[Event]:
    """The venue's order is kept: within a frame the newest may come first."""
    events: list[Event] = []
    for item in items:
        side: TakerSide = item.direction
        traded = ts if item.ts is None else item.ts * NS_PER_MS
        trade_id = _trade_id(item)
        events.append(
            Trade(topic.symbol, topic.feed, traded, trade_id, item.trade_id, side, item.price, item.amount)
        )
    return events


def _trade_id(item: wire.TradeItem) -> str:
    """The long id's exact digits; they are more than a float64 or int64 holds, so no number is made of them."""
    text = bytes(item.id)
    if len(text) > _TRADE_ID_MAX:
        raise Misfit("a trade's id has too many digits")
    if text[:1].isdigit():
        return text.decode()
    if text.startswith(b'"') and len(text) > 2:
        return _string(text)
    if text not in (b"", b"null", b'""'):
        raise Misfit("a trade's id is neither a number nor a string")
    if item.trade_id is None:
        raise Misfit("a trade without any id")
    return str(item.trade_id)


def kline(bar: wire.KlineTick, topic: Topic, ts: int) -> Kline:
    """One push of a bar."""
    return Kline(
        topic.symbol,
        topic.feed,
        ts,
        topic.feed.removeprefix("kline."),
        bar.id * _NS_PER_S,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.amount,
        bar.vol,
        bar.count,
    )


def summary(tick: wire.SummaryTick, topic: Topic, ts: int) -> Ticker:
    """The last 24 hours."""
    return Ticker(
        topic.symbol,
        topic.feed,
        ts,
        tick.open,
        tick.high,
        tick.low,
        tick.close,
        tick.amount,
        tick.vol,
        tick.count,
        tick.bid,
        tick.bid_size,
        tick.ask,
        tick.ask_size,
        tick.last,
        tick.last_size,
    )


def side(price: float | str | None, size: float | str | None) -> tuple[float | None, float | None]:
    """One side of a bbo; None where the venue left it out or sent it empty."""
    price = _number(price)
    if price == 0:
        raise Misfit("a price of 0")
    return price, _number(size)


def _number(value: float | str | None) -> float | None:
    if not isinstance(value, str):
        return value
    if value == "":
        return None
    if _DECIMAL.fullmatch(value) is None or not math.isfinite(number := float(value)):
        raise Misfit(f"{value[:40]!r} is not a price or size")
    return number


def millis(value: int | str | None, otherwise: int) -> int:
    """A time in ms, perhaps quoted, as ns."""
    if value is None or value == "":
        return otherwise
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 19):
            raise Misfit(f"{value[:40]!r} is not a time")
        value = int(value)
    if value > _INT64_MAX // NS_PER_MS:
        raise Misfit(f"the time {value} is out of range")
    return value * NS_PER_MS
