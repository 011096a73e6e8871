"""Stored deltas for normalised messages, a window of rows at a time: no Python object is made of a level that is only
written down again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from bookreel.book.model import Delta, Levels
from bookreel.replay.events import Arranged, Maker, Part, Times, arrange, column_values, ns_times, row_part
from bookreel.replay.kinds import MAKERS
from bookreel.replay.server.tardis_options import EXCHANGE
from bookreel.replay.sweep import ORDER, Sweep

__all__ = ["NormalForm", "Step"]

_HEADS: Final = ("symbol", "feed", "ts_event", "ts_recv", ORDER)

_encode: Final = msgspec.json.Encoder().encode


class _Columns:
    """The levels of a window."""

    def __init__(self, price: Any, size: Any) -> None:
        self._price = price
        self._size = size
        self._prices, self._sizes = map(_view, (price, size))

    def pairs(self, start: int, stop: int) -> Levels:
        return list(zip(self._prices[start:stop].tolist(), self._sizes[start:stop].tolist(), strict=True))

    def json(self, start: int, stop: int) -> Raw:
        """Those from ``start`` to ``stop`` as a JSON array."""
        text, ends = self._json
        return Raw(b"".join((b"[", text[ends[start] : ends[stop] - 1], b"]")) if start < stop else b"[]")

    @cached_property
    def _json(self) -> tuple[memoryview, memoryview]:
        """Each with a comma after it, and where it begins, which is where the one before it ends."""
        parts = ('{"price":', _texts(self._price), ',"amount":', _texts(self._size), "},", "")
        joiner: Any = pc.binary_join_element_wise
        joined = joiner(
            *(pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts)
        )
        _, ends, text = joined.buffers()
        return memoryview(text), memoryview(ends).cast("q")


def _view(column: Any) -> memoryview[float]:
    return memoryview(column.buffers()[1]).cast("d")[column.offset : column.offset + len(column)]


def _texts(column: Any) -> Any:
    """Numbers as JSON has them; each that there is, is written once."""
    coded = column.dictionary_encode()
    texts = _encode(coded.dictionary.to_pylist())[1:-1].decode().split(",")
    return pa.array(texts, pa.large_string()).take(coded.indices)


class Step(NamedTuple):
    """A delta; times in ns, ``pos`` is where it stands. Its asks begin at ``middle`` of the columns."""

    symbol: str
    feed: str
    ts_event: int
    ts_recv: int
    pos: int
    start: int
    middle: int
    stop: int
    columns: _Columns

    @property
    def delta(self) -> Delta:
        """As a book takes it; numbers of the chain are not read."""
        bids = self.columns.pairs(self.start, self.middle)
        asks = self.columns.pairs(self.middle, self.stop)
        return Delta(self.symbol, self.feed, self.ts_event, 0, 0, bids, asks)

    @property
    def json(self) -> tuple[Raw, Raw]:
        """Bids and asks."""
        return self.columns.json(self.start, self.middle), self.columns.json(self.middle, self.stop)


def _steps(rank: float, piece: pa.Table, times: Times) -> list[Part]:
    """Rows of ``book_deltas``, a row a level: those of one delta follow each other, its bids first."""
    rows = piece.combine_chunks()
    count = rows.num_rows
    pos, seq, is_bid = rows["pos"], rows["seq"], pc.equal(rows["side"], pa.scalar("bid"))
    new = pc.or_(*(pc.not_equal(column.slice(1), column.slice(0, count - 1)) for column in (pos, seq)))
    ends: Any = pc.indices_nonzero(new)
    starts = [0, *(end + 1 for end in ends.to_pylist())]
    stops = [*starts[1:], count]
    bids: Any = pc.cumulative_sum(is_bid.cast(pa.int64()))
    until = [0, *bids.take(pa.array([stop - 1 for stop in stops], pa.int64())).to_pylist()]
    middles = [start + after - before for start, (before, after) in zip(starts, pairwise(until), strict=True)]
    heads = rows.select(_HEADS).take(pa.array(starts, pa.int64()))
    columns = _Columns(rows["price"].chunk(0), rows["size"].chunk(0))
    values = [column_values(heads, name, times) for name in _HEADS]
    events = list(map(Step, *values, starts, middles, stops, [columns] * len(starts)))
    return [row_part(rank, events, heads)]


_MAKERS: Final[Mapping[str, Maker]] = {**MAKERS[EXCHANGE], "book_deltas": _steps}


class NormalForm:
    """A form of pages: events, with a :class:`Step` for each delta."""

    texts = False

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> Arranged:
        """As :class:`bookreel.replay.pages.Form` says."""
        return arrange(rows, ns_times, _MAKERS)

    def gaps(self, rows: pa.Table, horizon: int) -> list[Any]:
        """Gaps are not shown there."""
        raise AssertionError("no gaps were selected")
