"""Best levels after each of many changes: compiled, by the engine, and by looking at all of the book."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from bookreel.replay import tops
from bookreel.replay.tops import Changes, SideRows, Tops

PRICES = st.sampled_from([99.0, 99.5, 100.0, 100.25, 9.377e-11, 5e-324, 1.7e308, 1 / 3, 1e15])
SIDES = st.lists(st.tuples(PRICES, st.sampled_from([0.0, 0.5, 1.0, 5e-324, 1.7e308])), max_size=6)
CHANGES = st.lists(st.tuples(st.booleans(), SIDES, SIDES), min_size=1, max_size=12)


def columns(changes: list[tuple[bool, Any, Any]]) -> Changes:
    flat = np.array([level for _, *sides in changes for side in sides for level in side]).reshape(-1, 2)
    counts = [len(bids) + len(asks) for _, bids, asks in changes]
    ask = [at for _, *sides in changes for at, side in enumerate(sides) for _ in side]
    whole = np.array([whole for whole, _, _ in changes], np.uint8)
    return Changes(np.cumsum([0, *counts]), whole, np.array(ask, np.uint8), flat[:, 0], flat[:, 1])


def listed(side: SideRows) -> list[list[tuple[float, float]]]:
    levels = list(zip(side.price.tolist(), side.size.tolist(), strict=True))
    ends = side.ends.tolist()
    return [levels[start:stop] for start, stop in pairwise(ends)]


def after_each(changes: list[tuple[bool, Any, Any]], depth: int) -> list[Any]:
    books: list[dict[float, float]] = [{}, {}]
    found = []
    for whole, *sides in [(True, [], []), *changes]:
        for at, levels in enumerate(sides):
            if whole:
                books[at] = {}
            for price, size in levels:
                if size or not whole:
                    books[at][price] = size
            books[at] = {price: size for price, size in books[at].items() if size}
        found.append(
            [sorted(book.items(), reverse=not at)[:depth] for at, book in enumerate(books)],
        )
    return found


@settings(max_examples=80, deadline=None)
@given(CHANGES, CHANGES, st.sampled_from([1, 2, 20]), st.sampled_from([0, 10, 1 << 62]))
@example([(True, [(99.0, 1.0)], [(100.0, 1.0)])], [(False, [(99.5, 0.5)], [])], 2, 3)
def test_levels_are_those_of_the_book(first: Any, second: Any, depth: int, least: int) -> None:
    """Of two runs of changes, by machine code, from the second run on, or never."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tops, "_KERNELS", "not loaded")
        patch.setattr(tops._applied, "levels", 0)
        patch.setattr(tops, "_LEVELS", least)
        book = Tops(depth)
        wanted = after_each([*first, *second], depth)
        for changes, expected in ((first, wanted[: len(first) + 1]), (second, wanted[len(first) :])):
            found = book.apply(columns(changes))
            assert [list(pair) for pair in zip(*map(listed, found), strict=True)] == expected
            turned = [one != other for one, other in zip(expected[1:], expected[:-1], strict=True)]
            assert found.turns().tolist() == turned
            some = np.flatnonzero(np.arange(len(expected)) % 2)
            assert [listed(side.pick(some)) for side in found] == [
                [expected[at][number] for at in some] for number in range(2)
            ]
