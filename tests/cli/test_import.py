from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.ingest.capture import Capture
from bookreel.ingest.clock import SystemClock
from bookreel.storage.journal import Journal

Run = Callable[..., Any]
Query = Callable[[Path, str], list[dict[str, Any]]]

COUNT = "SELECT count(*) AS n FROM trades"


def test_import_and_ask(run: Run, query: Query, capture: Path, tmp_path: Path) -> None:
    done = run("import", capture, "--archive", tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert "imported 20 frames of capture.ndjson" in done.stdout and "20 trades" in done.stdout
    assert query(tmp_path / "a", COUNT) == [{"n": 20}]
    assert run("verify", "--archive", tmp_path / "a").returncode == 0


def test_the_same_file_twice(run: Run, query: Query, capture: Path, tmp_path: Path) -> None:
    zipped = tmp_path / "capture.ndjson.gz"
    zipped.write_bytes(gzip.compress(capture.read_bytes(), mtime=0))
    for _ in range(2):
        done = run("import", zipped, "--archive", tmp_path / "a")
    assert done.returncode == 2
    assert "would record each frame twice" in done.stderr and "--again" in done.stderr
    assert query(tmp_path / "a", "SELECT count(*) AS n FROM frames WHERE direction = 'in'") == [{"n": 20}]
    assert run("import", zipped, "--archive", tmp_path / "a", "--again").returncode == 0
    assert query(tmp_path / "a", "SELECT count(*) AS n FROM frames WHERE direction = 'in'") == [{"n": 40}]


def test_an_import_that_was_cut_short(run: Run, capture: Path, tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a", "huobi", clock=SystemClock()) as journal:
        steps = Capture(capture).write(journal)
        for _ in range(5):
            next(steps)
    done = run("import", capture, "--archive", tmp_path / "a")
    assert done.returncode == 2
    assert "was interrupted" in done.stderr and "new folder" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("garbage.ndjson", b"garbage\n", "line 1 of"),
        ("half.ndjson", b'{"recv_ts": 1.5, "raw": "{}"}\n{"recv_ts": 2.5, "ra', "line 2 of"),
        ("empty.ndjson", b"", "it holds no frames"),
        ("plain.gz", b'{"recv_ts": 1.5, "raw": "{}"}\n', "Not a gzipped file"),
        ("cut.gz", gzip.compress(b'{"recv_ts": 1.5, "raw": "{}"}\n' * 99, mtime=0)[:-12], "cannot be read"),
        ("other.ndjson", b'{"price": 1}\n', "recv_ts"),
    ],
    ids=["garbage", "half", "empty", "plain", "cut", "other"],
)
def test_unreadable_captures(run: Run, tmp_path: Path, name: str, content: bytes, told: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    done = run("import", file, "--archive", tmp_path / "a")
    assert (done.returncode, done.stdout) == (3, "")
    assert told in done.stderr and "Nothing was imported" in done.stderr
    assert not (tmp_path / "a").exists()


def test_wrong_places(run: Run, capture: Path, tmp_path: Path) -> None:
    done = run("import", capture, "--archive", tmp_path / "a", "--venue", "huboi")
    assert done.returncode == 2
    assert "did you mean huobi?" in done.stderr
    done = run("import", capture, "--archive", tmp_path)
    assert done.returncode == 3
    assert "is not an archive of bookreel" in done.stderr
    done = run("import", capture, "--archive", "/proc/mine")
    assert done.returncode in (2, 3)
    assert "/proc/mine" in done.stderr


def test_an_archive_that_is_in_use(run: Run, capture: Path, tmp_path: Path) -> None:
    with Journal.open(tmp_path / "a", "huobi", clock=SystemClock()):
        done = run("import", capture, "--archive", tmp_path / "a")
    assert done.returncode == 2
    assert "is in use by" in done.stderr
