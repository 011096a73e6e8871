"""The exchange without sockets: when a connection ends, and when the market waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange.client import Client
from bookreel.exchange.clock import SystemClock
from bookreel.exchange.config import ExchangeConfig, Recording
from bookreel.exchange.engine import Engine
from tests.exchange.tape import MBP

BBO = "market.btcusdt.bbo"


class Peer:
    """A connection that takes what is sent only when it is told to."""

    def __init__(self) -> None:
        self.queued = 0
        self.frames = 0
        self.closed: tuple[int, str] | None = None

    def send(self, payload: bytes) -> None:
        self.queued += len(payload)
        self.frames += 1

    def drop(self) -> None:
        self.queued = 0

    def cut(self) -> None:
        self.closed = 0, "cut"

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


def engine(small: Path, **more: Any) -> Engine:
    recording = Recording(archive=small, **{"speed": None, "wait_s": 0.01, **more})
    return Engine(ExchangeConfig(recording=recording, pace_s=0.001), SystemClock())


def join(engine: Engine, path: str, topic: str) -> tuple[Client, Peer]:
    peer = Peer()
    client = engine.join(path, peer)
    engine.take(client, json.dumps({"sub": topic, "id": "1"}))
    return client, peer


async def until(found: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not found():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def test_at_the_end_a_client_is_dismissed_when_it_has_had_everything(small: Path) -> None:
    async def main() -> None:
        ex = engine(small)
        client, peer = join(ex, "/ws", BBO)
        ex.start()
        await until(lambda: ex.source.ended)
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert peer.frames == 2 and peer.closed is None, "an acknowledgement and a quote are on their way"
        peer.queued = 0
        await until(lambda: peer.closed)
        assert peer.closed == (1001, "the recording has ended") and not ex.over.is_set()
        late, back = join(ex, "/ws", BBO)
        assert back.closed == peer.closed and back.frames == 0, (
            "who comes back is told, and gets nothing again"
        )
        ex.leave(client, "")
        await until(ex.over.is_set)
        ex.leave(late, "")
        ex.stop()
        ex.close()

    asyncio.run(main())


def test_a_hole_ends_the_connections_that_carry_its_stream(small: Path) -> None:
    async def main() -> None:
        ex = engine(small, gaps="disconnect", speed=20.0)
        book, carrier = join(ex, "/feed", MBP.text)
        _, other = join(ex, "/ws", BBO)
        ex.start()
        await until(lambda: book in ex.hub.leaving)
        await asyncio.sleep(0.01)
        assert carrier.closed is None, "not before it has had what came before the hole"
        carrier.queued = 0
        await until(lambda: carrier.closed)
        assert carrier.closed == (1001, "") and other.closed is None
        ex.leave(book, "")
        assert not ex.hub.leaving
        ex.stop()
        ex.close()

    asyncio.run(main())


@pytest.mark.parametrize("back", [True, False])
def test_without_a_pace_the_market_waits_for_who_was_cut_off(
    small: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    monkeypatch.setattr("bookreel.exchange.hub._AWAY_NS", 10**13)
    monkeypatch.setattr("bookreel.exchange.playback._PATIENCE_S", 0.0)  # nobody asks for the book

    async def main() -> None:
        ex = engine(small, gaps="disconnect")
        (one, first), (two, second) = (join(ex, "/feed", MBP.text) for _ in range(2))
        _, other = join(ex, "/ws", BBO)
        ex.start()
        await until(lambda: {one, two} <= ex.hub.leaving)
        for peer in (first, second):
            peer.queued = 0
        await until(lambda: first.closed and second.closed)
        for client in (one, two):
            ex.leave(client, "")
        _, third = join(ex, "/feed", MBP.text)
        for _ in range(30):
            await asyncio.sleep(0.002)
        assert third.frames == 1 and other.frames == 1, "acknowledgements: one more is away"
        if back:
            _, fourth = join(ex, "/feed", MBP.text)
        else:
            monkeypatch.setattr("bookreel.exchange.hub._AWAY_NS", 0)
        await until(lambda: ex.source.ended)
        assert third.frames == 3 and other.frames == 2
        assert not back or fourth.frames == 3
        ex.stop()
        ex.close()

    asyncio.run(main())


def test_without_a_pace_the_market_waits_for_a_crowded_client(small: Path) -> None:
    async def main() -> None:
        ex = engine(small)
        _, peer = join(ex, "/ws", BBO)
        peer.queued = 2 << 20
        ex.start()
        for _ in range(30):
            await asyncio.sleep(0.002)
        assert peer.frames == 1 and not ex.source.ended
        peer.queued = 0
        await until(lambda: ex.source.ended)
        assert peer.frames == 2
        ex.stop()
        ex.close()

    asyncio.run(main())


def test_what_the_source_raises_is_why_it_is_over(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        ex = engine(small)

        def broken(now_ns: int) -> None:
            raise OSError("no such disk")

        monkeypatch.setattr(ex.hub, "tick", broken)
        ex.start()
        assert ex.over.is_set() and str(ex.failure) == "no such disk"
        ex.stop()
        ex.close()

    asyncio.run(main())
