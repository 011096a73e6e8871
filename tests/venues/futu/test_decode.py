from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from bookreel.venues.errors import DecodeError
from bookreel.venues.futu import decode, salvage_topic
from bookreel.venues.futu.errors import PushError
from bookreel.venues.futu.model import (
    Bar,
    Broker,
    BrokerQueue,
    Notice,
    OrderBook,
    PriceReminder,
    Push,
    Quote,
    Tick,
    TimePoint,
)
from bookreel.venues.message import Unknown

Make = Callable[..., bytes]
TENCENT = {"market": 1, "code": "00700"}
APPLE = {"market": 11, "code": "AAPL"}
TICK = {"time": "", "sequence": 1, "dir": 3, "price": 1.0, "volume": 1, "turnover": 1.0}


def push_of(text: bytes) -> Push:
    push = decode(text)
    assert isinstance(push, Push)
    return push


def the_tick(text: bytes) -> Tick:
    (tick,) = push_of(text).events
    assert isinstance(tick, Tick)
    return tick


def test_the_vector(frame: Make, vector: bytes) -> None:
    push = push_of(frame(vector))
    assert push.whole and push.oddities == () and push.proto_id == 3011
    assert push.topic is not None
    assert (push.topic.symbol, push.topic.feed, push.topic.coverage) == ("HK.00700", "ticker", "id-only")
    assert push.events == [
        Tick(
            symbol="HK.00700",
            feed="ticker",
            ts_event=1_767_317_400_123_000_000,  # 09:30 in Hong Kong is 01:30 UTC
            ts_gateway=None,
            sequence=4_611_686_018_427_387_907,
            side="buy",
            price=300.2,
            volume=100,
            turnover=30020.0,
            kind=None,
            sign=None,
            origin=None,
        )
    ]


def test_a_field_of_a_later_version_is_passed_over(frame: Make, vector: bytes) -> None:
    unknown = b"\xfa\x3e\x03new"  # field 1007, three bytes
    assert push_of(frame(vector + unknown)).events == push_of(frame(vector)).events
    inner = vector[4:] + unknown
    assert (
        push_of(frame(b"\x08\x00\x22" + bytes([len(inner)]) + inner)).events == push_of(frame(vector)).events
    )


def test_a_bare_message_is_read_and_said_to_be_one(frame: Make, vector: bytes) -> None:
    push = push_of(frame(vector[4:]))
    assert push.events == push_of(frame(vector)).events
    assert not push.whole and push.oddities == ("bare message",)


@pytest.mark.parametrize(
    ("proto_id", "fields"),
    [
        (1003, {"type": 3, "connect_status": {"qot_logined": True, "trd_logined": False}}),
        (1003, {"type": 1, "event": {"event_type": 7, "desc": "kicked out"}}),
        (3005, {"basic_qot_list": []}),
        (
            3007,
            {"rehab_type": 0, "kl_type": 1, "security": TENCENT, "kl_list": [{"time": "", "is_blank": True}]},
        ),
        (3009, {"security": TENCENT, "rt_list": [{"time": "", "minute": 1, "is_blank": True}]}),
        (3013, {"security": APPLE, "order_book_type": 0}),
        (3015, {"security": TENCENT}),
    ],
)
def test_no_bare_message_is_taken_for_a_response(
    frame: Make, body: Make, proto_id: int, fields: dict[str, Any]
) -> None:
    """Among them one whose ``connect_status`` has the number of a response's message."""
    if fields != {"basic_qot_list": []}:  # an empty bare message is no bytes at all
        bare = push_of(frame(body(proto_id, whole=False, **fields), proto_id=proto_id))
        assert not bare.whole
        assert bare.events == push_of(frame(body(proto_id, **fields), proto_id=proto_id)).events
    assert push_of(frame(body(proto_id, **fields), proto_id=proto_id)).whole


def test_optional_keys_may_be_missing_or_null_and_others_are_ignored(frame: Make, vector: bytes) -> None:
    told = the_tick(frame(vector))
    bare = {"sec_key": None, "sub_type": None, "rehab_type": None, "type": None}
    assert the_tick(frame(vector, **bare)) == told
    full = json.loads(frame(vector)) | dict.fromkeys(bare) | {"acc_id": "12", "required_scope": "qot:read"}
    assert the_tick(json.dumps(full).encode()) == told
    assert the_tick(frame(vector, acc_id=12)) == told


def test_long_sequences_keep_every_digit_through_json(frame: Make, body: Make) -> None:
    for sequence in (2**53 + 1, 2**63 - 1, -(2**63)):
        tick = the_tick(frame(body(3011, security=APPLE, ticker_list=[TICK | {"sequence": sequence}])))
        again = msgspec.json.decode(msgspec.json.encode(tick), type=Tick)
        assert again.sequence == sequence


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"dir": 1}, {"side": "buy"}),
        ({"dir": 2}, {"side": "sell"}),
        ({"dir": 3}, {"side": None}),
        ({"dir": 77}, {"side": None}),
        ({"push_data_type": 1}, {"origin": "live"}),
        ({"push_data_type": 2}, {"origin": "backfill"}),
        ({"push_data_type": 3}, {"origin": "cache"}),
        ({"type": 7, "type_sign": 88}, {"kind": 7, "sign": 88}),
        ({"volume": 2**53 + 1}, {"volume": 2**53 + 1}),
        ({"volume": 0, "hp_volume": 0.0625}, {"volume": 0.0625}),
        ({"volume": 5, "hp_volume": 5.0}, {"volume": 5}),
        ({"recv_time": 1767317400.000001}, {"ts_gateway": 1_767_317_400_000_001_000}),
    ],
)
def test_what_a_tick_tells(frame: Make, body: Make, fields: dict[str, Any], told: dict[str, Any]) -> None:
    tick = the_tick(frame(body(3011, security=APPLE, ticker_list=[TICK | fields])))
    assert {name: getattr(tick, name) for name in told} == told


def test_a_book_with_the_times_of_both_sides(frame: Make, body: Make) -> None:
    asks = [
        {"price": 300.4, "volume": 500, "oreder_count": 3},
        {"price": 300.6, "volume": 100, "oreder_count": 1},
    ]
    content = body(
        3013,
        security=TENCENT,
        order_book_ask_list=asks,
        order_book_bid_list=[{"price": 300.2, "volume": 2**53 + 1, "oreder_count": 9}],
        svr_recv_time_bid="2026-01-02 09:30:00.250",
        svr_recv_time_bid_timestamp=1767317400.25,
        svr_recv_time_ask="2026-01-02 09:30:00.125",
    )
    push = push_of(frame(content, proto_id=3013, sub_type=2))
    assert push.topic is not None and push.topic.coverage == "unsequenced"
    (book,) = push.events
    assert isinstance(book, OrderBook) and not book.crossed
    assert book.bids == [(300.2, 2**53 + 1, 9)]
    assert book.asks == [(300.4, 500, 3), (300.6, 100, 1)]
    assert book.ts_bid == book.ts_event == 1_767_317_400_250_000_000
    assert book.ts_ask == 1_767_317_400_125_000_000


@pytest.mark.parametrize("text", ["", "0", "1970-01-01 08:00:00.000"])
def test_server_times_of_zero_are_none_and_not_1970(frame: Make, body: Make, text: str) -> None:
    times: dict[str, Any] = {"svr_recv_time_bid": text, "svr_recv_time_bid_timestamp": 0.0}
    (book,) = push_of(frame(body(3013, security=TENCENT, **times), proto_id=3013)).events
    assert isinstance(book, OrderBook)
    assert (book.ts_event, book.ts_bid, book.ts_ask) == (None, None, None)
    tick = the_tick(frame(body(3011, security=TENCENT, ticker_list=[TICK | {"time": text}])))
    assert tick.ts_event is None and tick.ts_gateway is None


def test_quotes_of_several_securities(frame: Make, body: Make) -> None:
    quote = {
        "security": APPLE, "is_suspended": False, "list_time": "1980-12-12", "price_spread": 0.01,
        "update_time": "2026-01-02 09:30:00", "high_price": 3.0, "open_price": 2.0, "low_price": 1.0,
        "cur_price": 2.5, "last_close_price": 2.2, "volume": 7, "turnover": 17.5, "turnover_rate": 0.1,
        "amplitude": 0.2, "pre_market": {"price": 2.4, "volume": 3},
    }  # fmt: skip
    both = [quote, quote | {"security": TENCENT, "dark_status": 1, "sec_status": 9}]
    push = push_of(frame(body(3005, basic_qot_list=both), proto_id=3005, sec_key="11_AAPL", sub_type=1))
    first, second = push.events
    assert isinstance(first, Quote) and isinstance(second, Quote)
    assert (first.symbol, second.symbol, push.oddities) == ("US.AAPL", "HK.00700", ())
    # the same words are another instant in another market
    assert first.ts_event == 1_767_364_200_000_000_000 and second.ts_event == 1_767_317_400_000_000_000
    assert (first.price, first.open, first.high, first.low, first.last_close) == (2.5, 2.0, 3.0, 1.0, 2.2)
    assert first.pre_market is not None and first.pre_market.price == 2.4 and first.pre_market.high is None
    assert (
        first.after_market is None and first.status is None and second.status == 9 and second.dark_status == 1
    )


def test_brokers_and_orders_only_where_they_are_told(frame: Make, body: Make) -> None:
    queue = [
        {"id": 2**40, "name": "A", "pos": 1},
        {"id": 2, "name": "B", "pos": 2, "order_id": 2**60 + 1, "volume": 400},
    ]
    (event,) = push_of(frame(body(3015, security=TENCENT, broker_bid_list=queue), proto_id=3015)).events
    assert isinstance(event, BrokerQueue) and event.asks == []
    assert event.bids == [Broker(2**40, "A", 1, None, None), Broker(2, "B", 2, 2**60 + 1, 400)]


def test_a_blank_minute_and_a_blank_bar_have_no_figures(frame: Make, body: Make) -> None:
    points = [
        {"time": "2026-01-02 09:31:00", "minute": 571, "is_blank": False, "price": 9.0, "volume": 4},
        {"time": "2026-01-02 09:32:00", "minute": 572, "is_blank": True, "price": 9.0, "volume": 4},
    ]
    real, blank = push_of(frame(body(3009, security=TENCENT, rt_list=points), proto_id=3009)).events
    assert isinstance(real, TimePoint) and isinstance(blank, TimePoint)
    assert (real.price, real.volume, real.average) == (9.0, 4, None)
    assert (blank.price, blank.volume, blank.ts_event) == (None, None, 1_767_317_520_000_000_000)
    content = body(
        3007, rehab_type=1, kl_type=2, security=TENCENT, kl_list=[{"time": "2026-01-02", "is_blank": True}]
    )
    (bar,) = push_of(frame(content, proto_id=3007, sub_type=6)).events
    assert isinstance(bar, Bar) and (bar.period, bar.rehab, bar.feed) == ("1day", "forward", "kline.1day")
    assert bar.close is None and bar.volume is None and bar.ts_event == 1_767_283_200_000_000_000


@pytest.mark.parametrize(("sub_type", "kl_type", "feed"), [(6, 2, "kline.1day"), (11, 1, "kline.1min")])
def test_kinds_of_subscription_and_of_bars_are_two_numberings(
    frame: Make, body: Make, sub_type: int, kl_type: int, feed: str
) -> None:
    bar = {"time": "2026-01-02 00:00:00", "is_blank": False, "close_price": 1.5}
    content = body(3007, rehab_type=0, kl_type=kl_type, security=APPLE, kl_list=[bar])
    push = push_of(frame(content, proto_id=3007, sec_key="11_AAPL", sub_type=sub_type))
    assert push.topic is not None and push.topic.feed == feed and push.oddities == ()
    # an envelope that uses the other numbering is counted, and the body is believed
    mixed = push_of(frame(content, proto_id=3007, sec_key="11_AAPL", sub_type=kl_type))
    assert mixed.topic == push.topic and mixed.oddities == (f"sub_type {kl_type}, body {feed}",)


def test_the_body_is_believed_about_its_security(frame: Make, vector: bytes) -> None:
    push = push_of(frame(vector, sec_key="1_00005"))
    assert push.topic is not None and push.topic.symbol == "HK.00700"
    assert push.oddities == ("sec_key 1_00005, body HK.00700",)


def test_a_reminder_and_notices(frame: Make, body: Make) -> None:
    content = body(
        3019,
        security=TENCENT,
        price=1.0,
        change_rate=0.5,
        market_status=1,
        content="up",
        note="",
        key=2**60 + 1,
    )
    push = push_of(frame(content, proto_id=3019, sub_type=None))
    (event,) = push.events
    assert isinstance(event, PriceReminder) and event.key == 2**60 + 1 and push.topic is None
    content = body(1003, type=3, connect_status={"qot_logined": False, "trd_logined": True})
    notice = push_of(frame(content, type="notify", proto_id=1003, sec_key=None, sub_type=None))
    assert notice.events == [Notice(3, qot_logined=False, trd_logined=True)] and notice.topic is None
    content = body(1003, type=1, event={"event_type": 7, "desc": "elsewhere"})
    assert push_of(frame(content, proto_id=1003)).events == [Notice(1, event=7, text="elsewhere")]
    content = body(1003, type=7, used_quota={"used_sub_quota": 5})
    assert push_of(frame(content, proto_id=1003)).events == [Notice(7, used_sub_quota=5)]


def test_what_is_not_market_data_is_unknown(frame: Make) -> None:
    for number in (2208, 2218, 9999):
        assert isinstance(decode(frame(b"\x00", proto_id=number, type="trade")), Unknown)


@pytest.mark.parametrize(
    ("change", "stage"),
    [
        ({"body_b64": "not base64!"}, "base64"),
        ({"body_b64": "ЖЖЖЖ"}, "base64"),
        ({"body_b64": ""}, "protobuf"),
        ({"body_b64": "//////"}, "base64"),
        ({"body_b64": "/////w=="}, "protobuf"),
        ({"body_b64": 7}, "json"),
        ({"proto_id": None}, "json"),
        ({"body_b64": None}, "json"),
    ],
)
def test_an_unreadable_frame_says_where(
    frame: Make, vector: bytes, change: dict[str, Any], stage: str
) -> None:
    with pytest.raises(PushError) as caught:
        decode(frame(vector, **change))
    assert caught.value.stage == stage
    assert isinstance(caught.value, DecodeError) and caught.value.text == frame(vector, **change)
    if stage != "json":
        assert (caught.value.proto_id, caught.value.sec_key) == (3011, "1_00700")
        assert "the frame is kept" in str(caught.value)
        topic = salvage_topic(frame(vector, **change))
        assert topic is not None and (topic.symbol, topic.feed) == ("HK.00700", "ticker")


def test_every_truncation_is_refused(frame: Make, vector: bytes) -> None:
    for size in range(len(vector)):
        with pytest.raises(PushError) as caught:
            decode(frame(vector[:size]))
        assert caught.value.stage in ("protobuf", "missing")


def test_garbage_that_is_not_even_json_does_not_stop_anything(frame: Make, vector: bytes) -> None:
    for text in (b"", b"{", b"[]", b"\xff\xfe", b'"x"', b"[" * 100_000, b"null"):
        with pytest.raises(PushError):
            decode(text)
        assert salvage_topic(text) is None
    assert push_of(frame(vector)).events  # and the next one is read as ever


def test_a_required_field_that_is_missing_is_named(frame: Make) -> None:
    inner = bytes.fromhex(
        "0a0908011205303037303012050a0131" + "1001"
    )  # a tick with a time and a sequence only
    with pytest.raises(PushError) as caught:
        decode(frame(b"\x08\x00\x22" + bytes([len(inner)]) + inner))
    assert caught.value.stage == "missing"
    assert "ticker_list[0].price" in str(caught.value.missing)
    with pytest.raises(PushError) as caught:
        decode(frame(b"\x08\x00"))
    assert caught.value.stage == "missing"


def test_a_push_that_reports_failure_is_refused(frame: Make) -> None:
    failed = b"\x08" + b"\xff" * 9 + b"\x01" + b"\x12\x04oops"
    for proto_id in (3011, 3005, 1003):
        with pytest.raises(PushError, match="ret_type -1: oops") as caught:
            decode(frame(failed, proto_id=proto_id))
        assert caught.value.stage == "refused"


@pytest.mark.parametrize(
    "fields",
    [
        {"price": float("nan")},
        {"price": float("inf")},
        {"timestamp": 1e300},
        {"timestamp": float("nan")},
        {"time": "yesterday"},
        {"time": "2026-13-01 00:00:00"},
    ],
)
def test_a_number_that_cannot_be_right_is_refused(frame: Make, body: Make, fields: dict[str, Any]) -> None:
    with pytest.raises(PushError) as caught:
        decode(frame(body(3011, security=APPLE, ticker_list=[TICK | fields])))
    assert caught.value.stage == "value"


@pytest.mark.parametrize("security", [{"market": 9, "code": "00700"}, {"market": 1, "code": "../x"}])
def test_a_security_that_cannot_be_right_is_refused(
    frame: Make, body: Make, security: dict[str, Any]
) -> None:
    with pytest.raises(PushError) as caught:
        decode(frame(body(3015, security=security), proto_id=3015))
    assert caught.value.stage == "value"


def test_text_that_is_not_utf8_is_refused(frame: Make, vector: bytes) -> None:
    with pytest.raises(PushError):
        decode(frame(vector.replace(b"00700", b"\xff\xfe\xff\xfe\xff")))
