from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.cli.main import COMMANDS

Run = Callable[..., Any]

HEAVY = ("aiohttp", "asyncio", "bookreel.book", "duckdb", "msgspec", "numpy", "pyarrow", "rich", "uvloop")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bookreel.cli.main import main\n"
        "try: main()\n"
        f"except SystemExit: print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_help_lists_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples(run: Run, name: str) -> None:
    done = run(name, "--help")
    assert done.returncode == 0
    assert (
        f"Examples:\n    bookreel {name} " in done.stdout
        or f"Examples:\n    bookreel {name}\n" in done.stdout
    )


def test_version(run: Run) -> None:
    assert re.fullmatch(r"bookreel \d+\.\d+\.\d+\n", run("--version").stdout)


def test_nothing_is_help(run: Run) -> None:
    done = run()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["recrod"], "No such command 'recrod'. Did you mean record? See bookreel --help."),
        (["record", "--symbolz", "x"], "No such option '--symbolz'. Did you mean '--symbols'?"),
        (["gaps"], "Missing option '--archive'. See bookreel gaps --help."),
        (["gaps", "--archive", "nowhere"], "Directory 'nowhere' does not exist. See bookreel gaps --help."),
        (["sql", "--archive", "."], "Missing argument 'QUERY'"),
        (["sql", "--archive", ".", "select 1", "--format", "tabel"], "'tabel' is not one of 'table', 'csv'"),
        (["record", "--for", "1x"], "'1x' is not a duration; write for example 90, 60s, 5m or 500ms"),
        (["record", "--for", "0"], "more than nothing"),
        (["record", "--symbols", ","], "give at least one name"),
        (["record", "--ws-url", "here"], "'here' is not one; write for example wss://"),
        (["record", "nowhere.toml"], "File 'nowhere.toml' does not exist"),
        (["import", "nowhere.ndjson", "--archive", "a"], "File 'nowhere.ndjson' does not exist"),
    ],
)
def test_wrong_usage_is_one_sentence(run: Run, tmp_path: Path, words: list[str], told: str) -> None:
    done = run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.startswith("bookreel: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


READING = [
    ["seal"],
    ["verify"],
    ["gaps"],
    ["info"],
    ["forecast"],
    ["sql", "select 1"],
    ["book", "--symbol", "btcusdt", "--at", "now"],
]


@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_a_folder_that_is_no_archive(run: Run, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = run(*words, "--archive", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "is not an archive of bookreel: it has no archive.json" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_an_archive_from_the_future(run: Run, copy: Path, words: list[str]) -> None:
    (copy / "archive.json").write_text('{"format": 99}')
    done = run(*words, "--archive", copy)
    assert done.returncode == 3
    assert "use a newer version of bookreel" in done.stderr


@pytest.mark.parametrize("words", READING, ids=lambda words: words[0])
def test_a_broken_manifest(run: Run, copy: Path, words: list[str]) -> None:
    (entry,) = (copy / "manifest").iterdir()
    entry.chmod(0o644)
    entry.write_text("{")
    done = run(*words, "--archive", copy)
    assert done.returncode == 3
    assert "is damaged" in done.stderr


def test_a_reader_that_has_seen_enough(archive: Path) -> None:
    words = [sys.executable, "-m", "bookreel.cli", "sql", "--archive", archive, "FROM frames, range(100)"]
    with subprocess.Popen(
        [*words, "--format", "json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0
