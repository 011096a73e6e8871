"""What the tests of documents share: their blocks of code, and an archive for the commands in them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["COMMAND", "ROOT", "Outputs", "blocks", "record_exchange", "served"]

ROOT: Final = Path(__file__).resolve().parents[1]

COMMAND: Final = (sys.executable, "-m", "bookreel.cli")
"""What runs ``bookreel``."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Each fenced block with its language."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def record_exchange(archive: Path) -> None:
    """Record three seconds of two symbols of the embedded exchange."""
    listen = ["exchange", "--port", "0", "--symbols", "btcusdt,ethusdt", "--rate", "60"]
    with subprocess.Popen([*COMMAND, *listen], stdout=subprocess.PIPE, text=True) as exchange:
        assert exchange.stdout is not None
        _, ws, feed, rest = exchange.stdout.readline().split()
        urls = ["--ws-url", ws, "--feed-url", feed, "--rest-url", rest]
        choice = ["--symbols", "btcusdt,ethusdt", "--feeds", "mbp.150,bbo,trade,kline.1min", "--for", "3s"]
        subprocess.run([*COMMAND, "record", "--archive", archive, *choice, *urls], check=True, timeout=120)
        exchange.kill()


@contextmanager
def served(folder: Path, words: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server of ours in a folder, on any port; gives the line that it begins with."""
    command = [*COMMAND, *words, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline()
        finally:
            server.terminate()


class Outputs:
    """``patterns``: a word of an example to what its output has to look like."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = patterns
        self._unseen = set(patterns)

    def check(self, source: str, output: str | None) -> None:
        """Hold an example's output (None: it could not be run) against its patterns."""
        for word, pattern in self._patterns.items():
            if word in source:
                self._unseen.discard(word)
                if output is not None:
                    assert re.search(pattern, output, flags=re.MULTILINE), f"{source}\n{output[:2000]}"

    def check_all_seen(self) -> None:
        """Every pattern had its example."""
        assert not self._unseen
