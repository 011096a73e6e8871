"""Books as tardis-machine's clients know them, made from columns: changes, and the best levels at intervals.

No Python object is made of a message: its line is put together with those of some hundred others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Raw

from bookreel.replay.server.tardis_computed import BookType
from bookreel.replay.server.tardis_types import BookChange, BookSnapshot, plain
from bookreel.replay.sheet import Array, Doubles, Sheet, Texts, ranges, times_of
from bookreel.replay.sides import OBJECTS, SideTexts
from bookreel.replay.tops import Changes, SideRows, TopRows, Tops

__all__ = ["BookRun", "Books", "Intervals", "Keyed", "change_lines"]

_encode: Final = msgspec.json.Encoder().encode

_GAP: Final = Raw(b"\0")
"""Stands where a line is filled in; JSON has no such byte."""


class BookRun(NamedTuple):
    """Some events of books in their order; times in ms. ``symbol`` is the number of the book's. Bids are so many of
    the levels from ``bid_at`` on, asks from ``ask_at`` on; where ``whole`` is 1 they are the book.
    """

    symbol: Array
    whole: Array
    ts: Array
    local: Array
    bid_at: Array
    bids: Array
    ask_at: Array
    asks: Array
    price: Array
    size: Array

    @classmethod
    def none(cls) -> BookRun:
        """No event."""
        heads, flags, levels = np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0)
        return cls._make([heads, flags, *[heads] * 6, levels, levels])

    def pick(self, events: Array) -> BookRun:
        """These events; the levels stay."""
        return BookRun._make([*(column[events] for column in self[:8]), *self[8:]])

    def changes(self) -> Changes:
        """Of one book."""
        at = np.stack([self.bid_at, self.ask_at], axis=1).ravel()
        counts = np.stack([self.bids, self.asks], axis=1).ravel()
        levels = ranges(at, counts)
        ask = np.repeat(np.arange(len(counts), dtype=np.uint8) & 1, counts)
        starts = np.concatenate([[0], np.cumsum(self.bids + self.asks)])
        return Changes(starts, self.whole, ask, self.price[levels], self.size[levels])


class Keyed(NamedTuple):
    """Lines, an Arrow array, and of which event of a run each is."""

    events: Array
    lines: Any


class Given(NamedTuple):
    """Books to be given: the event that leads to each, its time (ms), and its best levels."""

    events: Array
    stamps: Array
    tops: TopRows


class Intervals:
    """The best levels of one book, whenever they changed, or at the end of each interval (ms) in which they did."""

    def __init__(self, depth: int, interval: float) -> None:
        self._tops = Tops(depth)
        self._interval = interval
        self.reset()

    def reset(self) -> None:
        """Begin anew with giving; the book stays as it is."""
        self._fresh = True
        self._changed = self._begun = False
        self._last = -1

    def take(self, run: BookRun) -> Given:
        """The events of the book, at least one."""
        tops = self._tops.apply(run.changes())
        turned = tops.turns()
        if self._fresh:
            # Nothing was given before, so it is as if there had been nothing.
            turned[0] = any(side.ends[2] > side.ends[1] for side in tops)
            self._fresh = False
        if self._interval:
            found = self._due(run.ts.tolist(), turned.tolist())
            events, books, stamps = (np.array(column, np.int64) for column in found)
        else:
            events = np.flatnonzero(turned)
            books, stamps = events + 1, run.ts[events]
        return Given(events, stamps, tops.pick(books))

    def _due(self, times: list[int], turned: list[bool]) -> tuple[list[int], list[int], list[int]]:
        """Events that lead to a book, which one of those before and after each event that is, and its time."""
        events: list[int] = []
        books: list[int] = []
        stamps: list[int] = []
        for number, ts in enumerate(times):
            if self._changed and self._begun and ts // self._interval > self._last // self._interval:
                events.append(number)
                books.append(number)
                stamps.append(int((self._last // self._interval + 1) * self._interval))
                self._changed = False
            self._changed |= turned[number]
            self._last = ts
            if self._changed and not self._begun:
                events.append(number)
                books.append(number + 1)
                stamps.append(ts)
                self._begun, self._changed = True, False
        return events, books, stamps


class Books:
    """A computed data type of all symbols, as :class:`Intervals` gives it."""

    def __init__(self, wanted: BookType, exchange: str) -> None:
        self._type, self._exchange = wanted, exchange
        self._books: dict[int, Intervals] = {}

    def reset(self) -> None:
        """As :meth:`Intervals.reset`, of all."""
        for book in self._books.values():
            book.reset()

    def lines(self, run: BookRun, symbols: Sequence[str]) -> Keyed:
        """What the events of a run lead to."""
        events: list[Array] = []
        found: list[Given] = []
        for symbol in np.unique(run.symbol).tolist():
            own = np.flatnonzero(run.symbol == symbol)
            book = self._books.get(symbol)
            if book is None:
                book = self._books[symbol] = Intervals(self._type.depth, self._type.interval)
            given = book.take(run.pick(own))
            found.append(given)
            events.append(own[given.events])
        event = np.concatenate(events)
        stamps = np.concatenate([given.stamps for given in found])
        heads = [self._template(symbol) for symbol in symbols]
        bids, asks = (_joined([given.tops[side] for given in found]) for side in range(2))
        price, size = (np.concatenate([bids[column], asks[column]]) for column in (1, 2))
        levels = np.arange(len(bids.price)), np.arange(len(bids.price), len(price))
        counts = np.diff(bids.ends), np.diff(asks.ends)
        times = stamps, run.local[event]
        return Keyed(
            event, _lines(heads, run.symbol[event], times, price, size, levels, counts, self._type.depth)
        )

    def _template(self, symbol: str) -> list[bytes]:
        return _parts(
            BookSnapshot(
                symbol=symbol,
                exchange=self._exchange,
                name=self._type.name,
                depth=self._type.depth,
                interval=plain(self._type.interval),
                bids=_GAP,
                asks=_GAP,
                timestamp=_GAP,
                local_timestamp=_GAP,
            )
        )


def change_lines(run: BookRun, symbols: Sequence[str], exchange: str) -> Keyed:
    """Each event as a change of the book."""
    heads = [
        _parts(
            BookChange(
                symbol=symbol,
                exchange=exchange,
                is_snapshot=whole,
                bids=_GAP,
                asks=_GAP,
                timestamp=_GAP,
                local_timestamp=_GAP,
            )
        )
        for symbol in symbols
        for whole in (False, True)
    ]
    levels = ranges(run.bid_at, run.bids), ranges(run.ask_at, run.asks)
    counts, times = (run.bids, run.asks), (run.ts, run.local)
    head = 2 * run.symbol + run.whole
    return Keyed(np.arange(len(run.symbol)), _lines(heads, head, times, run.price, run.size, levels, counts))


def _parts(value: msgspec.Struct) -> list[bytes]:
    """What stands around the gaps of a value's line."""
    return (_encode(value) + b"\n").split(b"\0")


def _lines(
    heads: Sequence[Sequence[bytes]],
    head: Array,
    times: tuple[Array, Array],
    price: Array,
    size: Array,
    levels: tuple[Array, Array],
    counts: tuple[Array, Array],
    depth: int = 0,
) -> Any:
    """Lines that begin with one of the heads each, of bids and asks and two times (ms)."""
    texts = Texts()
    sheet = Sheet(texts, len(head))
    sides = SideTexts(texts, OBJECTS, Doubles(price), Doubles(size))
    sheet.put(np.array([texts.word(parts[0]) for parts in heads], np.int32)[head])
    first, second, third, last = map(texts.word, heads[0][1:])
    sides.put(sheet, levels[0], counts[0], depth)
    sheet.put(first)
    sides.put(sheet, levels[1], counts[1], depth)
    sheet.put(second)
    sheet.put(texts.each(times_of(pa.array(times[0], pa.timestamp("ms")))))
    sheet.put(third)
    sheet.put(texts.each(times_of(pa.array(times[1], pa.timestamp("ms")))))
    sheet.put(last)
    return sheet.lines()


def _joined(sides: list[SideRows]) -> SideRows:
    if len(sides) == 1:
        return sides[0]
    counts = np.concatenate([np.diff(side.ends) for side in sides])
    price, size = (np.concatenate([side[column] for side in sides]) for column in (1, 2))
    return SideRows(np.concatenate([[0], np.cumsum(counts)]), price, size)
