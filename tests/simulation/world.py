"""One seed: the exchange, the recorder, its disk and its sealer in one thread on virtual time, and what befalls them.

The recorder is the production one; it dies and is started again on what its disk kept. What the world does to it is
told in the exchange's truth file, so that the audit can ask of each hole why it is there.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.engine import Engine
from bookreel.exchange.faults import FaultSchedule
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig, load_config
from bookreel.ingest.errors import IngestError
from bookreel.storage.errors import StorageError
from bookreel.storage.journal import Journal
from bookreel.storage.manifest import Manifest
from bookreel.storage.seal import seal
from tests.simulation.disk import Crash, SimDisk
from tests.simulation.loop import VirtualClock
from tests.simulation.network import Link, SimNetwork
from tests.simulation.witness import Witness

__all__ = ["WORLD_FAULTS", "Scenario", "World"]

ARCHIVE: Final = Path("/archive")
_TURN_S: Final = 0.1
_S: Final = 1_000_000_000
_HOUR_NS: Final = 3600 * _S
_ANSWER_NS: Final = 4 * _S
"""Until a question has had its turn, even where the venue complained of too many."""

WORLD_FAULTS: Final[dict[str, float]] = {
    "net_reset": 1.0,
    "net_half_open": 0.5,
    "net_slow": 1.0,
    "net_refused": 0.5,
    "net_dns": 0.5,
    "net_unavailable": 0.5,
    "net_too_many": 0.5,
    "disk_slow": 2.0,
    "disk_full": 0.5,
    "disk_sync_error": 1.0,
    "disk_write_error": 1.0,
    "crash": 1.0,
    "crash_in_operation": 1.0,
    "power_loss": 1.0,
    "power_loss_in_operation": 1.0,
    "sealer_crash": 0.5,
    "stop": 0.5,
    "clock_step": 0.5,
}
"""What the world does to the recorder, with a number per minute that makes a short seed dense."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated. Rates are expected numbers per minute."""

    seconds: float = 60.0
    symbols: tuple[str, ...] = ("btcusdt", "zeneth")
    feeds: tuple[str, ...] = ("mbp.150", "trade.detail", "bbo", "depth.step0", "kline.1min", "detail")
    rate: float = 20.0
    """Market events per second and symbol."""
    pace_s: float = 0.01
    exchange_faults: dict[str, float] = {}
    world_faults: dict[str, float] = {}
    write_s: float = 0.005
    """Between two writes of the journal."""
    sync_s: float = 0.1
    check_s: float = 1.0
    """Between two looks at the live books."""
    seal_s: float = 10.0
    """Between two runs of the sealer."""
    truth_book_s: float = 1.0
    settings: dict[str, Any] = {}
    """Of the recorder, over those that the world chooses."""
    begins_s: float = 0.0
    """By how much later than usual the wall clock begins: another time of day."""
    clock_steps: tuple[tuple[float, float], ...] = ()
    """When, in seconds from the beginning, the recorder's wall clock is set, and by how much."""
    slow_s: tuple[float, float] = (0.2, 5.0)
    """For how long a slow disk does not answer: at least, at most."""
    as_of: int = 200
    """Books to be asked for by instant in the end."""
    keep_sealed: bool = True
    """Leave sealed files on the simulated disk; else they go to the real folder at once."""


class Figures(msgspec.Struct):
    """What happened, and what was looked at."""

    faults: Counter[str] = msgspec.field(default_factory=Counter)
    lives: int = 0
    crashes: int = 0
    frames: int = 0
    books_live: int = 0
    books_wrong: int = 0
    books_not_valid: int = 0
    balances: int = 0
    resync_s: list[float] = []
    late_s: float = 0.0


class World:
    """Runs in ``folder``, a real one, where the truth and in the end the archive are. ``problems`` are sentences."""

    def __init__(self, scenario: Scenario, seed: int, folder: Path, clock: VirtualClock) -> None:
        self.scenario = scenario
        self.folder = folder
        self.figures = Figures()
        self.problems: list[str] = []
        self.witness = Witness()
        self.rng = random.Random(f"world:{seed}")
        rates = ",".join(f"{kind}={rate}" for kind, rate in scenario.exchange_faults.items())
        config = ExchangeConfig(
            symbols=scenario.symbols,
            rate=scenario.rate,
            seed=seed,
            faults=rates,
            truth=folder / "truth.ndjson",
            pace_s=scenario.pace_s,
            truth_book_s=scenario.truth_book_s,
            silence_s=(15.0, 40.0),
            half_open_s=20.0,
        )
        self.engine = Engine(config, clock)
        # The recorder's machine has a clock of its own, on the same time.
        self.clock = copy.copy(clock)
        self.disk = SimDisk()
        self.disk.rng.seed(self.rng.getrandbits(64))
        self.life: Life | None = None
        self._schedule = FaultSchedule(scenario.world_faults, seed, self.engine.now_ns())
        self._end_ns = self.engine.now_ns() + int(scenario.seconds * _S)
        self._down = asyncio.Event()
        self._full_until = 0
        self._healed = False
        self.exported = folder / "disk"

    @property
    def archive(self) -> Path:
        """The archive in the real folder, once :meth:`run` has returned."""
        return self.exported / ARCHIVE.relative_to("/")

    async def run(self) -> None:
        """Until the scenario's end, and then until everything is sealed and exported."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._failed)
        self.engine.start()
        loop.call_later(_TURN_S, self._turn)
        loop.call_later(self.scenario.seal_s, self._seal_now)
        for at_s, step_s in self.scenario.clock_steps:
            loop.call_later(at_s, self._step_clock, int(step_s * _S))
        while self.engine.now_ns() < self._end_ns:
            self.life = life = Life(self)
            self.figures.lives += 1
            await life.lived()
            self.life = None
            self.figures.frames += sum(session.stats.frames for session in life.collector.sessions)
            self.figures.resync_s += life.resync_s
            self.witness.died()
            self._mount(life.remains())
            self.witness.compare(ARCHIVE, self.disk)
            if self.engine.now_ns() < self._end_ns:
                await asyncio.sleep(self.rng.uniform(0.05, 3.0))
        self.engine.stop()
        await asyncio.sleep(1.0)
        self.engine.close()
        self.disk.before = None
        self.disk.capacity = None
        self._seal()
        self.disk.export(self.exported)
        self.problems += self.witness.problems

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.problems.append(f"{context.get('message')}: {error!r}")

    def tell(self, kind: str, link: Link | None = None, **facts: Any) -> None:
        """Write a fault of the world into the truth."""
        conn, path = (0, "") if link is None else (link.client.number, link.path)
        self.figures.faults[kind] += 1
        self.engine.truth.fault(kind, conn, path, **facts)

    def _mount(self, disk: SimDisk) -> None:
        self.disk = disk
        if self._full_until:
            disk.capacity = disk.used

    # Faults

    def _turn(self) -> None:
        now_ns = self.engine.now_ns()
        if now_ns >= self._end_ns:
            return
        asyncio.get_running_loop().call_later(_TURN_S, self._turn)
        if self._full_until and now_ns >= self._full_until:
            self._full_until = 0
            self.disk.capacity = None
        if self.life is not None:
            for shed in self.witness.new_shed:
                symbol, feed = shed.topic.split(".", 2)[1:]
                self.tell("shed", symbol=symbol, feed=feed, topic=shed.topic)
            self.witness.new_shed.clear()
        for kind in self._schedule.due(now_ns):
            life = self.life
            if life is not None and not life.ending:
                _FAULTS[kind](self, life, now_ns)

    def _net_reset(self, life: Life, now_ns: int) -> None:
        if links := life.network.links:
            link = self.rng.choice(links)
            self.tell("net_reset", link)
            link.reset()

    def _net_half_open(self, life: Life, now_ns: int) -> None:
        links = [link for link in life.network.links if not link.client.frozen]
        if links:
            link = self.rng.choice(links)
            self.tell("net_half_open", link)
            link.darken()

    def _net_slow(self, life: Life, now_ns: int) -> None:
        if links := life.network.links:
            link = self.rng.choice(links)
            extra_s, seconds = self.rng.uniform(0.1, 4.0), self.rng.uniform(0.5, 10.0)
            self.tell("net_slow", link, until=now_ns + int((seconds + extra_s) * _S))
            link.slow(extra_s, seconds)

    def _outage(self, kind: str, life: Life) -> None:
        self.tell(f"net_{kind}")
        life.network.fail(kind, self.rng.uniform(0.5, 10.0))  # type: ignore[arg-type]
        for link in tuple(life.network.links):
            if self.rng.random() < 0.5:
                self.tell("net_reset", link)
                link.reset()

    def _disk_slow(self, life: Life, now_ns: int) -> None:
        seconds = self.rng.uniform(*self.scenario.slow_s)
        self.tell("disk_slow", until=now_ns + int(seconds * _S))
        life.stall(seconds)

    def _disk_full(self, life: Life, now_ns: int) -> None:
        seconds = self.rng.choice((self.rng.uniform(0.5, 5.0), self.rng.uniform(5.0, 30.0)))
        self._full_until = now_ns + int(seconds * _S)
        self.disk.capacity = self.disk.used + self.rng.randrange(20_000)
        self.tell("disk_full", until=self._full_until)

    def _disk_error(self, life: Life, operation: str) -> None:
        life.fail_next(operation)
        self.tell("disk_sync_error" if operation == "datasync" else "disk_write_error")

    def _crash(self, life: Life, *, power: bool, within: int = 0) -> None:
        if within:
            life.die_in(self.rng.randrange(1, within), power=power)
        else:
            life.die(power=power)

    def _sealer_crash(self, life: Life, now_ns: int) -> None:
        life.sealer_dies_in = self.rng.randrange(1, 60)
        self.tell("sealer_crash")

    def _stop(self, life: Life, now_ns: int) -> None:
        self.tell("stop")
        life.ending = True
        life.collector.stop("as the world wishes")

    def _clock_step(self, life: Life, now_ns: int) -> None:
        self._step_clock(
            self.rng.choice((-1, 1)) * self.rng.choice((_HOUR_NS, self.rng.randrange(_S // 10, 90 * _S)))
        )

    def _step_clock(self, step_ns: int) -> None:
        self.clock.step(step_ns)
        self.tell("clock_step", seq=step_ns)
        self.tell_clock()

    def tell_clock(self) -> None:
        """Say by how much the recorder's clock is ahead from its next record on."""
        journal = None if self.life is None else self.life.collector.journal
        if journal is not None:
            ahead_ns = self.clock.wall_ns() - self.engine.now_ns()
            self.engine.truth.note("clock", seq=ahead_ns, prev_seq=journal.next_pos)

    # Looking

    def check_books(self, life: Life) -> None:
        """Each live book that says it is right is the true one."""
        figures = self.figures
        for book in life.collector.books:
            sync = book.sync
            if not sync.valid:
                figures.books_not_valid += 1
                continue
            images = self.engine.hub.images(book.topic.text)
            image = next((image for image in reversed(images) if image.seq == sync.last_seq), None)
            if image is None:
                figures.books_not_valid += 1
                continue
            figures.books_live += 1
            true = msgspec.json.decode(image.json(), type=_Sides)
            if dict(true.bids) != sync.book.bids or dict(true.asks) != sync.book.asks:
                figures.books_wrong += 1
                self.problems.append(f"the live book of {book.topic.text} at {image.seq} is not the true one")

    def check_questions(self, life: Life) -> None:
        """Whether a stream is alive is not asked for ever: somebody answers, or is known not to."""
        for session in life.collector.sessions:
            health = session.health
            for topic in [] if health is None else health.questioned():
                waited_ns = self.clock.mono_ns() - health.streams[topic].asked_at
                if waited_ns > _ANSWER_NS + health.answer_ns:
                    self.problems.append(
                        f"whether {topic} lives was asked {waited_ns / 1e9:.1f} s ago, and nobody knows"
                    )

    # Sealing

    def _seal_now(self) -> None:
        if self.engine.now_ns() < self._end_ns:
            asyncio.get_running_loop().call_later(self.scenario.seal_s, self._seal_now)
            life = self.life
            if life is not None and not life.dead and life.collector.phase == "recording":
                life.seal()

    def _seal(self) -> None:
        """What is closed; raises what the disk does, and what is being tested."""
        seal(ARCHIVE, disk=self.disk)
        manifest = Manifest.load(ARCHIVE, self.disk)
        self.witness.sealed(manifest.last_pos)
        if not self.scenario.keep_sealed:
            self._carry_out(manifest)

    def _carry_out(self, manifest: Manifest) -> None:
        """Sealed files are never looked at again while recording: keep memory for what is."""
        for entry in manifest.segments:
            for file in entry.files:
                path = ARCHIVE / file.path
                if path.name in self.disk.names(path.parent):
                    real = self.exported / path.relative_to("/")
                    real.parent.mkdir(parents=True, exist_ok=True)
                    held = self.disk.open(path)
                    real.write_bytes(held.read(0, held.size()))
                    held.close()
                    self.disk.unlink(path)


class _Sides(msgspec.Struct):
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


_FAULTS: Final[dict[str, Callable[[World, Life, int], None]]] = {}


class Life:
    """One process of the recorder, from its start to its end, on a disk and a network of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.disk = world.disk
        self.dead = False
        self.ending = False
        """It was told to stop."""
        self.sealer_dies_in = 0
        self.resync_s: list[float] = []
        scenario, rng = world.scenario, world.rng
        self.network = SimNetwork(world.engine, random.Random(rng.getrandbits(64)))
        self.collector = _Recorder(
            _config(scenario),
            clock=world.clock,
            network=self.network,
            rng=random.Random(rng.getrandbits(64)),
            disk=self.disk,
            offload=_inline,
            threads=False,
        )
        self.collector.opened = self._opened
        self._power = False
        self._countdown = 0
        self._error: str | None = None
        self._sealing = False
        self._stalled_until = 0.0
        self.disk.before = self._before
        self._loop = asyncio.get_running_loop()
        self._running = self._loop.create_task(self.collector.run())
        self._timers = {
            name: self._loop.call_later(every_s, self._every, name, every_s, call)
            for name, every_s, call in (
                ("write", scenario.write_s, self._write),
                ("sync", scenario.sync_s, self._sync),
                ("check", scenario.check_s, self._check),
            )
        }
        left_s = (world._end_ns - world.engine.now_ns()) / 1e9
        self._timers["end"] = self._loop.call_later(max(0.0, left_s), self._finish)

    async def lived(self) -> None:
        """Returns when it is over."""
        try:
            await self._running
        except (Crash, asyncio.CancelledError):
            if not self.dead:
                self._fell()
        except (StorageError, IngestError, OSError) as error:
            if not self._excused(error):
                self.world.problems.append(f"the recorder ended: {error!r}")
        except BaseExceptionGroup as group:
            if group.split(Crash)[1] is not None:
                self.world.problems.append(f"the recorder ended: {group!r}")
            if not self.dead:
                self._fell()
        for timer in self._timers.values():
            timer.cancel()
        self.network.die(silent=self._power)

    def _excused(self, error: Exception) -> bool:
        """Whether a recorder may end like that: the venue or the disk left it no choice."""
        world = self.world
        return bool(world._full_until) or isinstance(error, IngestError) or self._error is None

    def remains(self) -> SimDisk:
        """What the next life finds."""
        return self.disk.power_loss(self.world.rng) if self._power else self.disk.killed()

    # Ends

    def die(self, *, power: bool) -> None:
        """At once, between two steps."""
        self._power = power
        self._fell()
        self._running.cancel()

    def die_in(self, operations: int, *, power: bool) -> None:
        """Within the disk's next operations."""
        self._power = power
        self._countdown = operations

    def _fell(self) -> None:
        self.dead = True
        self.world.figures.crashes += 1
        self.world.tell("power_loss" if self._power else "crash")
        self.network.die(silent=self._power)
        self._running.cancel()

    def _finish(self) -> None:
        self.ending = True
        self._countdown = 0
        self._stalled_until = 0.0
        self.disk.capacity = None
        self.world._full_until = 0
        self.world.tell("stop")
        self.collector.stop("the end")

    def _opened(self, journal: Journal) -> None:
        self.collector.journal = journal
        self.world.witness.attach(journal)
        self.world.tell_clock()

    # The disk

    def _before(self, operation: str, path: Path) -> None:
        if self.dead:
            raise Crash
        if self._sealing:
            if self.sealer_dies_in:
                self.sealer_dies_in -= 1
                if not self.sealer_dies_in:
                    raise Crash
        elif self._error is not None and operation == self._error:
            self._error = None
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        if self._countdown:
            self._countdown -= 1
            if not self._countdown:
                self._fell()
                raise Crash

    def fail_next(self, operation: str) -> None:
        """The next such operation of the recorder fails."""
        self._error = operation

    def stall(self, seconds: float) -> None:
        """The disk does not answer for so long."""
        self._stalled_until = self._loop.time() + seconds

    # Steps

    def _every(self, name: str, every_s: float, call: Callable[[], None]) -> None:
        if self.dead:
            return
        self._timers[name] = self._loop.call_later(every_s, self._every, name, every_s, call)
        try:
            call()
        except Crash:
            assert self.dead, "only the world makes it crash"

    def _journal(self) -> Journal | None:
        journal = self.collector.journal
        return None if journal is None or self._loop.time() < self._stalled_until else journal

    def _write(self) -> None:
        if (journal := self._journal()) is not None and not self._running.done():
            journal.pump_write()

    def _sync(self) -> None:
        if (journal := self._journal()) is not None and not self._running.done():
            journal.pump_sync()
            self.world.witness.look()
            self.world.figures.balances += 1

    def _check(self) -> None:
        self.world.check_books(self)
        self.world.check_questions(self)

    def seal(self) -> None:
        """One run of the sealer."""
        self._sealing = True
        try:
            self.world._seal()
        except Crash:
            pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            self._sealing = False


class _Recorder(Collector):
    """The production one; ``opened`` is called with its journal."""

    opened: Callable[[Journal], None]

    def _open_journal(self) -> Journal:
        journal = super()._open_journal()
        self.opened(journal)
        return journal


async def _inline(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _config(scenario: Scenario) -> RecordConfig:
    settings: dict[str, Any] = {
        "symbols": list(scenario.symbols),
        "feeds": list(scenario.feeds),
        "archive": str(ARCHIVE),
        "ws_url": "wss://exchange/ws",
        "feed_url": "wss://exchange/feed",
        "rest_url": "https://exchange",
        "seal": False,
    }
    return load_config(None, settings | scenario.settings)


_FAULTS.update(
    {
        "net_reset": World._net_reset,
        "net_half_open": World._net_half_open,
        "net_slow": World._net_slow,
        "net_refused": lambda world, life, _: world._outage("refused", life),
        "net_dns": lambda world, life, _: world._outage("dns", life),
        "net_unavailable": lambda world, life, _: world._outage("unavailable", life),
        "net_too_many": lambda world, life, _: world._outage("too_many", life),
        "disk_slow": World._disk_slow,
        "disk_full": World._disk_full,
        "disk_sync_error": lambda world, life, _: world._disk_error(life, "datasync"),
        "disk_write_error": lambda world, life, _: world._disk_error(life, "writev"),
        "crash": lambda world, life, _: world._crash(life, power=False),
        "crash_in_operation": lambda world, life, _: world._crash(life, power=False, within=60),
        "power_loss": lambda world, life, _: world._crash(life, power=True),
        "power_loss_in_operation": lambda world, life, _: world._crash(life, power=True, within=60),
        "sealer_crash": World._sealer_crash,
        "stop": World._stop,
        "clock_step": World._clock_step,
    }
)
