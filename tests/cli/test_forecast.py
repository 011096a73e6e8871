from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_it_says_how_long_the_disk_lasts(run: Run, archive: Path) -> None:
    facts = json.loads(run("forecast", "--archive", archive, "--format", "json").stdout)
    assert facts["free"] > 0 and facts["sealed"] > 0 and facts["journal"] == 0
    assert [rate["window"] for rate in facts["rates"]] == ["1 h", "24 h", "7 d"]
    assert facts["days_left"] == min(rate["days_left"] for rate in facts["rates"]) > 0
    done = run("forecast", "--archive", archive)
    assert done.returncode == 0
    assert done.stdout.count(" days left") == 3 and "GB free" in done.stdout


def test_a_disk_that_may_be_full_too_soon_is_a_failed_check(run: Run, archive: Path) -> None:
    done = run("forecast", "--archive", archive, "--days", "1e9")
    assert done.returncode == 1
    assert "less than 1e+09; free some" in done.stderr and done.stdout.count(" days left") == 3
    assert run("forecast", "--archive", archive, "--days", "0").returncode == 0
