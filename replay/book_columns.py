"""Stored deltas and whole books, a window of rows at a time: what each of them is of, and which levels are its own.

No Python object is made of a level that nobody looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Levels
from bookreel.replay.sheet import Array

__all__ = ["BookColumns", "delta_columns", "whole_columns"]


class BookColumns(NamedTuple):
    """``heads``: a row for each delta or book. Its bids are so many of the levels from ``bid_at`` on, its asks from
    ``ask_at`` on.
    """

    heads: pa.Table
    bid_at: Array
    bids: Array
    ask_at: Array
    asks: Array
    price: Array
    size: Array

    def sides(self) -> tuple[list[Levels], list[Levels]]:
        """The bids of each, and the asks."""
        price, size = (memoryview(column).cast("B").cast("d") for column in (self.price, self.size))
        pairs = list(zip(price, size, strict=True))
        bids, asks = (
            [pairs[start:stop] for start, stop in zip(at.tolist(), (at + counts).tolist(), strict=True)]
            for at, counts in ((self.bid_at, self.bids), (self.ask_at, self.asks))
        )
        return bids, asks


def delta_columns(piece: pa.Table, names: Sequence[str]) -> BookColumns:
    """Rows of ``book_deltas``, a row a level: those of one delta follow each other, its bids first. ``names``: the
    columns of the heads.
    """
    rows = piece.combine_chunks()
    pos, seq, price, size = (_values(rows[name]) for name in ("pos", "seq", "price", "size"))
    turns = np.flatnonzero((pos[1:] != pos[:-1]) | (seq[1:] != seq[:-1])) + 1
    starts = np.concatenate([np.zeros(1, np.int64), turns])
    stops = np.concatenate([turns, np.array([rows.num_rows])])
    middles = starts + np.add.reduceat(_are_bids(rows["side"]), starts, dtype=np.int64)
    heads = rows.select(names).take(pa.array(starts, pa.int64()))
    return BookColumns(heads, starts, middles - starts, middles, stops - middles, price, size)


def whole_columns(piece: pa.Table, names: Sequence[str]) -> BookColumns:
    """Rows of ``book_snapshots``."""
    rows = piece.combine_chunks()
    sides: list[Any] = [rows[name].chunk(0) for name in ("bids", "asks")]
    bids, asks = (_lengths(side) for side in sides)
    levels: Any = pa.concat_arrays([side.flatten() for side in sides])
    price, size = (field.to_numpy() for field in levels.flatten())
    ask_at = bids.sum() + np.cumsum(asks) - asks
    return BookColumns(rows.select(names), np.cumsum(bids) - bids, bids, ask_at, asks, price, size)


def _values(column: pa.ChunkedArray[Any]) -> Array:
    return column.chunk(0).to_numpy()


def _lengths(lists: Any) -> Array:
    lengths: Any = pc.fill_null(pc.list_value_length(lists), pa.scalar(0, pa.int32()))
    return lengths.to_numpy().astype(np.int64)


def _are_bids(side: pa.ChunkedArray[Any]) -> Array:
    """Where the side of a level, a text of few values as a dictionary, is the bids'."""
    coded: Any = side.chunk(0)
    is_bid = np.array([word == "bid" for word in coded.dictionary.to_pylist()], bool)
    return is_bid[coded.indices.to_numpy()]
