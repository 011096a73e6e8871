"""A line on virtual time and a simulated network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.engine import Engine
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import load_config
from tests.simulation.disk import SimDisk
from tests.simulation.loop import VirtualClock, run
from tests.simulation.network import SimNetwork


async def inline(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def test_a_line_that_breaks_while_it_is_told_to_stop_does_stop() -> None:
    async def main(clock: VirtualClock) -> Collector:
        engine = Engine(ExchangeConfig(symbols=("zeneth",)), clock)
        engine.start()
        network = SimNetwork(engine, random.Random(1))
        settings = {
            "symbols": ["zeneth"],
            "feeds": ["bbo"],
            "archive": "/archive",
            "rest_url": "https://x",
            "seal": False,
        }
        collector = Collector(
            load_config(None, settings),
            clock=clock,
            network=network,
            rng=random.Random(1),
            disk=SimDisk(),
            offload=inline,
            threads=False,
        )
        running = asyncio.create_task(collector.run())
        await asyncio.sleep(5.0)
        (link,) = network.links
        collector.stop("told to")
        link.abandon()
        await asyncio.sleep(60.0)
        assert running.done()
        engine.stop()
        return collector

    assert run(main).phase == "stopped"
