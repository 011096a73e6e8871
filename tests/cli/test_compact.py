from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.storage.disk import OsDisk
from tests.storage.sealed import DAY, T0, Sealed, make_rows

Run = Callable[..., Any]
Query = Callable[[Path, str], list[dict[str, Any]]]


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Two days of trades, in two segments each."""
    sealed = Sealed(OsDisk(), tmp_path / "a")
    for index in range(4):
        first = index * 10 + 1
        rows = [
            {
                "symbol": "btcusdt",
                "pos": first + i,
                "ts_recv": T0 + index * DAY // 2 + i,
                "trade_id": str(first + i),
            }
            for i in range(9)
        ]
        sealed.segment(first, first + 9, {"trades": make_rows("trades", rows)})
    return sealed.root


def test_days_are_compacted_and_no_answer_changes(run: Run, query: Query, days: Path) -> None:
    before = query(days, "FROM trades ORDER BY pos")
    done = run("compact", "--archive", days, "--dry-run")
    assert done.returncode == 0
    assert "date=2024-08-08: 2 files to 1, 18 rows" in done.stdout
    assert done.stdout.endswith("2 folders would be compacted\n")
    assert len(list(days.rglob("*.parquet"))) == 4
    done = run("compact", "--archive", days)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("compacted 2 days: 4 files of 0.0 MB are 2 of 0.0 MB; 36 rows in ")
    assert len(list(days.rglob("*.parquet"))) == 2
    assert query(days, "FROM trades ORDER BY pos") == before != []
    assert run("compact", "--archive", days).stdout == "nothing to compact\n"
    assert "sealed   4 segments" in run("info", "--archive", days).stdout
    assert "days: 2 compacted, 0 files" in run("verify", "--archive", days).stdout


def test_one_day(run: Run, days: Path) -> None:
    assert run("compact", "--archive", days, "--date", "2024-08-09").stdout.startswith("compacted 1 days: 2 ")
    assert run("compact", "--archive", days, "--date", "2024-08-09").stdout == (
        "nothing to compact on 2024-08-09\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--date", "tomorrow"), "give for example 2026-11-20"),
        (("--date", "2999-01-01"), "is not over"),
    ],
)
def test_wrong_dates(run: Run, days: Path, words: tuple[str, ...], text: str) -> None:
    done = run("compact", "--archive", days, *words)
    assert done.returncode == 2
    assert text in done.stderr


def test_no_archive(run: Run, tmp_path: Path) -> None:
    assert run("compact", "--archive", tmp_path / "nowhere").returncode == 2
    done = run("compact", "--archive", tmp_path)
    assert done.returncode == 3
    assert "is not an archive" in done.stderr


def test_two_compactions(run: Run, days: Path) -> None:
    lock = OsDisk().lock(days / "compact.lock", "the test")
    assert lock is not None
    done = run("compact", "--archive", days)
    lock.release()
    assert done.returncode == 2
    assert "give --wait" in done.stderr


def test_damage_is_told_and_nothing_is_changed(run: Run, days: Path) -> None:
    path = min(days.rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = run("compact", "--archive", days)
    assert done.returncode == 3
    assert path.name in done.stderr and "SHA-256" in done.stderr
    assert len(list(days.rglob("*.parquet"))) == 4


def test_an_interrupted_wait_ends(days: Path) -> None:
    lock = OsDisk().lock(days / "seal.lock", "a sealer")
    assert lock is not None
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bookreel.cli", "compact", "--archive", str(days)], stderr=stderr
    )
    os.close(stderr)
    # The bar is on the terminal: the handlers are in place, and the sealer is waited for.
    seen = b""
    while b"compacting folders" not in seen:
        seen += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    os.close(terminal)
    lock.release()
    assert len(list(days.rglob("*.parquet"))) == 4
    assert not list((days / "compact").rglob("*.parquet"))
