from __future__ import annotations

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.exchange.huobi_wire import (
    encode_ack,
    encode_error,
    encode_json,
    encode_push,
    encode_reply,
    gzip_frame,
    java_double,
)

TABLE = [
    (0.0, "0.0"),
    (-0.0, "-0.0"),
    (1.0, "1.0"),
    (188358.0, "188358.0"),
    (0.001, "0.001"),
    (9.999e-4, "9.999E-4"),
    (0.0002, "2.0E-4"),
    (9.121e-7, "9.121E-7"),
    (9.377e-11, "9.377E-11"),
    (9999999.0, "9999999.0"),
    (9999999.999, "9999999.999"),
    (10000000.0, "1.0E7"),
    (13640078.0, "1.3640078E7"),
    (33581495.08, "3.358149508E7"),
    (500950224.3290115, "5.009502243290115E8"),
    (1e16, "1.0E16"),
    (1.5e22, "1.5E22"),
    (0.1 + 0.2, "0.30000000000000004"),
    (-33581495.08, "-3.358149508E7"),
    (5e-324, "5E-324".replace("5E", "5.0E")),
    (0.015443758717188892, "0.015443758717188892"),
]


@pytest.mark.parametrize(("value", "text"), TABLE)
def test_numbers_print_as_java_doubles(value: float, text: str) -> None:
    assert java_double(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_comes_back_from_its_text(value: float) -> None:
    text = java_double(value)
    assert float(text) == value
    assert re.fullmatch(r"-?\d+\.\d+(E-?\d+)?", text)
    assert ("E" in text) == (value != 0 and not 1e-3 <= abs(value) < 1e7)


def test_numbers_of_a_real_connection_print_as_the_venue_printed_them(capture: list[str]) -> None:
    tokens = {t for text in capture for t in re.findall(r"(?<=[\[,:])\d+\.\d+(?:E-?\d+)?(?=[\],}])", text)}
    assert len(tokens) > 5_000
    assert [t for t in tokens if java_double(float(t)) != t] == []


def test_a_real_frame_is_written_the_same(capture: list[str]) -> None:
    for text in capture[:40]:
        assert encode_json(json.loads(text)) == text


@pytest.mark.parametrize("request_id", ["x1", 7, 2**60, 1.5, None, 'quo"te'])
def test_an_id_comes_back_with_its_type(request_id: str | int | float | None) -> None:
    for text in (
        encode_ack("sub", "market.btcusdt.bbo", request_id, 5),
        encode_reply("market.btcusdt.bbo", request_id, 5, "[]"),
        encode_error("no", request_id, 5),
    ):
        frame = json.loads(text)
        assert frame.get("id") == request_id
        assert type(frame.get("id")) is type(request_id)


def test_shapes_of_control_frames() -> None:
    assert encode_ack("unsub", "t", 1, 5) == '{"id":1,"status":"ok","unsubbed":"t","ts":5}'
    assert encode_reply("t", 1, 5, "null") == '{"id":1,"status":"ok","ts":5,"rep":"t","data":null}'
    assert encode_push("t", 5, "{}") == '{"ch":"t","ts":5,"tick":{}}'
    assert encode_error("no", "a", 5) == (
        '{"status":"error","ts":5,"id":"a","err-code":"bad-request","err-msg":"no"}'
    )


def test_a_frame_is_one_gzip_member() -> None:
    payload = gzip_frame('{"ping":1}')
    assert payload[:3] == b"\x1f\x8b\x08"
    assert gzip.decompress(payload) == b'{"ping":1}'


def test_json_keeps_long_ids_and_text() -> None:
    value = {"id": 144446879688433873170760015, "t": 'a"\n', "n": None, "b": [True, False, 1.0]}
    text = encode_json(value)
    assert '"id":144446879688433873170760015' in text
    assert json.loads(text) == value
