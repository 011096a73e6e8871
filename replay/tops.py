"""The best levels of a book before and after each of many changes: compiled where that pays, else by the engine."""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

import numpy as np

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Levels
from bookreel.replay.sheet import Array, ranges

__all__ = ["Changes", "SideRows", "TopRows", "Tops"]

_KERNELS: Final = "bookreel.book.kernels"
_LEVELS: Final = 1 << 17
"""Levels that a process applies before it loads machine code: by then the third of a second of that is won back."""


class _Applied:
    """How many that are, in this process."""

    levels = 0


_applied: Final = _Applied()


class Changes(NamedTuple):
    """As :class:`bookreel.book.kernels.Changes`, which cannot be imported without loading the rest."""

    starts: Array
    whole: Array
    ask: Array
    price: Array
    size: Array


class SideRows(NamedTuple):
    """Sides of some books, best first: that of book ``i`` has the levels ``ends[i]`` to ``ends[i + 1]``."""

    ends: Array
    price: Array
    size: Array

    def turns(self) -> Array:
        """Of each but the first whether it is another one than that before it."""
        ends, price, size = self
        counts = np.diff(ends)
        here = np.arange(ends[1], ends[-1])
        before = here - np.repeat(counts[:-1], counts[1:])
        others = np.zeros(len(here) + 1, np.int64)
        np.cumsum((price[here] != price[before]) | (size[here] != size[before]), out=others[1:])
        unequal = others[ends[2:] - ends[1]] != others[ends[1:-1] - ends[1]]
        turned: Array = unequal | (counts[1:] != counts[:-1])
        return turned

    def pick(self, books: Array) -> SideRows:
        """Those of these books."""
        counts = np.diff(self.ends)[books]
        levels = ranges(self.ends[books], counts)
        return SideRows(np.concatenate([[0], np.cumsum(counts)]), self.price[levels], self.size[levels])


class TopRows(NamedTuple):
    """The best levels of some books."""

    bids: SideRows
    asks: SideRows

    def turns(self) -> Array:
        """Of each but the first whether any level of it is another one than before."""
        turned: Array = self.bids.turns() | self.asks.turns()
        return turned

    def pick(self, books: Array) -> TopRows:
        """Those of these books."""
        return TopRows(self.bids.pick(books), self.asks.pick(books))


class Tops:
    """A book that changes are applied to, of which the ``depth`` best levels a side are wanted; empty at first."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._book: L2Book | None = L2Book()
        self._ladder: Any = None

    def apply(self, changes: Changes) -> TopRows:
        """Apply changes, at least one; the best levels before the first of them, and after each."""
        if self._book is not None and (kernels := _kernels(len(changes.price))) is not None:
            self._ladder = kernels.Ladder()
            self._ladder.tops(kernels.Changes(*_whole(*self._book.top())), np.zeros(0, np.int64), 1)
            self._book = None
        if self._book is not None:
            return _by_engine(self._book, changes, self._depth)
        found = self._ladder.tops(_without_none(changes), np.arange(len(changes.whole) + 1), self._depth)
        return TopRows(SideRows(*found[:3]), SideRows(*found[3:]))


def _kernels(levels: int) -> Any:
    """What is compiled, for so many levels more; None where it is not worth loading, or not there."""
    if _KERNELS not in sys.modules:
        _applied.levels += levels
        if _applied.levels < _LEVELS:
            return None
    try:
        from bookreel.book import kernels
    except ImportError:
        return None
    return kernels


def _without_none(changes: Changes) -> Changes:
    """Without the levels of size 0 of whole books: they are none, also where the same price was named before."""
    counts = np.diff(changes.starts)
    kept = (changes.size != 0.0) | (np.repeat(changes.whole, counts) == 0)
    if kept.all():
        return changes
    starts = np.concatenate([[0], np.cumsum(kept)])[changes.starts]
    return Changes(starts, changes.whole, changes.ask[kept], changes.price[kept], changes.size[kept])


def _whole(bids: Levels, asks: Levels) -> Changes:
    """One change that makes a book this one."""
    price, size = np.array([*bids, *asks], np.float64).reshape(-1, 2).T
    ask = np.repeat(np.array([0, 1], np.uint8), [len(bids), len(asks)])
    return Changes(np.array([0, len(ask)]), np.ones(1, np.uint8), ask, price, size)


def _by_engine(book: L2Book, changes: Changes, depth: int) -> TopRows:
    pairs = list(zip(changes.price.tolist(), changes.size.tolist(), strict=True))
    asks = changes.ask.tolist()
    starts = changes.starts.tolist()
    tops = [book.top(depth)]
    for start, stop, whole in zip(starts[:-1], starts[1:], changes.whole.tolist(), strict=True):
        sides: tuple[Levels, Levels] = ([], [])
        for level in range(start, stop):
            sides[asks[level]].append(pairs[level])
        if whole:
            book.load(*sides)
        else:
            book.apply(Delta("", "", 0, 0, 0, *sides))
        tops.append(book.top(depth))
    return TopRows(*(_side_rows(list(side)) for side in zip(*tops, strict=True)))


def _side_rows(sides: list[Levels]) -> SideRows:
    levels = np.array([level for side in sides for level in side], np.float64).reshape(-1, 2)
    ends = np.concatenate([[0], np.cumsum([len(side) for side in sides])])
    return SideRows(ends, levels[:, 0], levels[:, 1])
