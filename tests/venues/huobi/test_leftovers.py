from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bookreel.venues.huobi import leftovers
from bookreel.venues.huobi.leftovers import inexact_numbers, unknown_fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b'{"ch":"market.btcusdt.mbp.150","ts":1,"tick":{"seqNum":2,"prevSeqNum":1,"bids":[],"checksum":5},"v":1}',
            ["mbp: v", "mbp: tick.checksum"],
        ),
        (
            b'{"ch":"market.btcusdt.trade.detail","ts":1,"tick":{"id":1,"ts":1,"data":[{"id":1,"fee":1},{"fee":2,"x":1}]}}',
            ["trade.detail: tick.data.fee", "trade.detail: tick.data.x"],
        ),
        (
            b'{"ch":"market.btcusdt.depth.step0","ts":1,"update":true,"tick":{"bids":[],"ts":1,"version":1}}',
            [],
        ),
        (
            b'{"ch":"market.btcusdt.bbo","ts":1,"tick":{"symbol":"btcusdt","seqId":1,"mid":1}}',
            ["bbo: tick.mid"],
        ),
        (b'{"ch":"market.btcusdt.ticker","ts":1,"tick":{"vwap":1}}', ["ticker: tick.vwap"]),
        (b'{"ch":"market.btcusdt.detail","ts":1,"tick":{"id":1,"version":1}}', []),
        (
            b'{"rep":"market.btcusdt.mbp.150","status":"ok","data":{"seqNum":1,"prevSeqNum":1}}',
            ["mbp: data.prevSeqNum"],
        ),
        (
            b'{"rep":"market.btcusdt.kline.1min","status":"ok","data":[{"id":1,"z":1},{"z":1}]}',
            ["kline: data.z"],
        ),
        (b'{"rep":"market.btcusdt.mbp.150","status":"ok","data":null,"x":1}', ["mbp: x"]),
        (b'{"rep":"market.btcusdt.mbp.150","status":"ok"}', []),
        (b'{"id":1,"status":"ok","subbed":"market.btcusdt.bbo","ts":1,"x":1}', ["ack: x"]),
        (b'{"status":"error","ts":1,"id":1,"err-code":"a","err-msg":"b","trace":"c"}', ["error: trace"]),
        (b'{"ping":1,"ts":2}', ["heartbeat: ts"]),
        (b'{"pong":1}', []),
        (b'{"sub":"market.btcusdt.bbo","id":1,"pick":[]}', []),
        (b'{"action":"ping","data":{"ts":1}}', []),
        (b'{"ch":"orders#btcusdt","data":{}}', []),
        (b'{"ch":"' + b"x" * 1000 + b'","tick":{}}', []),
        (b'{"ch":7,"tick":{}}', []),
        (b'{"ch":"market.btcusdt.bbo","tick":7}', []),
        (b'{"ch":"market.btcusdt.trade.detail","tick":{"data":7}}', []),
        (b"{", []),
        (b"[" * 10**6, []),
        (b'{"a":' * 10**6, []),
        (b'{"\xff":1}', []),
        (b"", []),
    ],
)
def test_unknown_fields(text: bytes, expected: list[str]) -> None:
    assert unknown_fields(text) == expected


_KEYS = st.lists(
    st.sampled_from(["id", "ts", "bids", "seqNum", "data", "ch", "update", "fee", "x", "version"]), max_size=4
)
_NAMES = st.sampled_from(
    [
        "mbp.150",
        "mbp.refresh.20",
        "depth.step0",
        "bbo",
        "trade.detail",
        "kline.1min",
        "detail",
        "ticker",
        "nothing",
    ]
)


@given(feed=_NAMES, other=st.none() | _NAMES, top=_KEYS, tick=_KEYS, item=_KEYS)
@example(feed="mbp.150", other="bbo", top=["ts"], tick=["seqNum", "prevSeqNum", "bids", "asks"], item=[])
def test_pushes_of_known_keys_are_told_at_once_and_others_one_by_one(
    feed: str, other: str | None, top: list[str], tick: list[str], item: list[str]
) -> None:
    items = "[{" + ",".join(f'"{key}":1' for key in item) + "}]"
    inner = ",".join(f'"{key}":{items if key == "data" else 1}' for key in tick)
    outer = "".join(f',"{key}":1' for key in top if key != "ch")
    last = "" if other is None else f',"ch":"market.ethusdt.{other}"'
    text = f'{{"ch":"market.btcusdt.{feed}"{outer},"tick":{{{inner}}}{last}}}'.encode()
    frame = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    assert unknown_fields(text) == leftovers._unknown_in_push(frame)


def test_real_frames_hold_nothing_unknown(
    capture: list[tuple[bytes, bytes]], samples: list[dict[str, str]], mbp20: list[bytes]
) -> None:
    texts = [text for text, _ in capture] + [row["raw"].encode() for row in samples] + mbp20[:3000]
    assert [found for text in texts if (found := unknown_fields(text))] == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"", 0),
        (b'{"asks":[[645.140000000000000000,26.755973959140651643]]}', 1),
        (b'{"vol":5.009502243290115E8,"amount":0.015443758717188892}', 0),
        (b'{"id":123140716701236887569077664,"tradeId":102357140867}', 0),
        (b'{"id":"1.23456789012345678901"}', 0),
        (b'{"id":1.23456789012345678901}', 0),
        (b'{"bid":"1.00000000000000000001","ask":"1.5000000000000000000"}', 1),
        (b"[1234567890123456789e2]", 1),
        (b"[-0.1234567890123456789e-300]", 1),
        (b"[1.5E-5,2.5e-3,9.377E-11]", 0),
        (b"[4.9E-324,5e-324,1.0E-310]", 1),
        (b"[1.2345678901234567890123456789E5,2.3456789012345678901234567E-7]", 2),
        (b"[1.111111111111111111e99999999999999999999999]", 1),
        (b"." * 100, 0),
        (b"1." * 100, 0),
    ],
)
def test_inexact_numbers(text: bytes, count: int) -> None:
    assert inexact_numbers(text) == count


@given(st.lists(st.floats(min_value=1e-300, max_value=1e300)))
def test_what_a_double_prints_is_exact(numbers: list[float]) -> None:
    assert inexact_numbers(b'{"x":%s}' % repr(numbers).encode()) == 0


@given(st.integers(10**20, 10**30).filter(lambda n: n % 10), st.integers(1, 19))
def test_more_than_17_digits_never_are(digits: int, point: int) -> None:
    text = str(digits)
    assert inexact_numbers(f"[[{text[:point]}.{text[point:]},1.0]]".encode()) == 1


@given(st.from_regex(r"-?[1-9][0-9]{0,7}\.[0-9]{14,22}([eE][+-]?[0-9]{1,2})?", fullmatch=True))
def test_the_count_is_by_the_numbers_value(number: str) -> None:
    lost = Decimal(number) != Decimal(repr(float(number)))
    assert inexact_numbers(f'{{"x":[{number},1.5,"{number}"]}}'.encode()) == 2 * lost


def test_every_captured_number_is_exact(capture: list[tuple[bytes, bytes]]) -> None:
    assert sum(inexact_numbers(text) for text, _ in capture) == 0
