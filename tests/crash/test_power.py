from __future__ import annotations

import pytest

from bookreel.storage.errors import StorageError
from bookreel.storage.segment_writer import SegmentWriter
from tests.crash.power import lose_power
from tests.crash.witness import Lost
from tests.simulation.disk import SimDisk, SimFile

SEEDS = range(4)


def test_no_power_loss_costs_what_was_acknowledged() -> None:
    for seed in SEEDS:
        losses = lose_power(seed, states=24)
        assert losses.states > 500
        assert losses.checked > losses.states
        assert {"writev", "datasync", "rename", "sync_folder"} <= losses.operations.keys()
        assert 0 < losses.oldest_ns <= 100_000_000 + losses.waited_ns


def no_file_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimFile, "datasync", lambda self: None)


def no_folder_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimDisk, "sync_folder", lambda self, folder: None)


def it_is_said_to_be_durable_before_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(self: SegmentWriter) -> int:
        self._spool.settle(self._spool.waiting())
        return 0

    monkeypatch.setattr(SegmentWriter, "sync", sync)


def what_comes_during_a_sync_counts_as_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(self: SegmentWriter) -> int:
        with self._sync_lock:
            if self._segment is None or not self._spool.waiting():
                return 0
            self._segment.file.datasync()
            return self._spool.settle(self._spool.waiting())

    monkeypatch.setattr(SegmentWriter, "sync", sync)


def it_is_synced_too_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = SegmentWriter.sync, 0

    def sync(self: SegmentWriter) -> int:
        nonlocal calls
        calls += 1
        return honest(self) if calls % 4 == 0 else 0

    monkeypatch.setattr(SegmentWriter, "sync", sync)


@pytest.mark.parametrize(
    "plant",
    [
        no_file_is_synced,
        no_folder_is_synced,
        it_is_said_to_be_durable_before_it_is,
        what_comes_during_a_sync_counts_as_synced,
        it_is_synced_too_seldom,
    ],
)
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, plant: object) -> None:
    assert callable(plant)
    plant(monkeypatch)
    with pytest.raises((Lost, StorageError)):
        for seed in SEEDS:
            lose_power(seed, states=24)
