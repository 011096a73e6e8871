from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.venues.errors import InflateError
from bookreel.venues.huobi.compression import MAX_TEXT_BYTES, inflate, plain, salvage_topic

TEXT = (
    b'{"ch":"market.btcusdt.mbp.150","ts":1790134136934,"tick":{"seqNum":204675265972,"prevSeqNum":204675265969,'
    + (b'"bids":[[1.3640078E7,3.6E-4],[1.3638902E7,1.7E-4],[1.1001001E7,0.0]],"asks":[]}}')
)
FRAME = gzip.compress(TEXT, mtime=0)


@given(st.binary(max_size=5000))
def test_any_text_comes_back(text: bytes) -> None:
    assert inflate(gzip.compress(text)) == text


def test_the_captured_frames(capture: list[tuple[bytes, bytes]]) -> None:
    for text, frame in capture:
        assert inflate(frame) == text == plain(frame)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "not a gzip"),
        (TEXT, "not a gzip"),
        (b"\x1f", "not a gzip"),
        (FRAME[:5], "cut short"),
        (FRAME[:-1], "cut short"),
        (FRAME[:-9], "cut short"),
        (FRAME + b"\x00", "1 bytes follow"),
        (FRAME + FRAME, "bytes follow"),
        (FRAME[:-8] + b"\x00\x00\x00\x00" + FRAME[-4:], "hecksum"),
        (FRAME[:-4] + b"\x00\x00\x00\x00", "hecksum"),
        (zlib.compress(TEXT), "not a gzip"),
        (b"\x1f\x8b\x07" + FRAME[3:], "cannot inflate"),
    ],
)
def test_a_frame_that_is_not_one_whole_member(frame: bytes, reason: str) -> None:
    with pytest.raises(InflateError, match=reason) as caught:
        inflate(frame)
    assert caught.value.size == len(frame)


def test_no_flipped_bit_changes_the_text() -> None:
    refused = 0
    for byte, bit in itertools.product(range(len(FRAME)), range(8)):
        damaged = bytearray(FRAME)
        damaged[byte] ^= 1 << bit
        try:
            text = inflate(bytes(damaged))
        except InflateError:
            refused += 1
        else:
            # Time, flags and system in the header say nothing about the text, nor do the last byte's spare bits.
            assert text == TEXT, (byte, bit)
    assert refused >= (len(FRAME) - 10) * 8 - 7


@given(st.binary(max_size=300), st.binary(max_size=20))
def test_junk_raises_nothing_else(junk: bytes, after: bytes) -> None:
    for frame in (junk, b"\x1f\x8b" + junk, FRAME[:10] + junk, FRAME[:100] + junk, FRAME + after + junk):
        with contextlib.suppress(InflateError):
            inflate(frame)
        salvage_topic(frame)


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    part = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join(part.compress(zeros) for _ in range(256)) + part.flush()
    with pytest.raises(InflateError, match=f"larger than {MAX_TEXT_BYTES}"):
        inflate(bomb)


def test_the_limit_itself_is_allowed() -> None:
    assert inflate(gzip.compress(b"x" * 1000), max_bytes=1000) == b"x" * 1000
    with pytest.raises(InflateError, match="larger"):
        inflate(gzip.compress(b"x" * 1001), max_bytes=1000)


def test_plain_text_is_taken_as_it_is() -> None:
    assert plain(TEXT) is TEXT
    assert plain(b" \n" + TEXT) == b" \n" + TEXT
    assert plain(FRAME) == TEXT
    with pytest.raises(InflateError):
        plain(b"hello")


def _salvaged(payload: bytes) -> str | None:
    topic = salvage_topic(payload)
    return None if topic is None else topic.text


def test_salvage_from_broken_json() -> None:
    assert _salvaged(TEXT[:60]) == "market.btcusdt.mbp.150"
    assert (
        _salvaged(b'{"id":"x","status":"ok","rep" : "market.ethusdt.mbp.20","data":[[[')
        == "market.ethusdt.mbp.20"
    )
    assert _salvaged(b'{"id":"x","status":"ok","subbed":"market.ethusdt.bbo') is None, "half a name"
    assert _salvaged(b'{"ch":"market.ethbtc.m') is None
    assert _salvaged(b'{"ch":"market.ethbtc.mbp.1"') is None, "no such feed"
    assert _salvaged(b'{"ping":1') is None
    assert _salvaged(b"") is None
    assert _salvaged(b'{"a":"' + b"x" * 5000 + b'","ch":"market.ethbtc.bbo"}') is None, (
        "only the beginning counts"
    )


@pytest.mark.parametrize("keep", [90, 120, len(FRAME) - 20, len(FRAME) - 1])
def test_salvage_from_a_cut_member(keep: int) -> None:
    assert _salvaged(FRAME[:keep]) == "market.btcusdt.mbp.150"


def test_salvage_from_a_damaged_member() -> None:
    assert _salvaged(FRAME[:-6] + b"\x00" + FRAME[-5:]) == "market.btcusdt.mbp.150", "damaged checksum"
    assert _salvaged(b"\x00" + FRAME[1:]) == "market.btcusdt.mbp.150", "damaged header"
    middle = len(FRAME) - 30
    assert _salvaged(FRAME[:middle] + b"\xff" * 8 + FRAME[middle + 8 :]) == "market.btcusdt.mbp.150"
    assert _salvaged(FRAME[:12]) is None


def test_salvage_gives_up_early_on_a_bomb() -> None:
    assert salvage_topic(gzip.compress(b"x" * (16 << 20))) is None


def test_salvage_from_the_captured_frames(capture: list[tuple[bytes, bytes]]) -> None:
    for text, frame in capture:
        if b'"ch"' in text and len(frame) > 400:
            name = text.split(b'"')[3].decode()
            assert _salvaged(frame[: len(frame) // 2]) == name
            assert _salvaged(text[: len(text) // 2]) == name


def test_salvage_reads_no_more_than_the_beginning() -> None:
    empty = b"\x00\x00\x00\xff\xff" * 1000
    assert _salvaged(gzip.compress(b"")[:10] + empty + FRAME[10:]) is None
