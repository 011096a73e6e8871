"""The compiled book against the one in Python, beyond what ``test_l2.py`` asks of both."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.book import BookSync, Delta, L2Book, Levels, Outcome, Snapshot
from bookreel.book.packed import DELTAS, PackedBook, read_image, read_push, unpacked, unpacked_image

pytestmark = pytest.mark.skipif(read_push is None, reason="nothing was compiled")

PRICES = st.one_of(
    st.integers(1, 400).map(lambda number: number / 100),
    st.floats(min_value=5e-324, max_value=1.7e308),
)
SIZES = st.one_of(st.just(0.0), st.floats(min_value=0.0, max_value=1.7e308))
LEVELS = st.lists(st.tuples(PRICES, SIZES), max_size=150)
# The exponents of these have two digits at most, as all that is taken.
PRINTED = st.floats(min_value=1e-99, max_value=9e99)
WRITTEN = st.lists(st.tuples(PRINTED, st.just(0.0) | PRINTED), max_size=150)


def delta(bids: Levels, asks: Levels) -> Delta:
    return Delta("btcusdt", "mbp.150", 0, 2, 1, bids, asks)


def packed(text: str) -> Delta:
    assert read_push is not None
    found = read_push(
        f'{{}},"ts":1,"tick":{{"seqNum":2,"prevSeqNum":1{text}}}}}'.encode(), 2, "btcusdt", "mbp.150"
    )
    assert found is not None
    return found


@given(LEVELS, LEVELS, st.lists(st.tuples(LEVELS, LEVELS), max_size=6))
def test_any_levels_leave_the_same_book(
    bids: Levels, asks: Levels, changes: list[tuple[Levels, Levels]]
) -> None:
    plain, compiled = L2Book(), PackedBook()
    for _ in range(2):
        plain.load(bids, asks)
        compiled.load(bids, asks)
        for changed in [([], []), *changes]:
            assert plain.apply(delta(*changed)) is compiled.apply(delta(*changed))
            assert compiled == plain and plain == compiled
            assert compiled.best() == plain.best()
            assert compiled.top(5) == plain.top(5)
            compiled._check()


def test_thousands_of_changes_of_the_same_prices() -> None:
    # Prices that fall on one place of a table, and go in any order: the others of that place must stay within reach.
    rng = Random(1)
    plain, compiled = L2Book(), PackedBook()
    for number in range(3000):
        bids, asks = (
            [(rng.randint(1, 600) / 100 + base, rng.choice((0.0, 1.0, 2.5))) for _ in range(20)]
            for base in (0, 9)
        )
        assert plain.apply(delta(bids, asks)) is compiled.apply(delta(bids, asks))
        if not number % 10:
            assert compiled == plain


@given(WRITTEN, WRITTEN)
def test_a_packed_delta_is_what_its_text_says(bids: Levels, asks: Levels) -> None:
    found = packed(f',"bids":{[*map(list, bids)]},"asks":{[*map(list, asks)]}'.replace(" ", ""))
    expected = delta(bids, asks)
    assert unpacked(expected) is expected
    assert (found.ts_event, found.seq, found.prev_seq, found.bids, found.asks) == (10**6, 2, 1, bids, asks)
    assert isinstance(found, DELTAS)
    assert type(unpacked(found)) is Delta
    assert unpacked(found) == found
    plain, compiled = L2Book(), PackedBook()
    assert compiled.apply(found) is plain.apply(found)
    assert compiled == plain


def test_a_packed_delta_is_equal_to_what_has_equal_fields_only() -> None:
    found = packed(',"bids":[[1.0,2.0]],"asks":[]')
    same = Delta("btcusdt", "mbp.150", 10**6, 2, 1, [(1.0, 2.0)], [])
    assert found == same and same == found
    assert found != Delta("btcusdt", "mbp.150", 10**6, 2, 1, [(1.0, 3.0)], [])
    assert found != "a delta"
    with pytest.raises(AttributeError):
        found.seq = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        hash(found)


@pytest.mark.parametrize(
    ("price", "size"), [(0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, -1.0), (1.0, float("inf"))]
)
def test_an_impossible_level_changes_nothing(price: float, size: float) -> None:
    book = PackedBook()
    book.load([(1.0, 1.0)], [(2.0, 1.0)])
    for change in (book.apply, lambda it: book.load(it.bids, it.asks)):
        with pytest.raises(ValueError, match="cannot be"):
            change(delta([(1.5, 1.0)], [(1.7, 1.0), (price, size)]))
    assert book.top() == ([(1.0, 1.0)], [(2.0, 1.0)])


@pytest.mark.parametrize("wrong", [None, [1.0], [(1.0,)], [("a", 1.0)], [(1.0, 1.0, 1.0)]])
def test_what_is_no_levels_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        PackedBook().load(wrong, [])


def test_a_broken_chain_keeps_plain_deltas_and_the_engine() -> None:
    sync = BookSync("btcusdt", "mbp.150", engine=PackedBook)
    assert sync.delta(packed(',"bids":[[1.0,2.0]]'), 1, 1) is Outcome.BUFFERED
    assert [type(held.delta) for held in sync.buffer] == [Delta]
    snapshot = Snapshot("btcusdt", "mbp.150", 0, 1, [(0.5, 1.0)], [(9.0, 1.0)], "refresh")
    assert sync.snapshot(snapshot, 2, 2) is Outcome.ADOPTED
    assert type(sync.book) is PackedBook
    assert sync.book.top() == ([(1.0, 2.0), (0.5, 1.0)], [(9.0, 1.0)])


@given(st.lists(st.tuples(WRITTEN, WRITTEN), min_size=1, max_size=4), LEVELS)
def test_a_packed_image_takes_the_place_of_all_there_was(
    books: list[tuple[Levels, Levels]], before: Levels
) -> None:
    assert read_image is not None
    plain, compiled = L2Book(), PackedBook()
    plain.load(before, before)
    compiled.load(before, before)
    for bids, asks in books:
        bids, asks = sorted(dict(bids).items(), reverse=True), sorted(dict(asks).items())
        sides = f'"bids":{[*map(list, bids)]},"asks":{[*map(list, asks)]}'.replace(" ", "")
        text = f'{{}},"ts":2,"tick":{{{sides},"version":7,"ts":1}}}}'.encode()
        image = read_image(text, 2, "btcusdt", "depth.step0", False)
        assert image is not None
        expected = Snapshot("btcusdt", "depth.step0", 10**6, 7, bids, asks, "push")
        assert unpacked_image(image) == expected
        assert image == expected and image.crossed is expected.crossed and image.ts_push == 2 * 10**6
        assert image != Snapshot("btcusdt", "depth.step0", 10**6, 7, bids, asks, "refresh")
        for book in (plain, compiled):
            book.replace(image)
            assert book.top() == (
                [(price, size) for price, size in bids if size],
                [(price, size) for price, size in asks if size],
            )
            book._check()
        compiled.replace(expected)
        assert compiled == plain
        assert compiled.apply(delta([(3.0, 1.0)], [])) is plain.apply(delta([(3.0, 1.0)], []))
        assert compiled == plain


def test_replace_asks_for_a_whole_book() -> None:
    with pytest.raises(AttributeError):
        PackedBook().replace(None)  # type: ignore[arg-type]
