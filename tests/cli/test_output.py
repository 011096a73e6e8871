"""What is different on a terminal; the rest is in test_sql.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bookreel.replay.times import stamp

pty = pytest.importorskip("pty")


def _on_terminal(columns: int, *words: object) -> tuple[int, str]:
    """Exit code and everything shown on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bookreel.cli", *map(str, words)]
    env = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                block = os.read(ours, 1 << 16)
            except OSError:  # how Linux says that nobody has the other end any more
                break
            if not block:
                break
            shown += block
        os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


QUERY = "SELECT symbol, ts_recv, price FROM trades ORDER BY pos LIMIT 2"


def test_columns_where_they_fit(archive: Path) -> None:
    code, shown = _on_terminal(100, "sql", "--archive", archive, QUERY)
    assert code == 0 and len(shown.splitlines()) == 4
    assert shown.startswith("symbol")


def test_lines_where_columns_do_not_fit(archive: Path) -> None:
    code, shown = _on_terminal(40, "sql", "--archive", archive, QUERY)
    lines = shown.splitlines()
    assert code == 0 and len(lines) == 8
    assert [line.split()[0] for line in lines] == ["row", "symbol", "ts_recv", "price"] * 2
    assert max(map(len, lines)) <= 41


def test_parquet_is_not_for_a_terminal(archive: Path) -> None:
    code, shown = _on_terminal(100, "sql", "--archive", archive, QUERY, "--format", "parquet")
    assert code == 2
    assert "send it to a file" in shown


def test_progress_is_drawn_and_taken_away(archive: Path) -> None:
    code, shown = _on_terminal(100, "verify", "--archive", archive)
    assert code == 0
    assert "\x1b[" in shown and shown.endswith("problems: 0\n")


def test_a_stamp_has_nine_digits() -> None:
    assert stamp(None) is None
    assert stamp(1_000_000_005) == "1970-01-01T00:00:01.000000005Z"
    assert stamp(-1) == "1969-12-31T23:59:59.999999999Z"
