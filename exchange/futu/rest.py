"""The gateway's REST endpoints: keys and scopes, fields, and answers in the gateway's envelope."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from bookreel.exchange.futu import bodies, reference
from bookreel.exchange.futu.hours import session, trading_days
from bookreel.exchange.futu.market import StockMarket
from bookreel.exchange.futu.subscriptions import Refusal
from bookreel.exchange.futu.truth import TruthSub
from bookreel.venues.errors import BadSymbol
from bookreel.venues.futu.codes import MARKET_NUMBERS, MARKETS, PERIOD_OF, REHAB, SUB_TYPES
from bookreel.venues.futu.endpoints import ENDPOINTS, FIELD_KINDS, MAX_SYMBOLS, PREFIX, Scope
from bookreel.venues.futu.feeds import FEED_OF
from bookreel.venues.futu.symbols import make_symbol
from bookreel.venues.futu.times import local_ns

if TYPE_CHECKING:
    from bookreel.exchange.futu.gateway import Gateway

__all__ = ["Answer", "Rest"]

Fields = dict[str, Any]

_ALIASES: Final[dict[str, str]] = {
    "security": "symbol",
    "code": "symbol",
    "security_list": "symbols",
    "stocks": "symbols",
    "sub_type_list": "sub_types",
    "max_ret_num": "count",
    "max_ack_kl_num": "max_count",
}
_ALIASES_OF: Final[dict[str, dict[str, str]]] = {
    "kline": {"count": "req_num"},
    "history-kline": {"count": "max_count", "req_num": "max_count"},
    "orderbook": {"num": "depth"},
}
"""Other names of fields, everywhere and at one endpoint."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_STATE_FIELDS: Final = {"HK": "market_hk", "US": "market_us", "SH": "market_sh", "SZ": "market_sz"}
_TRADING_MARKETS: Final = {1: "HK", 2: "US", 3: "SH"}
"""``/api/trading-days`` has a numbering of its own."""
_TYPES: Final[dict[str, tuple[type, str]]] = {
    "int": (int, "i32"),
    "bool": (bool, "bool"),
    "ints": (list, "sequence"),
}


class Answer(NamedTuple):
    """Status and JSON body."""

    status: int
    body: bytes


class Rest:
    """Answers requests from the state of a gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._history: set[str] = set()
        self._connection = 1
        self._handlers: dict[str, Callable[[Fields], Any]] = {
            "global-state": self._global_state,
            "ping": self._global_state,
            "user-info": self._user_info,
            "push-subscriber-info": self._health,
            "subscribe": self._subscribe,
            "unsubscribe": self._subscribe,
            "query-subscription": self._subscribed,
            "sub-info": self._subscribed,
            "used-quota": self._used_quota,
            "quote": self._quote,
            "kline": self._kline,
            "history-kline": self._history_kline,
            "history-kl-quota": self._history_quota,
            "rt": lambda fields: bodies.to_json(bodies.time_points(self._live(fields, "rt"))),
            "ticker": self._ticker,
            "orderbook": self._orderbook,
            "broker": lambda fields: bodies.to_json(bodies.brokers(self._live(fields, "broker"))),
            "snapshot": self._snapshot,
            "market-state": self._market_state,
            "static-info": self._static_info,
            "trading-days": self._trading_days,
        }

    def restarted(self) -> None:
        """The gateway forgets what it counted."""
        self._history.clear()
        self._connection += 1

    def allowed(self, key: str | None, scope: Scope) -> Answer | None:
        """None where the key may do it; else the refusal."""
        keys = self._gateway.config.keys
        if not keys or scope == "public":
            return None
        if key is None or key not in keys:
            return _json(401, {"error": "unauthorized"})
        scopes = keys[key]
        transitional = scope == "qot:state" and not self._gateway.config.strict_state and "qot:read" in scopes
        if scope in scopes or transitional:
            return None
        return _json(403, {"error": "forbidden"})

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer:
        """The answer to one request."""
        endpoint = ENDPOINTS.get(path.removeprefix(PREFIX)) if path.startswith(PREFIX) else None
        if endpoint is None:
            return _json(404, {"error": "not found"})
        if method not in ("GET", "POST") or (method == "GET" and not endpoint.get):
            return _json(405, {"error": "method not allowed"})
        refusal = self.allowed(key, endpoint.scope)
        if refusal is not None:
            return refusal
        try:
            fields = self._fields(endpoint.name, body) if method == "POST" else {}
            handler = self._handlers.get(endpoint.name)
            if handler is not None:
                s2c = handler(fields)
            else:
                s2c = reference.answer(endpoint.name, fields, self._gateway.market.stocks)
        except Refusal as refused:
            return _envelope(refused.ret_type, refused.reason, None)
        if endpoint.proto_id is None:
            return _json(200, s2c)
        return _envelope(0, None, s2c)

    def _fields(self, name: str, body: bytes) -> Fields:
        """The request's fields in canonical spelling. Raises ``Refusal`` for what the endpoint does not take."""
        try:
            given = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Refusal(f"invalid JSON: {error}", -500) from None
        if isinstance(given.get("c2s"), dict):
            given = given["c2s"]
        endpoint = ENDPOINTS[name]
        known = {one for choice in endpoint.required for one in choice.split("|")} | set(endpoint.optional)
        aliases = _ALIASES | _ALIASES_OF.get(name, {})
        fields: Fields = {}
        for spelled, value in given.items():
            field = _HUMP.sub(r"_\1", spelled).lower()
            if field == "is_unsub_all":
                raise Refusal("is_unsub_all is not supported over REST")
            if field not in known:
                field = aliases.get(field, field)
            if field == "header" or value is None:
                continue
            if field not in known:
                raise Refusal(f"unknown field `{spelled}`")
            fields[field] = _value(field, value)
        for choice in endpoint.required:
            if not any(one in fields for one in choice.split("|")):
                raise Refusal(f"missing field `{choice.split('|')[0]}`")
        return fields

    def _stock(self, symbol: str) -> StockMarket:
        stock = self._gateway.market.stocks.get(symbol)
        if stock is None or self._gateway.refused.get(symbol, 0) > self._gateway.now_ns():
            raise Refusal(f"unknown stock {symbol}")
        return stock

    def _stocks(self, fields: Fields) -> list[StockMarket]:
        symbols = fields["symbols"] if "symbols" in fields else [fields["symbol"]]
        if len(symbols) > MAX_SYMBOLS:
            raise Refusal(f"too many symbols: {len(symbols)}, at most {MAX_SYMBOLS}")
        return [self._stock(symbol) for symbol in symbols]

    def _live(self, fields: Fields, feed: str) -> StockMarket:
        """The security, which must be subscribed in this kind."""
        self._logined()
        stock = self._stock(fields["symbol"])
        if self._gateway.subs.get(stock.symbol, SUB_TYPES[feed]) is None:
            raise Refusal(f"{stock.symbol} is not subscribed in sub_type {SUB_TYPES[feed]}: subscribe first")
        return stock

    def _logined(self) -> None:
        if not self._gateway.logined:
            raise Refusal("quote backend is not connected", -200)

    # Subscriptions.

    def _subscribe(self, fields: Fields) -> Fields:
        gateway = self._gateway
        self._logined()
        stocks = self._stocks(fields)
        kinds: list[int] = fields["sub_types"]
        if not stocks or not kinds:
            raise Refusal("symbols and sub_types must not be empty")
        for kind in kinds:
            if kind not in FEED_OF:
                raise Refusal(f"unsupported sub_type {kind}")
        now_ns = gateway.now_ns()
        symbols = [stock.symbol for stock in stocks]
        on: bool = fields["is_sub_or_un_sub"]
        if not on:
            for ended in gateway.subs.remove(symbols, kinds, now_ns):
                gateway.truth.write(TruthSub, symbol=ended.symbol, sub_type=ended.sub_type, on=False)
            return {}
        pushed: bool = fields.get("is_reg_or_un_reg_push", False)
        rehab: int = (fields.get("reg_push_rehab_type_list") or [1])[0]
        begun = gateway.subs.add(symbols, kinds, now_ns, pushed=pushed, rehab=rehab)
        for one in begun:
            gateway.truth.write(
                TruthSub, symbol=one.symbol, sub_type=one.sub_type, on=True, pushed=one.pushed
            )
        if pushed and fields.get("is_first_push", True):
            for one in begun:
                gateway.pusher.first(one, now_ns)
        return {}

    def _subscribed(self, fields: Fields) -> Fields:
        subs = self._gateway.subs
        kinds: dict[int, list[Fields]] = {}
        for one in subs.all():
            kinds.setdefault(one.sub_type, []).append(
                reference.security(self._gateway.market.stocks[one.symbol])
            )
        infos = [
            {"sub_type": kind, "security_list": securities} for kind, securities in sorted(kinds.items())
        ]
        connection = {"sub_info_list": infos, "used_quota": subs.used, "is_own_conn_data": True}
        return {
            "conn_sub_info_list": [connection],
            "total_used_quota": subs.used,
            "remain_quota": subs.quota - subs.used,
        }

    def _used_quota(self, fields: Fields) -> Fields:
        return {"used_sub_quota": self._gateway.subs.used, "used_k_line_quota": len(self._history)}

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
        """Bars between two times, a page of them, oldest first; the key of the next page is where it begins."""
        stock = self._stock(fields["symbol"])
        self._history.add(stock.symbol)
        content = self._bars(stock, fields, 400)
        begin, end = (
            fields["begin_time"],
            fields["end_time"] + ("" if " " in fields["end_time"] else " 23:59:59"),
        )
        begin = max(begin, fields.get("next_req_key") or begin)
        bars = [bar for bar in content["kl_list"] if begin <= bar["time"] <= end]
        page = fields.get("max_count") or len(bars)
        more = bars[page]["time"] if len(bars) > page else None
        return content | {"kl_list": bars[:page], "next_req_key": more}

    def _history_quota(self, fields: Fields) -> Fields:
        stocks = [self._gateway.market.stocks[symbol] for symbol in sorted(self._history)]
        details = [
            {"security": reference.security(s), "name": s.listing.name, "request_time": ""} for s in stocks
        ]
        return {"used_quota": len(stocks), "remain_quota": 100 - len(stocks), "detail_list": details}

    def _snapshot(self, fields: Fields) -> Fields:
        return {"snapshot_list": [bodies.snapshot(stock) for stock in self._stocks(fields)]}

    def _market_state(self, fields: Fields) -> Fields:
        now_ns = self._gateway.now_ns()
        return {
            "market_info_list": [
                {
                    "security": reference.security(stock),
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


def _value(field: str, value: Any) -> Any:
    """A field's value in canonical form. Raises ``Refusal`` for a wrong type."""
    kind = FIELD_KINDS[field]
    if kind == "symbol":
        return _symbol(value)
    if kind == "symbols":
        return [_symbol(one) for one in (value if isinstance(value, list) else [value])]
    wanted = _TYPES.get(kind)
    if wanted is not None and type(value) is not wanted[0]:
        raise Refusal(f"invalid type: {type(value).__name__}, expected {wanted[1]}")
    return value


def _symbol(value: Any) -> str:
    """``HK.00700`` from itself or from market and code."""
    if isinstance(value, Mapping) and value.get("market") in MARKET_NUMBERS:
        try:
            return make_symbol(value["market"], str(value.get("code")))
        except BadSymbol:
            raise Refusal(f"unknown stock {value!r}") from None
    if isinstance(value, str):
        return value
    raise Refusal(f"invalid security {value!r}")


def _date(text: str) -> date:
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise Refusal(f"invalid date {text!r}") from None


def _envelope(ret_type: int, ret_msg: str | None, s2c: Any) -> Answer:
    return _json(200, {"ret_type": ret_type, "ret_msg": ret_msg, "err_code": None, "s2c": s2c})


def _json(status: int, content: Any) -> Answer:
    return Answer(status, msgspec.json.encode(content))
