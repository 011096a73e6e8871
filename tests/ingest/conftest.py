from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bookreel.exchange import Exchange, ExchangeConfig
from bookreel.ingest.books import LiveBooks
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig, load_config
from bookreel.ingest.dialogue import Dialogue
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.storage.disk import Disk
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.shedding import Victim
from bookreel.venues.huobi import Huobi

MS = 1_000_000
S = 1_000_000_000


class ManualClock:
    """Stands still until it is told to move; the wall clock starts at an instant of 2026."""

    def __init__(self) -> None:
        self.mono = 1_000 * S
        self.offset = 1_790_000_000 * S

    def wall_ns(self) -> int:
        return self.mono + self.offset

    def mono_ns(self) -> int:
        return self.mono

    def advance(self, seconds: float) -> None:
        self.mono += round(seconds * S)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


class MemoryJournal:
    """Keeps records in a list; sheds while ``full``."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.full = False
        self.next_pos = 1
        self.durable_pos = 0
        self.victim = Victim(None, "shed")
        self.streams: list[str] = []

    def began(self, topic: str) -> None:
        self.streams.append(topic)

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: int, kind: int, payload: bytes
    ) -> int:
        if self.full:
            return 0
        pos = self.next_pos
        self.records.append(
            Record(pos, ts_recv, mono, conn, epoch, Direction(direction), Kind(kind), payload)
        )
        self.next_pos += 1
        return pos

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        found = [decode_event(record.payload) for record in self.records if record.kind is Kind.EVENT]
        return [event for event in found if name is None or event["event"] == name]

    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(record.payload) for record in self.records if record.direction is Direction.OUT]


def _compact(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


class Talk:
    """A dialogue without a connection: the test is the venue."""

    def __init__(self, *topics: tuple[str, str], **settings: Any) -> None:
        self.clock = ManualClock()
        self.journal = MemoryJournal()
        self.venue = Huobi()
        self.books = LiveBooks()
        self.config = RecordConfig(**{"audit_interval_s": 0, "snapshot_hedge_ms": 0, **settings})
        made = [self.venue.topic(symbol, feed) for symbol, feed in topics]
        self.topics = {topic.text: topic for topic in made}
        self.stats = LineStats("line-0", "ws://venue/ws", len(made), epoch=1)
        self.paces: dict[str, Any] = {}
        self.dialogue = self.make()

    def make(self, *, recover: bool = False) -> Dialogue:
        self.stats.acked.clear()
        return Dialogue(
            self.topics,
            {
                text: self.books.add(topic)
                for text, topic in self.topics.items()
                if topic.coverage == "sequenced"
            },
            self.stats,
            config=self.config,
            venue=self.venue,
            tape=Tape(self.journal, self.clock),
            rng=random.Random(1),
            paces=self.paces,
            wake=lambda: None,
            recover=recover,
        )

    def hear(self, message: dict[str, Any] | bytes) -> bytes | None:
        """The venue says this."""
        payload = message if isinstance(message, bytes) else gzip.compress(_compact(message))
        return self.dialogue.receive(payload, self.clock.wall_ns(), self.clock.mono_ns())

    def say(self) -> list[dict[str, Any]]:
        """All that may be sent now."""
        found = []
        while (text := self.dialogue.requests.outgoing(self.clock.mono_ns())) is not None:
            found.append(json.loads(text))
        return found

    def pass_time(
        self, seconds: float, step_s: float = 0.05, *, heartbeats: bool = True
    ) -> list[dict[str, Any]]:
        """Let time pass, sending and checking as the session does; what was sent but pings."""
        found = self.say()
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            if heartbeats:
                self.hear({"ping": 1})
            self.dialogue.check(self.clock.mono_ns())
            found += self.say()
        return [said for said in found if "ping" not in said]

    def pass_time_quietly(self, seconds: float, step_s: float = 0.05) -> list[dict[str, Any]]:
        """Let time pass at a venue that answers every second subscription, but has nothing new; what was sent
        besides.
        """
        found: list[dict[str, Any]] = []
        for _ in range(round(seconds / step_s)):
            for said in self.pass_time(step_s, step_s):
                if "sub" in said and said["sub"] in self.stats.acked:
                    self.ack(said)
                else:
                    found.append(said)
        return found

    def ack(self, said: dict[str, Any], verb: str = "sub") -> None:
        self.hear(
            {"id": said["id"], "status": "ok", verb + "bed": said[verb], "ts": self.clock.wall_ns() // MS}
        )

    def subscribe(self) -> list[dict[str, Any]]:
        """Open, and acknowledge every subscription; what was sent besides."""
        self.dialogue.open()
        others = []
        for said in self.pass_time(0.01 * len(self.topics) + 0.2, 0.01):
            if "sub" in said:
                self.ack(said)
            else:
                others.append(said)
        return others + self.pass_time(0.2)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def talk() -> Callable[..., Talk]:
    return Talk


@pytest.fixture
def run_recorder(tmp_path: Any) -> Callable[..., Collector]:
    """Run a recorder against an exchange until ``scenario(exchange, collector)`` returns; returns the collector."""

    def run(
        scenario: Callable[[Exchange, Collector], Awaitable[None]],
        *,
        exchange: dict[str, Any] | None = None,
        disk: Disk | None = None,
        **settings: Any,
    ) -> Collector:
        async def main() -> Collector:
            symbols = ("btcusdt", "ethusdt")
            config = ExchangeConfig(
                **{"symbols": symbols, "truth": tmp_path / "truth.ndjson", **(exchange or {})}
            )
            async with Exchange(config) as venue:
                chosen = {
                    "symbols": list(symbols),
                    "archive": str(tmp_path / "archive"),
                    "ws_url": venue.ws_url,
                    "feed_url": venue.feed_url,
                    "rest_url": venue.rest_url,
                    "seal": False,
                    "backoff_base_ms": 50,
                    **settings,
                }
                collector = Collector(load_config(None, chosen), rng=random.Random(7), disk=disk)
                async with asyncio.timeout(110), asyncio.TaskGroup() as tasks:
                    tasks.create_task(collector.run())
                    try:
                        await scenario(venue, collector)
                    finally:
                        collector.stop("the test is over")
                return collector

        return asyncio.run(main())

    return run


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Wait until a condition holds."""

    async def wait(condition: Callable[[], object], seconds: float = 90.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - any condition, of any object
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError("the condition never held") from None

    return wait


@pytest.fixture
def unused_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
