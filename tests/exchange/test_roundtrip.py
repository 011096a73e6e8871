"""What a recorder makes of the replay of an archive is the archive again."""

from __future__ import annotations

import asyncio
import gzip
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from bookreel.exchange import Exchange, ExchangeConfig
from bookreel.ingest.collector import Collector
from bookreel.replay import Archive
from tests.exchange.again import FEEDS, SYMBOLS, TABLES, again, assert_equal, capture, record


@pytest.mark.parametrize("speed", [10.0, None])
def test_recorded_again_it_is_the_same(recorded: Path, tmp_path: Path, speed: float | None) -> None:
    again(recorded, tmp_path / "b", SYMBOLS, FEEDS, speed=speed)
    assert all(assert_equal(recorded, tmp_path / "b", *TABLES, "instruments").values())


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
    assert sum(assert_equal(tmp_path / "a", tmp_path / "b", *TABLES).values()) == count


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_real_file_recorded_again_is_the_same(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path: Path
) -> None:
    if "slow" not in request.config.option.markexpr:
        pytest.skip("94,000 frames take half a minute: run it by -m slow")
    capture(shared_data / "mbp150_btcusdt_20240808.ndjson.gz", tmp_path / "a")
    again(tmp_path / "a", tmp_path / "b", ("btcusdt",), ("mbp.150", "bbo", "trade.detail"), speed=None)
    counts = assert_equal(tmp_path / "a", tmp_path / "b", "book_deltas", "book_snapshots", "bbo", "trades")
    assert counts == {"book_deltas": 185_198, "book_snapshots": 1, "bbo": 66_089, "trades": 21_313}


# With holes

_FAULTS: Final = (
    "lost_delta=240,duplicate=60,reorder=60,broken_json=60,broken_gzip=60,disconnect=30,null_snapshot=60,"
    "stale_snapshot=60,straddling_snapshot=60"
)
_FEEDS: Final = ("mbp.150", "mbp.5", "bbo", "trade.detail")
_HOLES: Final = """
SELECT symbol, feed, last_seq, next_seq FROM gaps WHERE feed LIKE 'mbp%' AND next_seq < (
    SELECT max(seq) FROM book_deltas AS delta WHERE delta.symbol = gaps.symbol AND delta.feed = gaps.feed
) ORDER BY ALL
"""
"""A chain shows that it is broken where it goes on: not what was lost after the last delta."""

Hole: TypeAlias = tuple[str, str, int, int]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exchange with faults of every kind that ends by itself, for so long that there are holes."""
    path = tmp_path_factory.mktemp("faulty") / "archive"

    async def main() -> None:
        config = ExchangeConfig(symbols=SYMBOLS, rate=60.0, seed=5, faults=_FAULTS, spared_s=0.5)

        async def with_holes(collector: Collector) -> None:
            await asyncio.sleep(6)
            while collector.books.gaps["seq_gap"] < 4 or collector.books.live < collector.books.total:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

        async with Exchange(config) as exchange:
            await record(exchange, path, with_holes, _FEEDS)
            assert exchange.inflicted

    asyncio.run(main())
    return path


def holes(path: Path) -> list[Hole]:
    with Archive(path) as archive:
        found: list[Hole] = archive.sql(_HOLES).fetchall()
    return found


def books(path: Path, symbol: str, feed: str) -> dict[int, Any]:
    """The book by each number of its chain."""
    with Archive(path) as archive:
        [(first, last)] = archive.sql(
            "SELECT epoch_ns(min(ts_recv)), epoch_ns(max(ts_recv)) + 1 FROM frames"
        ).fetchall()
        table = archive.books(symbol, first, last, feed=feed, depth=150)
    names = ["seq", "bid_price", "bid_size", "ask_price", "ask_size"]
    return {seq: levels for seq, *levels in zip(*(table[name].to_pylist() for name in names), strict=True)}


def test_holes_recorded_again_are_the_same(faulty: Path, tmp_path: Path) -> None:
    """As broken chains, as fast as it goes: each book is asked for where it was, trades that were asked for come."""
    again(faulty, tmp_path / "b", SYMBOLS, _FEEDS, speed=None)
    assert holes(faulty)
    assert holes(tmp_path / "b") == holes(faulty)
    assert_equal(faulty, tmp_path / "b", *TABLES)
    for symbol in SYMBOLS:
        for feed in ("mbp.5", "mbp.150"):
            before = books(faulty, symbol, feed)
            assert before and before == books(tmp_path / "b", symbol, feed)


def test_no_book_goes_on_across_a_hole_that_ended_its_connection(faulty: Path, tmp_path: Path) -> None:
    again(faulty, tmp_path / "b", SYMBOLS, _FEEDS, gaps="disconnect", speed=2.0)
    with Archive(tmp_path / "b") as archive:
        [(ended,)] = archive.sql("SELECT count(*) FROM gaps WHERE cause = 'disconnect'").fetchall()
        epochs = archive.sql(
            "SELECT symbol, feed, min(seq), max(seq) FROM book_deltas GROUP BY symbol, feed, epoch"
        ).fetchall()
    assert ended and epochs
    for *stream, last, following in holes(faulty):
        for *other, first, newest in epochs:
            assert stream != other or newest <= last or first >= following
    compared = 0
    for symbol in SYMBOLS:
        before, after = books(faulty, symbol, "mbp.150"), books(tmp_path / "b", symbol, "mbp.150")
        common = before.keys() & after.keys()  # where another image was given there are books between those
        assert all(before[seq] == after[seq] for seq in common)
        compared += len(common)
    assert compared, "no book was played again: how many are depends on how fast the line comes back"
