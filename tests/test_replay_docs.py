"""What docs/replay.md shows is run, in order, on an archive of the embedded exchange."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from bookreel.replay import REPLAY_TABLES
from tests.documents import COMMAND, ROOT, Outputs, blocks

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


def test_blocks_run(recorded_folder: Path) -> None:
    assert [language for language, _ in BLOCKS] == ["python"] * 4 + ["sh"]
    outputs = Outputs(OUTPUT)
    for language, block in BLOCKS:
        sources = [block] if language == "python" else block.splitlines()
        for source in sources:
            words = [sys.executable, "-c", source]
            if language == "sh":
                assert source.startswith("bookreel replay ")
                words = [*COMMAND, *shlex.split(source)[1:]]
            done = subprocess.run(words, cwd=recorded_folder, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, f"{source}\n{done.stderr}"
            outputs.check(source, done.stdout)
    outputs.check_all_seen()


def test_types_and_tables_are_named() -> None:
    for table in REPLAY_TABLES:
        assert table.replace("_", " ") in TEXT or table in TEXT, table
    from bookreel.replay import events, stocks

    for name in (*events.__all__, *stocks.__all__):
        kind = getattr(events, name, None) or getattr(stocks, name)
        tag = getattr(getattr(kind, "__struct_config__", None), "tag", None)
        assert tag is None or f"`{tag}`" in TEXT, tag
