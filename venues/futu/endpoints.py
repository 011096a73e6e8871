"""The gateway's REST endpoints that bookreel may use, as data: what each takes, which scope it needs.

All of them read; ``subscribe`` and ``unsubscribe`` change what the gateway sends to this client and nothing else.
Accounts, trading and administration are left out on purpose: what is not in :data:`ENDPOINTS` cannot be asked.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["ENDPOINTS", "FIELD_KINDS", "MAX_SYMBOLS", "PREFIX", "Endpoint", "FieldKind", "Scope"]

PREFIX: Final = "/api/"

MAX_SYMBOLS: Final = 100
"""A request with more is refused by the gateway."""

Scope: TypeAlias = Literal["public", "qot:read", "qot:state"]
"""What the key must be allowed. ``qot:state``: change subscriptions; for now ``qot:read`` does as well."""

FieldKind: TypeAlias = Literal[
    "symbol", "symbols", "int", "ints", "bool", "number", "text", "time", "object", "key"
]
"""``time``: the exchange's local time or date. ``object``: passed on as it is. ``key``: what the last page gave."""

FIELD_KINDS: Final[dict[str, FieldKind]] = {
    "ascend": "bool",
    "begin": "int",
    "begin_time": "time",
    "condition": "object",
    "count": "int",
    "depth": "int",
    "end_time": "time",
    "extended_time": "bool",
    "get_detail": "bool",
    "group_name": "text",
    "index_option_type": "int",
    "interval_type": "int",
    "is_first_push": "bool",
    "is_reg_or_un_reg_push": "bool",
    "is_req_all_conn": "bool",
    "is_sub_or_un_sub": "bool",
    "kl_type": "int",
    "market": "int",
    "max_count": "int",
    "next_req_key": "key",
    "num": "int",
    "owner": "symbol",
    "period_type": "int",
    "plate": "object",
    "plate_set_type": "int",
    "qot_push_stage": "int",
    "rate_time": "int",
    "reference_type": "int",
    "reg_push_rehab_type_list": "ints",
    "rehab_type": "int",
    "req_num": "int",
    "search": "object",
    "session": "int",
    "sort_field": "int",
    "sub_types": "ints",
    "symbol": "symbol",
    "symbols": "symbols",
    "type_list": "ints",
}
"""Every field of a request, in the gateway's canonical spelling; a name means the same wherever it is."""


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint. ``required`` may offer a choice, ``symbol|symbols``. ``get``: without a body it is a GET.

    ``proto_id`` is the request's number in the gateway's own protocol; None where it answers by itself.
    """

    name: str
    proto_id: int | None
    scope: Scope
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    get: bool = False

    @property
    def path(self) -> str:
        """Path on the REST host."""
        return PREFIX + self.name


_SUBSCRIPTION: Final = ("symbols", "sub_types", "is_sub_or_un_sub")
_PUSHED: Final = (
    "is_reg_or_un_reg_push",
    "is_first_push",
    "reg_push_rehab_type_list",
    "extended_time",
    "session",
)
_ONE_OR_MORE: Final = ("symbol|symbols",)
_RANGE: Final = ("begin_time", "end_time")
_READ: Final = "qot:read"

_ROWS: Final = (
    # The gateway itself.
    Endpoint("global-state", 1002, "public", get=True),
    Endpoint("ping", 1002, "public", get=True),
    Endpoint("user-info", 1005, "public", get=True),
    Endpoint("delay-statistics", 1007, "public", (), ("type_list", "qot_push_stage"), get=True),
    Endpoint("push-subscriber-info", None, "public", get=True),
    # Subscriptions. ``is_reg_or_un_reg_push`` is not filled in by the gateway: left out, nothing is pushed.
    Endpoint("subscribe", 3001, "qot:state", _SUBSCRIPTION, _PUSHED),
    Endpoint("unsubscribe", 3001, "qot:state", _SUBSCRIPTION, ("is_reg_or_un_reg_push",)),
    Endpoint("query-subscription", 3003, _READ, (), ("is_req_all_conn",)),
    Endpoint("sub-info", 3003, _READ, get=True),
    Endpoint("used-quota", 1010, _READ),
    # Market data. Those on one ``symbol`` but history-kline need its subscription.
    Endpoint("quote", 3004, _READ, _ONE_OR_MORE),
    Endpoint("kline", 3006, _READ, ("symbol", "kl_type", "rehab_type", "req_num")),
    Endpoint("rt", 3008, _READ, ("symbol",)),
    Endpoint("ticker", 3010, _READ, ("symbol", "count")),
    Endpoint("orderbook", 3012, _READ, ("symbol", "depth")),
    Endpoint("broker", 3014, _READ, ("symbol",)),
    Endpoint(
        "history-kline", 3103, _READ, ("symbol", "kl_type", "rehab_type", *_RANGE),
        ("max_count", "next_req_key", "extended_time", "session"),
    ),
    Endpoint("history-kl-quota", 3104, _READ, (), ("get_detail",)),
    Endpoint("snapshot", 3203, _READ, _ONE_OR_MORE),
    Endpoint("market-state", 3223, _READ, ("symbols",)),
    Endpoint("capital-flow", 3211, _READ, ("symbol",), ("period_type", *_RANGE)),
    Endpoint("capital-distribution", 3212, _READ, ("symbol",)),
    Endpoint("ticker-statistic", 6365, _READ, ("symbol", "interval_type")),
    Endpoint("risk-free-rate", 20231, _READ, (), ("rate_time",), get=True),
    Endpoint("spread-table", 6503, _READ, get=True),
    # What is listed.
    Endpoint("static-info", 3202, _READ, ("symbols",)),
    Endpoint("plate-set", 3204, _READ, ("market", "plate_set_type")),
    Endpoint("list-plates", 3204, _READ, ("market", "plate_set_type")),
    Endpoint("plate-security", 3205, _READ, ("plate",), ("sort_field", "ascend")),
    Endpoint("owner-plate", 3207, _READ, ("symbols",)),
    Endpoint("stock-filter", 3215, _READ, ("begin", "num", "market"), ("plate",)),
    Endpoint("trading-days", 3219, _READ, ("market", *_RANGE)),
    Endpoint("suspend", 3201, _READ, ("symbols", *_RANGE)),
    Endpoint("code-change", 3216, _READ, (), ("search",)),
    Endpoint("ipo-list", 3217, _READ, ("market",)),
    Endpoint("rehab", 3105, _READ, ("symbols",)),
    Endpoint("user-security", 3213, _READ, ("group_name",)),
    Endpoint("price-reminder", 3221, _READ, ("symbol|market",)),
    # Derivatives.
    Endpoint("reference", 3206, _READ, ("symbol", "reference_type")),
    Endpoint("get-reference", 3206, _READ, ("symbol", "reference_type")),
    Endpoint("warrant", 3210, _READ, ("begin", "num", "sort_field", "ascend"), ("owner",)),
    Endpoint("option-chain", 3209, _READ, ("owner", *_RANGE), ("condition", "index_option_type")),
    Endpoint("option-expiration-date", 3224, _READ, ("owner",), ("index_option_type",)),
    Endpoint("future-info", 3218, _READ, ("symbols",)),
)  # fmt: skip

ENDPOINTS: Final[dict[str, Endpoint]] = {endpoint.name: endpoint for endpoint in _ROWS}
"""Every endpoint, by name."""
