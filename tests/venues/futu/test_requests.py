from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bookreel.venues.errors import BadRequest, BadSymbol, UnknownFeed, VenueError
from bookreel.venues.futu.endpoints import ENDPOINTS, FIELD_KINDS, Endpoint
from bookreel.venues.futu.requests import batches, call, subscribe, unsubscribe

ROOT = Path(__file__).resolve().parents[3]

EXAMPLES: dict[str, Any] = {
    "symbol": "HK.00700",
    "symbols": ["HK.00700", "US.AAPL"],
    "int": 1,
    "ints": [1, 2],
    "bool": True,
    "text": "a",
    "time": "2026-01-02 09:30:00",
    "object": {"market": 1, "code": "BK1001"},
    "key": "bmV4dA==",
}


def fields_of(endpoint: Endpoint) -> dict[str, Any]:
    names = [choice.split("|")[0] for choice in endpoint.required] + list(endpoint.optional)
    return {name: EXAMPLES[FIELD_KINDS[name]] for name in names}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_endpoint_can_be_asked(name: str) -> None:
    endpoint = ENDPOINTS[name]
    fields = fields_of(endpoint)
    asked = call(name, **fields)
    assert asked.path == f"/api/{name}"
    if fields:
        assert asked.method == "POST" and asked.body is not None and json.loads(asked.body) == fields
    elif endpoint.get:
        assert asked.method == "GET" and asked.body is None
    for choice in endpoint.required:
        less = {k: v for k, v in fields.items() if k not in choice.split("|")}
        with pytest.raises(BadRequest, match="needs"):
            call(name, **less)


def test_the_words_of_the_reference_are_the_requests() -> None:
    """Bodies as the gateway's own reference shows them."""
    for name, body in {
        "orderbook": {"symbol": "HK.00700", "depth": 10},
        "kline": {"symbol": "HK.00700", "rehab_type": 0, "kl_type": 1, "req_num": 100},
        "ticker": {"symbol": "HK.00700", "count": 50},
        "market-state": {"symbols": ["HK.00700"]},
        "trading-days": {"market": 1, "begin_time": "2026-01-01", "end_time": "2026-04-01"},
        "query-subscription": {"is_req_all_conn": True},
        "option-chain": {"owner": "HK.00700", "begin_time": "2026-05-01", "end_time": "2026-06-01"},
        "warrant": {"begin": 0, "num": 50, "sort_field": 1, "ascend": False, "owner": "HK.00700"},
    }.items():
        sent = call(name, **body).body
        assert sent is not None and json.loads(sent) == body


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("orderbok", {}, "did you mean orderbook"),
        ("order", {}, "there is no endpoint 'order'"),
        ("orderbook", {"symbol": "HK.00700", "dept": 1}, "did you mean depth"),
        ("orderbook", {"symbol": "HK.00700", "depth": "10"}, "wrong type: int"),
        ("orderbook", {"symbol": "HK.00700", "depth": True}, "wrong type: int"),
        ("orderbook", {"symbol": ["HK.00700"], "depth": 1}, "wrong type: symbol"),
        ("orderbook", {"depth": 1}, "needs symbol"),
        ("quote", {}, "needs symbol or symbols"),
        ("quote", {"symbol": "HK.00700", "symbols": ["HK.00700"]}, "needs symbol or symbols"),
        ("market-state", {"symbols": []}, "0 symbols in one request"),
        ("market-state", {"symbols": ["HK.00700"] * 101}, "101 symbols in one request: give 1 to 100"),
        ("market-state", {"symbols": "HK.00700"}, "wrong type: symbols"),
        ("trading-days", {"market": 1, "begin_time": "May", "end_time": "2026-01-01"}, "is not a date"),
        ("delay-statistics", {"type_list": []}, "must be a list of numbers"),
    ],
)
def test_what_the_gateway_would_refuse_is_refused_here(name: str, fields: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        call(name, **fields)


def test_symbols_are_checked_one_by_one() -> None:
    with pytest.raises(BadSymbol):
        call("market-state", symbols=["HK.00700", "HK.../x"])
    with pytest.raises(BadSymbol):
        subscribe(["hk.00700"], ["ticker"])


def test_subscribing_says_that_pushes_are_wanted() -> None:
    """Left out, the gateway would push nothing."""
    body = subscribe(["HK.00700"], ["orderbook", "trade", "kline.1min"]).body
    assert body is not None and json.loads(body) == {
        "symbols": ["HK.00700"],
        "sub_types": [2, 4, 11],
        "is_sub_or_un_sub": True,
        "is_reg_or_un_reg_push": True,
        "is_first_push": True,
    }
    raw = subscribe(["HK.00700"], ["kline.1day"], first_push=False, rehab_types=(0,))
    assert raw.fields["reg_push_rehab_type_list"] == [0] and raw.fields["is_first_push"] is False
    with pytest.raises(UnknownFeed, match="did you mean kline"):
        subscribe(["HK.00700"], ["kline.1m"])


def test_unsubscribing() -> None:
    asked = unsubscribe(["HK.00700"], ["quote"])
    assert asked.path == "/api/unsubscribe"
    assert asked.fields == {"symbols": ["HK.00700"], "sub_types": [1], "is_sub_or_un_sub": False}


def test_batches_are_what_one_request_may_have() -> None:
    symbols = [f"HK.{i:05}" for i in range(1, 252)]
    parts = batches(symbols)
    assert [len(part) for part in parts] == [100, 100, 51]
    assert [one for part in parts for one in part] == symbols and batches([]) == []


# Reading only. A recorder must not be able to trade, whatever key it is given.

TRADING = (
    "place_order", "placeorder", "modify_order", "modify-order", "cancel-all", "cancel_all", "unlock", "trade:",
    "acc:", "/api/accounts", "reconfirm", "pwd_md5", "sub-acc-push", "/admin",
)  # fmt: skip
WRITES = {"subscribe", "unsubscribe"}


def test_no_endpoint_needs_more_than_reading() -> None:
    for endpoint in ENDPOINTS.values():
        assert endpoint.scope in ("public", "qot:read", "qot:state"), endpoint.name
        assert (endpoint.scope == "qot:state") == (endpoint.name in WRITES), endpoint.name
        assert endpoint.proto_id is None or not 2000 <= endpoint.proto_id < 3000, endpoint.name
        assert not set(endpoint.name.split("-")) & {"order", "orders", "trd", "acc", "account", "accounts", "funds",
                                                    "positions", "modify", "admin", "unlock"}  # fmt: skip


@pytest.mark.parametrize("name", ["order", "modify-order", "cancel-all-order", "unlock-trade", "admin/shutdown",
                                  "modify-user-security", "set-price-reminder", "../api/order"])  # fmt: skip
def test_no_request_can_be_made_for_anything_else(name: str) -> None:
    with pytest.raises(VenueError):
        call(name)
    with pytest.raises(VenueError):
        call(name, symbol="HK.00700")


@pytest.mark.parametrize("folder", ["venues/futu", "exchange/futu"])
def test_no_code_has_the_words_of_trading(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words = node.value.lower()
                assert not [word for word in TRADING if word in words], f"{path}: {node.value[:80]}"
                assert not re.search(r"\bapi/orders?\b", words), f"{path}: {node.value[:80]}"
