"""What the README shows is run, in order, in one folder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)

OUTPUT = {
    "events": r"RecordedBbo\(.*symbol='btcusdt'",
    "ohlcv(": r"bucket +open +high +low +close",
    "book_at(": r"\n *(bid|ask) +1 ",
    "bookreel gaps": r"symbol +feed +cause",
    "quantile_cont": r"\nbtcusdt +\d+  \[",
}
"""A word of a command to what its output has to look like."""


@pytest.fixture
def urls(tmp_path: Path) -> Iterator[list[str]]:
    words = [sys.executable, "-m", "bookreel.cli", "exchange", "--port", "0", "--symbols", "btcusdt,ethusdt"]
    with subprocess.Popen([*words, "--rate", "60"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        _, ws, feed, rest = process.stdout.readline().split()
        yield ["--for", "5s", "--ws-url", ws, "--feed-url", feed, "--rest-url", rest]
        process.kill()


def _commands(block: str) -> list[list[str]]:
    """The commands of a shell block; one goes on over lines while a quote is open."""
    found, text = [], ""
    for line in block.splitlines():
        text = f"{text}\n{line}" if text else line
        try:
            words = shlex.split(text, comments=True)
        except ValueError:
            continue
        if words:
            found.append(words)
        text = ""
    assert not text, f"a quote is left open in {block}"
    return found


def _check(source: str, done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{source}\n{done.stdout}\n{done.stderr}"
    for word, pattern in OUTPUT.items():
        if word in source:
            assert re.search(pattern, done.stdout), f"{source}\n{done.stdout}"


def test_blocks_run(urls: list[str], tmp_path: Path) -> None:
    assert [language for language, _ in BLOCKS] == ["sh", "text", "sh", "python", "sh", "sh"]
    ran = ""
    for language, block in BLOCKS:
        if language == "python":
            runs = [[sys.executable, "-c", block]]
        elif language == "sh":
            runs = [words for words in _commands(block) if words[0] != "make"]
        else:
            continue
        for words in runs:
            if words[0] == "bookreel":
                extra = urls if words[1] == "record" else []
                words = [sys.executable, "-m", "bookreel.cli", *words[1:], *extra]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
            _check(f"bookreel {shlex.join(words[3:])}" if language == "sh" else block, done)
            ran += block
    assert all(word in ran for word in OUTPUT)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [
        words[1]
        for language, block in BLOCKS
        if language == "sh"
        for words in _commands(block)
        if words[0] == "make"
    ]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_every_command_of_the_table_exists() -> None:
    from bookreel.cli.main import COMMANDS

    assert set(re.findall(r"^\| `bookreel (\w+)", README, flags=re.MULTILINE)) == set(COMMANDS)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_lines_are_short() -> None:
    assert not [line for line in README.splitlines() if len(line) > 118 and not line.startswith("|")]
