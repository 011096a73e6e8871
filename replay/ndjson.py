"""A replay as lines of JSON: one object a line, its ``type`` first, times as ISO-8601 text with nine digits.

Lines of frames alone are made by Arrow's kernels, a column at a time; they are the same bytes as the others' way,
by typed values, would give.
"""

from __future__ import annotations

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

    def __init__(self, buffer: memoryview, ends: memoryview | list[int]) -> None:
        self._buffer = buffer
        self._ends = ends

    @classmethod
    def of(cls, values: list[Recorded]) -> Lines:
        """A line for each value."""
        lines = [_ENCODER.encode(value) for value in values]
        buffer = b"\n".join((*lines, b""))
        return cls(memoryview(buffer), list(accumulate(len(line) + 1 for line in lines)))

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
    parts: list[Any] = ['{"type":"frame"']
    for name in RecordedFrame.__struct_fields__:
        parts += [f',"{name}":', _json(name, batch.column(name))]
    columns = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    joiner: Any = pc.binary_join_element_wise
    lines: Any = joiner(*columns, pa.scalar("}\n", pa.large_string()), pa.scalar("", pa.large_string()))
    _, ends, buffer = lines.buffers()
    ends = memoryview(ends).cast("q")[lines.offset + 1 : lines.offset + len(lines) + 1]
    return Lines(memoryview(buffer), ends), _numbers(batch.column(ORDER)), _numbers(batch.column("ts_recv"))


def _json(name: str, column: Any) -> Any:
    """A column's values as JSON, each as text."""
    if pa.types.is_timestamp(column.type):
        text = pc.binary_replace_slice(column.cast(pa.string()), start=10, stop=11, replacement="T")
        return _quoted(text, '"', 'Z"')
    if name == "payload":
        return _quoted(_escaped(column), '"', '"')
    if pa.types.is_string(column.type):
        # Few different ones: each is escaped once.
        coded = column.dictionary_encode()
        known = pa.array(
            [_ENCODER.encode(value).decode() for value in coded.dictionary.to_pylist()], pa.large_string()
        )
        return pc.coalesce(known.take(coded.indices), pa.scalar("null", pa.large_string()))
    if pa.types.is_binary(column.type):
        values = [_ENCODER.encode(value).decode() for value in column.to_pylist()] if _any(column) else None
        return "null" if values is None else pa.array(values, pa.large_string())
    return column.cast(pa.large_string())


def _any(column: Any) -> bool:
    return bool(column.null_count < len(column))


def _escaped(column: Any) -> Any:
    """Texts as they stand between the quotes of JSON."""
    text = pc.replace_substring(pc.replace_substring(column, "\\", "\\\\"), '"', '\\"')
    # What is not plain is left to the encoder: control characters, and what is not ASCII.
    odd = pc.fill_null(pc.invert(pc.ascii_is_printable(column)), False)
    if pc.any(odd).as_py():
        further = [_ENCODER.encode(value).decode()[1:-1] for value in column.filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(further, text.type))
    return text


def _quoted(text: Any, before: str, after: str) -> Any:
    """Texts with quotes around them; ``null`` for none."""
    joiner: Any = pc.binary_join_element_wise
    scalars = [pa.scalar(part, pa.large_string()) for part in (before, after, "", "null")]
    return pc.coalesce(joiner(scalars[0], text.cast(pa.large_string()), scalars[1], scalars[2]), scalars[3])


def _numbers(column: Any) -> memoryview:
    return memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
