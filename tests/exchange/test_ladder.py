from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bookreel.exchange.ladder import Ladder

CHANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=80)


@given(CHANGES, st.sampled_from([1, -1]), st.integers(1, 70))
def test_a_ladder_is_a_sorted_dict(changes: list[tuple[int, int]], sign: int, levels: int) -> None:
    ladder, model = Ladder(2, 1), dict[int, int]()
    for price, lots in changes:
        if lots == 0 and price not in model:
            continue
        ladder.put(sign * price, lots)
        if lots:
            model[price] = lots
        else:
            del model[price]
        ladder._check()
        ladder.image(levels)  # fills the kept texts
    best_first = sorted(model, reverse=sign < 0)[:levels]
    image = [json.loads(text) for text in ladder.image(levels).values()]
    assert image == [[price / 100, model[price] / 10] for price in best_first]


@given(CHANGES, st.sampled_from([1, -1]), st.sampled_from([10, 100]))
def test_grouping_keeps_all_size_and_moves_away_from_the_touch(
    changes: list[tuple[int, int]], sign: int, step: int
) -> None:
    ladder = Ladder(0, 0)
    for price, lots in changes:
        if lots:
            ladder.put(sign * price, lots)
    groups = [json.loads(text) for text in ladder.grouped(step, 1000)]
    assert sum(size for _, size in groups) == sum(ladder.lots.values())
    assert all(price % step == 0 for price, _ in groups)
    assert [p for p, _ in groups] == sorted((p for p, _ in groups), reverse=sign < 0)
    if ladder.keys:
        best = abs(ladder.keys[0])
        assert groups[0][0] >= best if sign > 0 else groups[0][0] <= best
        assert len(ladder.grouped(step, 1)) == 1


def test_texts_of_tiny_and_huge_numbers() -> None:
    ladder = Ladder(14, 2)
    ladder.put(9377, 454_794_474_325_80)
    assert ladder.text(9377) == "[9.377E-11,4.547944743258E11]"
    assert ladder.gone(9377) == "[9.377E-11,0.0]"
