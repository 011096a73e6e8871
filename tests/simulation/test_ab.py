from __future__ import annotations

import asyncio
import random
from pathlib import Path

from bookreel.exchange import Exchange, ExchangeConfig
from bookreel.exchange.audit import audit
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import load_config
from bookreel.replay import Archive
from bookreel.storage.merge import merge
from bookreel.storage.seal import seal
from bookreel.storage.verify import verify

FAULTS = (
    "lost_delta=40,reorder=10,duplicate=20,disconnect=20,stale_snapshot=5,broken_json=10,broken_gzip=10,"
    "straddling_snapshot=5,null_snapshot=5"
)
SYMBOLS = "btcusdt", "ethusdt"
FEEDS = ["mbp.150", "trade", "bbo", "depth.step0", "kline.1min"]


async def record(folder: Path, seconds: float, seed: int = 1, faults: str = FAULTS) -> None:
    """Two recorders of one exchange on loopback, each with connections of its own."""
    config = ExchangeConfig(symbols=SYMBOLS, faults=faults, seed=seed, truth=folder / "truth.ndjson", rate=40)
    async with Exchange(config) as venue, asyncio.TaskGroup() as tasks:
        for name in ("a", "b"):
            chosen = {
                "symbols": list(SYMBOLS),
                "feeds": FEEDS,
                "archive": str(folder / name),
                "ws_url": venue.ws_url,
                "feed_url": venue.feed_url,
                "rest_url": venue.rest_url,
                "seal": False,
                "backoff_base_ms": 50,
            }
            collector = Collector(load_config(None, chosen), rng=random.Random(name))
            tasks.create_task(collector.run())
            asyncio.get_running_loop().call_later(seconds, collector.stop, "the test is over")
            # Not in step with the other one.
            await asyncio.sleep(0.2)


def gaps(archive: Path) -> int:
    with Archive(archive) as opened:
        ((count,),) = opened.sql("SELECT count(*) FROM gaps WHERE cause <> 'operator'").fetchall()
    return int(count)


def test_two_recorders_of_one_exchange(tmp_path: Path) -> None:
    asyncio.run(record(tmp_path, 8))
    seal(tmp_path / "a")
    report = merge(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert report.unequal == 0
    assert verify(tmp_path / "c").problems == []
    found = audit(tmp_path / "c", tmp_path / "truth.ndjson", merged=True)
    assert found.ok, found.problems
    assert found.gaps_filled > 0 < found.books_as_of
    assert gaps(tmp_path / "c") < min(gaps(tmp_path / "a"), gaps(tmp_path / "b"))
