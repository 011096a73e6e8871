"""What docs/replay.md shows is run, in order, on an archive of the embedded exchange."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bookreel.replay import REPLAY_TABLES
from tests.documents import COMMAND, ROOT, blocks, record_exchange

TEXT = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
BLOCKS = blocks(TEXT)

OUTPUT = {
    "events(symbols": r"RecordedTrade\(symbol='btcusdt', feed='trade.detail'",
    "batches(": r"trades \d+ \['ts_event', 'ts_recv', 'venue', 'symbol', 'pos'\]",
    "stream(": r"^complete [1-9]\d* trades$",
    "after=token": r"^[1-9]\d+ more$",
    "--tables trades,bbo": r'^\{"type":"(bbo|trade)","symbol":"btcusdt".*\n\{"type":"end","reason":"complete"',
    "--speed 20": r'^\{"type":"book_delta".*"bids":\[\[',
    "--numbers decimal": r'^\{"type":"trade".*"price":\d',
    "--tables frames": r'^\{"type":"frame".*"payload":"\{',
}
"""A word of an example to what its output has to look like."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``archive`` in it."""
    path = tmp_path_factory.mktemp("docs")
    record_exchange(path / "archive")
    return path


def test_blocks_run(folder: Path) -> None:
    assert [language for language, _ in BLOCKS] == ["python"] * 4 + ["sh"]
    seen = set()
    for language, block in BLOCKS:
        sources = [block] if language == "python" else block.splitlines()
        for source in sources:
            words = [sys.executable, "-c", source]
            if language == "sh":
                assert source.startswith("bookreel replay ")
                words = [*COMMAND, *shlex.split(source)[1:]]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{source}\n{done.stderr}"
            for word, pattern in OUTPUT.items():
                if word in source:
                    seen.add(word)
                    assert re.search(pattern, done.stdout, flags=re.MULTILINE), (
                        f"{source}\n{done.stdout[:2000]}"
                    )
    assert seen == OUTPUT.keys()


def test_types_and_tables_are_named() -> None:
    for table in REPLAY_TABLES:
        assert table.replace("_", " ") in TEXT or table in TEXT, table
    from bookreel.replay import events

    for name in events.__all__:
        kind = getattr(events, name)
        tag = getattr(getattr(kind, "__struct_config__", None), "tag", None)
        assert tag is None or f"`{tag}`" in TEXT, tag
