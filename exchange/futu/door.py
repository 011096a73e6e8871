"""Who may ask a gateway what over REST: keys and scopes, fields in their many spellings, the envelope of answers, and
what every gateway answers by itself: what is subscribed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec

from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.subscriptions import Refusal, Subscription, Subscriptions
from bookreel.venues.errors import BadSymbol
from bookreel.venues.futu.codes import MARKET_NUMBERS, SUB_TYPES
from bookreel.venues.futu.endpoints import ENDPOINTS, FIELD_KINDS, MAX_SYMBOLS, PREFIX, Scope
from bookreel.venues.futu.feeds import FEED_OF
from bookreel.venues.futu.symbols import make_symbol, split_symbol

__all__ = ["Answer", "Door", "Fields", "Handler", "Host", "history_page", "security"]

Fields: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Fields], Any]
"""The ``s2c`` of a request; raises ``Refusal``."""

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

_HISTORY_QUOTA: Final = 100
"""Securities whose history may be asked for."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_TYPES: Final[dict[str, tuple[type, str]]] = {
    "int": (int, "i32"),
    "bool": (bool, "bool"),
    "ints": (list, "sequence"),
}


class Answer(NamedTuple):
    """Status and JSON body."""

    status: int
    body: bytes


class Host(Protocol):
    """The gateway behind a door."""

    @property
    def config(self) -> GatewayConfig: ...

    @property
    def subs(self) -> Subscriptions: ...

    @property
    def logined(self) -> bool:
        """Whether it is logged in for quotes."""
        ...

    def venue_ns(self) -> int:
        """The gateway's time, ns since the UNIX epoch."""
        ...

    def check(self, symbol: str, sub_types: Iterable[int], rehab: int) -> None:
        """Raises ``Refusal`` for a security, or a kind of it, that cannot be subscribed."""
        ...

    def begun(self, subscriptions: list[Subscription], *, first: bool) -> None:
        """These are subscribed from now on; ``first``: what is cached of them is pushed."""
        ...

    def ended(self, subscriptions: list[Subscription]) -> None:
        """These are subscribed no more."""
        ...


class Door:
    """Answers requests. ``handlers``: by endpoint, those that know the market; ``others`` takes what has none."""

    def __init__(
        self, gateway: Host, handlers: Mapping[str, Handler], others: Callable[[str, Fields], Any]
    ) -> None:
        self.gateway = gateway
        self.history: set[str] = set()
        """Securities whose history was asked for, which is counted."""
        self._others = others
        self._handlers: dict[str, Handler] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._subscribe,
            "query-subscription": self._subscribed,
            "sub-info": self._subscribed,
            "used-quota": self._used_quota,
            "history-kl-quota": self._history_quota,
            **handlers,
        }

    def allowed(self, key: str | None, scope: Scope) -> Answer | None:
        """None where the key may do it; else the refusal."""
        keys = self.gateway.config.keys
        if not keys or scope == "public":
            return None
        if key is None or key not in keys:
            return _json(401, {"error": "unauthorized"})
        scopes = keys[key]
        transitional = scope == "qot:state" and not self.gateway.config.strict_state and "qot:read" in scopes
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
            fields = _fields(endpoint.name, body) if method == "POST" else {}
            handler = self._handlers.get(endpoint.name)
            s2c = self._others(endpoint.name, fields) if handler is None else handler(fields)
        except Refusal as refused:
            return _envelope(refused.ret_type, refused.reason, None)
        if endpoint.proto_id is None:
            return _json(200, s2c)
        return _envelope(0, None, s2c)

    def check_logined(self) -> None:
        """Raises ``Refusal`` while the gateway is not logged in for quotes."""
        if not self.gateway.logined:
            raise Refusal("quote backend is not connected", -200)

    def check_subscribed(self, symbol: str, feed: str) -> None:
        """Raises ``Refusal`` where a security is not subscribed in this kind."""
        if self.gateway.subs.get(symbol, SUB_TYPES[feed]) is None:
            raise Refusal(f"{symbol} is not subscribed in sub_type {SUB_TYPES[feed]}: subscribe first")

    def symbols(self, fields: Fields) -> list[str]:
        """The securities that are asked about. Raises ``Refusal`` for too many."""
        symbols: list[str] = fields["symbols"] if "symbols" in fields else [fields["symbol"]]
        if len(symbols) > MAX_SYMBOLS:
            raise Refusal(f"too many symbols: {len(symbols)}, at most {MAX_SYMBOLS}")
        return symbols

    def name(self, symbol: str) -> str:
        """What a security is called; empty where that is not known."""
        return ""

    def _subscribe(self, fields: Fields) -> Fields:
        gateway = self.gateway
        self.check_logined()
        symbols, kinds = self.symbols(fields), fields["sub_types"]
        rehab: int = (fields.get("reg_push_rehab_type_list") or [1])[0]
        on: bool = fields["is_sub_or_un_sub"]
        if not symbols or not kinds:
            raise Refusal("symbols and sub_types must not be empty")
        for kind in kinds:
            if kind not in FEED_OF:
                raise Refusal(f"unsupported sub_type {kind}")
        for symbol in symbols:
            gateway.check(symbol, kinds if on else (), rehab)
        now_ns = gateway.venue_ns()
        if not on:
            gateway.ended(gateway.subs.remove(symbols, kinds, now_ns))
            return {}
        pushed: bool = fields.get("is_reg_or_un_reg_push", False)
        begun = gateway.subs.add(symbols, kinds, now_ns, pushed=pushed, rehab=rehab)
        gateway.begun(begun, first=pushed and fields.get("is_first_push", True))
        return {}

    def _subscribed(self, fields: Fields) -> Fields:
        subs = self.gateway.subs
        kinds: dict[int, list[Fields]] = {}
        for one in subs.all():
            kinds.setdefault(one.sub_type, []).append(security(one.symbol))
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
        return {"used_sub_quota": self.gateway.subs.used, "used_k_line_quota": len(self.history)}

    def _history_quota(self, fields: Fields) -> Fields:
        used = sorted(self.history)
        details = [
            {"security": security(symbol), "name": self.name(symbol), "request_time": ""} for symbol in used
        ]
        return {
            "used_quota": len(used),
            "remain_quota": max(0, _HISTORY_QUOTA - len(used)),
            "detail_list": details,
        }


def history_page(content: Fields, fields: Fields) -> Fields:
    """Of all bars those between two times, a page, oldest first; the key of the next page is where it begins."""
    begin = max(fields["begin_time"], fields.get("next_req_key") or "")
    end = fields["end_time"] + ("" if " " in fields["end_time"] else " 23:59:59")
    bars = [bar for bar in content["kl_list"] if begin <= bar["time"] <= end]
    page = fields.get("max_count") or len(bars)
    more = bars[page]["time"] if len(bars) > page else None
    return content | {"kl_list": bars[:page], "next_req_key": more}


def security(symbol: str) -> Fields:
    """A security as the gateway writes it."""
    market, code = split_symbol(symbol)
    return {"market": market.number, "code": code}


def _fields(name: str, body: bytes) -> Fields:
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


def _envelope(ret_type: int, ret_msg: str | None, s2c: Any) -> Answer:
    return _json(200, {"ret_type": ret_type, "ret_msg": ret_msg, "err_code": None, "s2c": s2c})


def _json(status: int, content: Any) -> Answer:
    return Answer(status, msgspec.json.encode(content))
