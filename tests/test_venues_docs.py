"""What docs/venues.md shows of two venues together is run, on a small archive of each."""

from __future__ import annotations

import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from bookreel import venues
from tests.documents import COMMAND, ROOT, Outputs, blocks
from tests.replay.gateway import Gateway
from tests.storage.conftest import Recording

TEXT = (ROOT / "docs" / "venues.md").read_text(encoding="utf-8")

OUTPUT = {
    "ASOF JOIN": r"HK\.00700 +300\.2 +100\.0\n.*HK\.00700 +300\.2 +101\.0",
    "Archives(": r"futu.*HK\.00700.* 2 .*\n.*huobi.*btcusdt.* 2 ",
}
"""A word of an example to what its output has to look like."""


def test_blocks_run(tmp_path: Path) -> None:
    crypto, stocks = Recording(tmp_path / "crypto"), Gateway(tmp_path / "stocks")
    with closing(crypto.journal), closing(stocks.journal):
        crypto.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
        stocks.subscribe(1, feeds=["ticker"])
        for number, at in enumerate((2, 6)):
            crypto.trade(at, number, 100.0 + number)
            stocks.ticks(at + 1, number)
    outputs = Outputs(OUTPUT)
    for language, block in blocks(TEXT):
        words = [sys.executable, "-c", block]
        if language == "sh":
            words = [*COMMAND, *shlex.split(block)[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{block}\n{done.stderr}"
        outputs.check(block, done.stdout)
    outputs.check_all_seen()


def test_every_feed_is_named_with_its_class() -> None:
    for name in venues.names():
        venue = venues.get(name)
        for feed in venue.feeds():
            family = feed.rpartition(".")[0] if feed not in TEXT else feed
            assert family in TEXT, feed
            assert venue.coverage(feed) in TEXT
