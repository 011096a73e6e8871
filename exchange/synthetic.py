"""The synthetic market as a source: makes the frames of the topics that somebody is subscribed to."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from bookreel.exchange.bars import Bar
from bookreel.exchange.feeds import Frame, MarketFeed, Topic, bar_json, depth_json, make_feed, trade_json
from bookreel.exchange.huobi_wire import encode_json
from bookreel.exchange.listing import DELISTED, Listing, reference_data
from bookreel.exchange.market import Market, MarketEvent, SymbolMarket
from bookreel.exchange.mbp import MbpFeed
from bookreel.exchange.truth import TruthWriter

__all__ = ["Synthetic"]

_NO_SERVICE: Final = "The coin pair does not currently offer subscription services."
_NETWORKS: Final = {"btc": "OMNI", "usdt": "ERC20"}


class Synthetic:
    """A :class:`~bookreel.exchange.source.Source`. A topic without a subscriber costs nothing."""

    ended = False
    patient = False
    behind = False

    def __init__(
        self, market: Market, listings: Sequence[Listing], truth: TruthWriter, now_ns: Callable[[], int]
    ) -> None:
        self.symbols = {symbol: _Page(one) for symbol, one in market.symbols.items()}
        self.venue_ns = now_ns
        self.notes: list[str] = []
        self._market = market
        self._listings = [*listings, *DELISTED.values()]
        self._truth = truth
        self._open: dict[str, MarketFeed] = {}
        self._by_event: dict[str, list[MarketFeed]] = {symbol: [] for symbol in market.symbols}
        self._slots: list[tuple[int, int, MarketFeed]] = []
        self._opened = 0

    @property
    def next_ns(self) -> int:
        event_ns = self._market.next_ns
        return min(event_ns, self._slots[0][0]) if self._slots else event_ns

    def stop(self) -> None:
        return

    def refusal(self, topic: Topic) -> str | None:
        market = self._market.symbols.get(topic.symbol)
        if market is None:
            state = DELISTED[topic.symbol].state if topic.symbol in DELISTED else "unknown"
            if state == "suspend":
                return f"symbol:{topic.symbol} trade not open now "
            return _NO_SERVICE if state == "pre-online" else f"invalid symbol {topic.symbol}"
        if topic.feed == "mbp.20" and not market.listing.mbp20:
            return f"invalid mbp.20.symbol {topic.symbol}"
        return None

    def open(self, topic: Topic, now_ns: int) -> MarketFeed:
        feed = self._open[topic.text] = self._make(topic)
        if feed.period_ns:
            self._opened += 1
            # topics spread evenly over the period
            phase = int(self._opened * 0.618034 % 1.0 * feed.period_ns)
            heapq.heappush(self._slots, (now_ns + phase + 1, self._opened, feed))
        else:
            self._by_event[topic.symbol].append(feed)
        return feed

    def close(self, topic: Topic) -> None:
        feed = self._open.pop(topic.text)
        if not feed.period_ns:
            self._by_event[topic.symbol].remove(feed)

    def feed(self, topic: Topic) -> MarketFeed:
        return self._open.get(topic.text) or self._make(topic)

    def advance(self, now_ns: int) -> Iterator[tuple[str, Frame | None]]:
        now_ms = now_ns // 1_000_000
        for _, event in self._market.advance(now_ns):
            if event.trades and self._truth.writing:
                self._truth.trades(event)
            for feed in self._by_event[event.symbol]:
                frame = feed.on_event(event, now_ms)
                if frame is not None:
                    yield feed.topic.text, frame
        slots = self._slots
        while slots and slots[0][0] <= now_ns:
            due_ns, number, feed = heapq.heappop(slots)
            if self._open.get(feed.topic.text) is not feed:
                continue
            frame = feed.on_slot(now_ms)
            late = (now_ns - due_ns) // feed.period_ns  # slots that were missed are skipped
            heapq.heappush(slots, (due_ns + (late + 1) * feed.period_ns, number, feed))
            if frame is not None:
                yield feed.topic.text, frame

    def reference(self) -> Iterator[str]:
        return (_plain_json(reference_data(listing)) for listing in self._listings)

    def currencies(self) -> Mapping[str, Mapping[str, object]]:
        names = dict.fromkeys(name for listing in self._listings for name in (listing.quote, listing.base))
        return {name: _currency(name) for name in names}

    def _make(self, topic: Topic) -> MarketFeed:
        market = self._market.symbols[topic.symbol]
        return MbpFeed(topic, market) if topic.kind == "mbp" else make_feed(topic, market)


class _Page:
    """A :class:`~bookreel.exchange.source.SymbolPage`."""

    def __init__(self, market: SymbolMarket) -> None:
        self.symbol = market.symbol
        self._market = market

    def bars(self, period: str, first: int, last: int, size: int) -> Sequence[str]:
        return [bar_json(bar) for bar in self._market.bars.between(period, first, last, size)]

    def trades(self, size: int) -> Sequence[str]:
        newest = zip(reversed(self._market.events), range(size), strict=False)
        return [_trades(event) for event, _ in newest]

    def depth(self, step: int, levels: int) -> str:
        return depth_json(self._market, step, levels)

    def day(self) -> tuple[int, dict[str, object]]:
        return self._market.seq, _day(self._market.bars.day())

    def best(self) -> tuple[float, float, float, float]:
        return self._market.quote[2:]


def _day(bar: Bar) -> dict[str, object]:
    names = ("open", "high", "low", "close", "amount", "vol", "count")
    return {name: getattr(bar, name) for name in names}


def _trades(event: MarketEvent) -> str:
    ts_ms = event.ts_ns // 1_000_000
    trades = ",".join(trade_json(trade, ts_ms, "trade-id") for trade in event.trades)
    return f'{{"id":{event.seq},"ts":{ts_ms},"data":[{trades}]}}'


def _plain_json(entry: dict[str, object]) -> str:
    """An object whose numbers are plain decimals: the venue does not print reference data as doubles."""
    parts = []
    for key, value in entry.items():
        if isinstance(value, float):
            text = f"{value:.18f}" if key == "mgmt-fee-rate" else f"{value:.8f}".rstrip("0").rstrip(".")
        else:
            text = encode_json(value)
        parts.append(f"{encode_json(key)}:{text}")
    return "{" + ",".join(parts) + "}"


def _currency(name: str) -> dict[str, object]:
    network = _NETWORKS.get(name, name.upper())
    chain = {
        "chain": name if network != "ERC20" else f"{name}erc20",
        "displayName": network,
        "baseChain": "ETH" if network == "ERC20" else name.upper(),
        "baseChainProtocol": network,
        "isDynamic": False,
        "depositStatus": "allowed",
        "maxWithdrawAmt": "19000.00000000",
        "minDepositAmt": "0.0001",
        "minWithdrawAmt": "2",
        "numOfConfirmations": 30,
        "numOfFastConfirmations": 15,
        "transactFeeWithdraw": "0.30000000",
        "withdrawFeeType": "fixed",
        "withdrawPrecision": 8,
        "withdrawQuotaPerDay": "90000.00000000",
        "withdrawQuotaPerYear": "111000.00000000",
        "withdrawQuotaTotal": "1110000.00000000",
        "withdrawStatus": "allowed",
    }
    return {"currency": name, "assetType": 1, "chains": [chain], "instStatus": "normal"}
