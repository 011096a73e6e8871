"""Lines of frames put together by machine code, byte by byte: a line takes a quarter of a microsecond.

A line is, in this order: a text, the venue's time, a text, the frame's text as it stands between the quotes of JSON,
a text, the time of receipt, a text, the position, and the end of the object. Times have nine digits. What follows on
what is chosen by the caller, who knows a line's members.

It imports numpy and numba, so import it where it is needed and not at the top of a module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from bookreel.book.compiled import compiled

__all__ = ["Columns", "Texts", "weave"]

Array: TypeAlias = Any
"""A numpy array."""

_Place: TypeAlias = np.int64

_DAY_NS: Final = 86_400_000_000_000
_SECOND_NS: Final = 1_000_000_000

_TIME_CHARS: Final = 29
_BETWEEN: Final = np.frombuffer(b"\0\0\0\0-\0\0-\0\0T\0\0:\0\0:\0\0.", np.uint8)
"""What stands between the digits of a time."""

_FURTHER_CHARS: Final = 2 * _TIME_CHARS + 19
"""Of the times and the position of a line, at most."""

_ZERO, _BACKSLASH = 0x30, 0x5C

_ONE: Final = np.uint64(1)
"""Places without a sign need no look at whether they are counted from the end, which takes half of the time."""

_COPIED, _ESCAPED, _ODD = 0, 1, 2

_CLASSES: Final = np.zeros(256, np.uint8)
"""What is done with each byte of a text. What is odd has an escape of its own, which is left to others."""
_CLASSES[:0x20] = _ODD
_CLASSES[[ord('"'), _BACKSLASH]] = _ESCAPED
_CLASSES.flags.writeable = False


class Texts(NamedTuple):
    """Some texts, and for each line the number of its own."""

    texts: Sequence[bytes]
    numbers: Any


class Columns(NamedTuple):
    """What lines are made of, in its order, but for the end of the object. Times in ns; no value is missing."""

    first: Texts
    ts_event: Any
    second: Texts
    payload: Any
    third: bytes
    ts_recv: Any
    fourth: bytes
    pos: Any


def weave(columns: Columns) -> tuple[memoryview, memoryview] | None:
    """The lines in one buffer, and where each of them ends; None where a text has a control character."""
    payload = columns.payload
    _, offsets, buffer = payload.buffers()
    starts = np.frombuffer(offsets, np.int32)[payload.offset : payload.offset + len(payload) + 1]
    codes = np.frombuffer(b"" if buffer is None else buffer, np.uint8)
    first, second = columns.first.texts, columns.second.texts
    texts = [*first, *second, columns.third, columns.fourth, b"}\n"]
    chars = max(map(len, first)) + max(map(len, second)) + sum(map(len, texts[-3:])) + _FURTHER_CHARS
    # Of Arrow's pool: its pages are used again, and need not be cleared by the system each time.
    lines: Any = pa.allocate_buffer(len(payload) * chars + 2 * int(starts[-1] - starts[0]))
    ends: Array = np.empty(len(payload), np.int64)
    end = _weave(
        _read_only(np.frombuffer(b"".join(texts), np.uint8), np.uint8),
        _read_only(np.cumsum([0, *map(len, texts)]), np.int64),
        _read_only(columns.first.numbers, np.int64),
        _read_only(columns.ts_event, np.int64),
        _read_only(np.asarray(columns.second.numbers, np.int64) + len(first), np.int64),
        _read_only(codes, np.uint8),
        _read_only(starts, np.int32),
        _read_only(columns.ts_recv, np.int64),
        _read_only(columns.pos, np.int64),
        np.frombuffer(lines, np.uint8),
        ends,
    )
    return None if end < 0 else (memoryview(lines)[:end], memoryview(ends).cast("B").cast("q"))


def _read_only(column: Any, kind: Any) -> Array:
    """In the one form that the machine code is made for."""
    column = np.ascontiguousarray(column, kind).view()
    column.flags.writeable = False
    return column


@compiled
def _weave(
    texts: Array,
    bounds: Array,
    first: Array,
    ts_event: Array,
    second: Array,
    payload: Array,
    starts: Array,
    ts_recv: Array,
    pos: Array,
    lines: Array,
    ends: Array,
) -> int:
    at = 0
    third = len(bounds) - 4
    for row in range(len(pos)):
        text = first[row]
        at = _copy(lines, at, texts, bounds[text], bounds[text + 1])
        at = _put_time(lines, at, ts_event[row])
        text = second[row]
        at = _copy(lines, at, texts, bounds[text], bounds[text + 1])
        at = _escape(lines, at, payload, starts[row], starts[row + 1])
        if at < 0:
            return -1
        at = _copy(lines, at, texts, bounds[third], bounds[third + 1])
        at = _put_time(lines, at, ts_recv[row])
        at = _copy(lines, at, texts, bounds[third + 1], bounds[third + 2])
        at = _put_number(lines, at, pos[row])
        at = _copy(lines, at, texts, bounds[third + 2], bounds[third + 3])
        ends[row] = at
    return at


@compiled
def _copy(lines: Array, at: int, source: Array, start: int, stop: int) -> _Place:
    place = np.uint64(at)
    for index in range(np.uint64(start), np.uint64(stop)):
        lines[place] = source[index]
        place += _ONE
    return np.int64(place)


@compiled
def _escape(lines: Array, at: int, source: Array, start: int, stop: int) -> _Place:
    """Where the escaped text ends; -1 where it has an odd byte."""
    place = np.uint64(at)
    odd = False
    for index in range(np.uint64(start), np.uint64(stop)):
        code = source[index]
        kind = _CLASSES[code]
        if kind != _COPIED:
            odd |= kind == _ODD
            lines[place] = _BACKSLASH
            place += _ONE
        lines[place] = code
        place += _ONE
    return np.int64(-1) if odd else np.int64(place)


@compiled
def _put_time(lines: Array, at: int, ns: int) -> int:
    """ISO-8601 without the ``Z``."""
    days = ns // _DAY_NS
    rest = ns - days * _DAY_NS
    # The calendar repeats every 400 years, counted from a first of March, so that leap days are last.
    days += 719_468
    era = days // 146_097
    days -= era * 146_097
    year = (days - days // 1_460 + days // 36_524 - days // 146_096) // 365
    days -= 365 * year + year // 4 - year // 100
    month = (5 * days + 2) // 153
    days -= (153 * month + 2) // 5
    year += era * 400 + month // 10
    month = month + 3 if month < 10 else month - 9
    seconds = np.uint32(rest // _SECOND_NS)
    fraction = np.uint32(rest - np.int64(seconds) * _SECOND_NS)
    time = lines[at : at + _TIME_CHARS]
    _put_pair(time[0:2], np.uint32(year // 100))
    _put_pair(time[2:4], np.uint32(year % 100))
    _put_pair(time[5:7], np.uint32(month))
    _put_pair(time[8:10], np.uint32(days + 1))
    _put_pair(time[11:13], seconds // np.uint32(3600))
    _put_pair(time[14:16], seconds // np.uint32(60) % np.uint32(60))
    _put_pair(time[17:19], seconds % np.uint32(60))
    for place in range(len(_BETWEEN)):
        if _BETWEEN[place]:
            time[place] = _BETWEEN[place]
    for place in range(28, 19, -1):
        time[place] = _ZERO + fraction % np.uint32(10)
        fraction //= np.uint32(10)
    return at + _TIME_CHARS


@compiled
def _put_pair(pair: Array, number: int) -> None:
    pair[0] = _ZERO + number // np.uint32(10)
    pair[1] = _ZERO + number % np.uint32(10)


@compiled
def _put_number(lines: Array, at: int, number: int) -> int:
    chars = 1
    rest = number // 10
    while rest:
        chars += 1
        rest //= 10
    for place in range(at + chars - 1, at - 1, -1):
        lines[place] = _ZERO + number % 10
        number //= 10
    return at + chars
