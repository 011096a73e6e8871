"""The compiled reading of a book's push against the decoder: what it takes it reads alike, the rest it declines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.book.model import Delta
from bookreel.book.packed import read_push
from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Data, Message

pytestmark = pytest.mark.skipif(read_push is None, reason="nothing was compiled")

START = b'{"ch":"market.btcusdt.mbp.150"'
PUSH = (
    START + b',"ts":1723161387278,"tick":{"seqNum":5123118293920,"prevSeqNum":5123118290439,'
    b'"bids":[[61733.0,1.062],[9.377E-11,0.0]],"asks":[[61733.1,7.103],[61734,3.358149508E7]]}}'
)
BYTES = st.sampled_from([bytes((byte,)) for byte in b'0123456789.eE+-,:[]{}" \n\x00\x7f\xffTntaskbid'])
NUMBERS = st.one_of(
    st.floats(min_value=0.0).map(repr),
    st.decimals(min_value=0, allow_nan=False, allow_infinity=False).map(str),
    st.integers(0, 10**25).map(str),
    st.from_regex(r"[0-9]{1,22}(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"[-+.0-9eE]{1,8}", fullmatch=True),
)


def read(text: bytes) -> Delta | None:
    assert read_push is not None
    return read_push(text, len(START), "btcusdt", "mbp.150")


def said(text: bytes, decode: object) -> Message | str:
    assert callable(decode)
    try:
        message: Message = decode(text)
    except DecodeError as error:
        return str(error)
    return message


def compare(text: bytes) -> bool:
    """Whether the text was taken; it was read alike, or refused in the same words."""
    expected = said(text, Huobi.decode)
    assert said(text, Huobi.decoder(START)) == expected
    delta = read(text)
    if delta is None:
        return False
    assert isinstance(expected, Data)
    (event,) = expected.events
    assert isinstance(event, Delta)
    # As texts too: no bit of a number may differ.
    assert repr((delta.bids, delta.asks)) == repr((event.bids, event.asks))
    return True


def test_a_push_is_taken() -> None:
    assert compare(PUSH)
    assert compare(PUSH.replace(b'"bids":[[61733.0,1.062],[9.377E-11,0.0]],', b""))
    assert compare(PUSH.replace(b',"asks":[[61733.1,7.103],[61734,3.358149508E7]]', b',"asks":[]'))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seqNum":5123118293920', b'"seqNum":5123118290439'),
        (b'"seqNum":5123118293920', b'"seqNum":9223372036854775808'),
        (b'"seqNum":5123118293920', b'"seqNum":05123118293920'),
        (b'"ts":1723161387278', b'"ts":9223372036855'),
        (b'"ts":1723161387278', b'"ts":-1'),
        (b"61733.0", b"0.0"),
        (b"61733.0", b"0"),
        (b"61733.0", b"-1.0"),
        (b"61733.0", b"1e999"),
        (b"61733.0", b"061733.0"),
        (b"61733.0", b"61733."),
        (b"61733.0", b".5"),
        (b"61733.0", b'"61733.0"'),
        (b"61733.0", b"61733.0\x00"),
        (b"1.062", b"-0.0"),
        (b"1.062", b"NaN"),
        (b"[61733.0,1.062]", b"[61733.0]"),
        (b"[61733.0,1.062]", b"[61733.0,1.062,1]"),
        (b"[61733.0,1.062],", b"[61733.0,1.062],,"),
        (b"[9.377E-11,0.0]]", b"[9.377E-11,0.0],]"),
        (b"}}", b"}}}"),
        (b"}}", b"}"),
        (b"}}", b'},"status":"error"}'),
        (b"}}", b',"bids":null}}'),
        (b',"tick"', b',"x":"\xff","tick"'),
        (b',"ts"', b',"ch":"market.ethusdt.mbp.150","ts"'),
    ],
)
def test_what_is_wrong_or_written_otherwise_is_declined(old: bytes, new: bytes) -> None:
    text = PUSH.replace(old, new, 1)
    assert text != PUSH
    assert not compare(text)


def test_another_beginning_is_for_the_decoder() -> None:
    for start in (START + b" ", b'{"ch":"market.btcusdt.mbp.150" "x"'):
        text = PUSH.replace(START, start)
        assert said(text, Huobi.decoder(start)) == said(text, Huobi.decode)


def test_more_levels_or_text_than_any_book_has_are_declined() -> None:
    assert compare(PUSH.replace(b"[61733.0,1.062]", b",".join([b"[1,1]"] * 2000)))
    assert not compare(PUSH.replace(b"[61733.0,1.062]", b",".join([b"[1,1]"] * 2048)))
    assert not compare(PUSH.replace(b"[61733.0,1.062]", b",".join([b"[61733.000000,1.0000000]"] * 1000)))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4))
def test_numbers(levels: list[tuple[str, str]]) -> None:
    pairs = ",".join(f"[{price},{size}]" for price, size in levels)
    compare(PUSH.replace(b"[61733.1,7.103]", pairs.encode()))


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(PUSH)), st.integers(0, 2), BYTES), min_size=1, max_size=3))
def test_damaged_texts(edits: list[tuple[int, int, bytes]]) -> None:
    text = PUSH
    for at, kind, byte in edits:
        text = text[:at] + (b"" if kind == 0 else byte) + text[at + (kind != 1) :]
    compare(text) if text.startswith(START + b",") else None


@pytest.mark.parametrize("cut", range(len(START), len(PUSH)))
def test_a_text_cut_short(cut: int) -> None:
    assert not compare(PUSH[:cut])


def test_real_frames_are_taken(shared_data: Path) -> None:
    taken = []
    with gzip.open(shared_data / "mbp150_btcusdt_20240808.ndjson.gz") as lines:
        for line in lines:
            text = json.loads(line)["raw"].encode()
            if text.startswith(START):
                taken.append(compare(text))
    assert len(taken) > 1000
    assert all(taken)


def test_arguments_are_checked() -> None:
    assert read_push is not None
    for wrong in ((), (PUSH, 1, "a"), ("text", 1, "a", "b"), (PUSH, 1.0, "a", "b"), (PUSH, 1, b"a", "b")):
        with pytest.raises(TypeError):
            read_push(*wrong)  # type: ignore[call-arg, arg-type]
    for outside in (-1, len(PUSH) + 1):
        assert read_push(PUSH, outside, "a", "b") is None
    assert read_push(PUSH, len(PUSH), "a", "b") is None
