"""The recorder as it is, on a virtual clock and a simulated network: hours in seconds, the same each time."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.ingest.collector import Collector
from bookreel.ingest.config import load_config
from bookreel.ingest.errors import ConnectFailed, Disconnected
from bookreel.storage.record import Kind, Record, decode_event
from bookreel.storage.segment import SegmentReader, list_segments
from tests.simulation.loop import VirtualClock, run

SYMBOLS = ["btcusdt", "ethusdt"]


class Wire:
    """One connection to a venue that sends a delta a symbol every 100 ms and dies, or goes mute, by chance."""

    def __init__(self, market: Market, path: str) -> None:
        self._market = market
        self._rng = market.rng
        self._path = path
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._topics: set[str] = set()
        self._muted_until = 0.0
        self._tasks = [asyncio.create_task(self._push()), asyncio.create_task(self._beat())]

    def _say(self, message: dict[str, Any]) -> None:
        self._queue.put_nowait(gzip.compress(json.dumps(message, separators=(",", ":")).encode(), mtime=0))

    async def receive(self) -> bytes | str:
        frame = await self._queue.get()
        if frame is None:
            raise Disconnected(None, "cut")
        return frame

    async def send(self, text: bytes) -> None:
        await asyncio.sleep(self._rng.uniform(0.01, 0.05))
        said = json.loads(text)
        if "ping" in said:
            self._say({"pong": said["ping"]})
        elif "sub" in said:
            self._topics.add(said["sub"])
            self._say({"id": said["id"], "status": "ok", "subbed": said["sub"], "ts": self._market.now_ms()})
        elif "unsub" in said:
            self._topics.discard(said["unsub"])
            self._say(
                {"id": said["id"], "status": "ok", "unsubbed": said["unsub"], "ts": self._market.now_ms()}
            )
        elif "req" in said:
            symbol = said["req"].split(".")[1]
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))
            data = {
                "seqNum": self._market.seq[symbol],
                "bids": [[9.0, float(self._market.seq[symbol])]],
                "asks": [],
            }
            reply = {
                "id": said["id"],
                "status": "ok",
                "rep": said["req"],
                "ts": self._market.now_ms(),
                "data": data,
            }
            self._say(reply)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _push(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.1)
            if self._rng.random() < 0.0005:
                self._market.faults["cut"] += 1
                self._queue.put_nowait(None)
                return
            if self._rng.random() < 0.0005:
                self._market.faults["mute"] += 1
                self._muted_until = loop.time() + self._rng.uniform(20, 60)
            for symbol in SYMBOLS:
                before = self._market.seq[symbol]
                seq = self._market.seq[symbol] = before + self._rng.randint(1, 9)
                lost = self._rng.random() < 0.001
                self._market.faults["lost"] += lost
                topic = f"market.{symbol}.mbp.150"
                if topic in self._topics and not lost and loop.time() >= self._muted_until:
                    tick = {"seqNum": seq, "prevSeqNum": before, "bids": [[9.0, float(seq)]], "asks": []}
                    self._say({"ch": topic, "ts": self._market.now_ms(), "tick": tick})

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(5)
            self._say({"ping": self._market.now_ms()})


class Market:
    """The venue and the way to it: a :class:`bookreel.ingest.network.Network`."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self._clock = clock
        self.rng = random.Random(seed)
        self.seq = dict.fromkeys(SYMBOLS, 1000)
        self.faults = {"cut": 0, "mute": 0, "lost": 0, "refused": 0}

    def now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000

    async def connect(self, url: str) -> Wire:
        await asyncio.sleep(self.rng.uniform(0.01, 0.2))
        if self.rng.random() < 0.3:
            self.faults["refused"] += 1
            raise ConnectFailed(url, "busy", status=503, retry_after=self.rng.choice([None, 2.0]))
        return Wire(self, url)

    async def get(self, url: str) -> bytes:
        rows = [
            {"symbol": s, "base-currency": s[:3], "quote-currency": "usdt", "state": "online"}
            for s in SYMBOLS
        ]
        return json.dumps({"status": "ok", "data": rows}).encode()

    async def close(self) -> None: ...


def simulate(archive: Path, seconds: float, seed: int) -> tuple[Collector, Market, list[Record]]:
    async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    async def main(clock: VirtualClock) -> tuple[Collector, Market]:
        market = Market(clock, seed)
        settings = {
            "symbols": SYMBOLS,
            "feeds": ["mbp.150"],
            "archive": str(archive),
            "seal": False,
            "for_seconds": seconds,
            "reference_interval_s": 600,
        }
        collector = Collector(
            load_config(None, settings),
            clock=clock,
            network=market,
            rng=random.Random(seed),
            offload=inline,
            threads=False,
        )

        async def disk() -> None:
            while True:
                await asyncio.sleep(1)
                if collector.journal is not None:
                    collector.journal.pump_write()
                    collector.journal.pump_sync()

        pumping = asyncio.create_task(disk())
        await collector.run()
        pumping.cancel()
        return collector, market

    collector, market = run(main)
    found = [
        record
        for segment in list_segments(archive)
        for record in SegmentReader(segment.path).read()
        if isinstance(record, Record)
    ]
    return collector, market, found


def test_an_hour_with_faults_on_a_virtual_clock(tmp_path: Path) -> None:
    collector, market, found = simulate(tmp_path / "archive", 3600.0, seed=5)
    assert min(market.faults.values()) > 0, market.faults
    events = [decode_event(record.payload) for record in found if record.kind is Kind.EVENT]
    kinds = {event["event"] for event in events}
    assert {"start", "stop", "connect", "disconnect", "connect_failed", "resync"} <= kinds
    assert collector.journal is not None
    counts = collector.journal.counts()
    assert counts.received == counts.durable == len(found)
    # Every book was wrong for some time, was right again after each time, and ended as the venue's.
    for symbol in SYMBOLS:
        sync = collector.books.get(symbol, "mbp.150")
        assert sync is not None
        assert not sync.valid or sync.book.bids == {9.0: float(sync.last_seq or 0)}
    resynced = sum(collector.books.resync_counts)
    assert resynced >= collector.books.gaps.total() - 2
    assert collector.books.audits["equal"] > 0
    assert collector.books.audits["different"] == 0
    assert collector.books.gaps["seq_gap"] > 0
    assert collector.books.gaps["silence"] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_records_the_same(tmp_path: Path, seed: int) -> None:
    one = simulate(tmp_path / "one", 300.0, seed)[2]
    other = simulate(tmp_path / "other", 300.0, seed)[2]

    def comparable(found: list[Record]) -> list[Any]:
        return [
            (r.pos, r.ts_recv, r.mono, r.conn, r.epoch, r.direction, r.payload.replace(b"/one", b"/other"))
            for r in found
        ]

    assert len(one) > 1000
    assert comparable(one) == comparable(other)
