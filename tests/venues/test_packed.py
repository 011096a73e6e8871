"""The compiled reading of a book's push against the decoder: what it takes it reads alike, the rest it declines."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.book.model import Delta, Snapshot
from bookreel.book.packed import read_image, read_push
from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Data, Message

pytestmark = pytest.mark.skipif(read_push is None, reason="nothing was compiled")

decoding = importlib.import_module("bookreel.venues.huobi.decode")

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


def said(text: bytes, reader: Callable[[bytes], Message]) -> Message | str:
    try:
        message = reader(text)
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


# Whole books.

DEPTH_START = b'{"ch":"market.btcusdt.depth.step0"'
DEPTH = (
    DEPTH_START + b',"ts":1618678069870,"tick":{"bids":[[61733.0,1.062],[9.377E-11,0.0]],'
    b'"asks":[[61733.1,7.103],[61734,3.358149508E7]],"version":124437166431,"ts":1618678069868}}'
)
REFRESH_START = b'{"ch":"market.btcusdt.mbp.refresh.20"'
REFRESH = (
    REFRESH_START + b',"ts":1672825916217,"tick":{"seqNum":161573989890,'
    b'"bids":[[16840.68,0.76565],[16840.0,0.653206]],"asks":[[16840.69,0.3],[16841,1]]}}'
)
STARTS = {DEPTH: DEPTH_START, REFRESH: REFRESH_START}
whole_books = pytest.mark.parametrize("push", [DEPTH, REFRESH], ids=["depth", "refresh"])


def compare_image(text: bytes, start: bytes) -> bool:
    """Whether the text was taken; all three ways of reading it say the same to the last bit, or the same words."""
    assert read_image is not None
    feed = start.split(b".", 2)[2].strip(b'"').decode()
    image = read_image(text, len(start), "btcusdt", feed, start == REFRESH_START)
    quick = said(text, Huobi.decode)
    learned = said(text, Huobi.decoder(start))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_NUMBERED", {})
        decoding._route.cache_clear()
        expected = said(text, Huobi.decode)
    decoding._route.cache_clear()
    assert quick == expected
    assert repr(quick) == repr(expected)
    assert learned == expected
    if image is None:
        return False
    assert isinstance(expected, Data) and isinstance(learned, Data)
    (event,), (found,) = expected.events, learned.events
    assert isinstance(event, Snapshot) and isinstance(found, type(image))
    assert (learned.topic, learned.ts_event) == (expected.topic, expected.ts_event)
    assert repr((found.bids, found.asks)) == repr((event.bids, event.asks))
    assert found.crossed is event.crossed
    return True


@whole_books
def test_a_whole_book_is_taken(push: bytes) -> None:
    start = STARTS[push]
    assert compare_image(push, start)
    for old in (b"[61733.0,1.062],", b"[9.377E-11,0.0]", b"16840.69,0.3", b"[16840.68,0.76565],"):
        # A crossed book is no broken one, nor is one with a level of size 0.
        new = {b"[9.377E-11,0.0]": b"[61731,2]", b"16840.69,0.3": b"1.5,0.0"}.get(old, b"")
        assert compare_image(push.replace(old, new), start)
    for side in (b'"bids":[]', b'"asks":[]'):
        at = push.index(side[:7])
        assert compare_image(push[:at] + side + push[push.index(b"]]", at) + 2 :], start)
    assert compare_image(push.replace(b'"bids":[[', b'"bids":[[99999,0.5],['), start)


@whole_books
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"bids":[[', b'"bids":[[1,1],['),
        (b'"asks":[[', b'"asks":[[99999,1],['),
        (b'"bids":[[', b'"bids":[[99999,1],[99999,1],['),
        (b'"bids":[[', b'"bids":[[99999,1],[99999.0,2],['),
        (b'"bids":[[', b'"bids":[[1e400,1],['),
        (b'"bids":[[', b'"bids":[[NaN,1],['),
        (b'"bids":[[', b'"bids":[[-1,1],['),
        (b'"bids":[[', b'"bids":[[99999,-1],['),
        (b'"bids":[[', b'"bids":[[99999,-0.0],['),
        (b'"bids":[[', b'"bids":[["99999",1],['),
        (b'"bids":[[', b'"bids":[[99999],['),
        (b'"bids":[[', b'"bids": [['),
        (b'"asks":[[', b'"asks":[[0,1],['),
        (b'"asks":[[', b'"asks":[[0.0,1],['),
        (b'"asks":', b'"x":1,"asks":'),
        (b'"tick":', b'"update":true,"tick":'),
        (b'"tick":', b'"status":"ok","tick":'),
        (b'"ts":1', b'"ts":-1'),
        (b'"ts":1', b'"ts":9223372036855'),
        (b"}}", b'},"status":"ok"}'),
        (b"}}", b'},"update":true}'),
        (b"}}", b'},"status":"error","err-msg":"x"}'),
        (b"}}", b'},"ch":"market.ethusdt.depth.step0"}'),
        (b"}}", b',"bids":null}}'),
        (b"}}", b',"version":1}}'),
        (b"}}", b',"seqNum":1}}'),
        (b"}}", b"}} "),
        (b"}}", b"}"),
    ],
)
def test_a_whole_book_that_is_wrong_or_written_otherwise_is_declined(
    push: bytes, old: bytes, new: bytes
) -> None:
    text = push.replace(old, new, 1)
    assert text != push
    assert not compare_image(text, STARTS[push])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b',"version":124437166431', b""),
        (b',"version":124437166431', b',"version":null'),
        (b',"version":124437166431', b',"version":9223372036854775808'),
        (b',"version":124437166431', b',"version":-1'),
        (b',"version":124437166431', b',"version":1.5'),
        (b',"ts":1618678069868}}', b"}}"),
        (b',"ts":1618678069868}}', b',"ts":9223372036855}}'),
        (b',"ts":1618678069868}}', b',"ts":null}}'),
        (b'"version":124437166431,"ts":1618678069868', b'"ts":1618678069868,"version":124437166431'),
    ],
)
def test_a_depth_with_another_end_is_declined(old: bytes, new: bytes) -> None:
    text = DEPTH.replace(old, new)
    assert text != DEPTH
    assert not compare_image(text, DEPTH_START)


def test_each_family_has_its_own_form() -> None:
    assert not compare_image(DEPTH.replace(DEPTH_START, REFRESH_START), REFRESH_START)
    assert not compare_image(REFRESH.replace(REFRESH_START, DEPTH_START), DEPTH_START)


@whole_books
@given(levels=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4), bids=st.booleans())
def test_numbers_of_whole_books(push: bytes, levels: list[tuple[str, str]], bids: bool) -> None:
    pairs = ",".join(f"[{price},{size}]" for price, size in levels)
    start = STARTS[push]
    at = push.index(b'"bids":[' if bids else b'"asks":[') + len(b'"bids":[')
    compare_image(push[:at] + pairs.encode() + push[push.index(b"]]", at) + 1 :], start)


@settings(max_examples=400)
@whole_books
@given(
    edits=st.lists(st.tuples(st.integers(0, len(DEPTH)), st.integers(0, 2), BYTES), min_size=1, max_size=3)
)
def test_damaged_whole_books(push: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    text, start = push, STARTS[push]
    for at, kind, byte in edits:
        text = text[:at] + (b"" if kind == 0 else byte) + text[at + (kind != 1) :]
    compare_image(text, start) if text.startswith(start + b",") else None


@whole_books
def test_a_whole_book_cut_short(push: bytes) -> None:
    start = STARTS[push]
    assert not any(compare_image(push[:cut], start) for cut in range(len(start), len(push)))


def test_a_whole_book_of_more_than_any_has_is_declined() -> None:
    def text(levels: int) -> bytes:
        pairs = ",".join(f"[{90000 - number},1]" for number in range(levels))
        return DEPTH.replace(b"[61733.0,1.062],[9.377E-11,0.0]", pairs.encode())

    assert compare_image(text(1500), DEPTH_START)
    assert not compare_image(text(2100), DEPTH_START)


def test_real_whole_books_are_taken(shared_data: Path) -> None:
    taken = []
    with gzip.open(shared_data / "huobi_ws_20210417.ndjson.gz") as lines:
        for line in lines:
            text = json.loads(line)["raw"].encode()
            if b".depth.step0" in text[:64] and text.startswith(b'{"ch"'):
                name = text[: text.index(b",")]
                assert isinstance(said(text, Huobi.decoder(name)), Data)
                taken.append(
                    read_image(text, len(name), "a", "b", False) is not None and said(text, Huobi.decode)
                )
    assert len(taken) > 200
    assert all(taken)


def test_arguments_of_a_whole_book_are_checked() -> None:
    assert read_image is not None
    for wrong in ((), (DEPTH, 1, "a", "b"), (DEPTH, 1, "a", "b", 0), (DEPTH, 1, "a", b"b", True)):
        with pytest.raises(TypeError):
            read_image(*wrong)  # type: ignore[call-arg, arg-type]
    for outside in (-1, len(DEPTH) + 1):
        assert read_image(DEPTH, outside, "a", "b", False) is None
    with pytest.raises(OverflowError):
        read_image(DEPTH, 1 << 70, "a", "b", False)
