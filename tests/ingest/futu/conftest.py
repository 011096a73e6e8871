from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange.futu import GatewayConfig, GatewayServer
from bookreel.ingest.config import load_config
from bookreel.ingest.futu.recorder import GatewayRecorder
from bookreel.replay import Archive

SYMBOLS = ["HK.00700", "US.AAPL"]
FEEDS = ["orderbook", "ticker", "kline.1min"]

Scenario = Callable[[GatewayServer, GatewayRecorder], Awaitable[Any]]

GATEWAY: dict[str, Any] = {
    "rate": 40.0,
    "restart_s": 0.1,
    "login_s": (0.2, 0.2),
    "suppress_s": 0.1,
    "hold_s": 0.1,
}


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is true; a test that hangs is ended by the runner."""
    async with asyncio.timeout(90.0):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of it
            await asyncio.sleep(0.005)


async def pushed(recorder: GatewayRecorder, frames: int = 20) -> None:
    """Wait for some more frames."""
    await until(lambda: recorder.lines and recorder.lines[0].stats.frames)
    before = recorder.lines[0].stats.frames
    await until(lambda: recorder.lines[0].stats.frames >= before + frames)


@pytest.fixture
def recorded(tmp_path: Path) -> Callable[..., Archive]:
    """Records a gateway of our own while a scenario runs; the archive is what it left."""

    def run(
        scenario: Scenario,
        *,
        gateway: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> Archive:
        async def main() -> None:
            chosen = {"symbols": tuple(SYMBOLS), **GATEWAY, **(gateway or {})}
            async with GatewayServer(GatewayConfig(**chosen)) as server:
                values = {
                    "venue": "futu",
                    "archive": str(tmp_path / "archive"),
                    "rest_url": server.rest_url,
                    "ws_url": server.ws_url,
                    "symbols": SYMBOLS,
                    "feeds": FEEDS,
                    "seal": False,
                    "backoff_base_ms": 20,
                    "backoff_cap_ms": 100,
                    "push_health_s": 0.05,
                    **settings,
                }
                recorder = GatewayRecorder(
                    load_config(None, values), environment=environment or {}, rng=random.Random(3)
                )
                running = asyncio.create_task(recorder.run())
                acting = asyncio.create_task(_act(scenario, server, recorder))
                await asyncio.wait((running, acting), return_when=asyncio.FIRST_COMPLETED)
                if acting.done():
                    recorder.stop("the test is over")
                    await running
                    acting.result()
                else:
                    acting.cancel()
                    running.result()

        asyncio.run(main())
        return Archive(tmp_path / "archive")

    return run


async def _act(scenario: Scenario, server: GatewayServer, recorder: GatewayRecorder) -> None:
    await scenario(server, recorder)
