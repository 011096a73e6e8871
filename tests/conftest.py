from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.documents import record_exchange

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# In the background of a shell it is ignored, and every process that a test starts and interrupts inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real frames; the test is skipped where it is not there."""
    if not SHARED.is_dir():
        pytest.skip(f"the real frames are not here: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def recorded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ``archive`` of the embedded exchange in it, to be read only."""
    path = tmp_path_factory.mktemp("docs")
    record_exchange(path / "archive")
    return path
