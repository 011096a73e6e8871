"""Lines put together out of texts, a column at a time: no Python object is made of a line, or of a part of one.

Each text has a number, and a line is a row of numbers. Taking the texts of all the numbers of all lines, one after
the other, gives one buffer, which is the lines: Arrow does it in 5 ns a text.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Array", "Doubles", "Sheet", "Texts", "binary_array", "integers_of", "ranges", "times_of"]

Array: TypeAlias = Any
"""A numpy array."""

_encode: Final = msgspec.json.Encoder().encode
_COMMA: Final = ord(",")
_TEXT: Final = pa.large_binary()


class Texts:
    """Texts by number. Those of single words are below 0."""

    def __init__(self) -> None:
        self._words: list[bytes] = []
        self._columns: list[Any] = []
        self._count = 0

    def word(self, text: bytes) -> int:
        """One text more; its number."""
        self._words.append(text)
        return -len(self._words)

    def add(self, texts: Any) -> int:
        """Further texts, an Arrow array of 64-bit offsets; the number of the first one, after which the others
        follow.
        """
        first = self._count
        self._columns.append(texts.view(_TEXT))
        self._count += len(texts)
        return first

    def each(self, texts: Any) -> Array:
        """Further texts; the number of each."""
        first = self.add(texts)
        return np.arange(first, first + len(texts), dtype=np.int32)

    def doubles(self, values: Doubles, before: bytes) -> Array:
        """Doubles as JSON has them, with something before each; the number of each one's text."""
        known = values.known
        # The text of a list of them is all their texts, with a comma between two.
        commas = np.flatnonzero(np.frombuffer(known, np.uint8) == _COMMA)
        step = len(before)
        bounds = np.empty(len(commas) + 2, np.int64)
        bounds[0], bounds[-1] = 0, len(known) + (step - 1) * len(commas) + step
        bounds[1:-1] = commas + step + (step - 1) * np.arange(len(commas))
        first = self.add(binary_array(before + known.replace(b",", before), bounds))
        return first + values.codes

    def taken(self, numbers: Array) -> Any:
        """The texts of these numbers, as an Arrow array."""
        words = pa.array(self._words[::-1], _TEXT)
        return pa.concat_arrays([words, *self._columns]).take(pa.array(numbers + len(self._words)))


class Doubles:
    """Doubles, of which each that there is, is written once."""

    def __init__(self, values: Array) -> None:
        coded: Any = pa.array(values, pa.float64()).dictionary_encode()
        known = memoryview(coded.dictionary.buffers()[1]).cast("d")[: len(coded.dictionary)]
        self.known = _encode(known.tolist())[1:-1]
        """Those that there are as JSON, with a comma between two."""
        self.codes = coded.indices.to_numpy()
        """The number of each one among them."""


class Sheet:
    """So many lines, which are filled from the left."""

    def __init__(self, texts: Texts, lines: int) -> None:
        self._texts = texts
        self._count = lines
        self._widths = np.zeros(lines, np.int64)
        self._fields: list[tuple[Array | int, Array | None]] = []

    def put(self, number: Array | int) -> None:
        """A text more in each line: the same one, or each its own."""
        self._widths += 1
        self._fields.append((number, None))

    def put_several(self, numbers: Array, counts: Array) -> None:
        """So many texts more in each line, which may be none."""
        self._widths += counts
        self._fields.append((numbers, counts))

    def lines(self) -> Any:
        """An Arrow array of binaries of 64-bit offsets."""
        ends = np.cumsum(self._widths)
        at = ends - self._widths
        numbers = np.empty(int(ends[-1]) if self._count else 0, np.int32)
        for number, counts in self._fields:
            if counts is None:
                numbers[at] = number
                at = at + 1
            else:
                numbers[ranges(at, counts)] = number
                at = at + counts
        joined: Any = self._texts.taken(numbers)
        _, offsets, text = joined.buffers()
        bounds = np.frombuffer(offsets, np.int64)[np.concatenate([np.zeros(1, np.int64), ends])]
        return binary_array(text, bounds)


def binary_array(text: Any, bounds: Array) -> Any:
    """The texts between each bound and the next one."""
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(text)]
    return pa.Array.from_buffers(_TEXT, len(bounds) - 1, buffers)


def ranges(starts: Array, counts: Array) -> Array:
    """The places from each start on, so many of each."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - counts), counts)


def integers_of(column: Any) -> Any:
    """Integers as JSON has them."""
    return _or_null(column.cast(pa.large_string()))


def times_of(column: Any) -> Any:
    """Times as JSON has them: ISO-8601 in UTC with nine digits, in quotes."""
    text: Any = pc.binary_replace_slice(column.cast(pa.large_string()), start=10, stop=11, replacement="T")
    join: Any = pc.binary_join_element_wise
    before, after, nothing = (pa.scalar(part, text.type) for part in ('"', 'Z"', ""))
    quoted = join(before, text, after, nothing)
    return _or_null(quoted)


def _or_null(texts: Any) -> Any:
    return pc.fill_null(texts, "null") if texts.null_count else texts
