"""The bytes of a record, in Python and compiled: FORMAT.md's, and the same of both."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.storage.codec import (
    BODY,
    CONN_BYTES_MAX,
    FRAME,
    HEADER,
    MARKER,
    encode_footer,
    encode_plainly,
    encode_record,
    seed_of,
)
from bookreel.storage.record import Direction, Kind

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT32 = st.integers(0, 2**32 - 1)
BYTE = st.integers(0, 255)
FIELDS = (1, 2, 3, 4, b"line-0", 5, Direction.IN, Kind.TEXT, b"{}")
compiled = pytest.mark.skipif(encode_record is encode_plainly, reason="nothing was compiled")


@given(
    UINT32,
    INT64,
    INT64,
    INT64,
    st.binary(max_size=CONN_BYTES_MAX),
    UINT32,
    BYTE,
    BYTE,
    st.binary(max_size=900),
)
def test_a_record_is_as_the_format_says(
    seed: int,
    pos: int,
    ts_recv: int,
    mono: int,
    conn: bytes,
    epoch: int,
    direction: int,
    kind: int,
    payload: bytes,
) -> None:
    fields = (seed, pos, ts_recv, mono, conn, epoch, direction, kind, payload)
    record = encode_record(*fields)
    assert record == encode_plainly(*fields)
    marker, crc, *head = HEADER.unpack_from(record)
    assert (marker, crc) == (MARKER, zlib.crc32(record[FRAME.size :], seed))
    assert head == [len(payload), pos, ts_recv, mono, epoch, direction, kind, len(conn)]
    assert record[HEADER.size :] == conn + payload


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000, 1 << 20])
def test_payloads_of_any_size(size: int) -> None:
    fields = (*FIELDS[:-1], bytes(range(256)) * (size // 256) + bytes(size % 256))
    assert encode_record(*fields) == encode_plainly(*fields)


def test_a_footer_is_a_record_of_its_own_kind() -> None:
    footer = encode_footer(seed_of(b"identity"), 3, 7)
    assert FRAME.size + BODY.size + 16 == len(footer)
    assert zlib.crc32(footer[FRAME.size :], zlib.crc32(b"identity")) == FRAME.unpack_from(footer)[1]


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (1, 1 << 63),
        (2, -(1 << 63) - 1),
        (5, -1),
        (5, 1 << 32),
        (6, 256),
        (7, -1),
        (4, bytes(256)),
    ],
)
def test_what_does_not_fit_is_refused_by_both(place: int, wrong: int | bytes) -> None:
    fields = [*FIELDS]
    fields[place] = wrong
    for encode in (encode_plainly, encode_record):
        with pytest.raises((OverflowError, struct.error)):
            encode(*fields)  # type: ignore[arg-type]


@compiled
def test_arguments_are_checked() -> None:
    for wrong in (
        (),
        FIELDS[:-1],
        (*FIELDS[:-1], "{}"),
        (*FIELDS[:4], "line-0", *FIELDS[5:]),
        (None, *FIELDS[1:]),
    ):
        with pytest.raises(TypeError):
            encode_record(*wrong)  # type: ignore[arg-type, call-arg]
