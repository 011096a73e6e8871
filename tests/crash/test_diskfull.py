from __future__ import annotations

import pytest

from tests.crash.diskfull import ENDS, run


def test_a_full_disk_at_any_moment_with_any_room_left(caplog: pytest.LogCaptureFixture) -> None:
    """A slice; `make crash` has them all."""
    figures = run(cases=150, seed=0)
    assert {f"disk full: end: {end}" for end in ENDS} <= figures.keys()
    assert figures["disk full: times full"] > 100
    assert figures["disk full: records shed"] > 1000
