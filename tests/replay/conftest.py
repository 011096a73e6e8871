"""The recorder without a network is the one of the storage tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "storage_recordings", Path(__file__).resolve().parents[1] / "storage" / "conftest.py"
)
assert _spec is not None and _spec.loader is not None, "the storage tests are beside these"
_recordings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_recordings)

record = _recordings.record
captured = _recordings.captured
