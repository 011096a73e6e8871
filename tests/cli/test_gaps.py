from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_gaps_with_their_cause(run: Run, archive: Path) -> None:
    done = run("gaps", "--archive", archive, "--symbol", "btcusdt", "--cause", "seq_gap", "--format", "json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and rows
    for row in rows:
        assert (row["symbol"], row["feed"], row["cause"]) == ("btcusdt", "mbp.150", "seq_gap")
        assert row["start"] < row["end"] and row["ms"] > 0 and row["last_seq"] < row["next_seq"]
    assert len(run("gaps", "--archive", archive, "--symbol", "btcusdt").stdout.splitlines()) == len(rows) + 2


def test_no_open_gaps(run: Run, archive: Path) -> None:
    assert run("gaps", "--archive", archive, "--open", "--format", "json").stdout == ""
    assert "(no rows)" in run("gaps", "--archive", archive, "--open").stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cause", "seqgap"], "did you mean seq_gap"),
        (["--symbol", "btcusd"], "did you mean btcusdt"),
    ],
)
def test_wrong_names(run: Run, archive: Path, words: list[str], told: str) -> None:
    done = run("gaps", "--archive", archive, *words)
    assert done.returncode == 2
    assert told in done.stderr
