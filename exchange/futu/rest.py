"""What the gateway answers over REST from its market."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from bookreel.exchange.futu import bodies, reference
from bookreel.exchange.futu.door import Door, Fields, history_page, security
from bookreel.exchange.futu.hours import session, trading_days
from bookreel.exchange.futu.market import StockMarket
from bookreel.exchange.futu.subscriptions import Refusal
from bookreel.venues.futu.codes import MARKETS, PERIOD_OF, REHAB
from bookreel.venues.futu.times import local_ns

if TYPE_CHECKING:
    from bookreel.exchange.futu.gateway import Gateway

__all__ = ["Rest"]

_STATE_FIELDS: Final = {"HK": "market_hk", "US": "market_us", "SH": "market_sh", "SZ": "market_sz"}
_TRADING_MARKETS: Final = {1: "HK", 2: "US", 3: "SH"}
"""``/api/trading-days`` has a numbering of its own."""


class Rest(Door):
    """Answers requests from the state of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._connection = 1
        handlers = {
            "global-state": self._global_state,
            "ping": self._global_state,
            "user-info": self._user_info,
            "push-subscriber-info": self._health,
            "quote": self._quote,
            "kline": self._kline,
            "history-kline": self._history_kline,
            "rt": lambda fields: bodies.to_json(bodies.time_points(self._live(fields, "rt"))),
            "ticker": self._ticker,
            "orderbook": self._orderbook,
            "broker": lambda fields: bodies.to_json(bodies.brokers(self._live(fields, "broker"))),
            "snapshot": self._snapshot,
            "market-state": self._market_state,
            "static-info": self._static_info,
            "trading-days": self._trading_days,
        }
        super().__init__(
            gateway, handlers, lambda name, fields: reference.answer(name, fields, gateway.market.stocks)
        )

    def restarted(self) -> None:
        """The gateway forgets what it counted."""
        self.history.clear()
        self._connection += 1

    def name(self, symbol: str) -> str:
        return self._gateway.market.stocks[symbol].listing.name

    def _stocks(self, fields: Fields) -> list[StockMarket]:
        return [self._gateway.stock(symbol) for symbol in self.symbols(fields)]

    def _live(self, fields: Fields, feed: str) -> StockMarket:
        """The security, which must be subscribed in this kind."""
        self.check_logined()
        stock = self._gateway.stock(fields["symbol"])
        self.check_subscribed(stock.symbol, feed)
        return stock

    # The gateway itself.

    def _global_state(self, fields: Fields) -> Fields:
        gateway = self._gateway
        now_ns = gateway.now_ns()
        always = gateway.config.hours == "always"
        states = {
            name: 3 if always else session(MARKETS[market], now_ns).state
            for market, name in _STATE_FIELDS.items()
        }
        return states | {
            "market_hk_future": 6,
            "qot_logined": gateway.logined,
            "trd_logined": False,
            "server_ver": 1004,
            "server_build_no": 7108,
            "time": now_ns // 1_000_000_000,
            "local_time": now_ns // 1000 / 1e6,
            "program_status": {"type": 10, "str_ext_desc": gateway.config.version},
            "conn_id": self._connection,
        }

    def _user_info(self, fields: Fields) -> Fields:
        return {
            "nick_name": "bookreel", "user_id": 9_007_199_254_740_993, "sub_quota": self._gateway.subs.quota,
            "history_kl_quota": 100, "hk_qot_right": 3, "us_qot_right": 2, "cn_qot_right": 2,
        }  # fmt: skip

    def _health(self, fields: Fields) -> Fields:
        pusher = self._gateway.pusher
        return {
            "push_stream_healthy": pusher.quiet is None,
            "last_push_received_at_ms": None if pusher.last_ns is None else pusher.last_ns // 1_000_000,
            "consecutive_parse_errors": 0,
            "total_pushes_received": pusher.n,
            "resubscribe_triggers": 0,
            "circuit_breaker_trips": self._gateway.trips,
            "qot_login_health": {"qot_logined": self._gateway.logined},
        }

    # Market data.

    def _quote(self, fields: Fields) -> Fields:
        symbols = fields.get("symbols") or [fields["symbol"]]
        return bodies.to_json(bodies.quote([self._live({"symbol": symbol}, "quote") for symbol in symbols]))

    def _orderbook(self, fields: Fields) -> Fields:
        return bodies.to_json(bodies.book(self._live(fields, "orderbook"), depth=fields["depth"]))

    def _ticker(self, fields: Fields) -> Fields:
        stock = self._live(fields, "ticker")
        newest = list(stock.ticks)[-min(1000, max(1, fields["count"])) :]
        return bodies.to_json(bodies.ticks(stock, newest, self._gateway.now_ns()))

    def _bars(self, stock: StockMarket, fields: Fields, count: int) -> Fields:
        content = bodies.to_json(bodies.bars(stock, self._period(fields), fields["rehab_type"], count))
        return {"security": content["security"], "name": content["name"], "kl_list": content["kl_list"]}

    def _period(self, fields: Fields) -> str:
        period = PERIOD_OF.get(fields["kl_type"])
        if period is None or not 0 <= fields["rehab_type"] < len(REHAB):
            raise Refusal(f"unsupported kl_type {fields['kl_type']} or rehab_type {fields['rehab_type']}")
        return period

    def _kline(self, fields: Fields) -> Fields:
        stock = self._live(fields, f"kline.{self._period(fields)}")
        return self._bars(stock, fields, min(1000, max(1, fields["req_num"])))

    def _history_kline(self, fields: Fields) -> Fields:
        stock = self._gateway.stock(fields["symbol"])
        self.history.add(stock.symbol)
        return history_page(self._bars(stock, fields, 400), fields)

    def _snapshot(self, fields: Fields) -> Fields:
        return {"snapshot_list": [bodies.snapshot(stock) for stock in self._stocks(fields)]}

    def _market_state(self, fields: Fields) -> Fields:
        now_ns = self._gateway.now_ns()
        return {
            "market_info_list": [
                {
                    "security": security(stock.symbol),
                    "name": stock.listing.name,
                    "market_state": stock.session(now_ns).state,
                }
                for stock in self._stocks(fields)
            ]
        }

    def _static_info(self, fields: Fields) -> Fields:
        return {"static_info_list": [reference.static_info(stock) for stock in self._stocks(fields)]}

    def _trading_days(self, fields: Fields) -> Fields:
        market = _TRADING_MARKETS.get(fields["market"])
        if market is None:
            raise Refusal(f"unsupported market {fields['market']}")
        begin, end = (_date(fields[name]) for name in ("begin_time", "end_time"))
        if not 0 <= (end - begin).days <= 366:
            raise Refusal("begin_time and end_time must span at most a year")
        zone = MARKETS[market].zone
        return {
            "trade_date_list": [
                {"time": f"{day}", "timestamp": (local_ns(f"{day}", zone) or 0) / 1e9, "trade_date_type": 0}
                for day in trading_days(begin, end)
            ]
        }


def _date(text: str) -> date:
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise Refusal(f"invalid date {text!r}") from None
