"""Windows of stored rows for normalised messages: values, but for books, which stay columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.book_columns import BookColumns, delta_columns, whole_columns
from bookreel.replay.events import Part, in_order, ns_times, row_part
from bookreel.replay.kinds import MAKERS
from bookreel.replay.question import Book
from bookreel.replay.selection import REPLAY_TABLES
from bookreel.replay.server.tardis_books import BookRun
from bookreel.replay.server.tardis_options import EXCHANGE
from bookreel.replay.sheet import Array
from bookreel.replay.sweep import ORDER, Sweep

__all__ = ["NormalForm", "NormalWindow", "first_books"]

_MS_NS: Final = 1_000_000
_HEADS: Final = ("symbol", "feed", "ts_event", "ts_recv", ORDER)

_COLUMNS: Final[Mapping[str, Callable[[pa.Table, Sequence[str]], BookColumns]]] = {
    "book_snapshots": whole_columns,
    "book_deltas": delta_columns,
}


_BETWEEN: Final = "\0"
"""Between symbol and feed."""


class NormalWindow(NamedTuple):
    """Events in their order: each of ``places`` is the number of a value, or above those that of an event of
    ``books``.
    """

    values: list[Any]
    books: BookRun
    places: Array
    order: Array

    def part(self, first: int, end: int) -> tuple[Array, list[Any], Array, BookRun]:
        """Of the events from ``first`` to ``end``: the number of each value's event, the values, the number of each
        event of a book, and those events.
        """
        places = self.places[first:end]
        plain = places < len(self.values)
        values = [self.values[place] for place in places[plain].tolist()]
        books = self.books.pick(places[~plain] - len(self.values))
        return np.flatnonzero(plain), values, np.flatnonzero(~plain), books


class NormalForm:
    """A form of pages. ``feeds``: that of each symbol's book; books are numbered in this order."""

    texts = False

    def __init__(self, feeds: Mapping[str, str]) -> None:
        self._streams = pa.array([f"{symbol}{_BETWEEN}{feed}" for symbol, feed in feeds.items()], pa.string())

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> tuple[NormalWindow, memoryview, memoryview]:
        """As :class:`bookreel.replay.pages.Form` says."""
        values: list[Part] = []
        books: list[Part] = []
        for table, piece in rows.items():
            rank = REPLAY_TABLES.index(table)
            if table in _COLUMNS:
                books += self._books(rank, table, piece)
            else:
                values += MAKERS[EXCHANGE][table](rank, piece, ns_times)
        parts = [*values, *books]
        if not any(len(part.order) for part in parts):
            return _NOTHING
        places, order, ts = in_order(parts)
        window = NormalWindow(
            list(chain.from_iterable(part.events for part in values)),
            _joined([part.events for part in books]),
            places.to_numpy().astype(np.int64),
            np.asarray(order),
        )
        return window, order, ts

    def gaps(self, rows: pa.Table, horizon: int) -> NormalWindow:
        """Gaps are not shown there."""
        raise AssertionError("no gaps were selected")

    def _books(self, rank: float, table: str, rows: pa.Table) -> list[Part]:
        """The events of the books that are wanted; books of ours are none of them."""
        if table == "book_snapshots":
            rows = rows.filter(pc.not_equal(rows["source"], pa.scalar("keyframe")))
        if not rows.num_rows:
            return []
        found = _COLUMNS[table](rows, _HEADS)
        heads = found.heads
        joiner: Any = pc.binary_join_element_wise
        streams = joiner(*(heads[name].cast(pa.string()) for name in ("symbol", "feed")), pa.scalar(_BETWEEN))
        number: Any = pc.fill_null(pc.index_in(streams, self._streams), pa.scalar(-1, pa.int32()))
        whole = np.full(heads.num_rows, table == "book_snapshots", np.uint8)
        times = (_ms(heads[name]) for name in ("ts_event", "ts_recv"))
        run = BookRun._make([number.to_numpy().astype(np.int64), whole, *times, *found[1:]])
        wanted = run.symbol >= 0
        if not wanted.all():
            run, heads = run.pick(np.flatnonzero(wanted)), heads.filter(pa.array(wanted))
        return [row_part(rank, run, heads)]


def first_books(found: Sequence[tuple[int, Book]], ts_recv: int) -> NormalWindow:
    """Books by their numbers as events before all others, received at ``ts_recv`` (ns)."""
    runs = [BookRun.none()]
    for number, book in found:
        levels = np.array([*book.bids, *book.asks], np.float64).reshape(-1, 2)
        heads = (number, 1, (book.ts_event or 0) // _MS_NS, ts_recv // _MS_NS)
        sides = (0, len(book.bids), len(book.bids), len(book.asks))
        columns = [np.array([value]) for value in (*heads, *sides)]
        runs.append(BookRun._make([*columns, *levels.T]))
    books = _joined(runs)
    return NormalWindow([], books, np.arange(len(found)), np.zeros(len(found), np.int64))


def _joined(runs: Sequence[BookRun]) -> BookRun:
    """Runs one after the other."""
    offsets = np.cumsum([0, *(len(run.price) for run in runs)])
    moved = [
        run._replace(bid_at=run.bid_at + offset, ask_at=run.ask_at + offset)
        for run, offset in zip(runs, offsets.tolist(), strict=False)
    ]
    return BookRun._make(np.concatenate(columns) for columns in zip(BookRun.none(), *moved, strict=True))


def _ms(times: pa.ChunkedArray[Any]) -> Array:
    known: Any = pc.fill_null(times.cast(pa.int64()), pa.scalar(0))
    return known.to_numpy() // _MS_NS


_NONE: Final = memoryview(b"").cast("q")
_NOTHING: Final = (
    NormalWindow([], BookRun.none(), np.zeros(0, np.int64), np.zeros(0, np.int64)),
    _NONE,
    _NONE,
)
