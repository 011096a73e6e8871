from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.ingest.capture import Capture
from bookreel.ingest.clock import SystemClock
from bookreel.storage.disk import OsDisk
from bookreel.storage.journal import Journal
from bookreel.storage.seal import seal

Run = Callable[..., Any]
Query = Callable[[Path, str], list[dict[str, Any]]]


@pytest.fixture
def pair(capture: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two recordings of twenty trades: one sealed that misses the last three, one in its journal that misses four."""
    lines = capture.read_text().splitlines(keepends=True)
    parts = {"a": lines[:-3], "b": lines[4:]}
    for name, part in parts.items():
        file = tmp_path / f"{name}.ndjson"
        file.write_text("".join(part))
        with Journal.open(tmp_path / name, "huobi", clock=SystemClock()) as journal:
            assert list(Capture(file).write(journal))[-1] == len(part)
    seal(tmp_path / "a")
    return tmp_path / "a", tmp_path / "b"


def test_the_union(run: Run, query: Query, pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("merge", *pair, "--archive", tmp_path / "c")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("merged 21 and 20 records into ") and "20 trades" in done.stdout
    assert "0 gaps left; next: bookreel verify" in done.stdout
    assert run("verify", "--archive", tmp_path / "c").returncode == 0
    numbers = query(tmp_path / "c", "SELECT trade_seq FROM trades ORDER BY trade_seq")
    assert [row["trade_seq"] for row in numbers] == list(range(101, 121))
    assert query(tmp_path / "c", "SELECT count(*) AS n FROM frames") == [{"n": 33}]
    assert run("seal", "--archive", tmp_path / "c").stdout == "nothing to seal\n"
    assert "btcusdt" in run("info", "--archive", tmp_path / "c").stdout


def test_the_same_archive_twice(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(pair[0], tmp_path / "copy")
    for second in (pair[0], pair[0].parent / "b" / ".." / "a", copy):
        done = run("merge", pair[0], second, "--archive", tmp_path / "c")
        assert done.returncode == 2
        assert "are the same archive; name two that were recorded independently" in done.stderr
    assert not (tmp_path / "c").exists()


def test_the_place_is_taken(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    done = run("merge", *pair, "--archive", pair[1])
    assert done.returncode == 2 and "is inside an archive that is to be merged" in done.stderr
    done = run("merge", *pair, "--archive", pair[0] / "parquet" / "c")
    assert done.returncode == 2 and "is inside an archive that is to be merged" in done.stderr
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "note").write_text("mine")
    done = run("merge", *pair, "--archive", tmp_path / "c")
    assert done.returncode == 2 and "exists and is not empty; name a new folder" in done.stderr
    (tmp_path / "c" / "note").unlink()
    assert run("merge", *pair, "--archive", tmp_path / "c").returncode == 0
    done = run("merge", *pair, "--archive", tmp_path / "c")
    assert done.returncode == 2 and "exists and is not empty" in done.stderr


def test_archives_of_two_venues(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    meta = pair[1] / "archive.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"venue": "futu", "sha256": ""}))
    done = run("merge", *pair, "--archive", tmp_path / "c")
    assert done.returncode == 2
    assert "merge archives of one venue" in done.stderr


def test_what_is_no_archive(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("merge", pair[0], tmp_path / "empty", "--archive", tmp_path / "c")
    assert done.returncode == 3 and "is not an archive of bookreel" in done.stderr
    done = run("merge", pair[0], tmp_path / "nowhere", "--archive", tmp_path / "c")
    assert done.returncode == 2 and "does not exist" in done.stderr
    done = run("merge", pair[0], "--archive", tmp_path / "c")
    assert done.returncode == 2 and "Missing argument 'B'" in done.stderr
    done = run("merge", *pair)
    assert done.returncode == 2 and "Missing option '--archive'" in done.stderr


@pytest.mark.parametrize(("lock", "doing"), [("owner.lock", "recorded"), ("seal.lock", "sealed")])
def test_an_archive_in_use(run: Run, pair: tuple[Path, Path], tmp_path: Path, lock: str, doing: str) -> None:
    held = OsDisk().lock(pair[1] / lock, "the test")
    assert held is not None
    done = run("merge", *pair, "--archive", tmp_path / "c")
    held.release()
    assert done.returncode == 2
    assert f"is being {doing}" in done.stderr


def test_a_merged_archive_is_not_merged_again(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    run("merge", *pair, "--archive", tmp_path / "c")
    done = run("merge", pair[0], tmp_path / "c", "--archive", tmp_path / "d")
    assert done.returncode == 2
    assert "merge archives as they were recorded" in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_damaged_archive(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (path,) = (pair[0] / "parquet" / "frames").rglob("*.parquet")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-100])
    done = run("merge", *pair, "--archive", tmp_path / "c")
    assert done.returncode == 3
    assert "is damaged" in done.stderr and "bookreel verify" in done.stderr
    assert not (tmp_path / "c").exists()
