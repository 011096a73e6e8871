from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Start = Callable[..., Any]
Query = Callable[[Path, str], list[dict[str, Any]]]

FEEDS = "SELECT DISTINCT feed FROM coverage('btcusdt') ORDER BY 1"
NEWEST = "SELECT epoch_ns(max(ts_recv)) AS t, count(*) AS n FROM bbo"


def _newest(query: Query, archive: Path) -> int:
    return (archive / "archive.json").exists() and (query(archive, NEWEST)[0]["t"] or 0)


def test_sigterm_drains_and_seals(
    start: Start, run: Run, query: Query, urls: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "a"
    recorder = start(
        "record", "--symbols", "btcusdt", "--feeds", "mbp.150,bbo,trade", "--archive", archive, *urls
    )
    recorder.wait_for(lambda: _newest(query, archive) and len(query(archive, FEEDS)) == 3)
    assert recorder.end(signal.SIGTERM) == 0
    facts = json.loads(run("info", "--archive", archive, "--format", "json").stdout)
    assert not facts["recording"] and facts["unsealed_segments"] == 0 and facts["sealed_segments"] >= 1
    assert query(archive, "SELECT event FROM sessions ORDER BY pos DESC LIMIT 1") == [{"event": "stop"}]
    assert run("verify", "--archive", archive).returncode == 0
    assert query(archive, FEEDS) == [
        {"feed": "bbo"},
        {"feed": "mbp.150"},
        {"feed": "trade.detail"},
    ]


def test_what_was_received_is_in_the_answer(
    start: Start, query: Query, urls: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "a"
    recorder = start("record", "--symbols", "btcusdt,ethusdt", "--feeds", "bbo", "--archive", archive, *urls)
    first = recorder.wait_for(lambda: _newest(query, archive))

    def fresh() -> bool:
        asked = time.time_ns()
        newest = _newest(query, archive)
        return newest > first and asked - newest < 2_000_000_000

    assert recorder.wait_for(fresh)


def test_kill_needs_no_repair(start: Start, run: Run, query: Query, urls: list[str], tmp_path: Path) -> None:
    archive = tmp_path / "a"
    words = ["record", "--symbols", "btcusdt", "--feeds", "mbp.150,bbo,trade", "--archive", archive, *urls]
    recorder = start(*words)
    first = recorder.wait_for(lambda: _newest(query, archive))
    recorder.wait_for(lambda: _newest(query, archive) > first)
    [before] = query(archive, NEWEST)
    assert recorder.end(signal.SIGKILL) == -signal.SIGKILL
    assert query(archive, NEWEST)[0]["n"] >= before["n"]
    # The recorder's own sealer follows on, and may be quicker or still at it.
    recorder_gone = time.monotonic() + 60
    while (done := run("seal", "--archive", archive)).returncode and time.monotonic() < recorder_gone:
        assert "is being sealed by another process" in done.stderr
        time.sleep(0.2)
    assert done.returncode == 0
    assert run("verify", "--archive", archive).returncode == 0
    assert query(archive, NEWEST)[0]["n"] >= before["n"]
    assert run(*words, "--for", "2s").returncode == 0
    assert run("verify", "--archive", archive).returncode == 0
    assert {"cause": "crash_tail"} in query(archive, "SELECT DISTINCT cause FROM gaps")


def test_a_second_recorder_is_refused(
    start: Start, run: Run, query: Query, urls: list[str], tmp_path: Path
) -> None:
    archive = tmp_path / "a"
    words = ["record", "--symbols", "btcusdt", "--feeds", "bbo", "--archive", archive, *urls]
    recorder = start(*words)
    first = recorder.wait_for(lambda: _newest(query, archive))
    done = run(*words)
    assert done.returncode == 2
    assert "is in use by" in done.stderr.splitlines()[-1]
    recorder.wait_for(lambda: _newest(query, archive) > first)
    assert recorder.end(signal.SIGTERM) == 0
    assert run("verify", "--archive", archive).returncode == 0
    assert query(archive, "SELECT count(*) AS n FROM sessions WHERE event = 'start'") == [{"n": 1}]


def test_flags_stand_above_the_file_and_the_archive_has_a_default(
    run: Run, query: Query, urls: list[str], tmp_path: Path
) -> None:
    (tmp_path / "r.toml").write_text(
        'symbols = ["ethusdt", "aidogeusdt"]\nfeeds = ["bbo"]\nfor_seconds = 900\n'
    )
    done = run("record", "r.toml", "--symbols", "btcusdt", "--for", "2s", *urls, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = query(tmp_path / "archive", "SELECT DISTINCT symbol, feed FROM coverage('btcusdt')")
    assert rows == [{"symbol": "btcusdt", "feed": "bbo"}]
    assert query(tmp_path / "archive", "SELECT DISTINCT symbol FROM bbo") == [{"symbol": "btcusdt"}]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--symbols", "btcusd"], "unknown symbol 'btcusd'; did you mean btcusdt"),
        (["--symbols", "btcusdt", "--feeds", "mbp.151"], "unknown feed 'mbp.151'; did you mean mbp.150"),
        (["--venue", "huboi"], "unknown venue 'huboi'; did you mean huobi?"),
    ],
)
def test_wrong_names(run: Run, urls: list[str], tmp_path: Path, words: list[str], told: str) -> None:
    done = run("record", *words, "--archive", tmp_path / "a", "--for", "5s", *urls)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('symbolz = ["a"]', "unknown setting 'symbolz'; did you mean symbols?"),
        ("symbols = [", "not TOML"),
        ("\xff", "not TOML"),
        ('segment_seconds = "x"', "'segment_seconds'"),
        ("symbols = []", "there would be nothing to record"),
        ("fsync_interval_ms = 0", "'fsync_interval_ms'"),
    ],
)
def test_a_wrong_config(run: Run, tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "r.toml"
    config.write_bytes(text.encode("latin-1"))
    done = run("record", config)
    assert done.returncode == 2
    assert done.stderr.startswith(f"bookreel: {config}: ") and told in done.stderr


def test_a_folder_of_something_else(run: Run, urls: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    done = run("record", "--archive", tmp_path, "--for", "5s", *urls)
    assert done.returncode == 3
    assert "is not an archive of bookreel" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nobody_there(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "r.toml"
    config.write_text("rest_timeout_s = 0.5\n")
    done = run("record", config, "--archive", tmp_path / "a", "--rest-url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "check the network and `rest_url`" in done.stderr


def test_a_metrics_port_in_use(run: Run, urls: list[str], tmp_path: Path) -> None:
    config = tmp_path / "r.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config.write_text(f"metrics_port = {taken.getsockname()[1]}\n")
        done = run("record", config, "--archive", tmp_path / "a", "--for", "5s", *urls)
    assert done.returncode == 2
    assert "metrics_port" in done.stderr and "name another, or 0 for none" in done.stderr
