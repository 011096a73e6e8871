"""What the gateway pushes: a message for each change that is subscribed, once to every socket.

Pushes whose bytes were sent a moment ago are suppressed, as the real gateway does. While the login is lost, or
dispatch is broken, nothing goes out; ticks that a lost login kept back come late, the newest 50 of each security.
"""

from __future__ import annotations

import base64
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

from bookreel.exchange.futu import bodies
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.market import Market, MarketEvent, MarketTick, StockMarket
from bookreel.exchange.futu.subscriptions import Subscription, Subscriptions
from bookreel.exchange.futu.truth import TruthBook, TruthKept, TruthPush, TruthTick, TruthWriter
from bookreel.venues.futu.codes import SUB_TYPES
from bookreel.venues.futu.feeds import FEED_OF, FEEDS

__all__ = ["BACKFILLED_MAX", "Pusher", "Quiet", "Spoil"]

Quiet: TypeAlias = Literal["login_loss", "breaker"]
Spoil: TypeAlias = Literal["bad_base64", "truncated"]

BACKFILLED_MAX: Final = 50
_BACKFILL, _CACHE = 2, 3
_CACHED_TICKS: Final = 10
_NOTIFY: Final = 1003
_BARS: Final = {
    name.removeprefix("kline."): feed.sub_type for name, feed in FEEDS.items() if name.startswith("kline.")
}


class Pusher:
    """Makes pushes and gives them to the clients. ``quiet`` is why nothing goes out, if so."""

    def __init__(
        self,
        config: GatewayConfig,
        market: Market,
        subs: Subscriptions,
        truth: TruthWriter,
        clients: dict[int, Client],
    ) -> None:
        self.n = 0
        """The number of the last push."""
        self.last_ns: int | None = None
        """When it was."""
        self.quiet: Quiet | None = None
        self.spoils: deque[Spoil] = deque()
        """How the next pushes are to be spoiled."""
        self.untimed: set[str] = set()
        """Securities whose next book has no server times."""
        self.held: dict[str, list[MarketTick]] = {}
        """Ticks kept back, of securities that are to be back-filled."""
        self._market = market
        self._subs = subs
        self._truth = truth
        self._clients = clients
        self._suppress_ns = int(config.suppress_s * 1e9)
        self._sent: dict[tuple[int, bytes], int] = {}
        self._sent_order: deque[tuple[int, tuple[int, bytes]]] = deque()

    def changed(self, event: MarketEvent, now_ns: int) -> None:
        """Push what an event changed."""
        stock = self._market.stocks[event.symbol]
        if event.ticks:
            for tick in event.ticks:
                facts = {
                    "sequence": tick.sequence,
                    "dir": tick.dir,
                    "price": tick.price,
                    "volume": tick.volume,
                }
                self._truth.write(TruthTick, symbol=event.symbol, ts=tick.ts_ns, **facts)
            if self._wanted(event.symbol, SUB_TYPES["ticker"]):
                self._push_ticks(stock, event.ticks, now_ns)
            for feed in ("quote", "rt"):
                self._push(stock, SUB_TYPES[feed], now_ns)
            for sub_type in _BARS.values():
                self._push(stock, sub_type, now_ns)
        if event.book:
            self._push(stock, SUB_TYPES["orderbook"], now_ns)
        if event.brokers:
            self._push(stock, SUB_TYPES["broker"], now_ns)

    def first(self, subscription: Subscription, now_ns: int) -> None:
        """Push what is cached of a subscription, as the gateway does when it begins; its books have no times."""
        stock = self._market.stocks[subscription.symbol]
        if subscription.sub_type == SUB_TYPES["ticker"]:
            self.again(stock, now_ns)
            return
        if subscription.sub_type == SUB_TYPES["orderbook"]:
            self.untimed.add(stock.symbol)
        self._push(stock, subscription.sub_type, now_ns)

    def again(self, stock: StockMarket, now_ns: int) -> None:
        """Push the newest ticks once more, marked as cached."""
        newest = list(stock.ticks)[-_CACHED_TICKS:]
        if newest:
            self._send_ticks(stock, newest, now_ns, _CACHE)

    def backfill(self, symbol: str, now_ns: int) -> None:
        """Push what was kept back of a security; only the newest can come back."""
        kept = self.held.pop(symbol, [])[-BACKFILLED_MAX:]
        if kept:
            self._send_ticks(self._market.stocks[symbol], kept, now_ns, _BACKFILL)

    def notice(self, *, logined: bool, now_ns: int) -> None:
        """Push the news that the login is lost or back."""
        self._send(_NOTIFY, bodies.notice(logined=logined), now_ns, loud=True)

    def _push_ticks(self, stock: StockMarket, ticks: Sequence[MarketTick], now_ns: int) -> None:
        held = self.held.get(stock.symbol)
        if held is None and self.quiet == "login_loss":
            held = self.held[stock.symbol] = []
        if held is None:
            self._send_ticks(stock, ticks, now_ns, bodies.LIVE)
        else:
            held.extend(ticks)

    def _send_ticks(
        self, stock: StockMarket, ticks: Sequence[MarketTick], now_ns: int, data_type: int
    ) -> None:
        sequences = [tick.sequence for tick in ticks]
        message = bodies.ticks(stock, ticks, now_ns, data_type)
        self._send(
            3011, message, now_ns, stock, SUB_TYPES["ticker"], sequences=sequences, data_type=data_type
        )

    def _push(self, stock: StockMarket, sub_type: int, now_ns: int) -> None:
        subscription = self._wanted(stock.symbol, sub_type)
        if subscription is None:
            return
        feed = FEED_OF[sub_type]
        timed = True
        match feed.name:
            case "orderbook":
                timed = stock.symbol not in self.untimed
                message = bodies.book(stock, timed=timed)
            case "quote":
                message = bodies.quote([stock])
            case "broker":
                message = bodies.brokers(stock)
            case "rt":
                message = bodies.time_points(stock, 1)
            case bars:
                message = bodies.bars(stock, bars.removeprefix("kline."), subscription.rehab, 1)
        sent = self._send(feed.proto_id, message, now_ns, stock, sub_type, rehab=subscription.rehab)
        if sent and feed.name == "orderbook":
            self.untimed.discard(stock.symbol)
            self._truth_of(stock, timed=timed)

    def _wanted(self, symbol: str, sub_type: int) -> Subscription | None:
        """The subscription that pushes are due to, or would be if it had not been forgotten."""
        found = self._subs.get(symbol, sub_type) or self._subs.forgotten(symbol, sub_type)
        return found if found is not None and found.pushed else None

    def _truth_of(self, stock: StockMarket, *, timed: bool) -> None:
        known = timed and stock.listing.market.name == "HK"
        self._truth.write(
            TruthBook,
            n=self.n,
            symbol=stock.symbol,
            bids=stock.bids,
            asks=stock.asks,
            ts=max(stock.bid_ns, stock.ask_ns) if known else None,
        )

    def _send(
        self,
        proto_id: int,
        message: Any,
        now_ns: int,
        stock: StockMarket | None = None,
        sub_type: int | None = None,
        *,
        rehab: int = 0,
        sequences: Iterable[int] = (),
        data_type: int | None = None,
        loud: bool = False,
    ) -> bool:
        """One push to everybody; False where it is kept from everybody. ``loud``: whatever is quiet."""
        body = bodies.respond(message)
        facts: dict[str, Any] = {"proto_id": proto_id, "crc": zlib.crc32(body), "sequences": list(sequences)}
        why: str | None = None if loud else self.quiet
        if stock is not None and sub_type is not None:
            facts |= {"symbol": stock.symbol, "sub_type": sub_type}
            if self._subs.forgotten(stock.symbol, sub_type):
                why = "forgotten"
        if why is None and not loud and self._repeated(proto_id, body, now_ns):
            why = "duplicate"
        if why is not None:
            self._truth.write(TruthKept, why=why, **facts)
            return False
        self.n += 1
        self.last_ns = now_ns
        bad = self.spoils.popleft() if self.spoils and stock is not None else None
        self._truth.write(TruthPush, n=self.n, bad=bad, data_type=data_type, **facts)
        if bad == "truncated":
            body = body[: len(body) * 2 // 3]
        text = base64.b64encode(body).decode()
        if bad == "bad_base64":
            text = f"{text[: len(text) // 2]}!{text[len(text) // 2 + 1 :]}"
        symbol = None if stock is None else stock.symbol
        frame = bodies.write_frame(proto_id, text, symbol, sub_type, rehab)
        for client in self._clients.values():
            client.send(self.n, frame)
        return True

    def _repeated(self, proto_id: int, body: bytes, now_ns: int) -> bool:
        """Whether the same bytes went out within the time of suppression. A body names its security."""
        order = self._sent_order
        while order and now_ns - order[0][0] > self._suppress_ns:
            del self._sent[order.popleft()[1]]
        key = (proto_id, body)
        if key in self._sent:
            return True
        self._sent[key] = now_ns
        order.append((now_ns, key))
        return False
