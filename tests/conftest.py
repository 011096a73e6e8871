from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.documents import record_exchange

# How long an example takes says how busy the machine is, and nothing about the code. The examples are the same in
# each run, so that a change is to blame for what fails; `--hypothesis-profile=explore` looks for new ones.
_ALIKE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _ALIKE)
settings.register_profile("alike", _ALIKE, derandomize=True)
settings.load_profile("alike")

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
