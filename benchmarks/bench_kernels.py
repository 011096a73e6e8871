"""Columns in memory to best prices and levels, on one core."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from frames import Run

from bookreel.book.kernels import ROWS_MAX, Changes, Ladder

PASSES = 8
"""The capture is short: a round applies it so many times."""


@pytest.fixture(scope="session")
def changes(run: Run) -> Changes:
    """The book that the run begins with, then its deltas."""
    starts, flat, ask = [0], [], []
    for bids, asks in ((run.snapshot.bids, run.snapshot.asks), *((d.bids, d.asks) for d in run.deltas)):
        flat += [*bids, *asks]
        ask += [0] * len(bids) + [1] * len(asks)
        starts.append(len(flat))
    whole = np.zeros(len(starts) - 1, np.uint8)
    whole[0] = 1
    pairs = np.array(flat)
    return Changes(np.array(starts), whole, np.array(ask, np.uint8), *np.ascontiguousarray(pairs.T))


@pytest.fixture
def best(run: Run) -> tuple[float, float]:
    sync = run.begin()
    for pos, delta in enumerate(run.deltas):
        sync.delta(delta, pos, delta.ts_event)
    bid, _, ask, _ = sync.book.best()
    assert bid is not None and ask is not None, "the book has both sides"
    return bid, ask


def measure(benchmark: Any, changes: Changes, work: Callable[[], Any], passes: int = PASSES) -> Any:
    units = {"frame": changes.total * passes, "level": len(changes.price) * passes}
    benchmark.extra_info["units"] = units
    return benchmark.pedantic(work, rounds=15, warmup_rounds=2)


@pytest.mark.parametrize("rows_max", [ROWS_MAX, 0], ids=["rows", "sorted"])
def test_best(benchmark: Any, changes: Changes, best: tuple[float, float], rows_max: int) -> None:
    def work() -> Any:
        ladder = Ladder(rows_max)
        for _ in range(PASSES):
            found = ladder.best(changes)
        return found

    found = measure(benchmark, changes, work)
    assert (found.bid[-1], found.ask[-1]) == best, "the book is another one"


def test_best_two(benchmark: Any, changes: Changes) -> None:
    """Two books at once, each in a thread."""

    def one() -> None:
        ladder = Ladder()
        for _ in range(PASSES):
            ladder.best(changes)

    with ThreadPoolExecutor(2) as pool:
        measure(benchmark, changes, lambda: list(pool.map(lambda _: one(), range(2))), 2 * PASSES)


def test_tops(benchmark: Any, changes: Changes) -> None:
    after = np.arange(1, changes.total + 1)
    ladder = Ladder()
    measure(benchmark, changes, lambda: ladder.tops(changes, after, 20), 1)
