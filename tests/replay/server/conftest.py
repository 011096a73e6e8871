"""One server over one archive that nothing is written to any more, for all tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bookreel.replay.server import Settings
from tests.replay.market import Market
from tests.replay.server.serving import Site, serving
from tests.storage.conftest import Recording

STEPS = 1_500


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of three symbols with gaps and reconnects, sealed for the most part."""
    path = tmp_path_factory.mktemp("serve") / "archive"
    recording = Recording(path)
    Market(recording, Random(4)).steps(STEPS)
    recording.journal.close()
    return path


@pytest.fixture(scope="session")
def site(recorded: Path) -> Iterator[Site]:
    """A server of it, with SQL."""
    with serving(recorded, Settings(workers=1, sql=True)) as running:
        yield running
