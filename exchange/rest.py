"""The REST side: reference data and market data as the venue's public endpoints give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from bookreel.exchange.bars import PERIODS
from bookreel.exchange.huobi_wire import encode_json
from bookreel.exchange.source import Source, SymbolPage

__all__ = ["Rest"]

_LAST_SECOND = 2_556_115_200

_T = TypeVar("_T")


class _Refused(Exception):
    """A parameter that the venue would not take."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(text)


class Rest:
    """Answers from the same market as the sockets. Market data is at most a second old, as at the venue."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._now_ns = source.venue_ns
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

    def _symbol(self, query: Mapping[str, str]) -> SymbolPage:
        page = self._source.symbols.get(query.get("symbol", ""))
        if page is None:
            raise _Refused("invalid-parameter", "invalid symbol")
        return page

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
        return f'{{"status":"ok","data":[{",".join(self._source.reference())}]}}'

    def _currencys(self, query: Mapping[str, str]) -> str:
        return encode_json({"status": "ok", "data": list(self._source.currencies())})

    def _timestamp(self, query: Mapping[str, str]) -> str:
        return f'{{"status":"ok","data":{self._now_ms()}}}'

    def _currencies(self, query: Mapping[str, str]) -> str:
        known = self._source.currencies()
        wanted = query.get("currency")
        if wanted is not None:
            if wanted not in known:
                return '{"code":2002,"message":"invalid field value in \\"currency\\""}'
            known = {wanted: known[wanted]}
        return encode_json({"code": 200, "data": known.values()})

    def _kline(self, query: Mapping[str, str]) -> str:
        page, size = self._symbol(query), self._size(query, 150)
        period = query.get("period", "")
        if period not in PERIODS:
            raise _Refused("invalid-parameter", "invalid period")
        first, last = self._second_of(query, "from"), self._second_of(query, "to")
        found = _known(page.bars(period, first or 0, last or _LAST_SECOND, size))
        bars = ",".join(reversed(found))
        return self._envelope(f"market.{page.symbol}.kline.{period}", f"[{bars}]")

    def _merged(self, query: Mapping[str, str]) -> str:
        page = self._symbol(query)
        seq, day = _known(page.day())
        bid, bid_size, ask, ask_size = _known(page.best())
        tick = {**day, "id": seq, "version": seq, "bid": [bid, bid_size], "ask": [ask, ask_size]}
        return self._envelope(f"market.{page.symbol}.detail.merged", encode_json(tick), "tick")

    def _tickers(self, query: Mapping[str, str]) -> str:
        entries = []
        for page in self._source.symbols.values():
            day, best = page.day(), page.best()
            if day is not None and best is not None:
                quote = zip(("bid", "bidSize", "ask", "askSize"), best, strict=True)
                entries.append({"symbol": page.symbol, **day[1], **dict(quote)})
        return f'{{"status":"ok","ts":{self._now_ms()},"data":{encode_json(entries)}}}'

    def _depth(self, query: Mapping[str, str]) -> str:
        page = self._symbol(query)
        kind, levels = query.get("type", "step0"), query.get("depth", "150")
        if kind not in {f"step{n}" for n in range(6)}:
            raise _Refused("invalid-parameter", "invalid type")
        if levels not in {"5", "10", "20", "150"}:
            raise _Refused("invalid-parameter", "invalid depth, valid values: 5, 10, 20")
        tick = _known(page.depth(int(kind[-1]), int(levels)))
        return self._envelope(f"market.{page.symbol}.depth.{kind}", tick, "tick")

    def _trade(self, query: Mapping[str, str]) -> str:
        page = self._symbol(query)
        newest = _known(page.trades(1))
        return self._envelope(f"market.{page.symbol}.trade.detail", newest[0] if newest else "null", "tick")

    def _history_trade(self, query: Mapping[str, str]) -> str:
        page, size = self._symbol(query), self._size(query, 1)
        newest = _known(page.trades(size))
        return self._envelope(f"market.{page.symbol}.trade.detail", f"[{','.join(newest)}]")

    def _detail(self, query: Mapping[str, str]) -> str:
        page = self._symbol(query)
        seq, day = _known(page.day())
        tick = {**day, "id": seq, "version": seq}
        return self._envelope(f"market.{page.symbol}.detail", encode_json(tick), "tick")


def _known(found: _T | None) -> _T:
    """What the source knows."""
    if found is None:
        raise _Refused("bad-request", "no data")
    return found
