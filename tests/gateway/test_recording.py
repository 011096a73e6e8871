from __future__ import annotations

from pathlib import Path

from tests.gateway.recording import hold


def test_an_archive_of_the_commands_is_true(tmp_path: Path) -> None:
    outcome = hold(
        tmp_path, symbols=4, seconds=6, seed=3, faults="forgotten=40,bad_base64=20,cached=20,lag=10"
    )
    assert not outcome.wrong
    counts = outcome.audit.counts
    assert counts["books compared"] and counts["trades compared"] and counts["pushes compared"]
    assert outcome.inflicted and outcome.gaps
