from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Run = Callable[..., Any]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
ODD = (
    "SELECT now() AS t, [TIMESTAMP_NS '2026-01-02 03:04:05.000000006', NULL] AS l, {'a': now()} AS s, "
    "sum(5::BIGINT) AS h, 1.50::DECIMAL(10, 2) AS d, NULL AS n, 'nan'::FLOAT AS f, TRUE AS b, 'x'::BLOB AS o, "
    "DATE '2026-01-02' AS day, 'a'::ENUM('a') AS e, 1 AS a, 2 AS a, chr(27) || '[31m' AS esc"
)


def test_json_is_one_object_a_line(run: Run, archive: Path) -> None:
    done = run("sql", "--archive", archive, ODD, "--format", "json")
    row = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert TIME.fullmatch(row.pop("t")) and TIME.fullmatch(row.pop("s")["a"])
    assert row == {
        "l": ["2026-01-02T03:04:05.000000006Z", None],
        "h": 5,
        "d": 1.5,
        "n": None,
        "f": None,
        "b": True,
        "o": "eA==",
        "day": "2026-01-02",
        "e": "a",
        "a": 1,
        "a_2": 2,
        "esc": "\x1b[31m",
    }


def test_csv_has_lists_as_json(run: Run, archive: Path) -> None:
    done = run("sql", "--archive", archive, ODD, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert json.loads(row["l"]) == ["2026-01-02T03:04:05.000000006Z", None]
    assert TIME.fullmatch(row["t"])
    assert (row["o"], row["b"], row["n"], row["a"], row["a_2"]) == ("eA==", "true", "", "1", "2")


def test_csv_of_real_rows(run: Run, archive: Path) -> None:
    query = "SELECT ts_recv, symbol, bids, asks FROM book_snapshots ORDER BY pos"
    rows = list(
        csv.DictReader(io.StringIO(run("sql", "--archive", archive, query, "--format", "csv").stdout))
    )
    lines = run("sql", "--archive", archive, query, "--format", "json").stdout.splitlines()
    assert len(rows) == len(lines) > 0
    for row, line in zip(rows, map(json.loads, lines), strict=True):
        assert {"ts_recv": line["ts_recv"], "symbol": line["symbol"]}.items() <= row.items()
        assert (json.loads(row["bids"]), json.loads(row["asks"])) == (line["bids"], line["asks"])


def test_parquet_keeps_types(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    query = "SELECT ts_recv, symbol, bids FROM book_snapshots"
    words = [sys.executable, "-m", "bookreel.cli", "sql", "--archive", archive, query, "--format", "parquet"]
    with path.open("wb") as sink:
        subprocess.run(words, stdout=sink, check=True)
    table = pq.read_table(path)
    assert table.schema.field("ts_recv").type == pa.timestamp("ns")
    assert pa.types.is_list(table.schema.field("bids").type)
    assert table.num_rows > 0


def test_parquet_that_cannot_be(run: Run, archive: Path) -> None:
    done = run("sql", "--archive", archive, "SELECT INTERVAL 3 MONTH AS i", "--format", "parquet")
    assert done.returncode == 2
    assert "cast the column to VARCHAR" in done.stderr


def test_table_is_plain_in_a_pipe(run: Run, archive: Path) -> None:
    done = run("sql", "--archive", archive, "SELECT symbol, count(*) AS n FROM trades GROUP BY 1 ORDER BY 1")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["symbol", "n"] and set(lines[1]) == {"-", " "}
    assert [line.split()[0] for line in lines[2:]] == ["aidogeusdt", "btcusdt", "ethusdt"]
    assert done.stdout.isascii() and not any(line.endswith(" ") for line in lines)
    assert "\\x1b" in run("sql", "--archive", archive, ODD).stdout


def test_table_says_what_it_leaves_out(run: Run, archive: Path) -> None:
    done = run("sql", "--archive", archive, "FROM range(1000)")
    assert len(done.stdout.splitlines()) == 203 and "the first 200 rows" in done.stdout
    assert run("sql", "--archive", archive, "FROM range(200)").stdout.endswith("\n  199\n")
    assert "(no rows)" in run("sql", "--archive", archive, "FROM gaps WHERE FALSE").stdout


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM trade", 'Did you mean "trades"?'),
        ("FROM bbo_att('btcusdt', now())", 'Did you mean "bbo_at"?'),
        ("SELECT pric FROM trades", '"price"'),
        ("SELECT symbol::INTEGER FROM trades", "Could not convert string"),
        ("DELETE FROM trades", "an archive is only read"),
        ("COPY trades TO 'mine.csv'", "an archive is only read"),
        ("CREATE TABLE mine AS FROM trades", "an archive is only read"),
        ("SELECT 1; SELECT 2", "give one SELECT"),
        ("", "give one SELECT"),
        ("FROM read_csv('/etc/passwd')", "Permission Error"),
    ],
)
def test_wrong_statements(run: Run, archive: Path, tmp_path: Path, statement: str, told: str) -> None:
    done = run("sql", "--archive", archive, statement, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr.splitlines()[0]
    assert not list(tmp_path.iterdir())


def _damage(archive: Path, table: str, keep: int | None) -> None:
    (path,) = (archive / "parquet" / table).rglob("*.parquet")
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[:keep])


@pytest.mark.parametrize("keep", [None, 0, 100], ids=["missing", "empty", "cut"])
@pytest.mark.parametrize("words", [["sql", "FROM gaps"], ["gaps"], ["info"]], ids=lambda words: words[0])
def test_a_damaged_file_is_named(run: Run, copy: Path, words: list[str], keep: int | None) -> None:
    _damage(copy, "gaps", keep)
    done = run(*words, "--archive", copy)
    assert done.returncode == 3
    assert "parquet/gaps" in done.stderr and "bookreel verify" in done.stderr


def test_a_damaged_page_is_found_while_reading(run: Run, copy: Path) -> None:
    (path,) = (copy / "parquet" / "frames").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[4 : len(content) // 2] = b"\xff" * (len(content) // 2 - 4)
    path.chmod(0o644)
    path.write_bytes(content)
    for words in (["FROM frames"], ["FROM frames", "--verify-on-read"]):
        done = run("sql", "--archive", copy, *words, "--format", "json")
        assert done.returncode == 3
        assert "parquet/frames" in done.stderr


def test_interrupt_ends_a_long_query_quietly(archive: Path, start: Callable[..., Any]) -> None:
    process = start("sql", "--archive", archive, "SELECT max(i) FROM range(1000000000000) t(i)")
    status = Path(f"/proc/{process.popen.pid}/status")
    if not status.exists():
        pytest.skip("needs /proc to see that the query runs")
    process.wait_for(lambda: re.search(r"SigBlk:\t[0-9a-f]{15}2", status.read_text()))
    assert process.end(signal.SIGINT) == 130
    assert process.log.read_text() == ""
