"""The recorder without a network is the one of the storage tests, that with one of the ingest tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from bookreel.replay import Archive
from tests.replay.gateway import Gateway
from tests.replay.market import Market

STEPS = 250


def _fixtures_of(package: str) -> ModuleType:
    path = Path(__file__).resolve().parents[1] / package / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{package}_fixtures", path)
    assert spec is not None and spec.loader is not None, "those tests are beside these"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_storage = _fixtures_of("storage")
_ingest = _fixtures_of("ingest")

record = _storage.record
captured = _storage.captured
run_recorder = _ingest.run_recorder
until = _ingest.until


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups and windows of a few rows, so that a small archive has many."""
    monkeypatch.setattr("bookreel.storage.parquet.GROUP_ROWS_MIN", 8)
    monkeypatch.setattr("bookreel.storage.parquet.GROUP_ROWS_MAX", 32)
    monkeypatch.setattr("bookreel.replay.sweep._PIECE_ROWS", 12)
    monkeypatch.setattr("bookreel.replay.sweep._FIRST_ROWS", 4)
    monkeypatch.setattr("bookreel.replay.sweep._WINDOW_ROWS", 64)
    monkeypatch.setattr("bookreel.replay.sweep._LEAST_ROWS", 2)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A recording of the gateway of stocks."""
    made = Gateway(tmp_path / "gateway")
    yield made
    made.journal.close()


@pytest.fixture(params=[1, 2])
def market(record: Callable[[], Any], request: pytest.FixtureRequest) -> Market:
    found = Market(record(), Random(request.param))
    found.steps(STEPS)
    return found


@pytest.fixture
def archive(market: Market) -> Iterator[Archive]:
    with Archive(market.recording.path) as opened:
        yield opened
