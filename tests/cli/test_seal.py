from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.ingest.capture import Capture
from bookreel.ingest.clock import SystemClock
from bookreel.storage.disk import OsDisk
from bookreel.storage.journal import Journal

Run = Callable[..., Any]
Query = Callable[[Path, str], list[dict[str, Any]]]


@pytest.fixture
def journal(capture: Path, tmp_path: Path) -> Path:
    """An archive of which nothing is sealed."""
    path = tmp_path / "a"
    with Journal.open(path, "huobi", clock=SystemClock()) as journal:
        assert list(Capture(capture).write(journal))[-1] == 20
    return path


def test_seal_changes_no_answer(run: Run, query: Query, journal: Path) -> None:
    before = query(journal, "FROM trades ORDER BY pos")
    done = run("seal", "--archive", journal)
    assert done.returncode == 0
    assert done.stdout.startswith("sealed 1 segment, 24 records, in ") and "20 trades" in done.stdout
    assert query(journal, "FROM trades ORDER BY pos") == before != []
    assert run("seal", "--archive", journal).stdout == "nothing to seal\n"


def test_two_sealers(run: Run, journal: Path) -> None:
    lock = OsDisk().lock(journal / "seal.lock", "the test")
    assert lock is not None
    done = run("seal", "--archive", journal)
    lock.release()
    assert done.returncode == 2
    assert "is being sealed by another process" in done.stderr


@pytest.mark.parametrize("offset", [0, 2000])
def test_a_damaged_segment_is_told_and_read_around(
    run: Run, query: Query, journal: Path, offset: int
) -> None:
    (segment,) = (journal / "journal").glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[offset : offset + 14] = b"not a segment!"
    segment.write_bytes(content)
    assert 18 <= query(journal, "SELECT count(*) AS n FROM trades")[0]["n"] <= 20
    done = run("verify", "--archive", journal)
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert run("seal", "--archive", journal).returncode == 0
    assert 18 <= query(journal, "SELECT count(*) AS n FROM trades")[0]["n"] <= 20
