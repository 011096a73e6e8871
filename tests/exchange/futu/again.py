"""What is recorded of the replay of a gateway's archive, to be compared with the archive."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bookreel.exchange import Recording
from bookreel.exchange.futu import GatewayConfig, GatewayServer
from bookreel.ingest.config import load_config
from bookreel.ingest.futu.recorder import GatewayRecorder
from bookreel.replay import Archive
from bookreel.venues.futu.decode import read_message
from bookreel.venues.futu.errors import PushError

__all__ = [
    "FEEDS",
    "SYMBOLS",
    "again",
    "assert_equal",
    "pushed",
    "pushes",
    "record",
    "record_gateway",
    "until",
]

SYMBOLS: Final = ("HK.00700", "US.AAPL")
FEEDS: Final = ("orderbook", "ticker", "quote", "broker", "rt", "kline.1min", "kline.1day")

Scenario = Callable[[GatewayServer, GatewayRecorder], Awaitable[Any]]

_OWN: Final = {"ts_recv", "pos", "epoch", "conn"}
"""Columns that are the recorder's and not the venue's."""
_PUSHED: Final = "pos IN (SELECT pos FROM frames WHERE kind = 'data')"
"""What the recorder asked for it asked at its own time; trades are stored once, however they came."""
_WHERE: Final = {
    "book_snapshots": _PUSHED,
    "trades": "true",
    "quotes": _PUSHED,
    "broker_queue": _PUSHED,
    "timeshare": _PUSHED,
    "klines": _PUSHED,
}
_GATEWAY: Final[dict[str, Any]] = {"rate": 60.0, "restart_s": 0.1, "login_s": (0.2, 0.2)}


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is true; a test that hangs is ended by the runner."""
    while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of it
        await asyncio.sleep(0.005)


async def pushed(recorder: GatewayRecorder, frames: int) -> None:
    """Wait for some more frames, with everything subscribed."""
    line = recorder.lines[0].stats
    before = line.frames
    await until(lambda: line.frames >= before + frames and len(line.acked) == line.topics)


async def record(
    server: GatewayServer, archive: Path, scenario: Scenario, feeds: tuple[str, ...] = FEEDS, **more: Any
) -> None:
    """Record a gateway while a scenario runs."""
    chosen = {
        "venue": "futu",
        "archive": str(archive),
        "symbols": list(SYMBOLS),
        "feeds": list(feeds),
        "seal": False,
        "ws_url": server.ws_url,
        "rest_url": server.rest_url,
        "backoff_base_ms": 20,
        "backoff_cap_ms": 100,
        "push_health_s": 0.2,
        **more,
    }
    recorder = GatewayRecorder(load_config(None, chosen), environment={}, rng=random.Random(3))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        try:
            await until(lambda: recorder.lines)
            await scenario(server, recorder)
        finally:
            recorder.stop("the test is over")


def record_gateway(archive: Path, scenario: Scenario, **more: Any) -> None:
    """Record a synthetic gateway while a scenario runs."""

    async def main() -> None:
        async with GatewayServer(GatewayConfig(symbols=SYMBOLS, seed=3, **_GATEWAY)) as server:
            await record(server, archive, scenario, **more)

    asyncio.run(main())


def again(source: Path, to: Path, **more: Any) -> None:
    """Record the replay of an archive to its end."""

    async def main() -> None:
        recording = Recording(archive=source, wait_s=0.3, **more)
        async with GatewayServer(GatewayConfig(recording=recording)) as server:
            await record(server, to, lambda server, _: server.ended())

    asyncio.run(main())


def rows(path: Path, skip: tuple[str, ...] = ()) -> dict[str, Counter[str]]:
    """The rows of pushes, without what is the recorder's own."""
    found = {}
    with Archive(path) as archive:
        for table, where in _WHERE.items():
            names = [
                f'"{name}"'
                for name in archive.sql(f"FROM {table} LIMIT 0").columns
                if name not in {*_OWN, *skip}
            ]
            query = f"SELECT {', '.join(names)} FROM {table} WHERE {where}"
            found[table] = Counter(map(str, archive.sql(query).fetchall()))
    return found


def assert_equal(before: Path, after: Path) -> dict[str, int]:
    """The same rows are in both archives; how many."""
    one, other = rows(before), rows(after)
    for table in _WHERE:
        lost, new = one[table] - other[table], other[table] - one[table]
        assert not lost and not new, (table, lost.total(), new.total(), [*lost, *new][:5])
    return {table: count.total() for table, count in one.items()}


def pushes(path: Path) -> list[tuple[str, Any]]:
    """Topic and message of every push, in order; the frame itself where it cannot be read."""
    query = (
        "SELECT topic, payload FROM frames WHERE conn = 'push-0' AND direction = 'in' "
        "AND kind IN ('data', 'undecodable') ORDER BY pos"
    )
    found: list[tuple[str, Any]] = []
    with Archive(path) as archive:
        for topic, text in archive.sql(query).fetchall():
            try:
                found.append((topic, read_message(text.encode())[1]))
            except PushError:
                found.append((topic, text))
    return found
