"""A book rebuilt in bulk: columns of changes in, best prices or levels after each change out.

The same book as :class:`bookreel.book.l2.L2Book`, held equal to it by tests, but compiled: some nanoseconds a
level instead of a hundred. It imports numpy and numba, which takes a third of a second, so import it where it is
needed and not at the top of a module.

Theory. A side is an array with a row for each step of price, the best prices first: the row of a price is ``price
* scale + offset``, rounded, with a negative scale for bids. Setting a level is then one store, and the best price
is the first row in use. A row keeps the price it was given, so no price is ever made from its row, and the scale
need not be the venue's tick: where it is too coarse two prices meet in a row, which is seen. Then, or where a
price has no row, the array is laid out anew. Where it would be too large, prices are held sorted, the best ones
last, which takes any price at some ten times the cost.

Where its machine code is kept, :mod:`bookreel.book.compiled` says.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from bookreel.book.compiled import compiled, inlined
from bookreel.book.errors import InvariantBroken
from bookreel.book.model import Levels

__all__ = ["ROWS_MAX", "Best", "Changes", "Ladder", "Tops"]

Array: TypeAlias = Any
"""A numpy array."""

ROWS_MAX: Final = 1 << 20
"""Rows of a side; one takes 16 bytes, of which the system gives only pages that are touched."""

_MARGIN: Final = 256
"""Rows left free at either end when an array is laid out, beside a quarter of those that are needed."""

_DIGITS_MAX: Final = 18

_TELLING: Final = 4096
"""Prices of a side that the scale is taken from."""

_SORTED_MIN: Final = 1024
"""Rows of a side with sorted prices at first."""

_USUAL: Final = 64
"""Levels of a side for which there is room at first where all are asked for."""

_BID, _ASK = 0, 1


class Changes(NamedTuple):
    """Changes of one book, in their order. The levels of change ``i`` are ``starts[i]`` to ``starts[i + 1]`` of
    the level columns ``ask`` (0: bid, 1: ask), ``price`` and ``size``; where ``whole[i]`` is 1 they are the whole
    book, else those that it sets or, with size 0, removes. Types: int64, uint8, uint8, float64, float64.
    """

    starts: Array
    whole: Array
    ask: Array
    price: Array
    size: Array

    @classmethod
    def none(cls) -> Changes:
        """No change."""
        flags, values = np.zeros(0, np.uint8), np.zeros(0)
        return cls(np.zeros(1, np.int64), flags, flags, values, values)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.whole)


class Best(NamedTuple):
    """Best prices and their sizes after each change, float64; NaN for an empty side."""

    bid: Array
    bid_size: Array
    ask: Array
    ask_size: Array

    @property
    def crossed(self) -> Array:
        """Where the best bid has reached the best ask."""
        return self.bid >= self.ask


class Tops(NamedTuple):
    """The best levels of some books, best first: those of book ``i`` are ``bid_ends[i]`` to ``bid_ends[i + 1]``
    of the bids' columns, and likewise of the asks'.
    """

    bid_ends: Array
    bid_price: Array
    bid_size: Array
    ask_ends: Array
    ask_price: Array
    ask_size: Array


class _Book(NamedTuple):
    """Both sides, [0] bids and [1] asks, each in its half of ``levels``: rows of price and size, which is 0 where
    there is no level.

    ``best``: the row of the best price; ``edge``: the row beyond the worst one, of NaN, which ``best`` is for an
    empty side. With ``ticks`` the row of a price is ``price * scale + offset`` and ``edge`` is the last row.
    Without, ``edge`` is the first row, those after it are in use up to ``best``, and the last one is never used.
    """

    ticks: bool
    levels: Array
    best: Array
    edge: Array
    scale: Array
    offset: Array


@compiled
def _clear(book: _Book) -> None:
    for side in range(2):
        if book.ticks:
            for row in range(book.best[side], book.edge[side]):
                book.levels[row, 1] = 0.0
        book.best[side] = book.edge[side]


@compiled
def _set_ticks(first: int, end: int, changes: Changes, book: _Book) -> bool:
    """Set levels from ``first`` to ``end``; False where a price has no row."""
    _, _, ask, price, size = changes
    _, levels, best, edge, scale, offset = book
    half = levels.shape[0] >> 1
    for level in range(first, end):
        side = np.int64(ask[level])
        place = price[level] * scale[side] + offset[side]
        if not (place >= edge[side] - half + 1 and place < edge[side]):
            return False
        row = np.int64(place)
        if (levels[row, 1] != 0.0) & (levels[row, 0] != price[level]):
            return False
        levels[row, 0] = price[level]
        levels[row, 1] = size[level]
        if row <= best[side]:
            # Where the best one went, the next one is sought; the edge is never 0.
            while levels[row, 1] == 0.0:
                row += 1
            best[side] = row
    return True


@compiled
def _set_sorted(first: int, end: int, changes: Changes, book: _Book) -> bool:
    """The same with sorted prices; False where there is no room."""
    _, _, ask, price, size = changes
    _, levels, best, edge, _, _ = book
    half = levels.shape[0] >> 1
    for level in range(first, end):
        side = np.int64(ask[level])
        wanted = price[level]
        low, high = edge[side] + 1, best[side] + 1
        while low < high:
            row = (low + high) >> 1
            if (levels[row, 0] > wanted) if side else (levels[row, 0] < wanted):
                low = row + 1
            else:
                high = row
        known = low <= best[side] and levels[low, 0] == wanted
        if size[level] == 0.0:
            if known:
                for row in range(low, best[side]):
                    levels[row, 0], levels[row, 1] = levels[row + 1, 0], levels[row + 1, 1]
                best[side] -= 1
            continue
        if not known:
            if best[side] == edge[side] + half - 1:
                return False
            best[side] += 1
            for row in range(best[side], low, -1):
                levels[row, 0], levels[row, 1] = levels[row - 1, 0], levels[row - 1, 1]
            levels[low, 0] = wanted
        levels[low, 1] = size[level]
    return True


@inlined
def _apply(change: int, changes: Changes, book: _Book) -> bool:
    """Apply one change; False if a level of it could not be set. To apply it again is then harmless: sizes are
    absolute.
    """
    first, end = changes.starts[change], changes.starts[change + 1]
    if changes.whole[change]:
        _clear(book)
    done: bool
    if book.ticks:
        done = _set_ticks(first, end, changes, book)
    else:
        done = _set_sorted(first, end, changes, book)
    return done


@compiled
def _follow(first: int, changes: Changes, book: _Book, found: Array) -> int:
    """Apply changes from ``first`` on and write best prices and sizes after each; the first one not done."""
    levels, best = book.levels, book.best
    total = len(changes.whole)
    for change in range(first, total):
        if not _apply(change, changes, book):
            return change
        for side in range(2):
            found[2 * side, change] = levels[best[side], 0]
            found[2 * side + 1, change] = levels[best[side], 1]
    return total


@compiled
def _sample(
    first: int,
    changes: Changes,
    book: _Book,
    after: Array,
    taken: int,
    depth: int,
    tops: Array,
    ends: Array,
) -> tuple[int, int]:
    """Apply changes from ``first`` on, and write the levels after the first ``after[i]`` of them for each ``i``
    from ``taken`` on. Which change and which sample come next: it stops where a change could not be applied or
    ``tops`` is full.
    """
    levels, best, edge = book.levels, book.best, book.edge
    change = first
    step = 1 if book.ticks else -1
    while True:
        while taken < len(after) and after[taken] == change:
            for side in range(2):
                end, row = ends[side, taken], best[side]
                limit = min(end + depth, tops.shape[2])
                while row != edge[side] and end < limit:
                    tops[side, 0, end] = levels[row, 0]
                    tops[side, 1, end] = levels[row, 1]
                    end += 1
                    row += step
                    while levels[row, 1] == 0.0:
                        row += step
                if row != edge[side] and end < ends[side, taken] + depth:
                    return change, taken
                ends[side, taken + 1] = end
            taken += 1
        if change == len(changes.whole) or not _apply(change, changes, book):
            return change, taken
        change += 1


class Ladder:
    """A book that changes are applied to in bulk; empty at first. ``rows_max``: of a side, 0 to hold prices
    sorted only.

    >>> ladder = Ladder()
    >>> found = ladder.best(Changes(
    ...     np.array([0, 2, 3]), np.array([1, 0], np.uint8), np.array([0, 1, 0], np.uint8),
    ...     np.array([99.0, 101.0, 99.0]), np.array([1.0, 3.0, 0.0])))
    >>> found.bid.tolist(), found.ask.tolist()
    ([99.0, nan], [101.0, 101.0])
    """

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self._rows_max = rows_max
        self._book = _sorted_book(_SORTED_MIN)

    def best(self, changes: Changes) -> Best:
        """Apply changes; the best prices after each of them. Raises :class:`InvariantBroken` for a price that is
        not finite.
        """
        changes = _frozen(changes)
        best = np.empty((4, changes.total))
        done = self._begin(changes)
        while (reached := _follow(done, changes, self._book, best)) < changes.total:
            self._lay_out(changes, reached, ticks=reached > done and self._book.ticks)
            done = reached
        return Best(*best)

    def tops(self, changes: Changes, after: Array, depth: int) -> Tops:
        """Apply changes; the ``depth`` best levels of each side after the first ``after[i]`` of them, for each
        ``i``. ``after``: int64, ascending, at most the number of changes. Raises :class:`InvariantBroken` for a
        price that is not finite.
        """
        changes, after = _frozen(changes), _read_only(after, np.int64)
        ends = np.zeros((2, len(after) + 1), np.int64)
        tops = np.empty((2, 2, min(depth, _USUAL) * len(after)))
        done, taken = self._begin(changes), 0
        while True:
            reached, taken = _sample(done, changes, self._book, after, taken, depth, tops, ends)
            if taken < len(after) and after[taken] == reached:
                tops = np.concatenate([tops, np.empty_like(tops)], axis=2)
            elif reached < changes.total:
                self._lay_out(changes, reached, ticks=reached > done and self._book.ticks)
            else:
                break
            done = reached
        (bid_price, bid_size), (ask_price, ask_size) = (
            of_side[:, :end] for of_side, end in zip(tops, ends[:, -1], strict=True)
        )
        return Tops(ends[0], bid_price, bid_size, ends[1], ask_price, ask_size)

    def levels(self) -> tuple[Levels, Levels]:
        """(bids, asks), each best first."""
        found = self.tops(Changes.none(), np.zeros(1, np.int64), 1 << 62)
        bids = zip(found.bid_price.tolist(), found.bid_size.tolist(), strict=True)
        asks = zip(found.ask_price.tolist(), found.ask_size.tolist(), strict=True)
        return list(bids), list(asks)

    def _begin(self, changes: Changes) -> int:
        """Get ready for changes, of which the first is the next one."""
        if changes.total and not self._book.ticks:
            self._lay_out(changes, 0, ticks=True)
        return 0

    def _lay_out(self, changes: Changes, change: int, *, ticks: bool) -> None:
        """Lay the book out anew for what is in it and for the changes from ``change`` on. Without ``ticks``: with
        sorted prices, since the layout that should have held these changes did not.
        """
        levels = self.levels()
        first = int(changes.starts[change])
        coming, ask = changes.price[first:], changes.ask[first:] != 0
        prices = [
            np.concatenate([np.array([price for price, _ in side]), coming[ask == bool(at)]])
            for at, side in enumerate(levels)
        ]
        if not all(np.isfinite(of_side).all() for of_side in prices):
            raise InvariantBroken("a price that is not finite", change=change)
        book = _tick_book(prices, self._rows_max) if ticks else None
        if book is None and ticks and not self._book.ticks:
            return
        if book is None:
            rooms = (2 * len(side) for side in levels)
            held = 0 if self._book.ticks else len(self._book.levels)
            book = _sorted_book(max(_SORTED_MIN, held, *rooms))
        self._book = book
        _follow(0, _frozen(_as_changes(levels)), book, np.empty((4, 1)))


def _sorted_book(half: int) -> _Book:
    """An empty book of sorted prices with room for fewer than ``half`` levels a side."""
    levels = np.zeros((2 * half, 2))
    edge = np.array([0, half])
    levels[edge] = np.nan
    return _Book(
        ticks=False, levels=levels, best=edge.copy(), edge=edge, scale=np.zeros(2), offset=np.zeros(2)
    )


def _tick_book(prices: list[Array], rows_max: int) -> _Book | None:
    """An empty book with a row for each step of these prices of bids and asks, None if that is more than
    ``rows_max`` a side.
    """
    # Those of what is held come first. A finer price among the others is noticed when it meets one in its row.
    scale = _scale(np.concatenate([of_side[:_TELLING] for of_side in prices]))
    spans = [(of_side.min(), of_side.max()) if len(of_side) else (0.0, 0.0) for of_side in prices]
    span = max((high - low) * scale for low, high in spans) + 2.0
    if scale == 0.0 or span > rows_max:
        return None
    margin = min(int(span) // 4 + _MARGIN, int(rows_max - span) // 2)
    half = int(span) + 2 * margin + 1
    levels = np.zeros((2 * half, 2))
    edge = np.array([half - 1, 2 * half - 1])
    levels[edge] = np.nan
    nearest = np.array([spans[_BID][1] * scale, half - spans[_ASK][0] * scale])
    return _Book(
        ticks=True,
        levels=levels,
        best=edge.copy(),
        edge=edge,
        scale=np.array([-scale, scale]),
        offset=nearest + margin + 0.5,
    )


def _scale(prices: Array) -> float:
    """The least power of ten that makes all prices whole numbers, 0 if there is none."""
    with np.errstate(over="ignore"):
        for digits in range(_DIGITS_MAX + 1):
            scale = 10.0**digits
            if np.array_equal(np.rint(prices * scale) / scale, prices):
                return scale
    return 0.0


def _as_changes(levels: tuple[Levels, Levels]) -> Changes:
    """One change that is this book."""
    bids, asks = levels
    flat = np.array([*bids, *asks], np.float64).reshape(-1, 2)
    ask = np.repeat(np.array([_BID, _ASK], np.uint8), [len(bids), len(asks)])
    return Changes(np.array([0, len(flat)]), np.ones(1, np.uint8), ask, flat[:, 0], flat[:, 1])


def _frozen(changes: Changes) -> Changes:
    """The columns in the one form that the kernels are compiled for."""
    types = (np.int64, np.uint8, np.uint8, np.float64, np.float64)
    return Changes(*(_read_only(column, kind) for column, kind in zip(changes, types, strict=True)))


def _read_only(column: Array, kind: Any) -> Array:
    column = np.ascontiguousarray(column, kind).view()
    column.flags.writeable = False
    return column
