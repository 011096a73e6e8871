"""Decoded deltas to a book that is known to be right, and other books over the same deltas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from frames import Run
from sortedcontainers import SortedDict

from bookreel.book.sync import BookSync

Sides = tuple[Any, Any]


@pytest.fixture
def units(run: Run) -> dict[str, int]:
    return {"frame": len(run.deltas), "level": run.levels}


@pytest.fixture
def best(run: Run) -> tuple[float, float]:
    """Best bid and ask at the end."""
    sync = run.begin()
    follow(sync, run)
    bid, _, ask, _ = sync.book.best()
    assert bid is not None and ask is not None, "the book has both sides"
    return bid, ask


def follow(sync: BookSync, run: Run) -> None:
    take = sync.delta
    for pos, delta in enumerate(run.deltas):
        take(delta, pos, delta.ts_event)
    assert sync.valid, "the chain is whole"


def test_book_sync(benchmark: Any, run: Run, units: dict[str, int]) -> None:
    benchmark.extra_info["units"] = units
    benchmark.pedantic(follow, setup=lambda: ((run.begin(), run), {}), rounds=15, warmup_rounds=1)


def follow_dicts(sides: Sides, run: Run) -> None:
    bids, asks = sides
    for delta in run.deltas:
        for side, levels in ((bids, delta.bids), (asks, delta.asks)):
            for price, size in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)


def test_dicts(benchmark: Any, run: Run, units: dict[str, int], best: tuple[float, float]) -> None:
    made: list[Sides] = []

    def setup() -> Any:
        made.append((dict(run.snapshot.bids), dict(run.snapshot.asks)))
        return (made[-1], run), {}

    benchmark.extra_info["units"] = units
    benchmark.pedantic(follow_dicts, setup=setup, rounds=15, warmup_rounds=1)
    assert (max(made[-1][0]), min(made[-1][1])) == best


def follow_sorted(sides: Sides, run: Run) -> None:
    bids, asks = sides
    for delta in run.deltas:
        for side, levels in ((bids, delta.bids), (asks, delta.asks)):
            for price, size in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        assert bids.peekitem(-1)[0] < asks.peekitem(0)[0], "the book is not crossed"


def test_sorted_dict(benchmark: Any, run: Run, units: dict[str, int], best: tuple[float, float]) -> None:
    made: list[Sides] = []

    def setup() -> Any:
        made.append((SortedDict(run.snapshot.bids), SortedDict(run.snapshot.asks)))
        return (made[-1], run), {}

    benchmark.extra_info["units"] = units
    benchmark.pedantic(follow_sorted, setup=setup, rounds=7, warmup_rounds=1)
    assert (made[-1][0].peekitem(-1)[0], made[-1][1].peekitem(0)[0]) == best


@pytest.mark.parametrize(
    "name", ["order_book_apply", "order_book_best", "ccxt", "nautilus_apply", "nautilus_build", "hftbacktest"]
)
def test_peer(
    name: str, units: dict[str, int], best: tuple[float, float], measure_peer: Callable[..., None]
) -> None:
    measure_peer(name, units, best)
