from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.replay.gateway import Gateway

Run = Callable[..., Any]
Query = Callable[[Path, str], list[dict[str, Any]]]

GAP = """SELECT epoch_ns(start) AS a, epoch_ns("end") AS b FROM gaps
WHERE symbol = 'btcusdt' AND feed = 'mbp.150' AND "end" IS NOT NULL ORDER BY start LIMIT 1"""


def test_book_is_that_of_sql(run: Run, query: Query, archive: Path) -> None:
    (gap,) = query(archive, GAP)
    done = run(
        "book",
        "--archive",
        archive,
        "--symbol",
        "btcusdt",
        "--at",
        gap["b"],
        "--depth",
        3,
        "--format",
        "json",
    )
    assert (done.returncode, done.stderr) == (0, "")
    book = json.loads(done.stdout)
    assert (
        book["valid"]
        and book["gap"] is None
        and len(book["ts_recv"]) == len("2026-11-20T12:00:00.000000000Z")
    )
    levels = query(archive, f"FROM book_at('btcusdt', {gap['b']}) WHERE level <= 3")
    for side in ("bid", "ask"):
        rows = [[row["price"], row["size"]] for row in levels if row["side"] == side]
        assert book[f"{side}s"] == rows != []


def test_inside_a_gap(run: Run, query: Query, archive: Path) -> None:
    (gap,) = query(archive, GAP)
    words = ["book", "--archive", archive, "--symbol", "btcusdt", "--at", (gap["a"] + gap["b"]) // 2]
    done = run(*words)
    assert done.returncode == 1
    assert "NOT VALID" in done.stdout
    assert "is not valid at" in done.stderr and "inside a gap (seq_gap) from" in done.stderr
    book = json.loads(run(*words, "--format", "json").stdout)
    assert not book["valid"]
    assert (book["gap"]["cause"], len(book["gap"]["start"])) == (
        "seq_gap",
        len("2026-11-20T12:00:00.000000000Z"),
    )


def test_before_the_recording(run: Run, archive: Path) -> None:
    done = run("book", "--archive", archive, "--symbol", "btcusdt", "--at", "2020-01-01")
    assert done.returncode == 1
    assert "not begun yet" in done.stderr and "coverage('btcusdt')" in done.stderr


def test_after_the_recording(run: Run, archive: Path, query: Query) -> None:
    # The faults come as they like: a recording may end inside of one.
    (open_gaps,) = query(
        archive,
        "SELECT count(*) AS n FROM gaps WHERE symbol = 'btcusdt' AND feed = 'mbp.150' AND \"end\" IS NULL",
    )
    done = run("book", "--archive", archive, "--symbol", "btcusdt", "--at", "now")
    assert done.returncode == 1
    told = ["inside a gap", "until now"] if open_gaps["n"] else ["ended before", "coverage('btcusdt')"]
    assert all(words in done.stderr for words in told)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--symbol", "btcusd", "--at", "now"], "did you mean btcusdt"),
        (["--symbol", "btcusdt", "--at", "yesterday"], "give ISO-8601 such as 2026-11-20T12:00:00.5Z"),
        (["--symbol", "btcusdt", "--at", "now", "--feed", "mbp.20"], "it has mbp.150"),
        (["--symbol", "btcusdt", "--at", "now", "--depth", "0"], "'--depth'"),
    ],
)
def test_wrong_questions(run: Run, archive: Path, words: list[str], told: str) -> None:
    done = run("book", "--archive", archive, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_a_book_from_a_damaged_file(run: Run, copy: Path) -> None:
    (path,) = (copy / "parquet" / "book_snapshots").rglob("*.parquet")
    path.unlink()
    done = run("book", "--archive", copy, "--symbol", "btcusdt", "--at", "now")
    assert done.returncode == 3
    assert "parquet/book_snapshots" in done.stderr


def test_a_pushed_book_says_how_old_it_is(run: Run, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path / "stocks")
    with closing(gateway.journal):
        gateway.subscribe(1, feeds=["orderbook"])
        gateway.book(2, [(300.2, 100, 2)], [(300.4, 200, 1)])
        gateway.lose(3)
        gateway.subscribe(5, feeds=["orderbook"])
        gateway.book(7, [(300.0, 100, 1)], [])
    words = ["book", "--archive", gateway.path, "--symbol", "HK.00700", "--at"]
    done = run(*words, gateway.at(7))
    assert done.returncode == 0 and "HK.00700 orderbook" in done.stdout and ", 0.000 s before" in done.stdout
    done = run(*words, gateway.at(6))
    assert done.returncode == 1 and "4.000 s before  NOT VALID" in done.stdout
    assert "none has been pushed since a gap" in done.stderr
    book = json.loads(run(*words, gateway.at(6), "--format", "json").stdout)
    assert (book["valid"], book["age_ns"], book["bids"]) == (False, 4_000_000_000, [[300.2, 100.0]])
