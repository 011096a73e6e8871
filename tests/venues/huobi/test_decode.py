from __future__ import annotations

import contextlib
import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.book.model import Bbo, Delta, Event, Kline, Snapshot, Ticker, Trade
from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi import Huobi
from bookreel.venues.huobi.leftovers import unknown_fields
from bookreel.venues.huobi.topics import FEEDS, make_topic
from bookreel.venues.message import Ack, Data, Heartbeat, Message, Refusal, Reply, Request, Unknown

MS = 1_000_000
MBP = make_topic("btcusdt", "mbp.150")


def decode(text: bytes) -> Message:
    """As the venue does; the decoder that was made for texts of this beginning must do and say the same, and so must
    the one that tells of known keys.
    """
    learned = Huobi.decoder(text[: text.find(b",")])
    try:
        message = Huobi.decode(text)
    except DecodeError as error:
        with pytest.raises(DecodeError) as raised:
            learned(text)
        assert str(raised.value) == str(error)
        with pytest.raises(DecodeError, match=re.escape(str(error))):
            Huobi.decode_known(text)
        raise
    assert learned(text) == message
    found, known = Huobi.decode_known(text)
    assert found == message
    assert not (known and unknown_fields(text))
    return message


def _push(feed: str, tick: str, ts: str = "1600000000001", more: str = "") -> bytes:
    return f'{{"ch":"market.btcusdt.{feed}","ts":{ts}{more},"tick":{tick}}}'.encode()


def _rep(feed: str, data: str, ts: str = ',"ts":1600000000001') -> bytes:
    return f'{{"id":"r1","status":"ok"{ts},"rep":"market.btcusdt.{feed}","data":{data}}}'.encode()


def _event(text: bytes) -> Any:
    message = decode(text)
    assert isinstance(message, Data | Reply)
    (event,) = message.events
    return event


def java_double(number: float) -> str:
    """``number`` as the venue prints it: always a point, an exponent below 1e-3 and from 1e7."""
    match = re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?", repr(number))
    assert match is not None
    sign, whole, fraction, power = match[1], match[2], match[3] or "", int(match[4] or 0)
    exponent = power + len(whole) - 1
    mantissa = (whole + fraction).lstrip("0")
    exponent -= len(whole + fraction) - len(mantissa)
    mantissa = mantissa.rstrip("0") or "0"
    if number == 0:
        return sign + "0.0"
    if 1e-3 <= abs(number) < 1e7:
        if exponent < 0:
            return f"{sign}0.{'0' * (-exponent - 1)}{mantissa}"
        mantissa = mantissa.ljust(exponent + 2, "0")
        return f"{sign}{mantissa[: exponent + 1]}.{mantissa[exponent + 1 :]}"
    return f"{sign}{mantissa[0]}.{mantissa[1:] or '0'}E{exponent}"


# The incremental book.


def test_mbp_push() -> None:
    text = _push(
        "mbp.150", '{"seqNum":9,"prevSeqNum":5,"bids":[[9.377E-11,3.0E12],[2.0,0.0]],"asks":[[3,1]]}'
    )
    expected = Delta(
        "btcusdt", "mbp.150", 1600000000001 * MS, 9, 5, [(9.377e-11, 3e12), (2.0, 0.0)], [(3.0, 1.0)]
    )
    assert decode(text) == Data(MBP, 1600000000001 * MS, [expected])


@pytest.mark.parametrize(
    ("sides", "bids", "asks"),
    [
        ("", [], []),
        (',"bids":[],"asks":[]', [], []),
        (',"bids":[  ],"asks":[  ]', [], []),
        (',"asks":[[2.0,1.0]]', [], [(2.0, 1.0)]),
        (',"bids":[[1.0,0.0]]', [(1.0, 0.0)], []),
        (',"bids":null,"asks":[[2.0,1.0]]', [], [(2.0, 1.0)]),
    ],
)
@pytest.mark.parametrize("feed", ["mbp.5", "mbp.20", "mbp.150", "mbp.400"])
def test_a_side_that_did_not_change(feed: str, sides: str, bids: list[Any], asks: list[Any]) -> None:
    delta = _event(_push(feed, f'{{"seqNum":9,"prevSeqNum":5{sides}}}'))
    assert (delta.bids, delta.asks, delta.seq, delta.prev_seq, delta.feed) == (bids, asks, 9, 5, feed)


def test_the_venues_order_of_a_deltas_levels_is_kept() -> None:
    delta = _event(_push("mbp.20", '{"seqNum":2,"prevSeqNum":1,"bids":[[1.0,1.0],[3.0,1.0],[2.0,1.0]]}'))
    assert [price for price, _ in delta.bids] == [1.0, 3.0, 2.0]


def test_keys_in_any_order_and_with_blanks() -> None:
    text = b' { "tick" : {"asks":[],"prevSeqNum":1, "seqNum":2} ,\n"ts":1,"x":[1],"ch":"market.btcusdt.mbp.150"} '
    assert decode(text) == Data(MBP, MS, [Delta("btcusdt", "mbp.150", MS, 2, 1, [], [])])
    escaped = rb'{"ch":"market.\u0062tcusdt.mbp.150","ts":1,"tick":{"prevSeqNum":1,"seqNum":2}}'
    assert decode(escaped) == decode(text)


@pytest.mark.parametrize(
    "tick",
    [
        "{}",
        "null",
        "[]",
        '{"seqNum":1}',
        '{"seqNum":1,"prevSeqNum":2}',
        '{"seqNum":9223372036854775808,"prevSeqNum":2}',
        '{"seqNum":1,"prevSeqNum":-9223372036854775809}',
        '{"seqNum":99999999999999999999999999999,"prevSeqNum":2}',
        '{"seqNum":"2","prevSeqNum":1}',
        '{"seqNum":2.5,"prevSeqNum":1}',
        '{"seqNum":true,"prevSeqNum":1}',
        '{"seqNum":2,"prevSeqNum":1,"bids":{}}',
        *(
            f'{{"seqNum":2,"prevSeqNum":1,"{side}":[[5.0,1.0],{level}]}}'
            for side in ("bids", "asks")
            for level in (
                "[0.0,1.0]",
                "[0,1.0]",
                "[-1.0,1.0]",
                "[1.0,-1.0]",
                "[1.0,-1E-300]",
                "[1e400,1.0]",
                "[1.0,1e400]",
                "[1.0,-1e400]",
                "[1e-400,1.0]",
                "[NaN,1.0]",
                "[1.0,Infinity]",
                "[null,1.0]",
                '["1.0",1.0]',
                "[true,1.0]",
                "[1.0]",
                "[]",
                "[1.0,2.0,3.0]",
                "1.0",
                "[" + "9" * 400 + ",1.0]",
            )
        ),
    ],
)
def test_values_that_cannot_be_right(tick: str) -> None:
    text = _push("mbp.150", tick)
    with pytest.raises(DecodeError) as caught:
        decode(text)
    assert caught.value.reason and caught.value.text == text


@pytest.mark.parametrize("ts", ["-1", "9223372036855", "1e12", '"1"', "null", "1" * 5000])
def test_an_envelope_time_that_cannot_be_right(ts: str) -> None:
    with pytest.raises(DecodeError):
        decode(_push("mbp.150", '{"seqNum":2,"prevSeqNum":1}', ts=ts))


def test_extremes_that_can_be_right() -> None:
    delta = _event(
        _push(
            "mbp.150",
            '{"seqNum":9223372036854775807,"prevSeqNum":-1,"asks":[[1E308,5E-324]]}',
            ts="9223372036854",
        )
    )
    assert (delta.seq, delta.prev_seq, delta.asks) == (2**63 - 1, -1, [(1e308, 5e-324)])
    assert delta.ts_event == 9223372036854 * MS < 2**63


def test_mbp_reply_is_sorted_best_first() -> None:
    message = decode(
        _rep("mbp.150", '{"seqNum":7,"bids":[[1.0,1.0],[3.0,2.0],[2.0,1.0]],"asks":[[9.0,1.0],[8.0,1.0]]}')
    )
    bids, asks = [(3.0, 2.0), (2.0, 1.0), (1.0, 1.0)], [(8.0, 1.0), (9.0, 1.0)]
    snapshot = Snapshot("btcusdt", "mbp.150", 1600000000001 * MS, 7, bids, asks, "refresh")
    assert message == Reply(MBP, "r1", 1600000000001 * MS, [snapshot])


@pytest.mark.parametrize(
    "text", [_rep("mbp.150", "null"), b'{"id":"r1","rep":"market.btcusdt.mbp.150","status":"ok"}']
)
def test_a_reply_without_data(text: bytes) -> None:
    message = decode(text)
    assert isinstance(message, Reply) and message.events == [] and message.topic == MBP


def test_an_old_reply_has_no_time() -> None:
    message = decode(_rep("mbp.150", '{"seqNum":7}', ts=""))
    assert message == Reply(MBP, "r1", None, [Snapshot("btcusdt", "mbp.150", 0, 7, [], [], "refresh")])


def test_mbp_refresh_push() -> None:
    snapshot = _event(_push("mbp.refresh.20", '{"seqNum":7,"bids":[[1.0,1.0]],"asks":[[2.0,1.0]]}'))
    assert snapshot == Snapshot(
        "btcusdt", "mbp.refresh.20", 1600000000001 * MS, 7, [(1.0, 1.0)], [(2.0, 1.0)], "push"
    )


# Depth.


def test_depth_push_reply_and_rest() -> None:
    tick = '{"bids":[[1.0,1.0]],"asks":[[2.0,1.0]],"version":5,"ts":1500000000000}'
    image = Snapshot("btcusdt", "depth.step0", 1500000000000 * MS, 5, [(1.0, 1.0)], [(2.0, 1.0)], "push")
    asked = Snapshot("btcusdt", "depth.step0", 1500000000000 * MS, 5, [(1.0, 1.0)], [(2.0, 1.0)], "refresh")
    assert _event(_push("depth.step0", tick)) == image
    assert _event(_rep("depth.step0", tick)) == asked
    assert _event(_push("depth.step0", tick, more=',"status":"ok"')) == asked


def test_depth_without_version_time_or_levels() -> None:
    assert _event(_push("depth.step1", "{}")) == Snapshot(
        "btcusdt", "depth.step1", 1600000000001 * MS, None, [], [], "push"
    )


def test_changes_of_a_depth_are_not_taken_for_a_whole_book() -> None:
    message = decode(_push("depth.step0", '{"bids":[],"asks":[],"ts":1,"version":5}', more=',"update":true'))
    assert isinstance(message, Unknown) and message.topic_text == "market.btcusdt.depth.step0"
    assert isinstance(decode(_push("depth.step0", '{"bids":[],"asks":[]}', more=',"update":false')), Data)


# Best bid and offer.


@pytest.mark.parametrize(
    ("tick", "sides"),
    [
        ('{"bid":1.0,"bidSize":2.0,"ask":3.0,"askSize":4.0}', (1.0, 2.0, 3.0, 4.0)),
        ('{"bid":"1.0","bidSize":"2.0","ask":"3.0","askSize":"4.0E-5"}', (1.0, 2.0, 3.0, 4e-5)),
        ('{"bid":1,"bidSize":0.0,"ask":3,"askSize":"0"}', (1.0, 0.0, 3.0, 0.0)),
        ('{"bid":1.0,"bidSize":2.0}', (1.0, 2.0, None, None)),
        ('{"bid":null,"bidSize":null,"ask":"","askSize":""}', (None, None, None, None)),
        ("{}", (None, None, None, None)),
    ],
)
def test_bbo(tick: str, sides: tuple[float | None, ...]) -> None:
    bbo = _event(_push("bbo", tick))
    assert bbo == Bbo("btcusdt", "bbo", 1600000000001 * MS, None, *sides)


@pytest.mark.parametrize("quoted", ["1600000000000", '"1600000000000"'])
def test_bbo_time_and_sequence(quoted: str) -> None:
    bbo = _event(_push("bbo", f'{{"seqId":12,"symbol":"btcusdt","quoteTime":{quoted}}}'))
    assert (bbo.seq, bbo.ts_event) == (12, 1600000000000 * MS)


@pytest.mark.parametrize(
    "tick",
    [
        '{"bid":0.0}',
        '{"bid":"0"}',
        '{"bid":-1.0}',
        '{"bid":"-1"}',
        '{"ask":"nan"}',
        '{"ask":"inf"}',
        '{"ask":"1e400"}',
        '{"ask":1e400}',
        '{"ask":" 1"}',
        '{"ask":"1_0"}',
        '{"ask":"\u0661"}',
        '{"askSize":-1}',
        '{"ask":true}',
        '{"ask":[]}',
        '{"seqId":9223372036854775808}',
        '{"quoteTime":"x"}',
        '{"quoteTime":"-1"}',
        '{"quoteTime":"\u0661"}',
        '{"quoteTime":"9999999999999999999"}',
        '{"quoteTime":9999999999999999999}',
        '{"quoteTime":1.5}',
    ],
)
def test_bbo_that_cannot_be_right(tick: str) -> None:
    with pytest.raises(DecodeError):
        decode(_push("bbo", tick))


# Trades.


def _trade(**changes: str) -> str:
    keys = {"id": "146507451359183894799", "ts": "1533265950234", "tradeId": "102043495674"}
    keys |= {"amount": "0.0099", "price": "401.74", "direction": '"buy"'} | changes
    return "{" + ",".join(f'"{key}":{value}' for key, value in keys.items() if value) + "}"


def test_trades_keep_the_venues_order() -> None:
    newer, older = _trade(tradeId="212", direction='"sell"'), _trade(tradeId="211")
    message = decode(_push("trade.detail", f'{{"id":1,"ts":1533265950230,"data":[{newer},{older}]}}'))
    assert isinstance(message, Data)
    ts = 1533265950234 * MS
    assert message.events == [
        Trade("btcusdt", "trade.detail", ts, "146507451359183894799", 212, "sell", 401.74, 0.0099),
        Trade("btcusdt", "trade.detail", ts, "146507451359183894799", 211, "buy", 401.74, 0.0099),
    ]


@given(st.integers(min_value=0, max_value=10**40), st.booleans())
def test_every_digit_of_a_trades_id_is_kept(number: int, quoted: bool) -> None:
    written = f'"{number}"' if quoted else str(number)
    trade = _event(_push("trade.detail", f'{{"data":[{_trade(id=written)}]}}'))
    assert trade.trade_id == str(number)


def test_leading_zeros_and_exponents_in_an_id_stay_as_they_are() -> None:
    assert (
        _event(_push("trade.detail", f'{{"data":[{_trade(id=chr(34) + "007" + chr(34))}]}}')).trade_id
        == "007"
    )
    assert _event(_push("trade.detail", f'{{"data":[{_trade(id="1.36e+26")}]}}')).trade_id == "1.36e+26"


def test_trades_of_2019_have_no_short_id() -> None:
    trade = _event(_push("trade.detail", f'{{"data":[{_trade(tradeId="")}]}}'))
    assert (trade.trade_id, trade.trade_seq) == ("146507451359183894799", None)


@pytest.mark.parametrize("long_id", ["", "null", '""'])
def test_the_short_id_stands_in_for_the_long(long_id: str) -> None:
    trade = _event(_push("trade.detail", f'{{"data":[{_trade(id=long_id)}]}}'))
    assert (trade.trade_id, trade.trade_seq) == ("102043495674", 102043495674)


def test_a_trades_time_falls_back() -> None:
    assert _event(_push("trade.detail", f'{{"ts":7,"data":[{_trade(ts="")}]}}')).ts_event == 7 * MS
    assert _event(_push("trade.detail", f'{{"data":[{_trade(ts="")}]}}')).ts_event == 1600000000001 * MS


def test_trades_reply() -> None:
    message = decode(_rep("trade.detail", f"[{_trade()},{_trade(tradeId='3')}]"))
    assert isinstance(message, Reply)
    assert [event.trade_seq for event in message.events if isinstance(event, Trade)] == [102043495674, 3]


@pytest.mark.parametrize(
    "item",
    [
        _trade(price="0"),
        _trade(price="-1"),
        _trade(amount="-1"),
        _trade(amount="1e400"),
        _trade(direction='"hold"'),
        _trade(direction=""),
        _trade(tradeId="9223372036854775808"),
        _trade(id="[1]"),
        _trade(id="true"),
        _trade(id="-1"),
        _trade(id="", tradeId=""),
        "1",
    ],
)
def test_a_trade_that_cannot_be_right(item: str) -> None:
    with pytest.raises(DecodeError):
        decode(_push("trade.detail", f'{{"data":[{item}]}}'))
    with pytest.raises(DecodeError):
        decode(_rep("trade.detail", f"[{item}]"))


# Bars and summaries.

BAR = '{"id":1618678080,"open":1.0,"close":2.0,"low":0.5,"high":2.5,"amount":9.0,"vol":5.66173734438733E7,"count":3}'


def _kline(open_time: int) -> Kline:
    ts = 1600000000001 * MS
    return Kline(
        "btcusdt", "kline.1min", ts, "1min", open_time, 1.0, 2.5, 0.5, 2.0, 9.0, 5.66173734438733e7, 3
    )


def test_kline_push_and_reply() -> None:
    assert _event(_push("kline.1min", BAR)) == _kline(1618678080 * 10**9)
    older = BAR.replace("1618678080", "1618678020")
    message = decode(_rep("kline.1min", f"[{older},{BAR}]"))
    assert isinstance(message, Reply)
    assert message.events == [_kline(1618678020 * 10**9), _kline(1618678080 * 10**9)]


def test_a_bar_without_trades_may_have_no_price() -> None:
    empty = '{"id":1618678080,"open":0,"close":0.0,"low":0.0,"high":0.0,"amount":0.0,"vol":0.0,"count":0}'
    assert _event(_push("kline.1day", empty)).close == 0.0


SUMMARY = '"open":1.0,"close":2.0,"low":0.5,"high":2.5,"amount":10.0,"vol":20.0,"count":3'


def test_detail_and_ticker() -> None:
    ts = 1600000000001 * MS
    detail = _event(_push("detail", f'{{"id":7,"version":7,{SUMMARY}}}'))
    assert detail == Ticker("btcusdt", "detail", ts, 1.0, 2.5, 0.5, 2.0, 10.0, 20.0, 3)
    quote = '"bid":1.9,"bidSize":1.0,"ask":2.1,"askSize":3.0,"lastPrice":2.0,"lastSize":1.08E-4'
    ticker = _event(_push("ticker", f"{{{SUMMARY},{quote}}}"))
    assert ticker == Ticker(
        "btcusdt", "ticker", ts, 1.0, 2.5, 0.5, 2.0, 10.0, 20.0, 3, 1.9, 1.0, 2.1, 3.0, 2.0, 1.08e-4
    )


def test_detail_reply_may_have_its_own_time_only() -> None:
    ticker = _event(_rep("detail", f'{{"ts":5,{SUMMARY}}}', ts=""))
    assert isinstance(ticker, Ticker) and ticker.ts_event == 5 * MS


@pytest.mark.parametrize("wrong", ['"id":-1', '"id":9223372037', '"open":-1.0', '"count":-1', '"vol":1e400'])
def test_a_bar_that_cannot_be_right(wrong: str) -> None:
    key = wrong.split(":")[0]
    with pytest.raises(DecodeError):
        decode(_push("kline.1min", re.sub(rf"{key}:[0-9.]+", wrong, BAR)))


def test_a_reply_of_a_feed_that_has_none() -> None:
    with pytest.raises(DecodeError, match="bbo"):
        decode(_rep("bbo", "{}"))


# All that is not market data.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"ping":1492420473027}', Heartbeat("ping", 1492420473027)),
        (b'{"pong":1492420473027}', Heartbeat("pong", 1492420473027)),
        (
            b'{"id":"id1","status":"ok","subbed":"market.btcusdt.mbp.150","ts":3}',
            Ack("sub", MBP, "id1", 3 * MS),
        ),
        (b'{"id":7,"status":"ok","unsubbed":"market.btcusdt.mbp.150","ts":3}', Ack("unsub", MBP, 7, 3 * MS)),
        (b'{"status":"ok","subbed":"market.btcusdt.mbp.150"}', Ack("sub", MBP, None, None)),
        (
            b'{"status":"error","ts":3,"id":"a","err-code":"bad-request","err-msg":"invalid symbol x"}',
            Refusal("permanent", "bad-request", "invalid symbol x", "a", 3 * MS),
        ),
        (b'{"status":"error","err-code":404}', Refusal("not_open", "404", "", None, None)),
        (
            b'{"ch":"market.btcusdt.mbp.150","status":"error","ts":3,"err-code":"x","err-msg":"429 too many"}',
            Refusal("busy", "x", "429 too many", None, 3 * MS),
        ),
        (b'{"sub":"market.btcusdt.mbp.150","id":1}', Request("sub", MBP, MBP.text, 1)),
        (b'{"unsub":"market.btcusdt.mbp.150"}', Request("unsub", MBP, MBP.text, None)),
        (
            b'{"req":"market.btcusdt.mbp.150","id":"x","from":1,"to":2}',
            Request("req", MBP, MBP.text, "x"),
        ),
        (b'{"sub":"market.btcusdt.nope","id":1.5}', Request("sub", None, "market.btcusdt.nope", "1.5")),
        (b'{"sub":["market.a.detail"],"id":null}', Request("sub", None, '["market.a.detail"]', None)),
    ],
)
def test_frames_around_the_data(text: bytes, expected: Message) -> None:
    assert decode(text) == expected


@pytest.mark.parametrize(
    ("text", "topic_text"),
    [
        (b'{"ch":"market.btcusdt.etp","ts":3,"tick":{}}', "market.btcusdt.etp"),
        (b'{"ch":"market.btcusdt.mbp.10","ts":3,"tick":{}}', "market.btcusdt.mbp.10"),
        (b'{"rep":"market.btcusdt.mbp.10","ts":3,"data":{}}', "market.btcusdt.mbp.10"),
        (b'{"id":1,"status":"ok","subbed":"market.btcusdt.mbp.10","ts":3}', "market.btcusdt.mbp.10"),
        (b'{"id":1,"status":"ok","subbed":["market.a.detail"],"ts":3}', '["market.a.detail"]'),
        (b'{"action":"ping","data":{"ts":3}}', None),
        (b'{"action":"push","ch":"orders#btcusdt","data":{}}', "orders#btcusdt"),
        (b'{"code":2001,"message":"invalid.action"}', None),
        (b'{"op":"ping","ts":3}', None),
        (b'{"status":"ok","data":[]}', None),
        (b"{}", None),
        (b"[1,2]", None),
        (b"7", None),
        (b"null", None),
        (b'{"ch":"' + b"x" * 10**5 + b'"}', "x" * 500),
    ],
)
def test_unknown_frames_are_no_errors(text: bytes, topic_text: str | None) -> None:
    message = decode(text)
    assert isinstance(message, Unknown) and message.reason
    assert message.topic_text == topic_text


BROKEN = [
    b"",
    b" ",
    b"\x00",
    b"hello",
    b"{",
    b"}",
    b'{"ch":"market.ethbtc.m',
    b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":{"seqNum":2,"prevSeqNum":1}',
    b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":{"seqNum":2,"prevSeqNum":1}}x',
    b'{"ch":"market.btcusdt.mbp.150","ts":1}',
    b'{"ch":"market.btcusdt.mbp.150"}',
    b'{"ch":7}',
    b'{"ch":"\xff\xfe"}',
    b'{"ch":"\\ud800"}',
    b'{"ping":"x"}',
    b'{"ping":' + b"1" * 10_000 + b"}",
    b'{"id":"\xff","subbed":"market.btcusdt.bbo"}',
    b'{"sub":"\xff"}',
    b'{"sub":["\xff"]}',
    b"[1,",
    b"\x1f\x8b\x08\x00",
    b"[" * 10**6,
    b'{"a":' * 10**6,
    b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":' + b"[" * 10**6,
    b'{"ch":"market.btcusdt.mbp.150","ts":1,"x":' + b"[" * 10**6 + b"]" * 10**6 + b',"tick":{}}',
    b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":{"seqNum":2,"prevSeqNum":1,"bids":' + b"[" * 10**6,
    b'{"id":' + b'{"a":' * 10**6,
    b'{"ch":"' + b"x" * 10**6,
]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:40].decode("latin-1"))
def test_text_that_cannot_be_read(text: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(text)
    assert len(str(caught.value)) < 2000, "a report must stay short however long the frame"


SEEDS = [
    _push("mbp.150", '{"seqNum":9,"prevSeqNum":5,"bids":[[9.377E-11,3.0E12]],"asks":[[3.0,1.0]]}'),
    _rep("mbp.20", '{"seqNum":9,"bids":[[2.0,3.0E12]],"asks":[[3.0,1.0]]}'),
    _push("trade.detail", f'{{"id":1,"ts":2,"data":[{_trade()}]}}'),
    _push("bbo", '{"seqId":1,"bid":"1.0","bidSize":2.0,"quoteTime":"3"}'),
    _push("kline.1min", BAR),
    _push("ticker", f"{{{SUMMARY}}}"),
    b'{"status":"error","ts":3,"id":"a","err-code":"bad-request","err-msg":"invalid symbol x"}',
    b'{"id":"id1","status":"ok","subbed":"market.btcusdt.mbp.150","ts":3}',
    b'{"ping":1492420473027}',
]


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.integers(0, 10**6), st.integers(0, 12), st.binary(max_size=12))
def test_damaged_frames_raise_nothing_else(seed: bytes, at: int, cut: int, junk: bytes) -> None:
    at %= len(seed)
    for text in (seed[:at] + junk + seed[at + cut :], seed[:at], junk + seed[at:]):
        with contextlib.suppress(DecodeError):
            decode(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "ch",
    "rep",
    "ts",
    "tick",
    "data",
    "id",
    "status",
    "ping",
    "pong",
    "subbed",
    "unsubbed",
    "sub",
    "unsub",
]
KEYS += ["req", "action", "op", "code", "err-code", "err-msg", "update"]
TEXTS = st.sampled_from([f"market.btcusdt.{feed}" for feed in FEEDS])


@settings(max_examples=400)
@given(st.dictionaries(st.sampled_from(KEYS), JSON | TEXTS, max_size=5))
def test_odd_frames_raise_nothing_else(frame: dict[str, Any]) -> None:
    with contextlib.suppress(DecodeError):
        decode(json.dumps(frame).encode())


# Exactness.

PRICES = st.floats(min_value=5e-324, allow_infinity=False)
SIZES = st.floats(min_value=0.0, allow_infinity=False).map(abs)


@given(
    st.lists(st.tuples(PRICES, SIZES)),
    st.lists(st.tuples(PRICES, SIZES)),
    st.integers(0, 2**62),
    st.booleans(),
)
def test_levels_survive_the_venues_notation(
    bids: list[tuple[float, float]], asks: list[tuple[float, float]], seq: int, java: bool
) -> None:
    write = java_double if java else repr
    sides = [",".join(f"[{write(price)},{write(size)}]" for price, size in side) for side in (bids, asks)]
    tick = f'{{"seqNum":{seq + 1},"prevSeqNum":{seq},"bids":[{sides[0]}],"asks":[{sides[1]}]}}'
    assert _event(_push("mbp.400", tick)) == Delta(
        "btcusdt", "mbp.400", 1600000000001 * MS, seq + 1, seq, bids, asks
    )


def test_numbers_are_written_as_the_venue_does() -> None:
    written = [
        java_double(x) for x in (9.121e-7, 2e-4, 188358.0, 0.0, 3.358149508e7, 3e12, 0.001, 9.377e-11, 1e7)
    ]
    assert written == [
        "9.121E-7",
        "2.0E-4",
        "188358.0",
        "0.0",
        "3.358149508E7",
        "3.0E12",
        "0.001",
        "9.377E-11",
        "1.0E7",
    ]


NUMBER = re.compile(rb"(?<=[\[,:])-?[0-9]+\.[0-9]+(?:E-?[0-9]+)?")


def _floats(event: Event) -> list[float]:
    assert isinstance(event, Snapshot | Trade)
    if isinstance(event, Trade):
        return [event.size, event.price]
    return [number for level in itertools.chain(event.bids, event.asks) for number in level]


def test_every_captured_number_comes_back_as_written(capture: list[tuple[bytes, bytes]]) -> None:
    tokens = 0
    for text, _ in capture:
        message = decode(text)
        if isinstance(message, Data):
            written = NUMBER.findall(text)
            read = [number for event in message.events for number in _floats(event)]
            assert [java_double(number).encode() for number in read] == written
            tokens += len(read)
    assert tokens == 118_138


# Real frames.


def test_the_captured_connection(capture: list[tuple[bytes, bytes]], client_frames: list[bytes]) -> None:
    messages = [decode(text) for text, _ in capture]
    data = [message for message in messages if isinstance(message, Data)]
    depths = [message for message in data if message.topic.feed == "depth.step0"]
    trades = [message for message in data if message.topic.feed == "trade.detail"]
    assert (len(depths), len(trades), len(messages)) == (292, 44, 362)
    assert sum(len(message.events) for message in trades) == 73
    assert sum(isinstance(message, Ack) for message in messages) == 20
    assert sum(isinstance(message, Heartbeat) for message in messages) == 6
    for message in depths:
        (snapshot,) = message.events
        assert isinstance(snapshot, Snapshot) and snapshot.source == "push" and snapshot.seq is not None
        for side, step in ((snapshot.bids, -1), (snapshot.asks, 1)):
            prices = [price * step for price, _ in side]
            assert prices == sorted(prices)
    sent = [decode(text) for text in client_frames]
    assert {type(message) for message in sent} <= {Request, Heartbeat}
    asked = {message.text for message in sent if isinstance(message, Request)}
    assert asked == {message.topic.text for message in messages if isinstance(message, Ack)}


def test_every_sample_frame(samples: list[dict[str, Any]]) -> None:
    assert len(samples) == 46
    for sample in samples:
        text = sample["raw"].encode()
        message = decode(text)
        frame = json.loads(text)
        if "ch" in frame and "tick" in frame:
            if frame.get("update"):
                assert isinstance(message, Unknown)
                continue
            assert isinstance(message, Data) and message.topic.text == frame["ch"]
            assert message.ts_event == frame["ts"] * MS
            assert len(message.events) == len(frame["tick"].get("data", [None]))
            _check_event(message.events[0], frame["tick"])
        elif "rep" in frame:
            assert isinstance(message, Reply) and message.request_id == frame["id"]
            _check_event(message.events[0], frame["data"])
        else:
            expected = {"ping": Heartbeat, "pong": Heartbeat, "subbed": Ack, "err-msg": Refusal}
            assert type(message) is next((kind for key, kind in expected.items() if key in frame), Unknown)


def _check_event(event: Event, tick: dict[str, Any]) -> None:
    """``event`` against the same frame read by the standard library."""
    if isinstance(event, Delta | Snapshot):
        assert event.seq == tick.get("seqNum", tick.get("version"))
        assert [list(level) for level in event.bids] == tick.get("bids", [])
        assert [list(level) for level in event.asks] == tick.get("asks", [])
    elif isinstance(event, Bbo):
        assert (event.bid, event.ask, event.seq) == (tick["bid"], tick["ask"], tick.get("seqId"))
        assert event.ts_event == tick["quoteTime"] * MS
    elif isinstance(event, Trade):
        item = tick["data"][0]
        assert event.trade_id == str(item["id"]) and event.trade_seq == item.get("tradeId")
        assert (event.price, event.size, event.side) == (item["price"], item["amount"], item["direction"])
    else:
        assert (event.volume, event.turnover, event.close) == (tick["amount"], tick["vol"], tick["close"])


@pytest.mark.parametrize(
    ("fixture", "counts"),
    [
        ("mbp150", {"deltas": 6551, "bbo": 66089, "trades": 21313, "replies": 1}),
        ("mbp20", {"deltas": 3235, "bbo": 28040, "trades": 9757}),
    ],
)
def test_the_long_recordings(fixture: str, counts: dict[str, int], request: pytest.FixtureRequest) -> None:
    messages = [decode(text) for text in request.getfixturevalue(fixture)]
    events = [event for message in messages if isinstance(message, Data) for event in message.events]
    deltas = [event for event in events if isinstance(event, Delta)]
    assert len(deltas) == counts["deltas"]
    assert sum(isinstance(event, Bbo) for event in events) == counts["bbo"]
    assert sum(isinstance(event, Trade) for event in events) == counts["trades"]
    assert sum(isinstance(message, Reply) for message in messages) == counts.get("replies", 1)
    assert all(after.prev_seq == before.seq for before, after in itertools.pairwise(deltas))


def _delta_with(bids: bytes, more: bytes = b"") -> bytes:
    tick = b'"seqNum":2,"prevSeqNum":1,"bids":[%b],"asks":[]%b' % (bids, more)
    return b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":{%b}}' % tick


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (_delta_with(b"[1,1]").replace(b":2,", b":1,"), "not below"),
        (_delta_with(b",".join([b"[1,1]"] * 10_001)), "length"),
        (_delta_with(b"[1,1]", b',"x":"\xff"'), "utf-8"),
        (_delta_with(b",".join([b"[1e300,1]"] * 1800)), "three digits"),
        (b'{"ping":1,"x":"' + b"x" * (512 << 10) + b'"}', "larger"),
        (b'{"rep":"market.btcusdt.mbp.150","data":{"seqNum":1,"bids":[[1,1],[1,2]]}}', "twice"),
        (
            b'{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"data":[{"price":1,"amount":1,"direction":"buy",'
            b'"id":' + b"1" * 65 + b"}]}}",
            "digits",
        ),
    ],
)
def test_what_would_cost_time_memory_or_truth_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode(text)


def test_an_error_of_many_words_is_cut() -> None:
    message = decode(b'{"status":"error","err-msg":"' + b"w" * 5000 + b'"}')
    assert isinstance(message, Refusal) and len(message.text) == 500


def test_of_captured_pushes_every_key_is_known(capture: list[tuple[bytes, bytes]]) -> None:
    told = [(Huobi.decode_known(text), Huobi.decode(text)) for text, _ in capture]
    for (_, known), message in told:
        assert known == (isinstance(message, Data) and not message.topic.feed.startswith("depth"))
    assert [found for (found, _), _ in told] == [message for _, message in told]


@pytest.mark.parametrize(
    ("feed", "tick", "more"),
    [
        ("bbo", '{"symbol":"btcusdt","seqId":1,"bid":1,"mid":1}', ""),
        ("bbo", '{"seqId":1,"bid":1}', ',"v":1'),
        ("bbo", '{"seqId":1,"bid":1}', ',"ch":"market.ethusdt.bbo"'),
        ("mbp.150", '{"seqNum":2,"prevSeqNum":1,"bids":[],"checksum":5}', ""),
        (
            "trade.detail",
            '{"id":1,"ts":1,"data":[{"price":1,"amount":1,"direction":"buy","tradeId":1,"fee":1}]}',
            "",
        ),
        ("detail", '{"open":1,"high":1,"low":1,"close":1,"amount":1,"vol":1,"count":1,"vwap":1}', ""),
        ("kline.1min", '{"id":1,"open":1,"high":1,"low":1,"close":1,"amount":1,"vol":1,"count":1,"x":1}', ""),
    ],
)
def test_a_push_with_another_key_or_of_two_names_is_read_and_not_called_known(
    feed: str, tick: str, more: str
) -> None:
    text = _push(feed, tick, more=more)
    assert isinstance(decode(text), Data)
    assert Huobi.decode_known(text)[1] is False
