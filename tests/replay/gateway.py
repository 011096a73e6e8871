"""A recording of the gateway of stocks, at times of the test's choosing."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bookreel.venues.futu.exchanges import answered_text, asked_text
from bookreel.venues.futu.proto import message_class
from bookreel.venues.futu.requests import Call, call, subscribe
from bookreel.venues.futu.symbols import sec_key
from tests.storage.conftest import Recording

__all__ = ["FEEDS", "Gateway"]

FEEDS: Final = ("orderbook", "ticker", "quote", "broker", "rt", "kline.1min")

_HK: Final = "HK.00700"
_LINE: Final = "push-0"
_OK: Final = {"ret_type": 0, "s2c": {}}


class Gateway(Recording):
    """One archive being recorded; see :class:`Recording`. A level is (price, volume, number of orders)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "futu")

    def subscribe(self, at: float, *symbols: str, feeds: Sequence[str] = FEEDS) -> int:
        """Over a new connection; the position of the answer, which begins the streams."""
        self.event("connect", at, _LINE, url="ws://gateway/ws")
        return self.asked(at, subscribe(list(symbols or (_HK,)), list(feeds)), _OK, _LINE)

    def lose(self, at: float) -> None:
        """The connection."""
        self.event("disconnect", at, _LINE, cause="disconnect", detail="cut")

    def asked(self, at: float, request: Call, answer: Any, conn: str = "rest") -> int:
        """A question and its answer."""
        self.sent(at, asked_text(request), conn)
        text = answered_text(request, 200, json.dumps(answer).encode())
        return self.frame(at, text.decode(), conn)

    def book(self, at: float, bids: Any, asks: Any, symbol: str = _HK) -> int:
        return self._push(
            at,
            symbol,
            3013,
            "OrderBook",
            order_book_bid_list=_levels(bids),
            order_book_ask_list=_levels(asks),
        )

    def asked_book(self, at: float, bids: Any, asks: Any, symbol: str = _HK) -> int:
        told: dict[str, Any] = {"security": _security(symbol)}
        told |= {"order_book_bid_list": _levels(bids), "order_book_ask_list": _levels(asks)}
        request = call("orderbook", symbol=symbol, depth=10)
        return self.asked(at, request, {"ret_type": 0, "s2c": told})

    def ticks(
        self, at: float, *sequences: int, side: int = 1, time: str = "", symbol: str = _HK, **further: Any
    ) -> int:
        common = {"time": time, "dir": side, "price": 300.2, "volume": 100, "turnover": 30020.0} | further
        ticks = [common | {"sequence": sequence} for sequence in sequences]
        return self._push(at, symbol, 3011, "Ticker", ticker_list=ticks)

    def quote(self, at: float, price: float, symbol: str = _HK) -> int:
        figures = dict.fromkeys(
            ("high_price", "open_price", "low_price", "last_close_price", "turnover", "turnover_rate"), 1.5
        )
        quote = {
            "security": _security(symbol),
            "is_suspended": False,
            "list_time": "2004-06-16",
            "price_spread": 0.2,
            "update_time": "",
            "cur_price": price,
            "volume": 5,
            "amplitude": 0.5,
            **figures,
        }
        return self._send(at, 3005, "BasicQot", basic_qot_list=[quote])

    def queue(self, at: float, bids: Sequence[int], asks: Sequence[int], symbol: str = _HK) -> int:
        sides = (
            [{"id": broker, "name": f"b{broker}", "pos": place} for place, broker in enumerate(side, 1)]
            for side in (bids, asks)
        )
        bid, ask = sides
        return self._push(at, symbol, 3015, "Broker", broker_bid_list=bid, broker_ask_list=ask)

    def minute(self, at: float, price: float, symbol: str = _HK) -> int:
        point = {"time": "", "minute": 571, "is_blank": False, "price": price, "timestamp": 1_700_000_040.0}
        return self._push(at, symbol, 3009, "RT", rt_list=[point])

    def bar(self, at: float, close: float, symbol: str = _HK) -> int:
        bar = dict.fromkeys(("open_price", "high_price", "low_price"), 1.5)
        times = {"time": "", "is_blank": False, "timestamp": 1_700_000_040.0}
        return self._push(
            at, symbol, 3007, "KL", rehab_type=0, kl_type=1, kl_list=[{**times, **bar, "close_price": close}]
        )

    def _push(self, at: float, symbol: str, proto_id: int, name: str, **fields: Any) -> int:
        return self._send(at, proto_id, name, security=_security(symbol), **fields)

    def _send(self, at: float, proto_id: int, name: str, **fields: Any) -> int:
        message = message_class(f"Update{name}")(**fields)
        body = message_class(f"Update{name}Response")(ret_type=0, s2c=message).SerializeToString()
        frame = {"type": "quote", "proto_id": proto_id, "body_b64": base64.b64encode(body).decode()}
        return self.frame(at, json.dumps(frame), _LINE)


def _security(symbol: str) -> dict[str, Any]:
    market, _, code = sec_key(symbol).partition("_")
    return {"market": int(market), "code": code}


def _levels(levels: Any) -> list[dict[str, Any]]:
    return [{"price": price, "volume": volume, "oreder_count": orders} for price, volume, orders in levels]
