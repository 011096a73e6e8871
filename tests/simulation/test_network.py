from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.engine import Engine
from bookreel.ingest.errors import ConnectFailed, Disconnected, FetchFailed
from tests.simulation.loop import VirtualClock, run
from tests.simulation.network import Link, OutageKind, SimNetwork

Scene: TypeAlias = Callable[[Engine, SimNetwork], Awaitable[Any]]
WS = "wss://exchange/ws"


def play(scene: Scene, *, ping_s: float = 1000.0) -> Any:
    async def main(clock: VirtualClock) -> Any:
        engine = Engine(ExchangeConfig(symbols=("btcusdt",), half_open_s=5.0, ping_s=ping_s), clock)
        engine.start()
        try:
            return await scene(engine, SimNetwork(engine, random.Random(1)))
        finally:
            engine.stop()
            engine.close()

    return run(main)


async def hear(link: Link) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(gzip.decompress(await link.receive()))
    return said


async def subscribed(network: SimNetwork) -> Link:
    link = await network.connect(WS)
    await link.send(b'{"sub":"market.btcusdt.bbo","id":"1"}')
    assert (await hear(link))["status"] == "ok"
    return link


def test_messages_arrive_later_and_in_order() -> None:
    async def scene(engine: Engine, network: SimNetwork) -> None:
        link = await subscribed(network)
        begun = asyncio.get_running_loop().time()
        times = [frame["ts"] for frame in [await hear(link) for _ in range(50)] if "ts" in frame]
        assert times == sorted(times)
        assert asyncio.get_running_loop().time() > begun

    play(scene)


@pytest.mark.parametrize(("kind", "status"), [("refused", None), ("dns", None), ("unavailable", 503)])
def test_nobody_connects_in_an_outage(kind: OutageKind, status: int | None) -> None:
    async def scene(engine: Engine, network: SimNetwork) -> None:
        network.fail(kind, 5.0)
        with pytest.raises(ConnectFailed) as caught:
            await network.connect(WS)
        assert caught.value.status == status
        assert (caught.value.retry_after is None) == (status is None)
        with pytest.raises(FetchFailed):
            await network.get("https://exchange/v1/common/symbols")
        await asyncio.sleep(5.0)
        await subscribed(network)
        assert b"btcusdt" in await network.get("https://exchange/v1/common/symbols")

    play(scene)


def test_a_reset_is_told_to_both_ends() -> None:
    async def scene(engine: Engine, network: SimNetwork) -> None:
        link = await subscribed(network)
        link.reset()
        with pytest.raises(Disconnected, match="reset"):
            while True:
                await link.receive()
        with pytest.raises(Disconnected):
            await link.send(b"{}")
        assert not engine.clients

    play(scene)


def test_nothing_comes_through_a_dark_link_and_nobody_is_told() -> None:
    async def scene(engine: Engine, network: SimNetwork) -> None:
        link = await subscribed(network)
        link.darken()
        await link.send(b'{"ping":1}')
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await link.receive()
        assert not engine.clients, "the exchange gave it up by itself"

    play(scene, ping_s=2.0)


def test_a_slow_link_brings_all_of_it_late() -> None:
    async def scene(engine: Engine, network: SimNetwork) -> list[float]:
        link = await subscribed(network)
        link.slow(3.0, 2.0)
        late = []
        for _ in range(100):
            frame = await hear(link)
            late.append(engine.now_ns() / 1e9 - frame.get("ts", engine.now_ns() / 1e6) / 1e3)
        return late

    late = play(scene)
    assert max(late) > 2.5 and late[-1] < 0.2


def test_a_dead_process_leaves_no_connection_and_a_dead_machine_one_that_nobody_ends() -> None:
    async def scene(engine: Engine, network: SimNetwork) -> None:
        await subscribed(network)
        network.die(silent=False)
        await asyncio.sleep(1.0)
        assert not engine.clients
        other = SimNetwork(engine, random.Random(2))
        await subscribed(other)
        other.die(silent=True)
        await asyncio.sleep(1.0)
        assert len(engine.clients) == 1
        await asyncio.sleep(60.0)
        assert not engine.clients

    play(scene, ping_s=2.0)
