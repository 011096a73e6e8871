"""What every recorder has, whatever its venue: a journal, a sealer, a pulse, and an end in order."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib import metadata
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Protocol, TypeVar

import msgspec

from bookreel.ingest.books import LiveBooks
from bookreel.ingest.clock import Clock, SystemClock
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.frames import FrameReader
from bookreel.ingest.pulse import Pulse
from bookreel.ingest.sealing import Sealer
from bookreel.ingest.stats import LineStats
from bookreel.ingest.status import Phase
from bookreel.ingest.tape import Tape
from bookreel.ingest.witness import Witnesses
from bookreel.storage.disk import Disk
from bookreel.storage.errors import StorageError
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.venues.message import Topic, Venue

__all__ = ["Recorder", "Watched"]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """What display and metrics look at of a line."""

    stats: LineStats

    @property
    def pending(self) -> int:
        """Requests queued or not answered yet."""
        ...


class _Stopped(Exception):
    """Ends the group of tasks in order."""


class Recorder(ABC):
    """Records until :meth:`stop` is called, or ``for_seconds`` are over.

    Everything from outside can be given: ``clock``, ``rng``, ``disk``; ``offload`` runs a blocking call beside the
    event loop. With ``threads=False`` the caller drives the journal's pumps.
    """

    def __init__(
        self,
        config: RecordConfig,
        venue: Venue,
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
        disk: Disk | None = None,
        offload: Callable[..., Awaitable[Any]] = asyncio.to_thread,
        threads: bool = True,
    ) -> None:
        self.config = config
        self.venue: Venue = venue
        self.archive = Path(config.archive)
        self.clock: Clock = SystemClock() if clock is None else clock
        self._rng = SystemRandom() if rng is None else rng
        self._disk = disk
        self._offload = offload
        self._threads = threads
        self.books = LiveBooks(Witnesses(FrameReader(venue).events))
        self.pulse = Pulse(self.clock)
        self.journal: Journal | None = None
        self.sealer: Sealer | None = None
        self.started_wall = 0
        """Wall clock, ns, when recording began; 0: not yet."""
        self.stop_reason = ""
        self.phase: Phase = "starting"
        self._stop = asyncio.Event()

    @property
    @abstractmethod
    def lines(self) -> Sequence[Watched]:
        """The lines that there are."""

    def doubts(self) -> list[str]:
        """Why it is not ready, of what only this kind of recorder knows."""
        return []

    @abstractmethod
    async def run(self) -> None:
        """Record. Returns when everything is durable, and sealed where that is wanted."""

    @abstractmethod
    def _launch(self, tape: Tape, group: asyncio.TaskGroup, *, recover: bool) -> None:
        """Start everything that talks to the venue. ``recover``: an earlier run may have missed something."""

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

    async def _record(self, begin: Callable[[Tape], None]) -> None:
        """Open the journal, ``begin`` it, and record until it is to stop."""
        journal = self.journal = await self._offload(self._open_journal)
        sealing: asyncio.Task[None] | None = None
        try:
            try:
                tape = Tape(journal, self.clock)
                begin(tape)
                if self.config.seal:
                    self.sealer = Sealer(self.archive, self.clock, self._rng, pressed=lambda: journal.pressed)
                    sealing = asyncio.create_task(self.sealer.run(), name="sealer")
                await self._run_lines(tape)
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

    def _started(self, tape: Tape, topics: Sequence[Topic]) -> None:
        """Note down that, and what, is recorded."""
        self.started_wall = self.clock.wall_ns()
        tape.event(
            "start",
            run=f"{self._rng.getrandbits(64):016x}",
            version=metadata.version("bookreel"),
            venue=self.venue.name,
            config=msgspec.to_builtins(self.config),
        )
        _log.info(
            "recording: venue=%s archive=%s symbols=%d topics=%d",
            self.venue.name,
            self.archive,
            len({topic.symbol for topic in topics}),
            len(topics),
        )

    async def _run_lines(self, tape: Tape) -> None:
        """Everything that runs while recording, until it is to stop."""
        assert self.journal is not None, "records need a journal"
        recover = self.journal.durable_pos > 0
        self.phase = "recording"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wait_for_stop(), name="stop")
                times = {"updated": self.books.update_times, "durable": self.journal.durable_times}
                group.create_task(self.pulse.run(tape, self.journal, times), name="pulse")
                self._launch(tape, group, recover=recover)
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
        await self._look_back()
        raise _Stopped

    async def _look_back(self) -> None:
        """What has to be asked of the venue before recording ends: nothing, where streams tell what is lost."""
        return

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
