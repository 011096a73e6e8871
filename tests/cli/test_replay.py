from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bookreel.replay import REPLAY_TABLES, Archive

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_lines_are_the_events_and_the_end_is_told(run: Run, archive: Path) -> None:
    done = run("replay", "--archive", archive)
    assert done.returncode == 0, done.stderr
    *lines, end = [json.loads(line) for line in done.stdout.splitlines()]
    with Archive(archive) as opened:
        events = list(opened.events())
    assert [line["pos"] for line in lines] == [event.pos for event in events]
    assert {line["type"] for line in lines} >= {"session", "instrument", "trade", "bbo", "book_delta", "gap"}
    assert next(iter(lines[0])) == "type"
    assert lines[0]["ts_recv"].endswith("Z")
    assert (end["type"], end["reason"]) == ("end", "complete")
    assert done.stderr == ""
    rest = run("replay", "--archive", archive, "--after", end["token"])
    assert [json.loads(line)["type"] for line in rest.stdout.splitlines()] == ["end"]


def test_filters_and_frames(run: Run, archive: Path) -> None:
    words = ["--symbols", "btcusdt", "--tables", "trades,klines", "--feeds", "trade"]
    done = run("replay", "--archive", archive, *words)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(line.get("symbol"), line["type"]) for line in lines} == {("btcusdt", "trade"), (None, "end")}
    middle = lines[len(lines) // 2]["ts_recv"]
    before, after = (
        run("replay", "--archive", archive, *words, side, middle).stdout.splitlines()
        for side in ("--to", "--from")
    )
    assert before[:-1] + after[:-1] == done.stdout.splitlines()[:-1]
    frames = [
        json.loads(line)
        for line in run("replay", "--archive", archive, "--tables", "frames").stdout.splitlines()
    ]
    assert {frame["type"] for frame in frames[:-1]} == {"frame"}
    with Archive(archive) as opened:
        rows = opened.sql("SELECT payload FROM frames ORDER BY pos").fetchall()
    assert [frame["payload"] for frame in frames[:-1]] == [row[0] for row in rows]


def test_decimals_are_the_digits_of_the_frames(run: Run, archive: Path) -> None:
    done = run("replay", "--archive", archive, "--tables", "trades", "--numbers", "decimal")
    lines = done.stdout.splitlines()[:-1]
    with Archive(archive) as opened:
        rows = dict(opened.sql("SELECT pos, payload FROM frames WHERE payload IS NOT NULL").fetchall())
    assert lines
    for line in lines:
        price = line.partition('"price":')[2].partition(",")[0]
        assert f'"price":{price}'.upper() in rows[json.loads(line)["pos"]].upper()


def test_pace(run: Run, archive: Path) -> None:
    done = run("replay", "--archive", archive, "--tables", "trades", "--speed", "50")
    assert done.stdout == run("replay", "--archive", archive, "--tables", "trades").stdout


def test_wrong_use(run: Run, archive: Path, tmp_path: Path) -> None:
    for words, sentence in {
        ("--speed", "0"): "not above 0",
        ("--speed", "fast"): "give max, or a number",
        ("--tables", "trade"): "there are bbo, book_deltas",
        ("--symbols", "btcusd"): "did you mean btcusdt",
        ("--from", "yesterday"): "is not a time",
        ("--after", "x"): "resume token",
        ("--format", "xml"): "ndjson",
    }.items():
        done = run("replay", "--archive", archive, *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert sentence in done.stderr, words
    assert run("replay", "--archive", tmp_path).returncode == 3


def test_a_damaged_file_is_told_in_both_places(run: Run, copy: Path) -> None:
    run("seal", "--archive", copy)
    (file, *_) = sorted((copy / "parquet" / "trades").rglob("*.parquet"))
    file.write_bytes(b"nothing")
    done = run("replay", "--archive", copy)
    assert done.returncode == 3
    assert str(file) in done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["type"], last["error"]) == ("error", "CorruptFile")
    assert last["token"]


def test_a_reader_that_has_seen_enough(start: Callable[..., Any], archive: Path) -> None:
    process = start("replay", "--archive", archive, "--tables", ",".join(REPLAY_TABLES))
    assert json.loads(process.line())["pos"] == 1
    process.popen.stdout.close()
    process.popen.stdout = None
    assert process.popen.wait(timeout=60) == 0
    assert process.log.read_text() == ""


def test_it_is_interrupted_in_order(start: Callable[..., Any], archive: Path, run: Run) -> None:
    process = start("replay", "--archive", archive, "--speed", "0.001")
    first = process.line()
    process.popen.send_signal(signal.SIGINT)
    # By the same buffer as the first line: `communicate` would pass over what that holds already.
    lines = [first, *process.popen.stdout]
    assert process.popen.wait(timeout=60) == 130
    end = json.loads(lines[-1])
    assert (end["type"], end["reason"]) == ("end", "stopped")
    rest = run("replay", "--archive", archive, "--after", end["token"]).stdout.splitlines(keepends=True)
    assert lines[:-1] + rest == run("replay", "--archive", archive).stdout.splitlines(keepends=True)


def test_a_recorder_is_followed(start: Callable[..., Any], tmp_path: Path, urls: list[str], run: Run) -> None:
    archive = tmp_path / "archive"
    words = ["--symbols", "btcusdt", "--feeds", "mbp.150,trade,bbo"]
    recorder = start("record", *words, "--archive", archive, *urls)
    recorder.wait_for(lambda: (archive / "archive.json").exists())
    follower = start("replay", "--archive", archive, "--follow")
    lines = [follower.line()]
    while '"type":"trade"' not in lines[-1]:
        lines.append(follower.line())
    assert recorder.end(signal.SIGINT) == 0
    while '"event":"stop"' not in lines[-1]:
        lines.append(follower.line())
    follower.popen.send_signal(signal.SIGINT)
    lines += follower.popen.stdout
    assert follower.popen.wait(timeout=60) == 0
    whole = run("replay", "--archive", archive).stdout.splitlines(keepends=True)
    is_open = [line for line in whole if line.startswith('{"type":"gap"') and '"pos":null' in line]
    assert lines[:-1] == [line for line in whole[:-1] if line not in is_open]
