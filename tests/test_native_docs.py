"""What docs/native.md shows is run, in order, on an archive of the embedded exchange."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.documents import ROOT, blocks, served
from tests.exchange.futu.shelf import shelve

TEXT: Final = (ROOT / "docs" / "native.md").read_text(encoding="utf-8")
BLOCKS: Final = blocks(TEXT)
ADDRESS: Final = "127.0.0.1:9600"
SERVERS: Final = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
CLIENTS: Final = [block for language, block in BLOCKS if language == "python"]


@contextmanager
def played(folder: Path, command: str) -> Iterator[str]:
    """Run a command of the page; gives the address."""
    assert command.startswith("bookreel exchange --archive ./archive ")
    with served(folder, shlex.split(command)[1:]) as line:
        yield line.split()[3].removeprefix("http://")


@pytest.mark.parametrize("command", SERVERS)
def test_each_command_plays_to_a_client(recorded_folder: Path, command: str) -> None:
    with played(recorded_folder, command) as address:
        source = CLIENTS[0].replace(ADDRESS, address)
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[1-9]\d* trades until 1001\n", done.stdout), done.stdout


@pytest.mark.peers
def test_ccxt_pro_plays_along(recorded_folder: Path) -> None:
    if importlib.util.find_spec("ccxt") is None:
        pytest.skip("ccxt is in the peers extra")
    with played(recorded_folder, SERVERS[0].replace("--speed 10", "--speed 1")) as address:
        source = CLIENTS[1].replace(ADDRESS, address)
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\n" * 5), done.stderr


def test_a_gateways_archive_plays_to_a_client(tmp_path: Path) -> None:
    shelve(tmp_path / "stocks")
    [command] = re.findall(r"^    (bookreel exchange --archive \./stocks .*)$", TEXT, re.MULTILINE)
    with served(tmp_path, shlex.split(command)[1:]) as line:
        source = CLIENTS[2].replace(ADDRESS, line.split()[2].removeprefix("http://"))
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer, *pushes = done.stdout.splitlines()
    assert "'ret_type': 0" in answer and len(pushes) > 10
    assert {push.split()[0] for push in pushes} == {"3011", "3013"}
    assert {push.split()[1] for push in pushes} == {"1_00700"}


def test_every_option_of_an_archive_is_told() -> None:
    from bookreel.cli import exchange

    for name in exchange._OF_AN_ARCHIVE.values():
        assert f"`--{name}" in TEXT or f", `--{name}" in TEXT, name


def test_there_is_something_of_each_kind() -> None:
    assert len(SERVERS) >= 3 and len(CLIENTS) == 3
