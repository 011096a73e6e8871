"""Lines of frames by machine code, against the encoder."""

from __future__ import annotations

import json
from array import array
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("numba")

from bookreel.replay.weaving import Columns, Texts, weave

PLAIN = st.text(st.characters(codec="utf-8", min_codepoint=0x20) | st.sampled_from('"\\/{'))
TIMES = st.integers(-(1 << 62), (1 << 63) - 1)


def columns(rows: list[tuple[int, int, str, int, int]]) -> Columns:
    """Of lines of: number of a text, the venue's time, a frame's text, time of receipt, position."""
    first, ts_event, payload, ts_recv, pos = zip(*rows, strict=True)
    return Columns(
        Texts([b'{"a":"', b'{"some":"'], array("q", [number % 2 for number in first])),
        array("q", ts_event),
        Texts([b'Z","b":"', b'Z","c":"', b'Z","":"'], array("q", first)),
        pa.array(payload, pa.string()),
        b'","at":"',
        array("q", ts_recv),
        b'Z","pos":',
        array("q", pos),
    )


def iso(ns: int) -> str:
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}"


@given(
    st.lists(
        st.tuples(st.integers(0, 2), TIMES, PLAIN, TIMES, st.integers(0, (1 << 63) - 1)),
        min_size=1,
        max_size=8,
    )
)
@example([(0, 0, 'a\\b"c', 0, 0)])
def test_lines_are_those_of_the_encoder(rows: list[tuple[int, int, str, int, int]]) -> None:
    found = weave(columns(rows))
    assert found is not None
    lines, ends = found
    encode: Any = msgspec.json.Encoder().encode
    wanted = [
        (b'{"a":"', b'{"some":"')[number % 2]
        + iso(event).encode()
        + (b'Z","b":', b'Z","c":', b'Z","":')[number]
        + encode(text)
        + f',"at":"{iso(received)}Z","pos":{pos}}}\n'.encode()
        for number, event, text, received, pos in rows
    ]
    assert bytes(lines) == b"".join(wanted)
    starts = [0, *ends]
    assert [bytes(lines[a:b]) for a, b in pairwise(starts)] == wanted
    assert all(json.loads(line) for line in wanted)


@pytest.mark.parametrize("text", ["\n", 'a"\x00', "tab\there", "\x1f"])
def test_what_has_an_escape_of_its_own_is_left(text: str) -> None:
    assert weave(columns([(0, 0, "plain", 0, 0), (1, 1, text, 1, 1)])) is None


def test_a_part_of_a_column() -> None:
    """Arrow's slices share the buffers of the whole."""
    whole = columns([(0, 0, "one", 0, 1), (0, 0, 'two"', 0, 2), (0, 0, "three", 0, 3)])
    part = whole._replace(payload=whole.payload[1:2], pos=whole.pos[1:2])
    one = [value[1:2] for value in (whole.ts_event, whole.ts_recv)]
    numbers = [Texts(texts.texts, texts.numbers[1:2]) for texts in (whole.first, whole.second)]
    found = weave(part._replace(ts_event=one[0], ts_recv=one[1], first=numbers[0], second=numbers[1]))
    assert found is not None and json.loads(bytes(found[0]))["b"] == 'two"'


@pytest.mark.parametrize(
    "day", ["1700-02-28", "1900-03-01", "1972-02-29", "2000-02-29", "2000-03-01", "2100-03-01"]
)
def test_days_about_the_end_of_february(day: str) -> None:
    ns = int(datetime.fromisoformat(f"{day}T23:59:59+00:00").timestamp()) * 10**9 + 7
    found = weave(columns([(0, ns, "", ns, 0)]))
    assert found is not None and json.loads(bytes(found[0]))["at"] == f"{day}T23:59:59.000000007Z"
