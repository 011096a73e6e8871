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
    Recorded,
    RecordedFrame,
    arrange,
    iso_times,
    open_gap_events,
)
from bookreel.replay.pages import exact_events
from bookreel.replay.sweep import ORDER, Sweep

__all__ = ["Failure", "LineForm", "Lines", "encode_line"]

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


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
        found: Arranged = arrange(rows, iso_times)
        events = exact_events(found.events, sweep) if self.texts else found.events
        return Lines.of(events), found.order, found.ts

    def gaps(self, rows: pa.Table, horizon: int) -> Lines:
        return Lines.of([*open_gap_events(rows, horizon, iso_times)])


def _frames(rows: pa.Table) -> tuple[Lines, memoryview, memoryview]:
    """Rows of ``frames``, sorted by order."""
    batch = rows.combine_chunks().to_batches()[0]
    parts: list[Any] = []
    text = '{"type":"frame"'
    for name in RecordedFrame.__struct_fields__:
        before, column, after = _json(name, batch.column(name))
        parts += [_text(f'{text},"{name}":{before}'), column]
        text = after
    joiner: Any = pc.binary_join_element_wise
    lines: Any = joiner(*parts, _text(text + "}\n"), _text(""))
    return Lines.of_array(lines), _numbers(batch.column(ORDER)), _numbers(batch.column("ts_recv"))


def _json(name: str, column: Any) -> tuple[str, Any, str]:
    """A column's values as JSON texts, but for what stands before and after each of them."""
    if pa.types.is_timestamp(column.type):
        text = pc.binary_replace_slice(column.cast(pa.string()), start=10, stop=11, replacement="T")
        return _quoted(text, "Z")
    if name == "payload":
        return _quoted(_escaped(column), "")
    if pa.types.is_string(column.type):
        # Few different ones: each is encoded once.
        coded = column.dictionary_encode()
        return "", pc.fill_null(_encoded(coded.dictionary).take(coded.indices), "null"), ""
    if pa.types.is_binary(column.type):
        if column.null_count == len(column):
            return "", _text("null"), ""
        return "", _encoded(column), ""
    return "", column.cast(pa.large_string()), ""


def _text(text: str) -> Any:
    return pa.scalar(text, pa.large_string())


def _encoded(column: Any) -> Any:
    """Values as JSON, one by one."""
    return pa.array([_ENCODER.encode(value).decode() for value in column.to_pylist()], pa.large_string())


def _escaped(column: Any) -> Any:
    """Texts as they stand between the quotes of JSON."""
    text: Any = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"')
    # What is not plain is left to the encoder: control characters, and what is not ASCII.
    odd: Any = pc.fill_null(pc.invert(pc.ascii_is_printable(column)), pa.scalar(False))
    if pc.any(odd).as_py():
        further = [_ENCODER.encode(value).decode()[1:-1] for value in column.filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(further, text.type))
    return text


def _quoted(text: Any, end: str) -> tuple[str, Any, str]:
    """Texts, ``end`` after each, in quotes; ``null`` for none."""
    text = text.cast(pa.large_string())
    if not text.null_count:
        return '"', text, end + '"'
    joiner: Any = pc.binary_join_element_wise
    return "", pc.fill_null(joiner(_text('"'), text, _text(end + '"'), _text("")), "null"), ""


def _numbers(column: Any) -> memoryview:
    return memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
