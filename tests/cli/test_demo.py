from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.slow
def test_the_demo_is_right(run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    done = run("demo", "--seconds", 8, "--archive", archive, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the archive is right" in done.stdout
    for heading in (
        "Frames received",
        "Faults inflicted",
        "gaps injected / found",
        "Best bid and offer at the end",
    ):
        assert heading in done.stdout
    assert run("verify", "--archive", archive).returncode == 0


def test_the_demo_wants_a_new_folder_and_some_time(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    done = run("demo", "--archive", tmp_path)
    assert done.returncode == 2
    assert "is not empty: name a new folder" in done.stderr
    done = run("demo", "--seconds", "1")
    assert done.returncode == 2
    assert "record for 5 s or more" in done.stderr
