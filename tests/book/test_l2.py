from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bookreel.book.l2
from bookreel.book import Delta, InvariantBroken, L2Book, Levels
from bookreel.book.l2 import Book
from bookreel.book.packed import PackedBook

# A few prices only, so that levels are hit, removed and re-added all the time.
BID_PRICES = st.sampled_from([9.377e-11, 1.0, 2.5, 3.0, 99.99])
ASK_PRICES = st.sampled_from([100.0, 100.01, 250.0, 3e12])
SIZES = st.sampled_from([0.0, 0.0, 2e-4, 1.0, 3.358149508e7])
BIDS = st.lists(st.tuples(BID_PRICES, SIZES), max_size=6)
ASKS = st.lists(st.tuples(ASK_PRICES, SIZES), max_size=6)
# The second is the first where nothing was compiled.
engines = pytest.mark.parametrize("engine", [L2Book, PackedBook], ids=["plain", "packed"])


def delta(bids: Levels, asks: Levels) -> Delta:
    return Delta("btcusdt", "mbp.150", 0, 2, 1, bids, asks)


def naive(sides: tuple[dict[float, float], dict[float, float]], bids: Levels, asks: Levels) -> None:
    for side, levels in zip(sides, (bids, asks), strict=True):
        for price, size in levels:
            if size == 0:
                side.pop(price, None)
            else:
                side[price] = size


@engines
@given(BIDS, ASKS, st.lists(st.tuples(BIDS, ASKS), max_size=30), st.integers(0, 6))
def test_equals_a_naive_book(
    engine: type[Book], bids: Levels, asks: Levels, deltas: list[tuple[Levels, Levels]], depth: int
) -> None:
    book, model = engine(), ({}, {})
    book.load(bids, asks)
    for price, size in bids:
        model[0].update({price: size} if size else {})
    for price, size in asks:
        model[1].update({price: size} if size else {})
    for changed in deltas:
        book.apply(delta(*changed))
        naive(model, *changed)
        book._check()
        best_bids, best_asks = sorted(model[0].items(), reverse=True), sorted(model[1].items())
        assert (book.bids, book.asks) == model
        assert book.top() == (best_bids, best_asks)
        assert book.top(depth) == (best_bids[:depth], best_asks[:depth])
        bid, ask = (best_bids or [(None, None)])[0], (best_asks or [(None, None)])[0]
        assert book.best() == (*bid, *ask)
        assert not book.crossed


@engines
def test_removing_an_absent_level_is_normal(engine: type[Book]) -> None:
    book = engine()
    book.load([(1.0, 1.0)], [])
    book.apply(delta([(0.5, 0.0)], [(7.0, 0.0)]))
    assert book.top() == ([(1.0, 1.0)], [])


@engines
@pytest.mark.parametrize(
    ("bids", "asks", "crossed"),
    [
        ([(1.0, 1.0)], [(2.0, 1.0)], False),
        ([(2.0, 1.0)], [(2.0, 1.0)], True),
        ([(3.0, 1.0)], [(2.0, 1.0)], True),
        ([], [(2.0, 1.0)], False),
        ([], [], False),
    ],
)
def test_crossed(engine: type[Book], bids: Levels, asks: Levels, crossed: bool) -> None:
    book = engine()
    assert book.apply(delta(bids, asks)) is crossed
    assert book.crossed is crossed
    loaded = engine()
    loaded.load(bids, asks)
    assert loaded.crossed is crossed


@engines
def test_equality_looks_at_the_content(engine: type[Book]) -> None:
    one, other = L2Book(), engine()
    one.load([(1.0, 1.0)], [(2.0, 1.0)])
    other.load([(1.0, 1.0)], [(2.0, 1.0)])
    assert one == other
    other.apply(delta([(1.0, 2.0)], []))
    assert one != other
    assert other != one
    assert other != "a book"


@pytest.mark.parametrize(
    ("side", "price", "size"),
    [("bids", -1.0, 1.0), ("asks", 5.0, 0.0), ("asks", float("inf"), 1.0), ("bids", 5.0, float("nan"))],
)
def test_check_finds_an_impossible_level(side: str, price: float, size: float) -> None:
    book = L2Book()
    getattr(book, side)[price] = size
    with pytest.raises(InvariantBroken):
        book._check()


def test_check_finds_a_best_price_that_was_not_followed() -> None:
    book = L2Book()
    book.load([(1.0, 1.0)], [(2.0, 1.0)])
    book.bids[1.5] = 1.0
    with pytest.raises(InvariantBroken, match="best bid"):
        book._check()


def test_doctests() -> None:
    assert doctest.testmod(bookreel.book.l2).failed == 0
