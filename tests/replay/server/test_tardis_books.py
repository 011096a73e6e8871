"""Normalised books made from columns, against books that are kept and written one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta
from bookreel.replay import tops
from bookreel.replay.ndjson import Lines
from bookreel.replay.server.tardis_books import BookRun, Books, Keyed, change_lines
from bookreel.replay.server.tardis_computed import BookType
from bookreel.replay.server.tardis_types import plain, stamp

PRICES = st.sampled_from([99.0, 99.5, 100.0, 100.25, 9.377e-11, 5e-324, 1.7e308, 1 / 3, 1e15])
SIDES = st.lists(st.tuples(PRICES, st.sampled_from([0.0, 0.5, 1.0, 5e-324, 1e22])), max_size=5)
EVENTS = st.lists(
    st.tuples(st.integers(0, 1), st.booleans(), st.integers(0, 700), SIDES, SIDES), min_size=1, max_size=14
)
SYMBOLS = ["BTCUSDT", 'É"']


def run_of(events: list[Any]) -> BookRun:
    """Events of: symbol, whether it is a whole book, the venue's time (ms), bids and asks."""
    flat = np.array([level for *_, bids, asks in events for level in (*bids, *asks)]).reshape(-1, 2)
    bids, asks = (np.array([len(event[side]) for event in events]) for side in (3, 4))
    bid_at = np.cumsum(bids + asks) - bids - asks
    symbol, whole, ts = (np.array([event[column] for event in events]) for column in range(3))
    heads = [symbol, whole.astype(np.uint8), ts, ts + 5]
    return BookRun._make([*heads, bid_at, bids, bid_at + bids, asks, flat[:, 0], flat[:, 1]])


class Kept:
    """One book at intervals, event by event."""

    def __init__(self, wanted: BookType, symbol: str) -> None:
        self.type, self.symbol, self.book = wanted, symbol, L2Book()
        self.reset()

    def reset(self) -> None:
        self.best: Any = ([], [])
        self.changed = self.begun = False
        self.last = -1

    def take(self, event: Any) -> Iterator[dict[str, Any]]:
        _, whole, ts, bids, asks = event
        if self.due(ts):
            yield self.value(ts)
        if whole:
            self.book.load(bids, asks)
        else:
            self.book.apply(Delta("", "", 0, 0, 0, bids, asks))
        best = self.book.top(self.type.depth)
        if best != self.best:
            self.best, self.changed = best, True
        self.last = ts
        if self.due(ts):
            yield self.value(ts)
            self.begun = True

    def due(self, ts: int) -> bool:
        interval = self.type.interval
        if not self.changed or not interval or not self.begun:
            return self.changed
        bucket = self.last // interval
        if ts // interval <= bucket:
            return False
        self.last = int((bucket + 1) * interval)
        return True

    def value(self, ts: int) -> dict[str, Any]:
        self.changed = False
        depth = self.type.depth
        sides = [[level(*pair) for pair in side] + [{}] * (depth - len(side)) for side in self.best]
        head = {"type": "book_snapshot", "symbol": self.symbol, "exchange": "huobi", "name": self.type.name}
        return {
            **head,
            "depth": depth,
            "interval": plain(self.type.interval),
            "bids": sides[0],
            "asks": sides[1],
            "timestamp": stamp(self.last),
            "localTimestamp": stamp(ts + 5),
        }


def level(price: float, amount: float) -> dict[str, float]:
    return {"price": price, "amount": amount}


def told(found: Keyed) -> list[tuple[int, bytes]]:
    """Each line with its event, in the order of the events."""
    lines = [bytes(Lines.of_array(found.lines).between(at, at + 1)) for at in range(len(found.events))]
    return sorted(zip(found.events.tolist(), lines, strict=True), key=lambda pair: pair[0])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(EVENTS, min_size=1, max_size=3),
    st.sampled_from([(1, 0.0), (3, 0.0), (20, 100.0), (2, 1.5)]),
    st.booleans(),
    st.sampled_from([0, 1 << 62]),
)
def test_books_are_those_that_are_kept(
    runs: list[Any], wanted: tuple[int, float], resets: bool, least: int
) -> None:
    """Over several runs, of two symbols, by machine code and by the engine."""
    kind = BookType("some", *wanted)
    books, kept = Books(kind, "huobi"), [Kept(kind, symbol) for symbol in SYMBOLS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tops, "_KERNELS", "not loaded")
        patch.setattr(tops, "_LEVELS", least)
        now = 0
        for number, events in enumerate(runs):
            if resets and number:
                books.reset()
                for one in kept:
                    one.reset()
            later = []
            for symbol, whole, after, *sides in events:
                now += after
                later.append((symbol, whole, now, *sides))
            expected = [
                (at, msgspec.json.encode(value) + b"\n")
                for at, event in enumerate(later)
                for value in kept[event[0]].take(event)
            ]
            assert told(books.lines(run_of(later), SYMBOLS)) == expected


@settings(max_examples=60)
@given(EVENTS)
def test_changes_are_those_of_the_encoder(events: list[Any]) -> None:
    expected = [
        {
            "type": "book_change",
            "symbol": SYMBOLS[symbol],
            "exchange": "huobi",
            "isSnapshot": whole,
            "bids": [level(*pair) for pair in bids],
            "asks": [level(*pair) for pair in asks],
            "timestamp": stamp(ts),
            "localTimestamp": stamp(ts + 5),
        }
        for symbol, whole, ts, bids, asks in events
    ]
    found = told(change_lines(run_of(events), SYMBOLS, "huobi"))
    assert [line for _, line in found] == [msgspec.json.encode(value) + b"\n" for value in expected]
