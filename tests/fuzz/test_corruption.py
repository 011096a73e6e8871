from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.corruption import (
    checkpoints,
    make_archive,
    million,
    sealed_bytes,
    segment_damage,
    side_files,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("corruption") / "archive")


def test_a_damaged_segment_costs_what_was_damaged() -> None:
    found = segment_damage(step=499)
    assert {name: outcome.wrong for name, outcome in found.items()} == {"bits": [], "cuts": [], "blocks": []}
    assert found["bits"].cases > 1000 and found["bits"].worst == 1


def test_a_flipped_bit_costs_one_record_of_many() -> None:
    assert million(20_000) == 1


def test_every_damaged_file_is_named_and_refused(archive: Path) -> None:
    outcome = sealed_bytes(archive, 401, 40)
    assert outcome.wrong == [] and outcome.cases > 100 and outcome.duckdb
    assert outcome.read_wrong == outcome.verify_missed == outcome.silent == outcome.duckdb_untyped == 0


def test_every_damaged_entry_is_refused(archive: Path) -> None:
    found = side_files(archive, 41)
    assert found["manifest: refused"] == found["bits of manifest"] > 100
    assert not [key for key in found if "silently" in key or "not named" in key]


def test_a_damaged_checkpoint_is_named(archive: Path) -> None:
    assert checkpoints(archive, 700, 4).keys() == {"bytes of a checkpoint", "checkpoints verified"}
