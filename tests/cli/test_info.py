from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_info(run: Run, archive: Path) -> None:
    facts = json.loads(run("info", "--archive", archive, "--format", "json").stdout)
    assert facts["symbols"] == ["aidogeusdt", "btcusdt", "ethusdt"]
    assert (facts["venue"], facts["recording"], facts["unsealed_segments"]) == ("huobi", False, 0)
    assert facts["first"] < facts["last"] and facts["last"].endswith("Z")
    assert facts["rows"]["gaps"] == sum(facts["gaps"].values()) > 0
    assert facts["noted"] == {"decode_errors": 0, "unknown_fields": 0, "inexact_numbers": 0}
    done = run("info", "--archive", archive)
    assert done.returncode == 0
    assert "nobody is recording" in done.stdout and "3: aidogeusdt, btcusdt, ethusdt" in done.stdout
    assert f"{facts['rows']['frames']:,}" in done.stdout
