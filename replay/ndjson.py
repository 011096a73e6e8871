"""A replay as lines of JSON: one object a line, its ``type`` first, times as ISO-8601 text with nine digits.

Lines of frames alone are made by Arrow's kernels, a column at a time; they are the same bytes as the others' way,
by typed values, would give.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.events import (
    Arranged,
    Numbers,
    RecordedFrame,
    arrange,
    iso_times,
    open_gap_events,
)
from bookreel.replay.kinds import MAKERS, Recorded
from bookreel.replay.pages import exact_events
from bookreel.replay.sweep import ORDER, Sweep

__all__ = ["Failure", "LineForm", "Lines", "encode_line"]

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_encode: Final = _ENCODER.encode

_SPACE: Final = 0x20
_TILDE: Final = 0x7E
_LOOK_BYTES: Final = 1 << 16


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The last line of a replay that failed: the error's name and sentence; ``token`` resumes before it."""

    error: str
    message: str
    token: str


def encode_line(value: msgspec.Struct) -> bytes:
    """A value as a line."""
    return _ENCODER.encode(value) + b"\n"


class Lines:
    """Lines in one buffer, and where each of them ends."""

    def __init__(self, buffer: memoryview, ends: memoryview) -> None:
        self._buffer = buffer
        self._ends = ends

    @classmethod
    def of(cls, values: list[Recorded]) -> Lines:
        """A line for each value."""
        lines = [_ENCODER.encode(value) for value in values]
        buffer = b"\n".join((*lines, b""))
        ends = array("q", accumulate(len(line) + 1 for line in lines))
        return cls(memoryview(buffer), memoryview(ends))

    @classmethod
    def of_array(cls, lines: Any) -> Lines:
        """Of an Arrow array of 64-bit offsets, text or binary."""
        _, offsets, buffer = lines.buffers()
        ends = memoryview(offsets).cast("q")[lines.offset + 1 : lines.offset + len(lines) + 1]
        return cls(memoryview(buffer), ends)

    def array(self, start: int, stop: int) -> Any:
        """The lines from ``start`` to ``stop``, exclusive, as an Arrow array."""
        offsets = array("q", [self._ends[start - 1] if start else 0])
        offsets.extend(self._ends[start:stop])
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self._buffer)]
        return pa.Array.from_buffers(pa.large_binary(), stop - start, buffers)

    def stop(self, start: int, stop: int, most: int) -> int:
        """Up to which line, exclusive, those from ``start`` on are ``most`` bytes at most, or one line."""
        begin = self._ends[start - 1] if start else 0
        return max(start + 1, bisect_right(self._ends, begin + most, start, stop))

    def between(self, start: int, stop: int) -> memoryview:
        """The bytes of the lines from ``start`` to ``stop``, exclusive and above it."""
        return self._buffer[self._ends[start - 1] if start else 0 : self._ends[stop - 1]]


class LineForm:
    """A form of :class:`bookreel.replay.pages.Pages`. ``numbers``: decimals are written with their own digits."""

    def __init__(self, numbers: Numbers) -> None:
        self.texts = numbers == "decimal"

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> tuple[Lines, memoryview, memoryview]:
        if rows.keys() == {"frames"}:
            return _frames(rows["frames"])
        found: Arranged = arrange(rows, iso_times, MAKERS[sweep.venue.name])
        events = exact_events(found.events, sweep) if self.texts else found.events
        return Lines.of(events), found.order, found.ts

    def gaps(self, rows: pa.Table, horizon: int) -> Lines:
        return Lines.of([*open_gap_events(rows, horizon, iso_times)])


def _frames(rows: pa.Table) -> tuple[Lines, memoryview, memoryview]:
    """Rows of ``frames``, sorted by order."""
    batch = rows.combine_chunks().to_batches()[0]
    parts: list[Any] = []
    text, few = '{"type":"frame"', dict[str, Any]()
    for name in RecordedFrame.__struct_fields__:
        column = batch.column(name)
        if pa.types.is_string(column.type) and name != "payload":
            few[name] = column
            continue
        before, values, after = _json(name, column)
        before = f',"{name}":{before}'
        parts.append(_members(text, few, before) if few else _text(text + before))
        parts.append(values)
        text, few = after, {}
    joiner: Any = pc.binary_join_element_wise
    lines: Any = joiner(*parts, _text(text + "}\n"), _text(""))
    return Lines.of_array(lines), _numbers(batch.column(ORDER)), _numbers(batch.column("ts_recv"))


def _members(before: str, columns: Mapping[str, Any], after: str) -> Any:
    """Columns of few different texts as members of an object: each combination that there is, is made once."""
    codes: Any = pa.scalar(0, pa.int64())
    known: list[list[bytes]] = []
    for name, column in columns.items():
        coded = column.dictionary_encode(null_encoding="encode")
        known.append(
            [b',"%s":%s' % (name.encode(), _encode(value)) for value in coded.dictionary.to_pylist()]
        )
        codes = pc.add(pc.multiply(codes, pa.scalar(len(known[-1]), pa.int64())), coded.indices)
    found = codes.dictionary_encode()
    texts = []
    for code in found.dictionary.to_pylist():
        members = [after.encode()]
        for values in reversed(known):
            code, index = divmod(code, len(values))
            members.append(values[index])
        texts.append(b"".join((before.encode(), *reversed(members))).decode())
    return pa.array(texts, pa.large_string()).take(found.indices)


def _json(name: str, column: Any) -> tuple[str, Any, str]:
    """A column's values as JSON texts, but for what stands before and after each of them."""
    if pa.types.is_timestamp(column.type):
        text = pc.binary_replace_slice(column.cast(pa.string()), start=10, stop=11, replacement="T")
        return _quoted(text, "Z")
    if name == "payload":
        return _quoted(_escaped(column), "")
    if pa.types.is_binary(column.type):
        if column.null_count == len(column):
            return "", _text("null"), ""
        texts = [_encode(value).decode() for value in column.to_pylist()]
        return "", pa.array(texts, pa.large_string()), ""
    return "", column.cast(pa.large_string()), ""


def _text(text: str) -> Any:
    return pa.scalar(text, pa.large_string())


def _escaped(column: Any) -> Any:
    """Texts as they stand between the quotes of JSON."""
    _, offsets, buffer = column.buffers()
    ends = memoryview(offsets).cast("i")[column.offset : column.offset + len(column) + 1]
    if buffer is None or ends[0] == ends[-1]:
        return column
    codes: Any = buffer.slice(ends[0], ends[-1] - ends[0])
    text = column
    if _has_backslash(memoryview(codes)):
        text = pc.replace_substring(text, "\\", "\\\\")
    text = pc.replace_substring(text, '"', '\\"')
    # What is not plain is left to the encoder: control characters, and what is not ASCII.
    bounds: Any = pc.min_max(pa.Array.from_buffers(pa.uint8(), codes.size, [None, codes])).as_py()
    if bounds["min"] < _SPACE or bounds["max"] > _TILDE:
        odd: Any = pc.fill_null(pc.invert(pc.ascii_is_printable(column)), pa.scalar(False))
        further = [_encode(value).decode()[1:-1] for value in column.filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(further, text.type))
    return text


def _has_backslash(codes: memoryview) -> bool:
    # A little at a time: a copy that stays in the cache is looked at faster than Arrow looks at the whole.
    return any(b"\\" in bytes(codes[at : at + _LOOK_BYTES]) for at in range(0, len(codes), _LOOK_BYTES))


def _quoted(text: Any, end: str) -> tuple[str, Any, str]:
    """Texts, ``end`` after each, in quotes; ``null`` for none."""
    text = text.cast(pa.large_string())
    if not text.null_count:
        return '"', text, end + '"'
    joiner: Any = pc.binary_join_element_wise
    return "", pc.fill_null(joiner(_text('"'), text, _text(end + '"'), _text("")), "null"), ""


def _numbers(column: Any) -> memoryview:
    return memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
