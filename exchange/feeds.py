"""What each topic sends, and when.

A feed is one topic somebody is subscribed to: what it sends right after an ack (``cached``) and for a ``req``
(``reply``). Those of the synthetic market make frames at its events (``on_event``) or at a fixed pace (``on_slot``,
every ``period_ns``). A feed knows no client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from bookreel.exchange.bars import PERIODS, Bar
from bookreel.exchange.huobi_wire import encode_json, encode_push, gzip_frame, java_double, join_levels
from bookreel.exchange.market import MarketEvent, MarketTrade, SymbolMarket

__all__ = [
    "MAX_REPLY",
    "Feed",
    "Frame",
    "MarketFeed",
    "Topic",
    "bar_json",
    "depth_json",
    "make_feed",
    "parse_topic",
    "trade_json",
]

_TOPIC = re.compile(
    r"market\.([a-z0-9]+)\.(?:(kline|depth|mbp\.refresh|mbp)\.([a-z0-9]+)|(bbo|trade\.detail|detail|ticker))"
)
_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "kline": PERIODS,
    "depth": tuple(f"step{n}" for n in range(6)),
    "mbp.refresh": ("5", "10", "20"),
    "mbp": ("5", "20", "150", "400"),
}
_SLOT_NS: Final = 100_000_000
_NS_A_MS: Final = 1_000_000
MAX_REPLY: Final = 300
"""Bars or trades in one reply."""


class Topic(NamedTuple):
    """A topic's parts: ``kind`` and its ``argument`` (period, step or levels), and the only ``path`` that
    serves it."""

    text: str
    symbol: str
    kind: str
    argument: str
    path: str

    @property
    def feed(self) -> str:
        """The topic without its symbol."""
        return f"{self.kind}.{self.argument}" if self.argument else self.kind


def parse_topic(text: str) -> Topic | None:
    """A topic's parts, or None for what is no topic of the venue."""
    match = _TOPIC.fullmatch(text)
    if match is None:
        return None
    symbol, kind, argument, plain = match.groups()
    if plain:
        return Topic(text, symbol, plain, "", "/ws")
    if argument not in _ARGUMENTS[kind]:
        return None
    return Topic(text, symbol, kind, argument, "/feed" if kind == "mbp" else "/ws")


class Frame:
    """A frame's text and, made once for all its receivers, its gzip form. ``seq`` and ``prev_seq`` of mbp
    deltas only."""

    __slots__ = ("_payload", "prev_seq", "seq", "text")

    def __init__(
        self, text: str, seq: int | None = None, prev_seq: int | None = None, payload: bytes = b""
    ) -> None:
        self.text = text
        self.seq = seq
        self.prev_seq = prev_seq
        self._payload = payload

    @property
    def payload(self) -> bytes:
        """The bytes to send."""
        if not self._payload:
            self._payload = gzip_frame(self.text)
        return self._payload


class Feed:
    """A topic with its last frame. Subclasses say what it sends."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.last: Frame | None = None

    @property
    def seq(self) -> int | None:
        """Number of the newest delta of a chain; None for what has no chain."""
        return None

    def cached(self, now_ms: int) -> Frame | None:
        """The last message, as sent right after an ack."""
        return self.last

    def reply(self, first: int, last: int) -> str | None:
        """The data of the answer to a ``req``; ``first`` and ``last`` in seconds bound the bars. None: no
        such request."""
        raise NotImplementedError


class MarketFeed(Feed):
    """A topic of the synthetic market."""

    period_ns: int = 0
    """How often ``on_slot`` is due; 0: never."""

    def __init__(self, topic: Topic, market: SymbolMarket) -> None:
        super().__init__(topic)
        self.market = market

    def on_event(self, event: MarketEvent, now_ms: int) -> Frame | None:
        """The frame an event of the symbol makes, if any."""
        return None

    def on_slot(self, now_ms: int) -> Frame | None:
        """The frame that is due, None if nothing changed."""
        return None

    def cached(self, now_ms: int) -> Frame | None:
        if self.last is None:
            tick = self.tick()
            self.last = None if tick is None else self.frame(tick, now_ms)
        return self.last

    def tick(self) -> str | None:
        """The present content."""
        return None

    def reply(self, first: int, last: int) -> str | None:
        return self.tick()

    def frame(self, tick: str, now_ms: int) -> Frame:
        """A push of this topic."""
        return Frame(encode_push(self.topic.text, now_ms, tick))

    def _push(self, tick: str, now_ms: int) -> Frame:
        self.last = self.frame(tick, now_ms)
        return self.last


class SlotFeed(MarketFeed):
    """A topic that is looked at in each slot, and pushed if it changed since its last push. Requests in between
    change nothing about that."""

    def __init__(self, topic: Topic, market: SymbolMarket) -> None:
        super().__init__(topic, market)
        self._pushed: int | str | None = None

    def mark(self) -> int | str | None:
        """What differs when the content does; None: there is nothing to push."""
        return self.market.seq

    def on_slot(self, now_ms: int) -> Frame | None:
        mark = self.mark()
        if mark is None or mark == self._pushed:
            return None
        self._pushed = mark
        return self._push(self.tick() or "", now_ms)

    def cached(self, now_ms: int) -> Frame | None:
        if self.last is None:
            self._pushed = self.mark()
        return super().cached(now_ms)


def bar_json(bar: Bar) -> str:
    """A bar as in kline topics and replies."""
    return (
        f'{{"id":{bar.id},"open":{java_double(bar.open)},"close":{java_double(bar.close)},"low":{java_double(bar.low)},'
        f'"high":{java_double(bar.high)},"amount":{java_double(bar.amount)},"vol":{java_double(bar.vol)},"count":{bar.count}}}'
    )


def trade_json(trade: MarketTrade, ts_ms: int, id_key: str = "tradeId") -> str:
    """A trade; REST spells ``id_key`` ``trade-id``."""
    return (
        f'{{"id":{trade.trade_id},"ts":{ts_ms},"{id_key}":{trade.trade_seq},"amount":{java_double(trade.size)},'
        f'"price":{java_double(trade.price)},"direction":"{trade.side}"}}'
    )


def depth_json(market: SymbolMarket, step: int, levels: int) -> str:
    """A depth tick: the book at ``step`` 0, or joined to steps of 10**step ticks with at most 20 levels a
    side."""
    if step:
        sides = [side.grouped(10**step, min(20, levels)) for side in (market.bids, market.asks)]
    else:
        sides = [list(side.image(min(150, levels)).values()) for side in (market.bids, market.asks)]
    return (
        f'{{"bids":{join_levels(sides[0])},"asks":{join_levels(sides[1])},'
        f'"version":{market.seq},"ts":{market.last_ns // _NS_A_MS}}}'
    )


class KlineFeed(MarketFeed):
    def on_event(self, event: MarketEvent, now_ms: int) -> Frame | None:
        if event.trades or self.topic.argument in event.rolled:
            return self._push(self.tick(), now_ms)
        return None

    def tick(self) -> str:
        return bar_json(self.market.bars.current(self.topic.argument))

    def reply(self, first: int, last: int) -> str:
        bars = self.market.bars.between(self.topic.argument, first, last, MAX_REPLY)
        return "[" + ",".join(map(bar_json, bars)) + "]"


class BboFeed(MarketFeed):
    def on_event(self, event: MarketEvent, now_ms: int) -> Frame | None:
        return self._push(self.tick(), now_ms) if event.quote else None

    def tick(self) -> str:
        quote = self.market.quote
        return (
            f'{{"seqId":{quote.seq},"ask":{java_double(quote.ask)},"askSize":{java_double(quote.ask_size)},'
            f'"bid":{java_double(quote.bid)},"bidSize":{java_double(quote.bid_size)},'
            f'"quoteTime":{quote.ts_ns // _NS_A_MS},"symbol":"{self.topic.symbol}"}}'
        )

    def reply(self, first: int, last: int) -> None:
        return None


class TradeFeed(MarketFeed):
    def on_event(self, event: MarketEvent, now_ms: int) -> Frame | None:
        return self._push(_trades_tick(event), now_ms) if event.trades else None

    def cached(self, now_ms: int) -> Frame | None:
        events = self.market.events
        if self.last is None and events:  # as it was sent then, however long ago
            self.last = self.frame(_trades_tick(events[-1]), events[-1].ts_ns // _NS_A_MS + 2)
        return self.last

    def reply(self, first: int, last: int) -> str:
        newest: list[str] = []
        for event in reversed(self.market.events):
            newest += [trade_json(t, event.ts_ns // _NS_A_MS) for t in reversed(event.trades)]
            if len(newest) >= MAX_REPLY:
                break
        return "[" + ",".join(reversed(newest[:MAX_REPLY])) + "]"


def _trades_tick(event: MarketEvent) -> str:
    ts_ms = event.ts_ns // _NS_A_MS
    # The venue sends some frames newest first, by no rule a client could know.
    trades = event.trades[::-1] if event.seq % 4 == 0 else event.trades
    return f'{{"id":{event.seq},"ts":{ts_ms},"data":[{",".join(trade_json(t, ts_ms) for t in trades)}]}}'


class DepthFeed(SlotFeed):
    period_ns = 1_000_000_000

    def __init__(self, topic: Topic, market: SymbolMarket) -> None:
        super().__init__(topic, market)
        self._step = int(topic.argument[-1])

    def tick(self) -> str:
        return depth_json(self.market, self._step, 150)


class DetailFeed(SlotFeed):
    period_ns = _SLOT_NS

    def mark(self) -> int | None:
        events = self.market.events
        return events[-1].seq if events else None

    def tick(self) -> str:
        day = self.market.bars.day()
        seq = self.market.seq
        return (
            f'{{"id":{seq},"low":{java_double(day.low)},"high":{java_double(day.high)},"open":{java_double(day.open)},'
            f'"close":{java_double(day.close)},"vol":{java_double(day.vol)},"amount":{java_double(day.amount)},'
            f'"version":{seq},"count":{day.count}}}'
        )


class TickerFeed(SlotFeed):
    period_ns = _SLOT_NS

    def mark(self) -> str:
        return self.tick()

    def tick(self) -> str:
        market, day, quote = self.market, self.market.bars.day(), self.market.quote
        last = market.events[-1].trades[-1] if market.events else None
        return encode_json(
            {
                "open": day.open,
                "high": day.high,
                "low": day.low,
                "close": day.close,
                "amount": day.amount,
                "vol": day.vol,
                "count": day.count,
                "bid": quote.bid,
                "bidSize": quote.bid_size,
                "ask": quote.ask,
                "askSize": quote.ask_size,
                "lastPrice": last.price if last else day.close,
                "lastSize": last.size if last else 0.0,
            }
        )


class RefreshFeed(SlotFeed):
    period_ns = _SLOT_NS

    def __init__(self, topic: Topic, market: SymbolMarket) -> None:
        super().__init__(topic, market)
        self._levels = int(topic.argument)

    def tick(self) -> str:
        market = self.market
        bids, asks = market.bids.image(self._levels).values(), market.asks.image(self._levels).values()
        return f'{{"seqNum":{market.seq},"bids":{join_levels(bids)},"asks":{join_levels(asks)}}}'


_PLAIN: Final[dict[str, Callable[[Topic, SymbolMarket], MarketFeed]]] = {
    "kline": KlineFeed,
    "depth": DepthFeed,
    "mbp.refresh": RefreshFeed,
    "bbo": BboFeed,
    "trade.detail": TradeFeed,
    "detail": DetailFeed,
    "ticker": TickerFeed,
}


def make_feed(topic: Topic, market: SymbolMarket) -> MarketFeed:
    """The feed of a topic of ``/ws``; ``mbp.MbpFeed`` is that of the incremental ones."""
    return _PLAIN[topic.kind](topic, market)
