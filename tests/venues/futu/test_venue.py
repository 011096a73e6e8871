"""The gateway's words as messages that any archive can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bookreel import venues
from bookreel.venues.errors import DecodeError
from bookreel.venues.message import Aside, Rows, Unknown

FUTU = venues.get("futu")
HK = {"market": 1, "code": "00700"}
LEVEL = {"price": 300.2, "volume": 500, "oreder_count": 3}


def test_a_ticker_push_is_trades_known_by_their_numbers(vector: bytes, frame: Callable[..., bytes]) -> None:
    told = FUTU.decode(frame(vector))
    assert isinstance(told, Rows) and not told.asked
    assert (told.topic.text, told.topic.feed, told.topic.coverage) == ("1_00700/4", "ticker", "id-only")
    [row] = told.rows
    assert row.table == "trades" and row.symbol == "HK.00700" and row.ts_event == told.ts_event
    assert row.key == row.values["trade_seq"] > 2**53
    assert row.values["trade_id"] == str(row.key)
    assert (row.values["side"], row.values["price"], row.values["size"]) == ("buy", 300.2, 100.0)


def test_a_book_push_is_a_whole_book(body: Callable[..., bytes], frame: Callable[..., bytes]) -> None:
    pushed = body(3013, security=HK, order_book_bid_list=[LEVEL], order_book_ask_list=[])
    told = FUTU.decode(frame(pushed, proto_id=3013, sub_type=2))
    assert isinstance(told, Rows) and told.ts_event is None
    [row] = told.rows
    assert row.table == "book_snapshots" and row.ts_event is None
    assert row.values["source"] == "push"
    assert row.values["bids"] == [(300.2, 500.0)] and row.values["asks"] == []


def bar(**more: Any) -> dict[str, Any]:
    figures = {"open_price": 1.0, "high_price": 2.0, "low_price": 0.5, "close_price": 1.5, "volume": 10}
    return {"time": "2026-01-02 09:31:00", "is_blank": False, "timestamp": 1767317460.0} | figures | more


@pytest.mark.parametrize(
    ("rehab", "blank", "rows"),
    [(0, False, 1), (1, False, 0), (0, True, 0)],
    ids=["plain", "adjusted", "blank"],
)
def test_a_bar_is_stored_as_traded(
    body: Callable[..., bytes], frame: Callable[..., bytes], rehab: int, blank: bool, rows: int
) -> None:
    kl = [bar(is_blank=blank)]
    pushed = body(3007, rehab_type=rehab, kl_type=1, security=HK, kl_list=kl)
    told = FUTU.decode(frame(pushed, proto_id=3007, sub_type=11))
    assert isinstance(told, Rows) and told.topic.feed == "kline.1min"
    assert len(told.rows) == rows
    for row in told.rows:
        assert row.table == "klines" and row.ts_event is None
        assert (row.values["period"], row.values["open_time"]) == ("1min", 1767317460 * 10**9)


def test_news_of_the_gateway_is_of_no_stream(body: Callable[..., bytes], frame: Callable[..., bytes]) -> None:
    status = {"qot_logined": False, "trd_logined": False}
    pushed = body(1003, type=2, connect_status=status)
    told = FUTU.decode(frame(pushed, proto_id=1003, sec_key=None, sub_type=None))
    assert told == Aside("data", "notice")
    assert isinstance(FUTU.decode(frame(b"", proto_id=2208)), Unknown)


def test_what_cannot_be_read_tells_its_topic(frame: Callable[..., bytes]) -> None:
    text = frame(b"\xff\xff")
    with pytest.raises(DecodeError):
        FUTU.decode(text)
    topic = FUTU.salvage_topic(text)
    assert topic is not None and topic.text == "1_00700/4"
