"""The same depth.step0 frames over the same kind of socket: to the recorder, and to cryptofeed's FeedHandler.

Each has the core that :mod:`bench_recorder` gives the recorder, and is charged the processor time of its process.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop
import venue
from bench_recorder import start_venue, urls_of
from conftest import PEERS_PYTHON, QUICK
from frames import SYMBOL, Frames

from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig

SYMBOLS: Final = 10
TIMES: Final = 5 if QUICK else 10
"""A whole book follows from no other, so that a capture can be sent more than once."""
_FRAMES_S: Final = 60.0


@pytest.fixture
def made(frames: Frames, tmp_path: Path) -> tuple[Path, int]:
    """The folder that the venue is given, and how many frames are in it."""
    folder = tmp_path / "frames"
    folder.mkdir()
    texts = [
        re.sub(rb"market\.[a-z0-9]+\.", b"market.%b." % SYMBOL.encode(), frame.text) for frame in frames.depth
    ]
    venue.prepare(folder, texts * TIMES, None, SYMBOL, venue.symbol_names(SYMBOLS))
    return folder, len(texts) * TIMES * SYMBOLS


def tell(benchmark: Any, step: Callable[[], tuple[int, float, float]]) -> None:
    """Measure one run of ``step``: frames, seconds, and processor time in s."""
    found: list[tuple[int, float, float]] = []
    benchmark.pedantic(lambda: found.append(step()), rounds=1)
    frames, seconds, cpu_s = found[-1]
    benchmark.extra_info.update(
        units={"frame": frames},
        figures={"frames per s": frames / seconds, "CPU us per frame": cpu_s / frames * 1e6},
    )


def test_recorder(benchmark: Any, made: tuple[Path, int], tmp_path: Path, one_core: None) -> None:
    folder, frames = made

    async def record(urls: dict[str, str]) -> tuple[int, float, float]:
        config = RecordConfig(
            symbols="all",
            feeds=("depth.step0",),
            archive=os.fspath(tmp_path / "archive"),
            ws_url=urls["ws"],
            feed_url=urls["feed"],
            rest_url=urls["rest"],
            seal=False,
        )
        collector = Collector(config)
        recording = asyncio.create_task(collector.run())
        began: list[tuple[int, int, int]] = []
        pushed, until = 0, time.monotonic() + _FRAMES_S
        while pushed < frames and not recording.done() and time.monotonic() < until:
            await asyncio.sleep(0.001)
            # Of the others there is one answer a symbol.
            pushed = sum(line.stats.frames - len(line.stats.acked) for line in collector.lines)
            if pushed > 0:
                began.append((pushed, time.monotonic_ns(), time.process_time_ns()))
        collector.stop("measured")
        await recording
        assert collector.journal is not None and collector.journal.shed == 0, "nothing was given up"
        assert pushed >= frames, "every frame was recorded"
        first, last = began[0], began[-1]
        return last[0] - first[0], (last[1] - first[1]) / 1e9, (last[2] - first[2]) / 1e9

    def step() -> tuple[int, float, float]:
        sender = start_venue(folder, 0.0)
        with sender, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            try:
                return runner.run(record(urls_of(sender)))
            finally:
                sender.terminate()

    tell(benchmark, step)


def test_cryptofeed(benchmark: Any, made: tuple[Path, int], one_core: None) -> None:
    if not PEERS_PYTHON.exists():
        pytest.skip("the environment of the peers is not here")
    folder, frames = made
    script = Path(__file__).with_name("feedhandler.py")

    def step() -> tuple[int, float, float]:
        with start_venue(folder, 0.0) as sender:
            args = [PEERS_PYTHON, script, urls_of(sender)["ws"], str(frames), *venue.symbol_names(SYMBOLS)]
            try:
                ran = subprocess.run(args, capture_output=True, text=True, timeout=_FRAMES_S, check=False)
            finally:
                sender.terminate()
        if "No module named" in ran.stderr:
            pytest.skip(f"not installed: {ran.stderr.splitlines()[-1]}")
        told = json.loads(ran.stdout.splitlines()[-1])
        return told["frames"], told["seconds"], told["cpu_s"]

    tell(benchmark, step)
