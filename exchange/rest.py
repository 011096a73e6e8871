"""The REST side: reference data and market data as the venue's public endpoints give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
        self._fresh: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
        self._answers: dict[str, Callable[[Mapping[str, str]], str]] = {
            "/v1/common/symbols": self._symbols,
            "/v1/common/currencys": self._currencys,
            "/v1/common/timestamp": self._timestamp,
            "/v2/reference/currencies": self._currencies,
            "/market/history/kline": self._kline,
            "/market/history/candles": self._kline,
            "/market/detail/merged": self._merged,
            "/market/tickers": self._tickers,
            "/market/depth": self._depth,
            "/market/trade": self._trade,
            "/market/history/trade": self._history_trade,
            "/market/detail": self._detail,
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """Every endpoint."""
        return tuple(self._answers)

    def answer(self, path: str, query: Mapping[str, str]) -> str:
        """The JSON text that a GET of one of :attr:`paths` gives."""
        second = self._now_ns() // 1_000_000_000
        if second != self._second:
            self._second = second
            self._fresh.clear()
        key = path, tuple(query.items())
        body = self._fresh.get(key)
        if body is None:
            try:
                body = self._answers[path](query)
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
            if path.startswith("/market"):
                self._fresh[key] = body
        return body

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _symbol(self, query: Mapping[str, str]) -> SymbolMarket:
        name = query.get("symbol", "")
        market = self._market.symbols.get(name)
        if market is None:
            raise _Refused("invalid-parameter", "invalid symbol")
        return market

    @staticmethod
    def _size(query: Mapping[str, str], default: int) -> int:
        text = query.get("size", str(default))
        if not text.isdigit() or not 1 <= int(text) <= 2000:
            raise _Refused("invalid-parameter", "invalid size, valid range: [1,2000]")
        return int(text)

    @staticmethod
    def _second_of(query: Mapping[str, str], name: str) -> int:
        text = query.get(name, "0")
        if not text.isdigit():
            raise _Refused("invalid-parameter", f"invalid {name}")
        return int(text)

    def _envelope(self, channel: str, data: str, key: str = "data") -> str:
        return f'{{"ch":"{channel}","status":"ok","ts":{self._now_ms()},"{key}":{data}}}'

    def _symbols(self, query: Mapping[str, str]) -> str:
        entries = ",".join(_plain_json(reference_data(listing)) for listing in self._listings)
        return f'{{"status":"ok","data":[{entries}]}}'

    def _names(self) -> list[str]:
        return list(
            dict.fromkeys(name for listing in self._listings for name in (listing.quote, listing.base))
        )

    def _currencys(self, query: Mapping[str, str]) -> str:
        return encode_json({"status": "ok", "data": self._names()})

    def _timestamp(self, query: Mapping[str, str]) -> str:
        return f'{{"status":"ok","data":{self._now_ms()}}}'

    def _currencies(self, query: Mapping[str, str]) -> str:
        names = self._names()
        wanted = query.get("currency")
        if wanted is not None:
            if wanted not in names:
                return '{"code":2002,"message":"invalid field value in \\"currency\\""}'
            names = [wanted]
        return encode_json({"code": 200, "data": [_currency(name) for name in names]})

    def _kline(self, query: Mapping[str, str]) -> str:
        market, size = self._symbol(query), self._size(query, 150)
        period = query.get("period", "")
        if period not in PERIODS:
            raise _Refused("invalid-parameter", "invalid period")
        first, last = self._second_of(query, "from"), self._second_of(query, "to")
        found = market.bars.between(period, first or 0, last or _LAST_SECOND, size)
        bars = ",".join(bar_json(bar) for bar in reversed(found))
        return self._envelope(f"market.{market.symbol}.kline.{period}", f"[{bars}]")

    def _merged(self, query: Mapping[str, str]) -> str:
        market = self._symbol(query)
        quote, seq = market.quote, market.seq
        tick = {
            **_day(market.bars.day()),
            "id": seq,
            "version": seq,
            "bid": [quote.bid, quote.bid_size],
            "ask": [quote.ask, quote.ask_size],
        }
        return self._envelope(f"market.{market.symbol}.detail.merged", encode_json(tick), "tick")

    def _tickers(self, query: Mapping[str, str]) -> str:
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

    def _depth(self, query: Mapping[str, str]) -> str:
        market = self._symbol(query)
        kind, levels = query.get("type", "step0"), query.get("depth", "150")
        if kind not in {f"step{n}" for n in range(6)}:
            raise _Refused("invalid-parameter", "invalid type")
        if levels not in {"5", "10", "20", "150"}:
            raise _Refused("invalid-parameter", "invalid depth, valid values: 5, 10, 20")
        tick = depth_json(market, int(kind[-1]), int(levels))
        return self._envelope(f"market.{market.symbol}.depth.{kind}", tick, "tick")

    def _trade(self, query: Mapping[str, str]) -> str:
        market = self._symbol(query)
        if not market.events:
            return self._envelope(f"market.{market.symbol}.trade.detail", "null", "tick")
        tick = _trades(market.events[-1])
        return self._envelope(f"market.{market.symbol}.trade.detail", tick, "tick")

    def _history_trade(self, query: Mapping[str, str]) -> str:
        market, size = self._symbol(query), self._size(query, 1)
        newest = [event for event, _ in zip(reversed(market.events), range(size), strict=False)]
        return self._envelope(f"market.{market.symbol}.trade.detail", f"[{','.join(map(_trades, newest))}]")

    def _detail(self, query: Mapping[str, str]) -> str:
        market = self._symbol(query)
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
