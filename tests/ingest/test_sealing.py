from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bookreel.exchange import Exchange
from bookreel.ingest.clock import SystemClock
from bookreel.ingest.collector import Collector
from bookreel.ingest.sealing import Sealer
from bookreel.storage.journal import Journal
from bookreel.storage.manifest import Manifest
from bookreel.storage.record import Direction, Kind, encode_event


def archive_with_a_segment(path: Path) -> None:
    with Journal.open(path, "huobi", clock=SystemClock()) as journal:
        journal.append(1, 1, "", 0, Direction.INTERNAL, Kind.EVENT, encode_event("start"))


def test_what_is_left_is_sealed_in_the_end(tmp_path: Path) -> None:
    archive_with_a_segment(tmp_path)
    sealer = Sealer(tmp_path, SystemClock(), random.Random(1))
    assert asyncio.run(sealer.finish())
    assert len(Manifest.load(tmp_path).segments) == 1


def test_a_sealer_that_cannot_is_told(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path / "absent", SystemClock(), random.Random(1))
    assert not asyncio.run(sealer.finish())


def test_it_is_started_again_when_it_dies(
    run_recorder: Callable[..., Collector], until: Callable[..., Any]
) -> None:
    killed = []

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        def child() -> int | None:
            process = collector.sealer._process if collector.sealer is not None else None
            return process.pid if process is not None and process.returncode is None else None

        await until(lambda: child() is not None)
        pid = child()
        assert pid is not None
        assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
        await until(lambda: collector.sealer is not None and collector.sealer.restarts == 1)
        await until(lambda: child() not in (None, pid))
        await until(lambda: collector.books.live == 1)

    collector = run_recorder(scenario, seal=True, segment_seconds=1, symbols=["btcusdt"])
    assert killed
    manifest = Manifest.load(collector.archive)
    assert collector.journal is not None
    assert manifest.last_pos == collector.journal.durable_pos


class HurriedClock(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 100)


def test_it_yields_to_a_recorder_whose_disk_does_not_keep_up(
    tmp_path: Path, until: Callable[..., Any]
) -> None:
    async def scenario() -> None:
        pressed = False
        sealer = Sealer(tmp_path, HurriedClock(), random.Random(1), pressed=lambda: pressed)
        journal = Journal.open(tmp_path, "huobi", clock=SystemClock())
        running = asyncio.create_task(sealer.run())
        journal.append(1, 1, "", 0, Direction.INTERNAL, Kind.EVENT, encode_event("start"))

        await until(lambda: sealer._process is not None)
        pressed = True
        await until(lambda: sealer._process is None)
        assert (sealer.yields, sealer.restarts) == (1, 0)
        pressed = False
        await until(lambda: sealer._process is not None)
        journal.close()
        assert await sealer.finish()
        await running

    asyncio.run(scenario())
    assert len(Manifest.load(tmp_path).segments) == 1
