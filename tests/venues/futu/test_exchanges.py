"""REST requests and answers as texts of a journal."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel import venues
from bookreel.venues.errors import DecodeError
from bookreel.venues.futu.exchanges import answered_text, asked_text
from bookreel.venues.futu.requests import Call, call, subscribe, unsubscribe
from bookreel.venues.message import Acks, Aside, Refusal, Request, Rows

FUTU = venues.get("futu")
HK = {"market": 1, "code": "00700"}
SUBSCRIBE = subscribe(["HK.00700", "US.AAPL"], ["orderbook", "kline.1min"])


def answer(request: Call, s2c: Any, status: int = 200, ret_type: int = 0) -> Any:
    body = json.dumps({"ret_type": ret_type, "ret_msg": "why", "s2c": s2c}).encode()
    return FUTU.decode(answered_text(request, status, body))


def test_a_request_says_what_is_asked() -> None:
    assert FUTU.decode(asked_text(SUBSCRIBE)) == Request("sub", None, "subscribe", None)
    assert FUTU.decode(asked_text(unsubscribe(["HK.00700"], ["rt"]))) == Request(
        "unsub", None, "unsubscribe", None
    )
    assert FUTU.decode(asked_text(call("global-state"))) == Request("req", None, "global-state", None)


def test_a_subscription_acknowledges_every_topic_of_it() -> None:
    acks = answer(SUBSCRIBE, {})
    assert isinstance(acks, Acks) and acks.kind == "sub"
    assert [topic.text for topic in acks.topics] == ["1_00700/2", "1_00700/11", "11_AAPL/2", "11_AAPL/11"]
    assert answer(unsubscribe(["HK.00700"], ["rt"]), {}).kind == "unsub"


@pytest.mark.parametrize(
    ("status", "ret_type", "reason"), [(200, -1, "permanent"), (200, -200, "server"), (503, 0, "server")]
)
def test_a_failure_is_a_refusal(status: int, ret_type: int, reason: str) -> None:
    refusal = answer(SUBSCRIBE, None, status, ret_type)
    assert isinstance(refusal, Refusal) and refusal.reason == reason


def test_market_data_that_was_asked_for_is_rows() -> None:
    tick = {
        "time": "2026-01-02 09:30:00",
        "sequence": "9007199254740993",
        "dir": 2,
        "price": 1.5,
        "volume": 3,
    }
    s2c = {"security": HK, "ticker_list": [tick | {"turnover": 4.5, "timestamp": 1767317400.0}]}
    told = answer(call("ticker", symbol="HK.00700", count=1000), s2c)
    assert isinstance(told, Rows) and told.asked and told.topic.text == "1_00700/4"
    assert told.rows[0].key == 9007199254740993
    levels = [{"price": 1.5, "volume": 3, "oreder_count": 1}]
    book = {"security": HK, "order_book_bid_list": levels, "order_book_ask_list": []}
    told = answer(call("orderbook", symbol="HK.00700", depth=1), book)
    assert isinstance(told, Rows) and told.rows[0].values["source"] == "refresh"


def test_any_other_answer_is_of_no_stream() -> None:
    assert answer(call("global-state"), {"qot_logined": True}) == Aside("reply", "global-state")
    assert answer(call("ticker", symbol="HK.00700", count=9), {"security": HK, "ticker_list": []}) == Aside(
        "reply", "ticker"
    )


@given(st.binary(max_size=60))
def test_a_body_is_kept_whole(body: bytes) -> None:
    text = answered_text(call("global-state"), 200, body)
    kept = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if "reply" in kept:
        assert bytes(kept["reply"]) == body.strip()
    else:
        assert msgspec.json.decode(kept["reply_b64"], type=bytes) == body
    FUTU.decode(text)


@pytest.mark.parametrize(
    "text", [b'{"rest":', b'{"rest":"place-order"}', b'{"rest":"ticker","asked":{}}', b'{"rest":1}']
)
def test_what_is_no_exchange_is_an_error(text: bytes) -> None:
    with pytest.raises(DecodeError):
        FUTU.decode(text)


def test_securities_keep_their_own_words() -> None:
    basic = {"security": HK, "id": 2**63 - 1, "lot_size": 100, "name": "TENCENT", "delisting": False}
    request = call("static-info", symbols=["HK.00700"])
    body = json.dumps({"ret_type": 0, "s2c": {"static_info_list": [{"basic": basic}]}}).encode()
    [item] = FUTU.decode_instruments(answered_text(request, 200, body))
    assert (item.symbol, item.base, item.quote, item.state) == ("HK.00700", "00700", "HKD", "online")
    assert json.loads(item.raw) == {"basic": basic}
    with pytest.raises(DecodeError):
        FUTU.decode_instruments(answered_text(request, 200, b"[]"))
