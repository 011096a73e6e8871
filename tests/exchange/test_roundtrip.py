"""What a recorder makes of the replay of an archive is the archive again."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from bookreel.replay import Archive
from tests.exchange.again import FEEDS, SYMBOLS, TABLES, again, capture, rows


@pytest.mark.parametrize("speed", [10.0, None])
def test_recorded_again_it_is_the_same(recorded: Path, tmp_path: Path, speed: float | None) -> None:
    again(recorded, tmp_path / "b", SYMBOLS, FEEDS, speed=speed)
    for table in (*TABLES, "instruments"):
        before, after = rows(recorded, table), rows(tmp_path / "b", table)
        assert before and before == after, (table, before - after, after - before)


_FRAMES: Final = 4_000
CAPTURES: Final = {
    "huobi_ws_20210417": (("depth.step0", "trade.detail"), 292 + 73),
    "mbp20_spot_20240808": (("mbp.20", "bbo", "trade.detail"), 7_445),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_real_frames_recorded_again_are_the_same(shared_data: Path, tmp_path: Path, name: str) -> None:
    feeds, count = CAPTURES[name]
    with gzip.open(shared_data / f"{name}.ndjson.gz", "rt") as file:
        (tmp_path / "frames.ndjson").write_text("".join(islice(file, _FRAMES)))
    capture(tmp_path / "frames.ndjson", tmp_path / "a")
    with Archive(tmp_path / "a") as archive:
        symbols = tuple(archive.symbols())
    exchange = again(tmp_path / "a", tmp_path / "b", symbols, feeds, speed=None)
    assert exchange.notes and "no reference data" in exchange.notes[0]
    total = 0
    for table in TABLES:
        before, after = rows(tmp_path / "a", table), rows(tmp_path / "b", table)
        assert before == after, (table, (before - after).total(), (after - before).total())
        total += before.total()
    assert total == count
