"""What the tests of documents share: their blocks of code, and an archive for the commands in them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["COMMAND", "ROOT", "blocks", "record_exchange"]

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
        subprocess.run([*COMMAND, "record", "--archive", archive, *choice, *urls], check=True, timeout=60)
        exchange.kill()
