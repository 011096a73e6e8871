"""A replay as lines of JSON: one object a line, its ``type`` first, times as ISO-8601 text with nine digits.

Lines of frames alone are made a column at a time (:mod:`bookreel.replay.frame_lines`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec
import pyarrow as pa

from bookreel.replay.events import (
    Maker,
    Numbers,
    Part,
    Times,
    arrange,
    in_order,
    iso_times,
    open_gap_events,
)
from bookreel.replay.frame_lines import frame_lines, integer_view, woven_lines
from bookreel.replay.kinds import LINES, MAKERS
from bookreel.replay.pages import exact_events
from bookreel.replay.selection import REPLAY_TABLES
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
    def of(cls, values: Sequence[msgspec.Struct]) -> Lines:
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


def joined(parts: Sequence[Part]) -> tuple[Lines, memoryview, memoryview]:
    """Parts of lines as one, with positions and receive times."""
    places, order, ts = in_order(parts)
    lines = parts[0].events
    if len(parts) > 1:
        lines = pa.chunked_array([part.events for part in parts]).take(places).combine_chunks()
    return Lines.of_array(lines), order, ts


def _lines_of(make: Maker) -> Maker:
    """What makes lines of values."""

    def lines(rank: float, rows: pa.Table, times: Times) -> list[Part]:
        return [
            part._replace(events=Lines.of(part.events).array(0, len(part.events)))
            for part in make(rank, rows, times)
        ]

    return lines


class LineForm:
    """A form of :class:`bookreel.replay.pages.Pages`. ``numbers``: decimals are written with their own digits."""

    def __init__(self, numbers: Numbers) -> None:
        self.texts = numbers == "decimal"

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> tuple[Lines, memoryview, memoryview]:
        if rows.keys() == {"frames"}:
            frames = rows["frames"].combine_chunks().to_batches()[0]
            woven = woven_lines(frames)
            lines = Lines.of_array(frame_lines(frames)) if woven is None else Lines(*woven)
            return lines, integer_view(frames.column(ORDER)), integer_view(frames.column("ts_recv"))
        venue = sweep.venue.name
        if self.texts:
            found = arrange(rows, iso_times, MAKERS[venue])
            return Lines.of(exact_events(found.events, sweep)), found.order, found.ts
        parts: list[Part] = []
        for table, piece in rows.items():
            make = LINES[venue].get(table) or _lines_of(MAKERS[venue][table])
            parts += make(REPLAY_TABLES.index(table), piece, iso_times)
        return joined(parts)

    def gaps(self, rows: pa.Table, horizon: int) -> Lines:
        return Lines.of([*open_gap_events(rows, horizon, iso_times)])
