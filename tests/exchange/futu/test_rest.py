from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bookreel.venues.futu.endpoints import ENDPOINTS
from bookreel.venues.futu.errors import Forbidden, Refused, TimedOut, Unauthorized
from bookreel.venues.futu.model import Bar, BrokerQueue, OrderBook, Quote, Tick, TimePoint
from bookreel.venues.futu.replies import Events
from bookreel.venues.futu.requests import Call, call, subscribe, unsubscribe

Make = Callable[..., Any]
RANGE = {"begin_time": "2026-01-01", "end_time": "2027-01-01"}
ASKED: dict[str, dict[str, Any]] = {
    "global-state": {},
    "ping": {},
    "user-info": {},
    "delay-statistics": {"type_list": [1], "qot_push_stage": 1},
    "push-subscriber-info": {},
    "query-subscription": {"is_req_all_conn": True},
    "sub-info": {},
    "used-quota": {},
    "quote": {"symbols": ["HK.00700"]},
    "kline": {"symbol": "HK.00700", "kl_type": 1, "rehab_type": 1, "req_num": 3},
    "rt": {"symbol": "HK.00700"},
    "ticker": {"symbol": "HK.00700", "count": 3},
    "orderbook": {"symbol": "HK.00700", "depth": 4},
    "broker": {"symbol": "HK.00700"},
    "history-kline": {"symbol": "HK.00700", "kl_type": 2, "rehab_type": 0, "begin_time": "2020-01-01",
                      "end_time": "2026-01-02"},
    "history-kl-quota": {"get_detail": True},
    "snapshot": {"symbols": ["HK.00700", "US.AAPL"]},
    "market-state": {"symbols": ["HK.00700"]},
    "capital-flow": {"symbol": "HK.00700", "period_type": 1},
    "capital-distribution": {"symbol": "HK.00700"},
    "ticker-statistic": {"symbol": "HK.00700", "interval_type": 1},
    "risk-free-rate": {},
    "spread-table": {},
    "static-info": {"symbols": ["HK.00700"]},
    "plate-set": {"market": 1, "plate_set_type": 0},
    "list-plates": {"market": 1, "plate_set_type": 0},
    "plate-security": {"plate": {"market": 1, "code": "BK1001"}},
    "owner-plate": {"symbols": ["HK.00700"]},
    "stock-filter": {"begin": 0, "num": 50, "market": 1},
    "trading-days": {"market": 1, "begin_time": "2026-01-01", "end_time": "2026-02-01"},
    "suspend": {"symbols": ["HK.00700"], **RANGE},
    "code-change": {},
    "ipo-list": {"market": 1},
    "rehab": {"symbols": ["HK.00700"]},
    "user-security": {"group_name": "all"},
    "price-reminder": {"symbol": "HK.00700"},
    "reference": {"symbol": "HK.00700", "reference_type": 1},
    "get-reference": {"symbol": "HK.00700", "reference_type": 1},
    "warrant": {"begin": 0, "num": 50, "sort_field": 1, "ascend": False, "owner": "HK.00700"},
    "option-chain": {"owner": "HK.00700", **RANGE},
    "option-expiration-date": {"owner": "HK.00700"},
    "subscribe": {"symbols": ["HK.00700"], "sub_types": [1], "is_sub_or_un_sub": True},
    "unsubscribe": {"symbols": ["HK.00700"], "sub_types": [7], "is_sub_or_un_sub": False},
}  # fmt: skip


def ready(desk: Make, **settings: Any) -> Any:
    one = desk(**{"rate": 3.0} | settings)
    one.subscribe(["quote", "orderbook", "ticker", "rt", "broker", "kline.1min", "kline.5min"])
    one.run(70, step_s=0.5)
    return one


def test_every_endpoint_answers_in_words_that_are_read(desk: Make) -> None:
    one = ready(desk)
    for name in ENDPOINTS:
        if name != "future-info":  # this market lists no futures
            one.ask(call(name, **ASKED[name]))
    with pytest.raises(Refused, match="unknown stock"):
        one.ask(call("future-info", symbols=["HK.HSImain"]))


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [("orderbook", OrderBook, 1), ("ticker", Tick, 3), ("quote", Quote, 1), ("broker", BrokerQueue, 1),
     ("rt", TimePoint, 2), ("kline", Bar, 3)],
)  # fmt: skip
def test_market_data_is_the_market(desk: Make, name: str, kind: type, count: int) -> None:
    one = ready(desk)
    reply = one.ask(call(name, **ASKED[name]))
    assert isinstance(reply, Events) and len(reply.events) == count
    assert all(isinstance(event, kind) and event.symbol == "HK.00700" for event in reply.events)
    stock = one.gateway.market.stocks["HK.00700"]
    match reply.events[-1]:
        case OrderBook(bids=bids, asks=asks, ts_event=ts):
            assert bids == stock.bids[:4] and asks == stock.asks[:4] and ts == max(stock.bid_ns, stock.ask_ns)
        case Tick(sequence=sequence, ts_event=ts):
            assert (sequence, ts) == (stock.ticks[-1].sequence, stock.ticks[-1].ts_ns)
        case Quote(price=price, volume=volume, ts_event=ts):
            assert (price, volume, ts) == (stock.last, stock.volume, stock.last_ns)
        case Bar(close=close, period=period, rehab=rehab):
            assert (close, period, rehab) == (stock.last, "1min", "forward")


def test_reading_needs_a_subscription(desk: Make) -> None:
    one = desk()
    for name in ("orderbook", "ticker", "quote", "broker", "rt", "kline"):
        with pytest.raises(Refused, match="subscribe first"):
            one.ask(call(name, **ASKED[name]))
    assert one.ask(call("snapshot", symbol="HK.00700")).snapshot_list[0].basic.security.symbol == "HK.00700"


def test_one_bad_code_fails_the_whole_batch(desk: Make) -> None:
    one = desk()
    with pytest.raises(Refused, match=r"ret_type -1.*unknown stock HK\.99999"):
        one.ask(subscribe(["HK.00700", "HK.99999"], ["ticker"]))
    assert one.gateway.subs.used == 0
    one.ask(subscribe(["HK.00700"], ["ticker"]))
    assert one.gateway.subs.used == 1


def test_a_batch_has_at_most_a_hundred(desk: Make) -> None:
    status, reply = desk().post(
        "/api/subscribe", symbols=["HK.00700"] * 101, sub_types=[1], is_sub_or_un_sub=True
    )
    assert status == 200 and reply["ret_type"] == -1 and "101" in reply["ret_msg"] and reply["s2c"] is None


def test_a_quota_is_in_units_of_security_and_kind(desk: Make) -> None:
    one = desk(quota=5)
    one.subscribe(["ticker", "quote"])
    with pytest.raises(Refused, match="quota exceeded: 4 used, 2 more, 5 allowed"):
        one.subscribe(["orderbook", "ticker"])
    one.subscribe(["orderbook"], ["HK.00700"])
    info = one.ask(call("query-subscription", is_req_all_conn=True))
    assert (info.total_used_quota, info.remain_quota) == (5, 0)
    kinds = {
        k.sub_type: [s.symbol for s in k.security_list] for k in info.conn_sub_info_list[0].sub_info_list
    }
    assert kinds == {1: ["HK.00700", "US.AAPL"], 2: ["HK.00700"], 4: ["HK.00700", "US.AAPL"]}
    assert one.ask(call("used-quota")).used_sub_quota == 5


def test_unsubscribing_must_wait_a_minute(desk: Make) -> None:
    one = desk()
    one.subscribe(["ticker"])
    one.run(59)
    with pytest.raises(Refused, match="no sooner than 60 s"):
        one.ask(unsubscribe(["HK.00700"], ["ticker"]))
    one.run(1.1)
    one.ask(unsubscribe(["HK.00700"], ["ticker"]))
    assert one.gateway.subs.used == 1
    with pytest.raises(Refused, match="is not subscribed"):
        one.ask(unsubscribe(["HK.00700"], ["ticker"]))


SUB = {"symbols": ["HK.00700"], "sub_types": [1], "is_sub_or_un_sub": True}
SECURITY = {"market": 1, "code": "00700"}


@pytest.mark.parametrize(
    "fields",
    [
        SUB,
        {"Symbols": ["HK.00700"], "subTypes": [1], "IsSubOrUnSub": True},
        {"security_list": [SECURITY], "sub_type_list": [1], "is_sub_or_un_sub": True, "header": {}},
        {"c2s": {"securityList": [SECURITY], "subTypeList": [1], "isSubOrUnSub": True, "session": None}},
    ],
)
def test_other_spellings_are_taken(desk: Make, fields: dict[str, Any]) -> None:
    one = desk()
    status, reply = one.post("/api/subscribe", **fields)
    assert (status, reply) == (200, {"ret_type": 0, "ret_msg": None, "err_code": None, "s2c": {}})
    assert one.gateway.subs.get("HK.00700", 1) is not None


@pytest.mark.parametrize(
    ("path", "fields", "told"),
    [
        ("subscribe", SUB | {"symbool": 1}, "unknown field `symbool`"),
        (
            "subscribe",
            {k: v for k, v in SUB.items() if k != "is_sub_or_un_sub"},
            "missing field `is_sub_or_un_sub`",
        ),
        ("subscribe", SUB | {"is_unsub_all": True}, "is_unsub_all"),
        ("subscribe", SUB | {"sub_types": [3]}, "unsupported sub_type 3"),
        ("subscribe", SUB | {"sub_types": [22]}, "unsupported sub_type 22"),
        ("subscribe", SUB | {"sub_types": "1"}, "invalid type: str, expected sequence"),
        ("subscribe", SUB | {"symbols": []}, "must not be empty"),
        ("subscribe", SUB | {"symbols": [{"market": 5, "code": "x"}]}, "invalid security"),
        ("kline", ASKED["kline"] | {"kl_type": "day"}, "invalid type: str, expected i32"),
        ("kline", ASKED["kline"] | {"kl_type": 99}, "unsupported kl_type 99"),
        ("orderbook", {"depth": 1}, "missing field `symbol`"),
        ("trading-days", {"market": 11, **RANGE}, "unsupported market 11"),
        ("trading-days", {"market": 1, "begin_time": "x", "end_time": "2026-01-01"}, "invalid date"),
        ("warrant", ASKED["warrant"] | {"num": 201}, "at most 200"),
    ],
)
def test_what_is_refused(desk: Make, path: str, fields: dict[str, Any], told: str) -> None:
    status, reply = desk().post(f"/api/{path}", **fields)
    assert status == 200 and reply["ret_type"] == -1 and told in reply["ret_msg"]


def test_a_body_that_is_no_json(desk: Make) -> None:
    for body in (b"{", b"[]", b"7"):
        reply = json.loads(desk().gateway.answer("POST", "/api/quote", None, body).body)
        assert reply["ret_type"] == -500


@pytest.mark.parametrize(
    "path", ["order", "accounts", "unlock-trade", "admin/shutdown", "modify-user-security", ""]
)
def test_there_is_nothing_to_trade_with(desk: Make, path: str) -> None:
    assert desk().post(f"/api/{path}") == (404, {"error": "not found"})


def test_methods(desk: Make) -> None:
    gateway = desk().gateway
    assert gateway.answer("GET", "/api/global-state", None, b"").status == 200
    assert gateway.answer("POST", "/api/global-state", None, b"").status == 200
    assert gateway.answer("GET", "/api/quote", None, b"").status == 405
    assert gateway.answer("DELETE", "/api/global-state", None, b"").status == 405


KEYS = {"reader": ("qot:read",), "owner": ("qot:read", "qot:state"), "poor": ("acc:none",)}


@pytest.mark.parametrize(
    ("key", "request_", "error"),
    [
        (None, call("global-state"), None),
        (None, call("used-quota"), Unauthorized),
        ("wrong", call("used-quota"), Unauthorized),
        ("poor", call("used-quota"), Forbidden),
        ("reader", call("used-quota"), None),
        ("reader", subscribe(["HK.00700"], ["ticker"]), Forbidden),
        ("owner", subscribe(["HK.00700"], ["ticker"]), None),
    ],
)
def test_keys_and_scopes(desk: Make, key: str | None, request_: Call, error: type[Exception] | None) -> None:
    one = desk(keys=KEYS, strict_state=True)
    if error is None:
        one.ask(request_, key)
    else:
        with pytest.raises(error):
            one.ask(request_, key)


def test_reading_keys_may_subscribe_for_now(desk: Make) -> None:
    desk(keys=KEYS).ask(subscribe(["HK.00700"], ["ticker"]), "reader")


def test_history_comes_in_pages(desk: Make) -> None:
    one = desk()
    asked = {"symbol": "HK.00700", "kl_type": 1, "rehab_type": 0, "begin_time": "2026-01-02 09:00:00",
             "end_time": "2026-01-02 09:29:00", "max_count": 12}  # fmt: skip
    pages, more = [], {}
    while True:
        reply = one.ask(call("history-kline", **asked, **more))
        pages.append([bar.ts_event for bar in reply.events])
        if reply.next_req_key is None:
            break
        more = {"next_req_key": reply.next_req_key}
    whole = [t for page in pages for t in page]
    assert [len(page) for page in pages] == [12, 12, 6] and whole == sorted(set(whole))
    assert one.ask(call("history-kl-quota")).used_quota == 1


def test_market_states_follow_the_clock(desk: Make) -> None:
    one = desk(hours="real")
    assert one.ask(call("global-state")).market_hk == 3
    one.clock.ns += int(2.5 * 3600 * 1e9)
    state = one.ask(call("market-state", symbols=["HK.00700", "US.AAPL"]))
    assert [info.market_state for info in state.market_info_list] == [4, 6]  # lunch; night
    assert desk().ask(call("market-state", symbols=["US.AAPL"])).market_info_list[0].market_state == 3


def test_a_lost_login_refuses_what_needs_it(desk: Make) -> None:
    one = ready(desk)
    one.gateway.inflict("login_loss")
    with pytest.raises(TimedOut, match="not connected"):
        one.ask(call("orderbook", symbol="HK.00700", depth=1))
    assert one.ask(call("global-state")).qot_logined is False
    assert one.ask(call("push-subscriber-info")).push_stream_healthy is False
    one.run(10)
    assert one.ask(call("global-state")).qot_logined is True
