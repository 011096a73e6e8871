from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.syscalls import asked_of_the_simulation, asked_of_the_system, kill_at, points, trouble

pytestmark = pytest.mark.skipif(bool(trouble()), reason=f"system calls cannot be watched: {trouble()}")


def test_the_simulated_disk_is_asked_what_the_system_is_asked(tmp_path: Path) -> None:
    real, simulated = asked_of_the_system(tmp_path / "home"), asked_of_the_simulation()
    assert len(simulated) > 60
    assert real == simulated


def test_killed_at_a_system_call_it_needs_no_repair() -> None:
    every = points()
    assert len(every) > 60
    # Each run takes a second.
    assert sum(kill_at(call, number) for call, number in every[7::18]) >= 2
