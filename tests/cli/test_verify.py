from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_a_whole_archive(run: Run, archive: Path) -> None:
    done = run("verify", "--archive", archive)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("problems: 0\n")
    report = json.loads(run("verify", "--archive", archive, "--format", "json").stdout)
    assert report["problems"] == [] and report["counts"]["deltas"] > 0


def test_damage_is_found(run: Run, copy: Path) -> None:
    (path,) = (copy / "parquet" / "trades").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    done = run("verify", "--archive", copy)
    assert done.returncode == 1
    assert "parquet/trades" in done.stderr and "SHA-256" in done.stderr
    done = run("verify", "--archive", copy, "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"][0]["kind"] == "file"


def test_a_wrong_date(run: Run, archive: Path) -> None:
    done = run("verify", "--archive", archive, "--date", "2026-13-01")
    assert done.returncode == 2
    assert "give for example 2026-11-20" in done.stderr


def test_a_day_without_data(run: Run, archive: Path) -> None:
    done = run("verify", "--archive", archive, "--date", "2020-01-01")
    assert done.returncode == 0
    assert "files: 0 checked" in done.stdout
