from __future__ import annotations

import json
import shutil
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.exchange.futu.shelf import shelve

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--symbols", "btcusdx"], "the archive has no symbol 'btcusdx'; did you mean btcusdt?"),
        (["--from", "yesterday"], "'yesterday' is not a time"),
        (["--from", "2026-01-02", "--to", "2026-01-02"], "--to 2026-01-02 is not after --from 2026-01-02"),
        (["--from", "2100-01-01"], "has nothing of these symbols and times to play: `bookreel info"),
        (["--to", "1970-01-02"], "has nothing of these symbols and times to play: `bookreel info"),
        (["--speed", "0"], "'0' is not above 0; give max for as fast as possible"),
        (["--speed", "fast"], "'fast' is not one; give max, or a number such as 1 or 10"),
        (["--gaps", "hide"], "'hide' is not one of 'break', 'disconnect'"),
        (["--wait", "soon"], "'soon' is not a duration"),
        (["--wait", "0"], "'0' must be more than nothing"),
        (["--rate", "5"], "--rate is for a synthetic market; an archive has its own: give --speed"),
        (["--faults", "lost_dleta"], "did you mean lost_delta?"),
        (["--hours", "real"], "--hours and --token-env are for --venue futu"),
        (["--venue", "futu"], "archive is of huobi, and not of futu: leave out --venue"),
        (["--archive", "."], "an exchange plays one archive, of one venue: run one for each"),
    ],
)
def test_wrong_uses_of_an_archive(run: Run, archive: Path, words: list[str], told: str) -> None:
    done = run("exchange", "--port", 0, "--archive", archive, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--from=0", "--to=1", "--speed=2", "--gaps=break", "--wait"])
def test_what_is_for_an_archive_only(run: Run, option: str) -> None:
    done = run("exchange", "--port", 0, option)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option.partition('=')[0]} is for an archive; give --archive DIR" in done.stderr


def test_a_folder_that_is_no_archive(run: Run, tmp_path: Path) -> None:
    done = run("exchange", "--port", 0, "--archive", tmp_path)
    assert done.returncode == 3 and "is not an archive of bookreel" in done.stderr
    (tmp_path / "file").touch()
    done = run("exchange", "--port", 0, "--archive", tmp_path / "file")
    assert done.returncode == 2 and "is a file" in done.stderr


@pytest.fixture(scope="module")
def stocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the second venue."""
    return shelve(tmp_path_factory.mktemp("stocks") / "archive")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--venue", "huobi"], "archive is of futu, and not of huobi: leave out --venue"),
        (
            ["--archive", "."],
            "an exchange plays one archive, of one venue: run one for each, on a --port of its own",
        ),
        (["--symbols", "HK.0070"], "the archive has no symbol 'HK.0070'; did you mean HK.00700?"),
        (["--from", "2100-01-01"], "has nothing of these symbols and times to play: `bookreel info"),
        (["--to", "1970-01-02"], "has nothing of these symbols and times to play: `bookreel info"),
        (["--rate", "5"], "--rate is for a synthetic market"),
        (["--hours", "real"], "--hours is for a synthetic market; what futu pushed is played as it was"),
        (["--seed", "2"], "--seed is for a synthetic market"),
        (["--faults", "lag=1"], "--faults is for a synthetic market"),
        (["--truth", "truth.ndjson"], "--truth is for a synthetic market"),
        (["--tls-key", __file__], "--tls-cert and --tls-key are for huobi: the gateway of futu has no TLS"),
        (["--token-env", "NOBODY_SET_THIS"], "the environment has no such variable"),
    ],
)
def test_wrong_uses_of_an_archive_of_the_second_venue(
    run: Run, stocks: Path, words: list[str], told: str
) -> None:
    done = run("exchange", "--port", 0, "--archive", stocks, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_an_archive_of_the_second_venue_is_recorded_again(
    start: Callable[..., Any], run: Run, stocks: Path, tmp_path: Path
) -> None:
    """By the commands that the help shows, at its end both end."""
    shutil.copytree(stocks, tmp_path / "a")
    process = start("exchange", "--port", 0, "--archive", tmp_path / "a", "--wait", "--speed", "max")
    _, ws, rest = process.line().split()
    told = process.line()
    assert told.startswith(
        "record it: bookreel record --venue futu --symbols HK.00700,US.AAPL --ws-url ws://"
    )
    assert told.endswith(" --archive ./again\n"), "not into what is played"
    chosen = ["--venue", "futu", "--symbols", "HK.00700", "--feeds", "ticker"]
    recorder = start("record", "--archive", tmp_path / "b", *chosen, "--ws-url", ws, "--rest-url", rest)
    assert process.line().startswith("the recording has ended: ")
    assert recorder.end() == 0
    sql = "SELECT trade_seq, price, size, side FROM trades WHERE symbol = 'HK.00700' ORDER BY trade_seq"
    found = [
        run("sql", "--archive", tmp_path / name, sql, "--format", "csv").stdout.splitlines() for name in "ab"
    ]
    assert len(found[0]) > 10 and found[0] == found[1]


@pytest.mark.parametrize("table", ["frames", "book_deltas"])
def test_data_that_cannot_be_read(run: Run, copy: Path, query: Callable[..., Any], table: str) -> None:
    [middle] = query(copy, "SELECT epoch_ns(median(ts_recv)::TIMESTAMP_NS) AS ns FROM frames")
    [path] = (copy / "parquet" / table).rglob("*.parquet")
    content = bytearray(path.read_bytes())
    footer = int.from_bytes(content[-8:-4], "little") + 8
    for place in range(4, len(content) - footer, 16):  # every page: the time says which are read
        content[place] ^= 1
    path.write_bytes(content)
    done = run("exchange", "--port", 0, "--archive", copy, "--speed", "max", "--from", middle["ns"])
    assert done.returncode == 3 and "bookreel verify" in done.stderr, done.stderr


def test_it_plays_to_the_end_and_ends(run: Run, archive: Path) -> None:
    done = run("exchange", "--port", 0, "--archive", archive, "--speed", "max")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("listening: ws://127.0.0.1:")
    assert lines[1].startswith("record it: bookreel record --symbols btcusdt,ethusdt --ws-url ws://")
    assert lines[1].endswith(" --archive ./again"), "not into what is played"
    assert lines[2:] == ["the recording has ended: 0 frames were pushed", "stopped"]


def test_time_waits_for_a_client_and_is_the_recordings(
    start: Callable[..., Any], archive: Path, query: Callable[..., Any]
) -> None:
    [first] = query(archive, "SELECT min(epoch_ns(ts_recv)) AS ns FROM frames")
    process = start("exchange", "--port", 0, "--archive", archive, "--wait", "--symbols", "btcusdt")
    rest = process.line().split()[3]
    with urllib.request.urlopen(f"{rest}/v1/common/timestamp", timeout=60) as reply:
        assert abs(json.loads(reply.read())["data"] - first["ns"] // 1_000_000) < 5_000
    with urllib.request.urlopen(f"{rest}/market/detail?symbol=ethusdt", timeout=60) as reply:
        assert json.loads(reply.read())["err-code"] == "invalid-parameter"
    assert process.end(signal.SIGINT) == 0


def test_what_the_archive_lacks_is_said(run: Run, capture: Path, tmp_path: Path) -> None:
    assert run("import", capture, "--archive", tmp_path / "bare").returncode == 0
    done = run("exchange", "--port", 0, "--archive", tmp_path / "bare", "--speed", "max")
    assert done.returncode == 0
    assert done.stderr.startswith(
        "note: the archive has no reference data of btcusdt: its currencies are told"
    )


def test_it_is_recorded_again(start: Callable[..., Any], run: Run, archive: Path, tmp_path: Path) -> None:
    """By the commands that the help shows."""
    shutil.copytree(archive, tmp_path / "a")
    process = start("exchange", "--port", 0, "--archive", tmp_path / "a", "--wait", "--speed", "max")
    _, ws, feed, rest = process.line().split()
    where = ["--ws-url", ws, "--feed-url", feed, "--rest-url", rest]
    chosen = ["--symbols", "btcusdt", "--feeds", "trade"]
    recorder = start("record", "--archive", tmp_path / "b", *chosen, *where)
    process.line()
    assert process.line().startswith("the recording has ended: ")
    assert recorder.end() == 0
    sql = "SELECT trade_id, price, size, side FROM trades WHERE symbol = 'btcusdt' ORDER BY trade_id"
    found = [
        run("sql", "--archive", tmp_path / name, sql, "--format", "csv").stdout.splitlines() for name in "ab"
    ]
    assert len(found[0]) > 1 and found[0] == found[1]
