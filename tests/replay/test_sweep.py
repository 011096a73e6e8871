from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from bookreel.replay.selection import REPLAY_TABLES, Selection
from bookreel.replay.sweep import ORDER, Sweep
from bookreel.storage.scan import Scanner
from bookreel.storage.tail import Tail
from tests.replay.market import Market


@pytest.fixture
def sweep(record: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    """Sweeps of an archive of thirty segments."""
    monkeypatch.setattr("bookreel.storage.parquet.GROUP_ROWS_MIN", 8)
    monkeypatch.setattr("bookreel.storage.parquet.GROUP_ROWS_MAX", 16)
    monkeypatch.setattr("bookreel.replay.sweep._WINDOW_ROWS", 32)
    monkeypatch.setattr("bookreel.replay.sweep._PIECE_ROWS", 6)
    monkeypatch.setattr("bookreel.replay.sweep._FIRST_ROWS", 32)
    monkeypatch.setattr("bookreel.replay.sweep._LEAST_ROWS", 4)
    market = Market(record(), Random(5))
    for _ in range(30):
        market.steps(30)
        market.rotate()
    market.seal()
    path = market.recording.path

    def make(first: int = 0, **choice: Any) -> Sweep:
        selection = Selection(tables=REPLAY_TABLES, **choice)
        return Sweep(path, selection, Scanner(), Tail(path), first=first)

    return make


def test_windows_follow_each_other_and_little_is_held(sweep: Callable[..., Sweep]) -> None:
    read = sweep()
    last, total, held = 0, 0, 0
    while (window := read.read()) is not None:
        orders = [order for rows in window.rows.values() for order in rows[ORDER].to_pylist()]
        assert last <= min(orders)
        assert max(orders) < window.upto == read.next_pos
        last = window.upto
        total += len(orders)
        held = max(held, sum(len(run.order) - run.at for run in read._runs) + len(orders))
    assert total > 2000
    assert held < total / 6


def test_what_is_not_needed_is_not_read(sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[Any] = []
    read = Scanner.read

    def note(self: Scanner, root: Any, group: Any, *columns: Any) -> Any:
        groups.append(group)
        return read(self, root, group, *columns)

    monkeypatch.setattr(Scanner, "read", note)

    def count(**choice: Any) -> int:
        groups.clear()
        sweeping = sweep(**choice)
        while sweeping.read() is not None:
            pass
        return len(groups)

    everything = count()
    last = sweep()
    while last.read() is not None:
        pass
    assert last.horizon is not None
    assert count(start=last.horizon) < everything / 8
    assert count(first=last.next_pos - 20) < everything / 8
    assert count(end=0) == 0
    assert count(symbols=frozenset({"btcusdt"})) < everything * 0.9
