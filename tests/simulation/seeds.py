"""Seeds run and judged: what a seed's scenario is, and everything that is asked of what it left."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec

from bookreel.exchange.audit import Audit, audit
from bookreel.exchange.faults import FAULT_KINDS
from bookreel.replay import Archive
from bookreel.storage.verify import verify
from tests.simulation.findings import Findings, find
from tests.simulation.loop import START_NS, VirtualClock, run
from tests.simulation.world import WORLD_FAULTS, Scenario, World

__all__ = ["Result", "run_seed", "short", "watch"]

_SYMBOLS: Final = ("btcusdt", "ethusdt", "xrpusdt", "zeneth", "aidogeusdt", "nesteth")
_FEEDS: Final = ("trade.detail", "bbo", "depth.step0", "kline.1min", "detail", "ticker", "mbp.refresh.20")

_PRESSED_EVERY: Final = 16
"""One short seed of so many has a disk so slow, and so little memory, that frames are shed."""

_GARBAGE: Final = 50_000
"""Objects between two looks for cycles: most of what is made here goes by its count of references."""

_POSITIONS: Final = "SELECT pos FROM frames UNION ALL SELECT pos FROM sessions"


class Result(msgspec.Struct):
    """What one seed gave."""

    seed: int
    simulated_s: float
    real_s: float = 0.0
    frames: int = 0
    faults: dict[str, int] = {}
    crashes: int = 0
    books_live: int = 0
    books_live_wrong: int = 0
    balances: int = 0
    records_compared: int = 0
    records_lost: int = 0
    shed: int = 0
    audit: Audit = msgspec.field(default_factory=Audit)
    findings: Findings = msgspec.field(default_factory=Findings)
    problems: list[str] = []


def short(seed: int) -> Scenario:
    """A minute or so with every kind of fault, much more often than in life."""
    rng = random.Random(f"scenario:{seed}")
    symbols = tuple(rng.sample(_SYMBOLS, rng.randint(1, 3)))
    feeds = ("mbp.150", *sorted(rng.sample(_FEEDS, rng.randint(1, 3)), key=_FEEDS.index))
    if "trade.detail" not in feeds:
        feeds = (*feeds, "trade.detail")
    dense = rng.uniform(0.3, 1.5)
    settings: dict[str, Any] = {
        "segment_seconds": rng.choice((3, 10, 30)),
        "spool_bytes": rng.choice((1 << 20, 1 << 20, 64 << 20)),
        "audit_interval_s": rng.choice((10, 300)),
    }
    made = Scenario(
        seconds=rng.uniform(60.0, 80.0),
        symbols=symbols,
        feeds=feeds,
        rate=rng.choice((2.0, 10.0, 20.0)),
        pace_s=rng.choice((0.01, 0.02)),
        exchange_faults={kind: rate * dense for kind, rate in FAULT_KINDS.items()},
        world_faults={kind: rate * dense for kind, rate in WORLD_FAULTS.items()},
        write_s=rng.choice((0.005, 0.02)),
        sync_s=rng.uniform(0.05, 0.15),
        seal_s=rng.uniform(3.0, 20.0),
        truth_book_s=0.5,
        as_of=50,
        settings=settings,
    )
    return _pressed(made) if seed % _PRESSED_EVERY == _PRESSED_EVERY - 1 else made


def _pressed(scenario: Scenario) -> Scenario:
    """More comes than memory holds until the disk answers again."""
    return msgspec.structs.replace(
        scenario,
        symbols=_SYMBOLS[:4],
        feeds=("mbp.150", "trade.detail", "bbo", "depth.step0"),
        rate=30.0,
        slow_s=(15.0, 40.0),
        world_faults=dict.fromkeys(scenario.world_faults, 0.2) | {"disk_slow": 3.0},
        settings=scenario.settings | {"spool_bytes": 1 << 20},
    )


def watch(hours: float, number: int) -> Scenario:
    """A part of a day, the ``number``-th: four symbols at ten deltas a second, with more faults than a bad month has.
    Where it crosses midnight (UTC) the recorder's clock is set back a little later, so that midnight comes twice.
    """
    begins_s = number * hours * 3600.0
    began = datetime.fromtimestamp(START_NS // 10**9, UTC) + timedelta(seconds=begins_s)
    midnight = datetime(began.year, began.month, began.day, tzinfo=UTC) + timedelta(days=1)
    until_s = (midnight - began).total_seconds()
    return Scenario(
        begins_s=begins_s,
        clock_steps=((until_s + 1.0, -3.0),) if until_s < hours * 3600.0 else (),
        seconds=hours * 3600.0,
        symbols=("btcusdt", "ethusdt", "xrpusdt", "ltcusdt"),
        feeds=("mbp.150", "trade.detail"),
        rate=24.0,
        pace_s=0.05,
        exchange_faults=dict.fromkeys(FAULT_KINDS, 0.1),
        # An hour that the clock shows twice cannot be asked for by instant: few of them.
        world_faults={kind: rate * 0.08 for kind, rate in WORLD_FAULTS.items()} | {"clock_step": 0.004},
        write_s=0.1,
        sync_s=0.1,
        check_s=5.0,
        seal_s=310.0,
        truth_book_s=120.0,
        keep_sealed=False,
    )


def run_seed(seed: int, scenario: Scenario, folder: Path | None = None) -> Result:
    """Run one seed and judge it. With ``folder`` its truth and archive are left there."""
    begun = time.perf_counter()
    work = Path(tempfile.mkdtemp(prefix="bookreel-sim-")) if folder is None else folder
    result = Result(seed=seed, simulated_s=scenario.seconds)
    try:
        work.mkdir(parents=True, exist_ok=True)
        worlds: list[World] = []

        async def main(clock: VirtualClock) -> None:
            worlds.append(World(scenario, seed, work, clock))
            await worlds[0].run()

        # The locks say whose they are, and that takes room on the disk: the same in every process.
        with mock.patch("os.getpid", return_value=1), _undisturbed():
            run(main, start_ns=START_NS + int(scenario.begins_s * 1e9))
            _judge(worlds[0], result)
    finally:
        if folder is None:
            shutil.rmtree(work, ignore_errors=True)
    result.real_s = time.perf_counter() - begun
    return result


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Little time for garbage, which took a quarter of the whole, and none for warnings: the faults are the point."""
    collected, silenced = gc.get_threshold(), logging.root.manager.disable
    gc.set_threshold(_GARBAGE, *collected[1:])
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        gc.set_threshold(*collected)
        logging.disable(silenced)


def _judge(world: World, result: Result) -> None:
    figures, witness = world.figures, world.witness
    result.frames = figures.frames
    result.crashes = figures.crashes
    result.books_live = figures.books_live
    result.books_live_wrong = figures.books_wrong
    result.balances = figures.balances
    result.records_compared = witness.checked
    result.shed = witness.shed
    result.faults = dict(world.engine.truth.inflicted)
    result.problems += world.problems
    truth = world.folder / "truth.ndjson"
    result.audit = audit(world.archive, truth, samples=world.scenario.as_of)
    result.problems += [f"audit: {problem}" for problem in result.audit.problems]
    result.problems += [f"verify: {problem.text}" for problem in verify(world.archive).problems]
    with Archive(world.archive) as archive:
        _positions(archive, world, result)
        result.findings = find(truth, witness.events, archive, START_NS + int(world.scenario.begins_s * 1e9))


def _positions(archive: Archive, world: World, result: Result) -> None:
    """Each acknowledged position is in the archive, and none twice."""
    positions = Counter(pos for (pos,) in archive.sql(_POSITIONS).fetchall())
    twice = [pos for pos, count in positions.items() if count > 1]
    if twice:
        result.problems.append(f"{len(twice)} positions are stored more than once, such as {twice[0]}")
    for first, last in world.witness.acknowledged:
        lost = sum(pos not in positions for pos in range(first, last + 1))
        if lost:
            result.records_lost += lost
            result.problems.append(f"{lost} of the acknowledged records {first} to {last} are not there")
