from __future__ import annotations

import json
from typing import Any

import pytest

from bookreel.venues.futu import derivatives, figures, listed, status
from bookreel.venues.futu.endpoints import ENDPOINTS
from bookreel.venues.futu.errors import (
    BadReply,
    Forbidden,
    GatewayError,
    NoSuchEndpoint,
    Refused,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from bookreel.venues.futu.model import Bar, BrokerQueue, OrderBook, Quote, Tick, TimePoint
from bookreel.venues.futu.replies import _READERS, Done, Events, read
from bookreel.venues.futu.requests import Call, call

TENCENT = {"market": 1, "code": "00700"}
BOOK = call("orderbook", symbol="HK.00700", depth=10)
TICKER = call("ticker", symbol="HK.00700", count=5)


def ok(s2c: Any) -> bytes:
    return json.dumps({"ret_type": 0, "ret_msg": None, "err_code": None, "s2c": s2c}).encode()


def events_of(request: Call, s2c: Any) -> list[Any]:
    reply = read(request, 200, ok(s2c))
    assert isinstance(reply, Events)
    return list(reply.events)


def camel(value: Any) -> Any:
    """The same content with every name in camel case."""
    if isinstance(value, dict):
        words = {name: name.split("_") for name in value}
        return {w[0] + "".join(x.title() for x in w[1:]): camel(value[name]) for name, w in words.items()}
    return [camel(one) for one in value] if isinstance(value, list) else value


MARKET_DATA: list[tuple[Call, dict[str, Any], type]] = [
    (
        BOOK,
        {
            "security": TENCENT,
            "name": None,
            "order_book_ask_list": [{"price": 300.4, "volume": 200, "oreder_count": 2, "detail_list": []}],
            "order_book_bid_list": [{"price": 300.2, "volume": 2**53 + 1, "oreder_count": 1, "hp_volume": None}],
            "svr_recv_time_bid": "",
            "svr_recv_time_bid_timestamp": 0.0,
            "svr_recv_time_ask": "2026-01-02 09:30:00.125",
            "svr_recv_time_ask_timestamp": 1767317400.125,
        },
        OrderBook,
    ),
    (
        TICKER,
        {
            "security": TENCENT,
            "ticker_list": [
                {
                    "time": "2026-01-02 09:30:00", "sequence": 2**62 + 3, "dir": 2, "price": 300.2, "volume": 100,
                    "turnover": 30020.0, "push_data_type": None, "type": 1,
                }
            ],
        },
        Tick,
    ),
    (
        call("quote", symbol="HK.00700"),
        {
            "basic_qot_list": [
                {
                    "security": TENCENT, "is_suspended": False, "list_time": "2004-06-16", "price_spread": 0.2,
                    "update_time": "2026-01-02 09:30:00", "high_price": 3, "open_price": 2, "low_price": 1,
                    "cur_price": 2.5, "last_close_price": 2.25, "volume": 5, "turnover": 12.5,
                    "turnover_rate": 0.125, "amplitude": 0.5, "warrant_ex_data": {"premium": 1.0},
                }
            ]
        },
        Quote,
    ),
    (
        call("broker", symbol="HK.00700"),
        {"security": TENCENT, "broker_bid_list": [{"id": 1, "name": "A", "pos": 1}], "broker_ask_list": []},
        BrokerQueue,
    ),
    (
        call("rt", symbol="HK.00700"),
        {"security": TENCENT, "rt_list": [{"time": "2026-01-02 09:31:00", "minute": 571, "is_blank": True}]},
        TimePoint,
    ),
    (
        call("kline", symbol="HK.00700", kl_type=1, rehab_type=0, req_num=1),
        {"security": TENCENT, "kl_list": [{"time": "2026-01-02 09:31:00", "is_blank": False, "close_price": 1.5}]},
        Bar,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "content", "kind"), MARKET_DATA, ids=lambda v: getattr(v, "path", ""))
def test_market_data_in_both_spellings(request_: Call, content: dict[str, Any], kind: type) -> None:
    snake = events_of(request_, content)
    assert len(snake) == 1 and isinstance(snake[0], kind)
    assert events_of(request_, camel(content)) == snake


def test_a_book_of_rest_is_that_of_a_push() -> None:
    (book,) = events_of(BOOK, MARKET_DATA[0][1])
    assert book.bids == [(300.2, 2**53 + 1, 1)] and book.asks == [(300.4, 200, 2)]
    assert book.ts_bid is None and book.ts_event == book.ts_ask == 1_767_317_400_125_000_000


@pytest.mark.parametrize("written", [2**62 + 3, str(2**62 + 3)])
def test_long_numbers_are_exact_as_numbers_and_as_strings(written: Any) -> None:
    tick = {"time": "", "sequence": written, "dir": 1, "price": 1, "volume": 1, "turnover": 1}
    (event,) = events_of(TICKER, {"security": TENCENT, "ticker_list": [tick]})
    assert event.sequence == 2**62 + 3


def test_bars_are_of_the_period_that_was_asked_for() -> None:
    content = {
        "security": TENCENT,
        "kl_list": [{"time": "2026-01-02", "is_blank": True}],
        "next_req_key": "YQ==",
    }
    for kl_type, period in ((1, "1min"), (2, "1day"), (6, "5min")):
        asked = call(
            "history-kline", symbol="HK.00700", kl_type=kl_type, rehab_type=2, begin_time="2026-01-01",
            end_time="2026-01-03",
        )  # fmt: skip
        reply = read(asked, 200, ok(content))
        assert isinstance(reply, Events) and reply.next_req_key == "YQ=="
        (bar,) = reply.events
        assert isinstance(bar, Bar) and (bar.period, bar.rehab) == (period, "backward")


def test_every_endpoint_has_a_reader() -> None:
    assert set(_READERS) == set(ENDPOINTS)


STATIC = {
    "basic": {
        "security": TENCENT,
        "id": 2**55 + 1,
        "lot_size": 100,
        "sec_type": 3,
        "name": "T",
        "list_time": "",
    },
    "option_ex_data": {"type": 1, "owner": TENCENT, "strike_time": "2026-01-29", "strike_price": 300.0},
}
REFERENCE: list[tuple[str, dict[str, Any], dict[str, Any], str, Any]] = [
    ("static-info", {"symbols": ["HK.00700"]}, {"static_info_list": [STATIC]},
     "static_info_list.0.basic.id", 2**55 + 1),
    ("global-state", {}, {"market_hk": 4, "qotLogined": True, "connID": "7"}, "conn_id", 7),
    ("global-state", {}, {"marketHKFuture": 24}, "market_hk_future", 24),
    ("user-info", {}, {"userID": 2**60 + 1, "hasUSOptionQotRight": True}, "user_id", 2**60 + 1),
    ("used-quota", {}, {"usedSubQuota": 3, "usedKLineQuota": 4}, "used_k_line_quota", 4),
    ("sub-info", {}, {"connSubInfoList": [{"subInfoList": [{"subType": 2, "securityList": [TENCENT]}]}]},
     "conn_sub_info_list.0.sub_info_list.0.security_list.0.symbol", "HK.00700"),
    ("market-state", {"symbols": ["HK.00700"]},
     {"market_info_list": [{"security": TENCENT, "name": "T", "market_state": 4}]},
     "market_info_list.0.market_state", 4),
    ("trading-days", {"market": 1, "begin_time": "2026-01-01", "end_time": "2026-01-02"},
     {"trade_date_list": [{"time": "2026-01-02", "trade_date_type": 0}]}, "trade_date_list.0.time", "2026-01-02"),
    ("snapshot", {"symbols": ["HK.00700"]},
     {"snapshotList": [{"basic": {"security": TENCENT, "highest52WeeksPrice": 9.5},
                        "equityExData": {"peTTMRate": 1.5}}]}, "snapshot_list.0.equity_ex_data.pe_ttm_rate", 1.5),
    ("option-chain", {"owner": "HK.00700", "begin_time": "2026-01-01", "end_time": "2026-01-30"},
     {"option_chain": [{"strike_time": "2026-01-29", "option": [{"call": STATIC}]}]},
     "option_chain.0.option.0.call.option_ex_data.strike_price", 300.0),
    ("suspend", {"symbols": ["HK.00700"], "begin_time": "2026-01-01", "end_time": "2026-01-30"},
     {"SecuritySuspendList": [{"security": TENCENT, "suspendList": [{"time": "2026-01-05"}]}]},
     "security_suspend_list.0.suspend_list.0.time", "2026-01-05"),
    ("risk-free-rate", {}, {"hk_rate_pct": 4.5}, "hk_rate_pct", 4.5),
    ("spread-table", {}, {"spread_table_list": [{"spread_code": 1, "spread_item_list": [
        {"price_from": 0.01, "price_to": 0.25, "value": 0.001}]}]},
     "spread_table_list.0.spread_item_list.0.value", 0.001),
    ("ticker-statistic", {"symbol": "HK.00700", "interval_type": 1}, {"avgPrice": 2.5}, "content.avg_price", 2.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fields", "s2c", "where", "value"), REFERENCE)
def test_reference_data(
    name: str, fields: dict[str, Any], s2c: dict[str, Any], where: str, value: Any
) -> None:
    found: Any = read(call(name, **fields), 200, ok(s2c))
    for step in where.split("."):
        found = (
            found[int(step)]
            if step.isdigit()
            else found[step]
            if isinstance(found, dict)
            else getattr(found, step)
        )
    assert found == value


def test_health_may_come_without_an_envelope() -> None:
    content = {"push_stream_healthy": True, "last_push_received_at_ms": 1767317400123, "news": [1]}
    for body in (json.dumps(content).encode(), ok(content)):
        health = read(call("push-subscriber-info"), 200, body)
        assert isinstance(health, status.PushHealth) and health.push_stream_healthy
        assert health.last_push_received_at_ms == 1767317400123


def test_a_subscription_that_was_taken() -> None:
    asked = call("subscribe", symbols=["HK.00700"], sub_types=[2], is_sub_or_un_sub=True)
    assert read(asked, 200, ok({})) == read(asked, 200, ok(None)) == Done()


@pytest.mark.parametrize(
    ("code", "body", "kind", "retryable", "told"),
    [
        (401, b'{"error":"unauthorized"}', Unauthorized, False, r"401 unauthorized; give a key"),
        (401, b"", Unauthorized, False, "no reason given"),
        (403, b'{"error":"forbidden"}', Forbidden, False, "the key needs the scope qot:read"),
        (404, b"{}", NoSuchEndpoint, False, "leave it out"),
        (429, b"{}", Unavailable, True, "wait and ask again"),
        (500, b"oops", Unavailable, True, "500"),
        (503, b"<html>", Unavailable, True, "503"),
        (200, b'{"ret_type":-1,"ret_msg":"bad code","err_code":7}', Refused, False, "error 7: bad code"),
        (200, b'{"retType":-1,"retMsg":"bad code"}', Refused, False, "bad code; change the request"),
        (200, b'{"ret_type":-400}', Refused, False, "no reason given"),
        (200, b'{"ret_type":-500}', Refused, False, "-500"),
        (200, b'{"ret_type":-100}', TimedOut, True, "ask again later"),
        (200, b'{"ret_type":-200,"ret_msg":"off"}', TimedOut, True, "off"),
        (400, b'{"ret_type":-1,"ret_msg":"unknown field `x`"}', Refused, False, "unknown field"),
        (400, b"{}", BadReply, False, "status 400"),
        (200, b"", BadReply, False, "not a JSON object"),
        (200, b"[]", BadReply, False, "not a JSON object"),
        (200, b"[" * 5000, BadReply, False, "not a JSON object"),
        (200, b'{"ret_type":"0"}', BadReply, False, "ret_type '0'"),
        (200, b'{"ret_type":0,"s2c":[1]}', BadReply, False, "s2c is not an object"),
        (200, b'{"ret_type":0,"s2c":{}}', BadReply, False, "required but not there: security"),
        (200, b'{"ret_type":0,"s2c":{"security":7}}', BadReply, False, "security"),
        (200, b'{"ret_type":0,"s2c":{"security":{"market":9,"code":"x"}}}', BadReply, False, "9_x"),
    ],
)
def test_what_goes_wrong_is_told_apart(
    code: int, body: bytes, kind: type[GatewayError], retryable: bool, told: str
) -> None:
    with pytest.raises(GatewayError, match=told) as caught:
        read(BOOK, code, body)
    assert type(caught.value) is kind and caught.value.retryable is retryable
    assert caught.value.path == "/api/orderbook"


def test_reference_of_a_wrong_type_is_a_bad_reply() -> None:
    with pytest.raises(BadReply, match=r"market_hk"):
        read(call("global-state"), 200, ok({"market_hk": "closed"}))


def test_each_type_of_reply_is_read_from_nothing() -> None:
    """Everything is optional: versions of the gateway leave things out."""
    for module in (derivatives, figures, listed, status):
        for name in module.__all__:
            if name not in ("SpreadItem", "TickerStatistic"):
                assert getattr(module, name)() is not None
