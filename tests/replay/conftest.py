"""The recorder without a network is the one of the storage tests, that with one of the ingest tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


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
