"""The recorder: reference data, journal, lines, sealer, in the order that loses nothing, and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from importlib import metadata
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final, TypeVar

import msgspec

from bookreel import venues
from bookreel.ingest.books import LiveBooks
from bookreel.ingest.clock import Clock, SystemClock
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import ReferenceUnavailable
from bookreel.ingest.frames import FrameReader
from bookreel.ingest.metrics import MetricsServer
from bookreel.ingest.network import AioNetwork, Network
from bookreel.ingest.plan import Line, plan
from bookreel.ingest.pulse import Pulse
from bookreel.ingest.reconnect import TokenBucket
from bookreel.ingest.reference import Reference, choose_topics, load_reference
from bookreel.ingest.sealing import Sealer
from bookreel.ingest.session import Session
from bookreel.ingest.status import Phase
from bookreel.ingest.tape import Tape
from bookreel.ingest.witness import Witnesses
from bookreel.storage.disk import Disk
from bookreel.storage.errors import StorageError
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Topic

__all__ = ["Collector"]

_T = TypeVar("_T")

_CONNECT_BURST: Final = 8
_REFRESH_PATIENCE_S: Final = 300.0

_log = logging.getLogger(__name__)


class _Stopped(Exception):
    """Ends the group of tasks in order."""


class Collector:
    """Records until :meth:`stop` is called, or ``for_seconds`` are over.

    Everything from outside can be given: ``clock``, ``network``, ``rng``, ``disk``; ``offload`` runs a
    blocking call beside the event loop. With ``threads=False`` the caller drives the journal's pumps.
    """

    def __init__(
        self,
        config: RecordConfig,
        *,
        clock: Clock | None = None,
        network: Network | None = None,
        rng: Random | None = None,
        disk: Disk | None = None,
        offload: Callable[..., Awaitable[Any]] = asyncio.to_thread,
        threads: bool = True,
    ) -> None:
        self.config = config
        self.archive = Path(config.archive)
        self.venue = venues.dialect(config.venue)
        self.clock: Clock = SystemClock() if clock is None else clock
        self._network = network
        self._rng = SystemRandom() if rng is None else rng
        self._disk = disk
        self._offload = offload
        self._threads = threads
        self.books = LiveBooks(Witnesses(FrameReader(self.venue).events))
        self.sessions: list[Session] = []
        self.pulse = Pulse(self.clock)
        self.journal: Journal | None = None
        self.sealer: Sealer | None = None
        self.started_wall = 0
        """Wall clock, ns, when recording began; 0: not yet."""
        self.stop_reason = ""
        self.phase: Phase = "starting"
        self._stop = asyncio.Event()
        self._bucket = TokenBucket(rate=config.connects_per_second, burst=_CONNECT_BURST)
        self._known: set[str] = set()

    def stop(self, reason: str) -> None:
        """End in order: no more reading, everything received made durable, then sealed. May be called at any
        time.
        """
        if not self._stop.is_set():
            self.stop_reason = reason
            self._stop.set()

    def hurry(self) -> None:
        """About to be killed: what is durable stays so, the last segment is sealed by the next run."""
        if self.sealer is not None:
            self.sealer.kill()

    async def run(self) -> None:
        """Record. Returns when everything is durable, and sealed where that is wanted.

        Raises before anything is recorded: ``UnknownFeed``, ``BadSymbol``, ``SymbolNotOnline``,
        ``ReferenceUnavailable``, ``ArchiveOwned`` and other errors of the archive. Later: ``NotDurable``,
        ``JournalFailed``.
        """
        config = self.config
        own = self._network is None
        network = self._network = self._network or AioNetwork(
            connect_timeout_s=config.connect_timeout_ms / 1e3, max_frame_bytes=config.max_frame_bytes
        )
        try:
            for feed in config.feeds:
                self.venue.topic("x", feed)  # a wrong feed is told at once, not after the network answered
            load = load_reference(
                config, self.venue, network, self.clock, self._rng, patience_s=config.rest_timeout_s
            )
            reference = await self._unless_stopped(load)
            if reference is not None:
                topics = choose_topics(config, self.venue, reference.instruments)
                async with MetricsServer(self, config.metrics_port):
                    await self._record(topics, reference)
        finally:
            self.phase = "stopped"
            if own:
                await network.close()

    async def _record(self, topics: list[Topic], reference: Reference) -> None:
        journal = self.journal = await self._offload(self._open_journal)
        sealing: asyncio.Task[None] | None = None
        try:
            try:
                tape = Tape(journal, self.clock)
                self._start(tape, topics, reference)
                if self.config.seal:
                    self.sealer = Sealer(self.archive, self.clock, self._rng, pressed=lambda: journal.pressed)
                    sealing = asyncio.create_task(self.sealer.run(), name="sealer")
                await self._run_lines(tape, topics)
                tape.event("stop", reason=self.stop_reason)
            finally:
                await self._offload(journal.close)
            _log.info("journal closed: records=%d durable_pos=%d", journal.durable, journal.durable_pos)
            if self.sealer is not None:
                await self._seal(self.sealer)
        finally:
            self.hurry()
            if sealing is not None:
                sealing.cancel()
                await asyncio.gather(sealing, return_exceptions=True)

    def _open_journal(self) -> Journal:
        config = self.config
        options = JournalOptions(
            fsync_interval_ms=config.fsync_interval_ms,
            write_interval_ms=min(5, config.fsync_interval_ms),
            segment_bytes=config.segment_bytes,
            segment_seconds=float(config.segment_seconds),
            spool_bytes=config.spool_bytes,
            threads=self._threads,
            archive_id=self._rng.randbytes(8),
        )
        return Journal.open(self.archive, self.venue.name, clock=self.clock, options=options, disk=self._disk)

    def _start(self, tape: Tape, topics: list[Topic], reference: Reference) -> None:
        self.started_wall = self.clock.wall_ns()
        tape.event(
            "start",
            run=f"{self._rng.getrandbits(64):016x}",
            version=metadata.version("bookreel"),
            venue=self.venue.name,
            config=msgspec.to_builtins(self.config),
        )
        tape.reference(reference.body, reference.wall, reference.mono)
        symbols = len({topic.symbol for topic in topics})
        _log.info(
            "recording: venue=%s archive=%s symbols=%d topics=%d",
            self.venue.name,
            self.archive,
            symbols,
            len(topics),
        )

    async def _run_lines(self, tape: Tape, topics: list[Topic]) -> None:
        """Everything that runs while recording, until it is to stop."""
        assert self.journal is not None, "records need a journal"
        recover = self.journal.durable_pos > 0
        self.phase = "recording"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_for_stop(), name="stop")
                times = {"updated": self.books.update_times, "durable": self.journal.durable_times}
                group.create_task(self.pulse.run(tape, self.journal, times), name="pulse")
                group.create_task(self._refresh(tape, group), name="reference")
                self._add_lines(tape, topics, group, recover=recover)
        except BaseExceptionGroup as group:
            _, rest = group.split(_Stopped)
            if rest is not None:
                raise _cause(rest) from group

    async def _wait_for_stop(self) -> None:
        limit = self.config.for_seconds
        try:
            async with asyncio.timeout(limit):
                await self._stop.wait()
        except TimeoutError:
            self.stop(f"{limit:g} s are over")
        self.phase = "stopping"
        _log.info("stopping: reason=%s", self.stop_reason)
        raise _Stopped

    def _add_lines(
        self, tape: Tape, topics: list[Topic], group: asyncio.TaskGroup, *, recover: bool
    ) -> list[Line]:
        used: dict[str, int] = {}
        for session in self.sessions:
            kind = session.line.name.rpartition("-")[0]
            used[kind] = used.get(kind, 0) + 1
        lines = plan(topics, self.config, self.venue, used=used)
        assert self._network is not None, "made before anything is recorded"
        for line in lines:
            session = Session(
                line,
                config=self.config,
                venue=self.venue,
                tape=tape,
                books=self.books,
                network=self._network,
                bucket=self._bucket,
                # A source of its own, so that one line's use of chance does not change another's.
                rng=Random(self._rng.getrandbits(64)),
                recover=recover,
            )
            self.sessions.append(session)
            group.create_task(session.run(), name=line.name)
        self._known.update(topic.text for topic in topics)
        return lines

    async def _refresh(self, tape: Tape, group: asyncio.TaskGroup) -> None:
        """Load the reference data again and again; with ``symbols = "all"``, record what was newly listed."""
        assert self._network is not None, "made before anything is recorded"
        while True:
            await self.clock.sleep(self.config.reference_interval_s)
            try:
                reference = await load_reference(
                    self.config,
                    self.venue,
                    self._network,
                    self.clock,
                    self._rng,
                    patience_s=_REFRESH_PATIENCE_S,
                )
            except ReferenceUnavailable as error:
                _log.warning("reference data not refreshed: error=%s", error)
                continue
            tape.reference(reference.body, reference.wall, reference.mono)
            for session in self.sessions:
                session.reconsider()
            if self.config.symbols == "all":
                try:
                    topics = choose_topics(self.config, self.venue, reference.instruments)
                except VenueError as error:
                    _log.error("reference data is odd: error=%s", error)
                    continue
                new = [topic for topic in topics if topic.text not in self._known]
                if new:
                    lines = self._add_lines(tape, new, group, recover=False)
                    _log.info(
                        "new listings: topics=%d lines=%s", len(new), ",".join(each.name for each in lines)
                    )

    async def _seal(self, sealer: Sealer) -> None:
        self.phase = "sealing"
        _log.info("sealing: archive=%s", self.archive)
        if not await sealer.finish():
            _log.error("not all is sealed; nothing is lost, run `bookreel seal --archive %s`", self.archive)

    async def _unless_stopped(self, work: Coroutine[Any, Any, _T]) -> _T | None:
        """The result, or None if it is to stop before there is one."""
        working = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the lines: the archive's trouble, of which each line tells, or else the first of the group."""
    found: BaseException = group.subgroup(StorageError) or group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
