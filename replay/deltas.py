"""Stored deltas, a window of rows at a time: what each of them is of, and its levels as pairs or as JSON.

No Python object is made of a level that is only written down again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from bookreel.book.model import Levels
from bookreel.storage.changes import doubles

__all__ = ["ARRAYS", "Deltas", "LevelColumns", "Style", "delta_rows"]

_encode: Final = msgspec.json.Encoder().encode

Style: TypeAlias = tuple[str, str, str]
"""What stands before a level's price, between price and size, and after that."""

ARRAYS: Final = ("[", ",", "]")


class LevelColumns:
    """The levels of a window."""

    def __init__(self, price: pa.ChunkedArray[Any], size: pa.ChunkedArray[Any], style: Style) -> None:
        self._price = price
        self._size = size
        self._style = style

    def pairs(self, start: int, stop: int) -> Levels:
        """The levels from ``start`` to ``stop``."""
        return self._pairs[start:stop]

    def json(self, start: int, stop: int) -> Raw:
        """The levels from ``start`` to ``stop`` as a JSON array."""
        if start == stop:
            return Raw(b"[]")
        text, ends = self._json
        return Raw(b"".join((b"[", text[ends[start] : ends[stop] - 1], b"]")))

    @cached_property
    def _pairs(self) -> Levels:
        return list(zip(doubles(self._price), doubles(self._size), strict=True))

    @cached_property
    def _json(self) -> tuple[memoryview, memoryview]:
        """Each with a comma after it, and where it begins, which is where the one before it ends."""
        before, between, after = (pa.scalar(text, pa.large_string()) for text in self._style)
        comma, nothing = (pa.scalar(text, pa.large_string()) for text in (",", ""))
        joiner: Any = pc.binary_join_element_wise
        joined = joiner(before, _texts(self._price), between, _texts(self._size), after, comma, nothing)
        _, ends, text = joined.buffers()
        return memoryview(text), memoryview(ends).cast("q")


def _texts(column: pa.ChunkedArray[Any]) -> Any:
    """Numbers as JSON has them; each that there is, is written once."""
    coded: Any = column.chunk(0).dictionary_encode()
    texts = _encode(coded.dictionary.to_pylist())[1:-1].decode().split(",")
    return pa.array(texts, pa.large_string()).take(coded.indices)


class Deltas(NamedTuple):
    """``heads``: a row for each delta. Its bids are the levels from its start to its middle, its asks those from
    there to its stop.
    """

    heads: pa.Table
    starts: list[int]
    middles: list[int]
    stops: list[int]
    levels: LevelColumns

    @property
    def bids(self) -> list[tuple[int, int]]:
        return list(zip(self.starts, self.middles, strict=True))

    @property
    def asks(self) -> list[tuple[int, int]]:
        return list(zip(self.middles, self.stops, strict=True))


def delta_rows(piece: pa.Table, names: Sequence[str], style: Style = ARRAYS) -> Deltas:
    """Rows of ``book_deltas``, a row a level: those of one delta follow each other, its bids first. ``names``: the
    columns of the heads.
    """
    rows = piece.combine_chunks()
    count = rows.num_rows
    new = pc.or_(
        *(pc.not_equal(rows[name].slice(1), rows[name].slice(0, count - 1)) for name in ("pos", "seq"))
    )
    ends: Any = pc.indices_nonzero(new)
    starts = [0, *(end + 1 for end in ends.to_pylist())]
    stops = [*starts[1:], count]
    bids: Any = pc.cumulative_sum(pc.equal(rows["side"], pa.scalar("bid")).cast(pa.int64()))
    until = [0, *bids.take(pa.array([stop - 1 for stop in stops], pa.int64())).to_pylist()]
    middles = [start + after - before for start, (before, after) in zip(starts, pairwise(until), strict=True)]
    heads = rows.select(names).take(pa.array(starts, pa.int64()))
    return Deltas(heads, starts, middles, stops, LevelColumns(rows["price"], rows["size"], style))
