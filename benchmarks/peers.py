"""Other people's books over the same frames, in an environment of their own; nothing of bookreel is imported.

Started by ``conftest.py`` with a file of frames. It then does as it is told, one JSON line each way:
``{"do": "prepare" | "run" | "best" | "versions", "peer": name}``. What is prepared is not what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any, Protocol

Best = tuple[float, float]


class Peer(Protocol):
    """One way to do it. ``prepare`` before each ``run``; ``best`` is the (bid, ask) it ended with."""

    def prepare(self) -> None: ...

    def run(self) -> None: ...

    def best(self) -> Best: ...


class OrderBookApply:
    """The C book of bmoscon/orderbook: levels set and removed, nothing looked at."""

    def __init__(self, data: dict[str, Any]) -> None:
        from order_book import OrderBook

        self._make = OrderBook
        self._bids, self._asks = dict(data["bids"]), dict(data["asks"])
        self._deltas = [(as_pairs(bids), as_pairs(asks)) for _, bids, asks in data["deltas"]]

    def prepare(self) -> None:
        self._book = self._make()
        self._book.bids = self._bids
        self._book.asks = self._asks

    def run(self) -> None:
        book = self._book
        for bids, asks in self._deltas:
            put(book.bids, bids)
            put(book.asks, asks)

    def best(self) -> Best:
        return self._book.bids.index(0)[0], self._book.asks.index(0)[0]


class OrderBookBest(OrderBookApply):
    """The same, with the best bid and ask looked at after each delta."""

    def run(self) -> None:
        book = self._book
        for bids, asks in self._deltas:
            put(book.bids, bids)
            put(book.asks, asks)
            book.bids.index(0)
            book.asks.index(0)


class Ccxt:
    """ccxt's book in Python, whose sides are sorted lists: levels set and removed, best prices looked at."""

    def __init__(self, data: dict[str, Any]) -> None:
        from ccxt.async_support.base.ws.order_book import OrderBook

        self._make = lambda: OrderBook({"bids": data["bids"], "asks": data["asks"]})
        self._deltas = [(as_pairs(bids), as_pairs(asks)) for _, bids, asks in data["deltas"]]

    def prepare(self) -> None:
        self._book = self._make()

    def run(self) -> None:
        bids, asks = self._book["bids"], self._book["asks"]
        for bid_levels, ask_levels in self._deltas:
            for price, size in bid_levels:
                bids.store(price, size)
            for price, size in ask_levels:
                asks.store(price, size)
            self._best = (bids[0][0], asks[0][0])

    def best(self) -> Best:
        return self._best


class NautilusApply:
    """nautilus_trader's L2 book: its own delta objects, made before, applied; best prices looked at."""

    def __init__(self, data: dict[str, Any]) -> None:
        from nautilus_trader.model.book import OrderBook
        from nautilus_trader.model.enums import BookType
        from nautilus_trader.model.identifiers import InstrumentId

        self._data = data
        self._id = InstrumentId.from_str("BTCUSDT.HUOBI")
        self._new = lambda: OrderBook(self._id, BookType.L2_MBP)
        self._first = self._convert(0, data["bids"], data["asks"])
        self._deltas: list[Any] = []

    def prepare(self) -> None:
        self._deltas = self._deltas or self._convert_all()
        self._book = self._new()
        self._book.apply_deltas(self._first)

    def run(self) -> None:
        book = self._book
        for deltas in self._deltas:
            book.apply_deltas(deltas)
            book.best_bid_price()
            book.best_ask_price()

    def best(self) -> Best:
        return float(self._book.best_bid_price()), float(self._book.best_ask_price())

    def _convert_all(self) -> list[Any]:
        return [self._convert(ts, bids, asks) for ts, bids, asks in self._data["deltas"]]

    def _convert(self, ts: int, bids: list[list[float]], asks: list[list[float]]) -> Any:
        from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
        from nautilus_trader.model.enums import BookAction, OrderSide
        from nautilus_trader.model.objects import Price, Quantity

        instrument, digits, size_digits = self._id, self._data["price_digits"], self._data["size_digits"]
        made = []
        for side, levels in ((OrderSide.BUY, bids), (OrderSide.SELL, asks)):
            for price, size in levels:
                action = BookAction.UPDATE if size else BookAction.DELETE
                order = BookOrder(side, Price(price, digits), Quantity(size, size_digits), 0)
                made.append(OrderBookDelta(instrument, action, order, 0, 0, ts, ts))
        # Deltas without a level do not exist there.
        return OrderBookDeltas(instrument, made) if made else OrderBookDeltas(instrument, self._nothing(ts))

    def _nothing(self, ts: int) -> list[Any]:
        from nautilus_trader.model.data import BookOrder, OrderBookDelta
        from nautilus_trader.model.enums import BookAction, OrderSide
        from nautilus_trader.model.objects import Price, Quantity

        order = BookOrder(OrderSide.BUY, Price(0.0, 1), Quantity(0.0, 1), 0)
        return [OrderBookDelta(self._id, BookAction.DELETE, order, 0, 0, ts, ts)]


class NautilusBuild(NautilusApply):
    """Making those objects from floats."""

    def prepare(self) -> None:
        self._deltas = []

    def run(self) -> None:
        self._deltas = self._convert_all()

    def best(self) -> Best:
        super().prepare()
        super().run()
        return super().best()


class HftBacktest:
    """hftbacktest's backtest over an event array: its hash map book, twice (exchange and local), compiled by
    numba; best prices looked at after each feed event.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        import hftbacktest as hft
        import numpy as np
        from numba import njit

        self._hft = hft
        self._tick, self._lot = 10.0 ** -data["price_digits"], 10.0 ** -data["size_digits"]
        flags = hft.EXCH_EVENT | hft.LOCAL_EVENT
        sides = hft.BUY_EVENT, hft.SELL_EVENT
        rows = []
        now = 0
        whole = [(data["deltas"][0][0] - 1, data["bids"], data["asks"])]
        for ts, *levels in [*whole, *data["deltas"]]:
            # Two deltas of one instant would be one feed event.
            now = max(now + 2, ts)
            for side, changed in zip(sides, levels, strict=True):
                rows += [(hft.DEPTH_EVENT | flags | side, now, now + 1, p, s, 0, 0, 0.0) for p, s in changed]
        self._events = np.array(rows, hft.types.event_dtype)

        @njit  # type: ignore[untyped-decorator]
        def run(hbt: Any) -> tuple[int, float, float]:
            feeds = 0
            bid = ask = 0.0
            while hbt.wait_next_feed(False, 3_600_000_000_000) == 2:
                depth = hbt.depth(0)
                bid, ask = depth.best_bid, depth.best_ask
                feeds += 1
            # The last feed event ends the data, and is not answered with 2.
            depth = hbt.depth(0)
            bid, ask = depth.best_bid, depth.best_ask
            return feeds, bid, ask

        self._run = run

    def prepare(self) -> None:
        asset = (
            self._hft.BacktestAsset()
            .data(self._events)
            .linear_asset(1.0)
            .constant_order_latency(0, 0)
            .power_prob_queue_model(2.0)
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(self._tick)
            .lot_size(self._lot)
        )
        self._hbt = self._hft.HashMapMarketDepthBacktest([asset])

    def run(self) -> None:
        self._feeds, bid, ask = self._run(self._hbt)
        self._best = (bid, ask)

    def best(self) -> Best:
        return self._best


class Cryptofeed:
    """cryptofeed's Huobi feed: its handler of one frame as received, to its book in the callback."""

    def __init__(self, data: dict[str, Any]) -> None:
        from cryptofeed.defines import HUOBI, L2_BOOK
        from cryptofeed.exchanges import Huobi
        from cryptofeed.symbols import Symbols

        # It splits names at a dash; where the base ends does not matter here.
        symbols = {f"{name[:-3]}-{name[-3:]}".upper(): name for name in data["depth_symbols"]}
        Symbols.set(HUOBI, symbols, {"instrument_type": dict.fromkeys(symbols, "spot")})
        self._frames = [base64.b64decode(text) for text in data["depth"]]
        self._seen: Any = None

        async def callback(book: Any, _: float) -> None:
            self._seen = book

        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._feed = Huobi(symbols=list(symbols), channels=[L2_BOOK], callbacks={L2_BOOK: callback})

    def prepare(self) -> None:
        return

    def run(self) -> None:
        self._loop.run_until_complete(self._handle())

    async def _handle(self) -> None:
        handle = self._feed.message_handler
        for frame in self._frames:
            await handle(frame, None, 0.0)

    def best(self) -> Best:
        book = self._seen.book
        return float(book.bids.index(0)[0]), float(book.asks.index(0)[0])


PEERS: dict[str, tuple[str, type]] = {
    "order_book_apply": ("order-book", OrderBookApply),
    "order_book_best": ("order-book", OrderBookBest),
    "ccxt": ("ccxt", Ccxt),
    "nautilus_apply": ("nautilus_trader", NautilusApply),
    "nautilus_build": ("nautilus_trader", NautilusBuild),
    "hftbacktest": ("hftbacktest", HftBacktest),
    "cryptofeed": ("cryptofeed", Cryptofeed),
}
"""Name -> (distribution, class)."""


def put(side: Any, levels: list[tuple[float, float]]) -> None:
    """Set or remove levels of one side of a C book."""
    for price, size in levels:
        if size:
            side[price] = size
        elif price in side:
            del side[price]


def as_pairs(levels: list[list[float]]) -> list[tuple[float, float]]:
    return [(price, size) for price, size in levels]


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found = {}
    for distribution in sorted({distribution for distribution, _ in PEERS.values()}):
        try:
            found[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    data = json.loads(Path(sys.argv[1]).read_bytes())
    # Whatever a library prints goes where errors go.
    answers, sys.stdout = sys.stdout, sys.stderr
    made: dict[str, Peer] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        name, verb = asked.get("peer", ""), asked["do"]
        answer: Any = None
        if verb == "versions":
            answer = versions()
        elif verb == "prepare":
            try:
                if name not in made:
                    made[name] = PEERS[name][1](data)
                made[name].prepare()
            except ImportError as error:
                answer = {"missing": f"not installed ({error})"}
        elif verb == "run":
            made[name].run()
        else:
            answer = made[name].best()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
