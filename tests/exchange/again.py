"""What is recorded of the replay of an archive, to be compared with the archive."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from bookreel import venues
from bookreel.exchange import Exchange, ExchangeConfig, Recording
from bookreel.exchange.playback import Playback
from bookreel.exchange.recorded import RecordedBook
from bookreel.ingest.capture import Capture
from bookreel.ingest.clock import SystemClock
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import load_config
from bookreel.replay import Archive
from bookreel.storage.journal import Journal

__all__ = ["FEEDS", "SYMBOLS", "TABLES", "again", "assert_equal", "capture", "play", "record"]

SYMBOLS: Final = ("btcusdt", "aidogeusdt")
FEEDS: Final = (
    *("mbp.5", "mbp.150", "mbp.400", "mbp.refresh.20", "depth.step0", "depth.step1"),
    *("bbo", "trade.detail", "kline.1min", "kline.5min", "detail", "ticker"),
)
_OWN: Final = {"ts_recv", "pos", "epoch", "conn"}
"""Columns that are the recorder's and not the venue's."""
_WHERE: Final = {"book_snapshots": "source <> 'keyframe' AND (source = 'push' OR pos = epoch)"}
"""Keyframes are made by the recorder's clock, and a book that is only compared is asked for at its own time."""


async def record(
    exchange: Exchange,
    archive: Path,
    during: Callable[[Collector], Awaitable[Any]],
    feeds: tuple[str, ...] = FEEDS,
    symbols: tuple[str, ...] = SYMBOLS,
) -> None:
    """Record an exchange while ``during`` runs."""
    chosen = {
        "archive": str(archive),
        "symbols": list(symbols),
        "feeds": list(feeds),
        "seal": False,
        "ws_url": exchange.ws_url,
        "feed_url": exchange.feed_url,
        "rest_url": exchange.rest_url,
        "backoff_base_ms": 50,
        "backoff_cap_ms": 200,
        "audit_interval_s": 0,
    }
    collector = Collector(load_config(None, chosen), rng=random.Random(7))
    async with asyncio.timeout(300), asyncio.TaskGroup() as tasks:
        tasks.create_task(collector.run())
        try:
            await during(collector)
        finally:
            collector.stop("the test is over")


def play(archive: Path, **more: Any) -> Exchange:
    request_gap_s = more.pop("request_gap_s", 0.1)
    recording = Recording(archive=archive, **{"speed": 10.0, **more})
    return Exchange(ExchangeConfig(recording=recording, request_gap_s=request_gap_s))


def again(source: Path, to: Path, symbols: tuple[str, ...], feeds: tuple[str, ...], **more: Any) -> Exchange:
    """Record the replay of an archive to its end, each topic from its beginning, however slow the machine is: time
    stands until all are subscribed and all books asked for, and without a pace who is away or has something to ask is
    waited for.
    """
    topic = venues.get("huobi").topic
    wanted = {topic(symbol, feed).text for symbol in symbols for feed in feeds}

    class Complete(Playback):
        def _begin(self, now_ns: int) -> bool:
            complete = self._open.keys() >= wanted & self._feeds.keys()
            books = (feed for feed in self._open.values() if isinstance(feed, RecordedBook))
            asked = all(book._waiting or book.book() is not None for book in books)
            return complete and asked and super()._begin(now_ns)

    async def main() -> Exchange:
        async with play(source, wait_s=0.0, **more) as exchange:
            await record(exchange, to, lambda _: exchange.ended(), feeds, symbols)
            return exchange

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bookreel.exchange.playback.Playback", Complete)
        patch.setattr("bookreel.exchange.playback._PATIENCE_S", 60.0)
        patch.setattr("bookreel.exchange.hub._AWAY_NS", 60 * 10**9)
        return asyncio.run(main())


def rows(path: Path, *tables: str) -> dict[str, Counter[str]]:
    """The rows of tables, without what is the recorder's own."""
    found = {}
    with Archive(path) as archive:
        for table in tables:
            known = archive.sql(f"FROM {table} LIMIT 0").columns
            names = [name for name in known if name not in _OWN]
            if table == "instruments":
                names.remove("ts_event")
            columns = ", ".join(f'"{name}"' for name in names)
            where = _WHERE.get(table, "true")
            query = f"SELECT {columns} FROM {table} WHERE {where}"
            found[table] = Counter(map(str, archive.sql(query).fetchall()))
    return found


def assert_equal(before: Path, after: Path, *tables: str) -> dict[str, int]:
    """The same rows are in both archives; how many."""
    one, other = rows(before, *tables), rows(after, *tables)
    for table in tables:
        lost, new = one[table] - other[table], other[table] - one[table]
        assert not lost and not new, (table, lost.total(), new.total(), [*lost, *new][:5])
    return {table: count.total() for table, count in one.items()}


TABLES: Final = ("book_deltas", "book_snapshots", "bbo", "trades", "klines", "tickers")


def capture(file: Path, archive: Path) -> None:
    """Import captured frames."""
    with Journal.open(archive, "huobi", clock=SystemClock()) as journal:
        for _ in Capture(file).write(journal):
            pass
