"""The REST side: reference data and market data as the venue's public endpoints give them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from bookreel.exchange.bars import PERIODS, Bar
from bookreel.exchange.feeds import bar_json, depth_json, trade_json
from bookreel.exchange.huobi_wire import encode_json
from bookreel.exchange.listing import DELISTED, Listing, reference_data
from bookreel.exchange.market import Market, MarketEvent, SymbolMarket

__all__ = ["Rest"]

_LAST_SECOND = 2_556_115_200
_NETWORKS = {"btc": "OMNI", "usdt": "ERC20"}


class _Refused(Exception):
    """A parameter that the venue would not take."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(text)


class Rest:
    """Answers from the same market as the sockets. Market data is at most a second old, as at the venue."""

    def __init__(self, market: Market, listings: Sequence[Listing], now_ns: Callable[[], int]) -> None:
        self._market = market
        self._listings = [*listings, *DELISTED.values()]
        self._now_ns = now_ns
        self._second = 0
        self._fresh: dict[str, str] = {}

    def add_routes(self, app: web.Application) -> None:
        """Register every endpoint."""
        for path, answer in (
            ("/v1/common/symbols", self._symbols),
            ("/v1/common/currencys", self._currencys),
            ("/v1/common/timestamp", self._timestamp),
            ("/v2/reference/currencies", self._currencies),
            ("/market/history/kline", self._kline),
            ("/market/history/candles", self._kline),
            ("/market/detail/merged", self._merged),
            ("/market/tickers", self._tickers),
            ("/market/depth", self._depth),
            ("/market/trade", self._trade),
            ("/market/history/trade", self._history_trade),
            ("/market/detail", self._detail),
        ):
            app.router.add_get(path, self._handler(answer, keep=path.startswith("/market")))

    def _handler(
        self, answer: Callable[[web.Request], str], *, keep: bool
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            if request.can_read_body:
                return web.Response(status=403, text="Forbidden")
            second = self._now_ns() // 1_000_000_000
            if second != self._second:
                self._second = second
                self._fresh.clear()
            body = self._fresh.get(request.path_qs)
            if body is None:
                try:
                    body = answer(request)
                except _Refused as refused:
                    body = encode_json(
                        {
                            "ts": self._now_ms(),
                            "status": "error",
                            "err-code": refused.code,
                            "err-msg": refused.text,
                            "data": None,
                        }
                    )
                if keep:
                    self._fresh[request.path_qs] = body
            return web.Response(text=body, content_type="application/json")

        return handle

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _symbol(self, request: web.Request) -> SymbolMarket:
        name = request.query.get("symbol", "")
        market = self._market.symbols.get(name)
        if market is None:
            raise _Refused("invalid-parameter", "invalid symbol")
        return market

    @staticmethod
    def _size(request: web.Request, default: int) -> int:
        text = request.query.get("size", str(default))
        if not text.isdigit() or not 1 <= int(text) <= 2000:
            raise _Refused("invalid-parameter", "invalid size, valid range: [1,2000]")
        return int(text)

    @staticmethod
    def _second_of(request: web.Request, name: str) -> int:
        text = request.query.get(name, "0")
        if not text.isdigit():
            raise _Refused("invalid-parameter", f"invalid {name}")
        return int(text)

    def _envelope(self, channel: str, data: str, key: str = "data") -> str:
        return f'{{"ch":"{channel}","status":"ok","ts":{self._now_ms()},"{key}":{data}}}'

    def _symbols(self, request: web.Request) -> str:
        entries = ",".join(_plain_json(reference_data(listing)) for listing in self._listings)
        return f'{{"status":"ok","data":[{entries}]}}'

    def _names(self) -> list[str]:
        return list(
            dict.fromkeys(name for listing in self._listings for name in (listing.quote, listing.base))
        )

    def _currencys(self, request: web.Request) -> str:
        return encode_json({"status": "ok", "data": self._names()})

    def _timestamp(self, request: web.Request) -> str:
        return f'{{"status":"ok","data":{self._now_ms()}}}'

    def _currencies(self, request: web.Request) -> str:
        names = self._names()
        wanted = request.query.get("currency")
        if wanted is not None:
            if wanted not in names:
                return '{"code":2002,"message":"invalid field value in \\"currency\\""}'
            names = [wanted]
        return encode_json({"code": 200, "data": [_currency(name) for name in names]})

    def _kline(self, request: web.Request) -> str:
        market, size = self._symbol(request), self._size(request, 150)
        period = request.query.get("period", "")
        if period not in PERIODS:
            raise _Refused("invalid-parameter", "invalid period")
        first, last = self._second_of(request, "from"), self._second_of(request, "to")
        found = market.bars.between(period, first or 0, last or _LAST_SECOND, size)
        bars = ",".join(bar_json(bar) for bar in reversed(found))
        return self._envelope(f"market.{market.symbol}.kline.{period}", f"[{bars}]")

    def _merged(self, request: web.Request) -> str:
        market = self._symbol(request)
        quote, seq = market.quote, market.seq
        tick = {
            **_day(market.bars.day()),
            "id": seq,
            "version": seq,
            "bid": [quote.bid, quote.bid_size],
            "ask": [quote.ask, quote.ask_size],
        }
        return self._envelope(f"market.{market.symbol}.detail.merged", encode_json(tick), "tick")

    def _tickers(self, request: web.Request) -> str:
        entries = []
        for market in self._market.symbols.values():
            quote = market.quote
            entries.append(
                {
                    "symbol": market.symbol,
                    **_day(market.bars.day()),
                    "bid": quote.bid,
                    "bidSize": quote.bid_size,
                }
                | {"ask": quote.ask, "askSize": quote.ask_size}
            )
        return f'{{"status":"ok","ts":{self._now_ms()},"data":{encode_json(entries)}}}'

    def _depth(self, request: web.Request) -> str:
        market = self._symbol(request)
        kind, levels = request.query.get("type", "step0"), request.query.get("depth", "150")
        if kind not in {f"step{n}" for n in range(6)}:
            raise _Refused("invalid-parameter", "invalid type")
        if levels not in {"5", "10", "20", "150"}:
            raise _Refused("invalid-parameter", "invalid depth, valid values: 5, 10, 20")
        tick = depth_json(market, int(kind[-1]), int(levels))
        return self._envelope(f"market.{market.symbol}.depth.{kind}", tick, "tick")

    def _trade(self, request: web.Request) -> str:
        market = self._symbol(request)
        if not market.events:
            return self._envelope(f"market.{market.symbol}.trade.detail", "null", "tick")
        tick = _trades(market.events[-1])
        return self._envelope(f"market.{market.symbol}.trade.detail", tick, "tick")

    def _history_trade(self, request: web.Request) -> str:
        market, size = self._symbol(request), self._size(request, 1)
        newest = [event for event, _ in zip(reversed(market.events), range(size), strict=False)]
        return self._envelope(f"market.{market.symbol}.trade.detail", f"[{','.join(map(_trades, newest))}]")

    def _detail(self, request: web.Request) -> str:
        market = self._symbol(request)
        tick = {**_day(market.bars.day()), "id": market.seq, "version": market.seq}
        return self._envelope(f"market.{market.symbol}.detail", encode_json(tick), "tick")


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
