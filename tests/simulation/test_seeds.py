"""A slice of the simulation, and bugs planted to see that it can fail."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bookreel.book.model import Delta, Gap
from bookreel.book.sync import BookSync, Outcome
from bookreel.storage.normalize import Normalizer
from bookreel.storage.recent import Recent
from bookreel.storage.segment_writer import SegmentWriter
from tests.simulation.seeds import Result, run_seed, short, watch
from tests.simulation.world import Scenario

SEEDS = (2, 4, 5, 6, 10, 12)
"""Seeds of the slice; all of them together are run by `make sim`."""

PLAIN = Scenario(
    seconds=30.0,
    symbols=("btcusdt",),
    feeds=("mbp.150", "trade.detail"),
    write_s=0.02,
    settings={"segment_seconds": 5},
)


def faulty(exchange: dict[str, float] | None = None, world: dict[str, float] | None = None) -> Scenario:
    return msgspec.structs.replace(PLAIN, exchange_faults=exchange or {}, world_faults=world or {})


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_breaks_no_promise(seed: int) -> None:
    result = run_seed(seed, short(seed))
    assert result.problems == []
    assert result.frames > 100 and result.books_live > 0 and sum(result.faults.values()) > 10


def test_what_memory_cannot_hold_is_shed_and_told() -> None:
    result = run_seed(31, short(31))
    assert result.problems == []
    assert result.shed > 100 and result.faults["shed"] > 10 and result.audit.books_as_of > 10


def test_a_watch_over_midnight_meets_it_twice() -> None:
    scenario = watch(0.05, 195)
    ((at_s, step_s),) = scenario.clock_steps
    assert 0 < at_s < scenario.seconds and step_s < -1
    result = run_seed(195, scenario)
    assert result.problems == []
    assert result.faults["clock_step"] >= 1 and result.books_live > 10


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        run_seed(2, short(2), tmp_path / name)
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    assert len(one) > 20
    assert one == other


def test_without_faults_nothing_is_found() -> None:
    result = run_seed(1, PLAIN)
    assert result.problems == []
    assert (result.audit.gaps_recorded, result.crashes, result.books_live_wrong) == (0, 0, 0)
    assert result.audit.books_compared > 10 and result.audit.trades_true > 10 and result.balances > 200


def failed(result: Result, what: str) -> bool:
    return any(what in problem for problem in result.problems)


def test_a_broken_chain_that_is_accepted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(self: BookSync, delta: Delta, pos: int, ts_recv: int) -> Outcome:
        self.book.apply(delta)
        self.last_seq = delta.seq
        return Outcome.APPLIED

    monkeypatch.setattr(BookSync, "_unlinked", accept)
    result = run_seed(1, faulty({"lost_delta": 20.0}))
    assert failed(result, "is not the true one") and failed(result, "is not in gaps")


def test_a_snapshot_inside_a_delta_that_is_accepted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = BookSync._refuse

    def refuse(self: BookSync, why: str) -> Outcome:
        return Outcome.ADOPTED if "inside" in why else rule(self, why)

    def snapshot(self: BookSync, snapshot: Any, pos: int, ts_recv: int) -> Outcome:
        kept = [held for held in self.buffer if snapshot is not None and held.delta.seq > snapshot.seq]
        if not self.valid and kept and kept[0].delta.prev_seq < snapshot.seq:
            return self._adopt(snapshot, snapshot.seq, kept, pos, ts_recv, restarted=False)
        return honest(self, snapshot, pos, ts_recv)

    honest = BookSync.snapshot
    monkeypatch.setattr(BookSync, "_refuse", refuse)
    monkeypatch.setattr(BookSync, "snapshot", snapshot)
    result = run_seed(1, faulty({"lost_delta": 30.0, "straddling_snapshot": 30.0}))
    assert failed(result, "is not the true one")


def test_records_acknowledged_before_they_are_durable_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def settle(self: SegmentWriter) -> int:
        return self._spool.settle(self._spool.waiting())

    monkeypatch.setattr(SegmentWriter, "sync", settle)
    result = run_seed(1, faulty(world={"power_loss": 20.0}))
    assert failed(result, "was acknowledged, and is")


def test_trades_that_are_not_told_apart_are_stored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recent, "add", lambda self, id_: True)
    result = run_seed(1, faulty(world={"net_reset": 10.0}))
    assert failed(result, "is recorded")


def test_a_crash_that_leaves_no_gap_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Normalizer._gap

    def forget(self: Normalizer, gap: Gap, pos: int, ts_recv: int) -> None:
        if gap.cause != "crash_tail":
            honest(self, gap, pos, ts_recv)

    monkeypatch.setattr(Normalizer, "_gap", forget)
    result = run_seed(1, faulty(world={"crash": 10.0}))
    assert failed(result, "crash of btcusdt mbp.150")
