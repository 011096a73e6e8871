"""The bulk kernels against the engine."""

from __future__ import annotations

import doctest
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.book.errors import InvariantBroken
from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Levels

np = pytest.importorskip("numpy")
pytest.importorskip("numba")

from bookreel.book import kernels  # noqa: E402 - needs both
from bookreel.book.kernels import ROWS_MAX, Changes, Ladder  # noqa: E402

Change = tuple[bool, Levels, Levels]
"""Whether it is the whole book, bids, asks."""

NEAR = [round(100 + step / 10, 1) for step in range(-15, 16)]
FAR = [
    9.377e-11,
    9.4e-11,
    0.05,
    0.1,
    math.nextafter(0.1, 1),
    1 / 3,
    99.9,
    100.0,
    100.04,
    61_800.25,
    3e9,
    1e300,
]

prices = st.sampled_from(NEAR) | st.sampled_from(FAR)
sizes = st.sampled_from([0.0, 0.0, 1e-18, 1.5, 2.0, 3e12])


def changes_of(price: st.SearchStrategy[float]) -> st.SearchStrategy[list[Change]]:
    levels = st.lists(st.tuples(price, sizes), max_size=6)
    return st.lists(
        st.tuples(st.sampled_from([False, False, False, True]), levels, levels), min_size=1, max_size=12
    )


lives = st.lists(changes_of(st.sampled_from(NEAR)) | changes_of(prices), min_size=1, max_size=4)


def columns(changes: list[Change]) -> Changes:
    starts, flat, ask = [0], [], []
    for _, bids, asks in changes:
        flat += [*bids, *asks]
        ask += [0] * len(bids) + [1] * len(asks)
        starts.append(len(flat))
    pairs = np.array(flat, np.float64).reshape(-1, 2)
    whole = np.array([whole for whole, _, _ in changes], np.uint8)
    return Changes(np.array(starts), whole, np.array(ask, np.uint8), pairs[:, 0], pairs[:, 1])


def engine(book: L2Book, changes: list[Change]) -> list[L2Book]:
    """The book after each change."""
    found = []
    for whole, bids, asks in changes:
        if whole:
            # As a delta over nothing: of one price that comes twice the last one counts, whatever its size.
            book.load([], [])
        book.apply(Delta("", "", 0, 0, 0, bids, asks))
        after = L2Book()
        after.load(*book.top())
        found.append(after)
    return found


def numbers(column: Any) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]


@pytest.mark.parametrize("rows_max", [ROWS_MAX, 24, 0])
@given(life=lives)
def test_best_prices_are_the_engines(life: list[list[Change]], rows_max: int) -> None:
    book, ladder = L2Book(), Ladder(rows_max)
    for changes in life:
        wanted = engine(book, changes)
        found = ladder.best(columns(changes))
        assert list(zip(*map(numbers, found), strict=True)) == [one.best() for one in wanted]
        assert found.crossed.tolist() == [one.crossed for one in wanted]
        assert ladder.levels() == book.top()


@pytest.mark.parametrize("rows_max", [ROWS_MAX, 24, 0])
@given(life=lives, depth=st.sampled_from([0, 1, 3, 20, 1 << 40]), data=st.data())
def test_levels_are_the_engines(life: list[list[Change]], depth: int, data: Any, rows_max: int) -> None:
    book, ladder = L2Book(), Ladder(rows_max)
    before = L2Book()
    for changes in life:
        after = data.draw(st.lists(st.integers(0, len(changes)), max_size=8).map(sorted))
        wanted = [before, *engine(book, changes)]
        before = wanted[-1]
        found = ladder.tops(columns(changes), np.array(after, np.int64), depth)
        bids = list(zip(found.bid_price.tolist(), found.bid_size.tolist(), strict=True))
        asks = list(zip(found.ask_price.tolist(), found.ask_size.tolist(), strict=True))
        for at, count in enumerate(after):
            top = wanted[count].top(depth)
            assert bids[found.bid_ends[at] : found.bid_ends[at + 1]] == top[0]
            assert asks[found.ask_ends[at] : found.ask_ends[at + 1]] == top[1]
        assert (found.bid_ends[-1], found.ask_ends[-1]) == (len(bids), len(asks))


def test_more_levels_than_there_was_room_for() -> None:
    bids = [(1 + step * math.pi, 1.0) for step in range(5000)]
    changes: list[Change] = [(False, [level], []) for level in bids]
    ladder = Ladder()
    found = ladder.tops(columns(changes), np.array([5000, 5000, 5000]), 5000)
    assert found.bid_price.tolist() == [price for price, _ in reversed(bids)] * 3
    assert ladder.levels() == (bids[::-1], [])


def test_a_price_that_moves_on_and_on_keeps_its_array_small() -> None:
    ladder, book = Ladder(4096), L2Book()
    for step in range(50):
        price = 100.0 + 3 * step
        changes: list[Change] = [
            (False, [(price, 1.0)], [(price + 0.01, 1.0)]),
            (False, [(price, 0.0)], [(price + 0.01, 0.0)]),
        ]
        wanted = [one.best() for one in engine(book, changes)]
        assert list(zip(*map(numbers, ladder.best(columns(changes))), strict=True)) == wanted


def test_a_finer_price_than_those_before_does_not_take_the_row_of_another() -> None:
    ladder = Ladder()
    ladder.best(columns([(True, [(100.0, 1.0)], [(101.0, 1.0)])]))
    found = ladder.best(columns([(False, [(100.4, 2.0)], []), (False, [(100.4, 0.0)], [(101.3, 3.0)])]))
    assert (found.bid.tolist(), found.bid_size.tolist()) == ([100.4, 100.0], [2.0, 1.0])
    assert ladder.levels() == ([(100.0, 1.0)], [(101.0, 1.0), (101.3, 3.0)])


@pytest.mark.parametrize("price", [math.nan, math.inf, -math.inf])
def test_a_price_that_is_no_number_is_refused(price: float) -> None:
    ladder = Ladder()
    ladder.best(columns([(True, [(1.0, 1.0)], [(2.0, 1.0)])]))
    with pytest.raises(InvariantBroken, match="not finite"):
        ladder.best(columns([(False, [], [(price, 1.0)])]))


def test_examples() -> None:
    assert doctest.testmod(kernels).failed == 0
