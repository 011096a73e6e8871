"""The recorder of a venue that is asked over its WebSocket: reference data, lines, and what is newly listed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, Final

from bookreel import venues
from bookreel.ingest.clock import Clock
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import ReferenceUnavailable
from bookreel.ingest.metrics import MetricsServer
from bookreel.ingest.network import AioNetwork, Network
from bookreel.ingest.plan import Line, plan
from bookreel.ingest.reconnect import TokenBucket
from bookreel.ingest.recorder import Recorder
from bookreel.ingest.reference import Reference, choose_topics, load_reference
from bookreel.ingest.session import Session
from bookreel.ingest.tape import Tape
from bookreel.storage.disk import Disk
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Topic

__all__ = ["Collector"]

_CONNECT_BURST: Final = 8
_REFRESH_PATIENCE_S: Final = 300.0

_log = logging.getLogger(__name__)


class Collector(Recorder):
    """A :class:`Recorder` of such a venue. The ``network``, too, can be given."""

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
        self._dialect = venues.dialect(config.venue)
        super().__init__(
            config, self._dialect, clock=clock, rng=rng, disk=disk, offload=offload, threads=threads
        )
        self._network = network
        self.sessions: list[Session] = []
        self._bucket = TokenBucket(rate=config.connects_per_second, burst=_CONNECT_BURST)
        self._known: set[str] = set()
        self._topics: list[Topic] = []

    @property
    def lines(self) -> Sequence[Session]:
        return self.sessions

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
                self._dialect.topic("x", feed)  # a wrong feed is told at once, not after the network answered
            load = load_reference(
                config, self._dialect, network, self.clock, self._rng, patience_s=config.rest_timeout_s
            )
            reference = await self._unless_stopped(load)
            if reference is not None:
                self._topics = choose_topics(config, self._dialect, reference.instruments)
                async with MetricsServer(self, config.metrics_port):
                    await self._record(lambda tape: self._begin(tape, reference))
        finally:
            self.phase = "stopped"
            if own:
                await network.close()

    def _begin(self, tape: Tape, reference: Reference) -> None:
        self._started(tape, self._topics)
        tape.reference(reference.body, reference.wall, reference.mono)

    def _launch(self, tape: Tape, group: asyncio.TaskGroup, *, recover: bool) -> None:
        group.create_task(self._refresh(tape, group), name="reference")
        self._add_lines(tape, self._topics, group, recover=recover)

    def _add_lines(
        self, tape: Tape, topics: list[Topic], group: asyncio.TaskGroup, *, recover: bool
    ) -> list[Line]:
        used: dict[str, int] = {}
        for session in self.sessions:
            kind = session.line.name.rpartition("-")[0]
            used[kind] = used.get(kind, 0) + 1
        lines = plan(topics, self.config, self._dialect, used=used)
        assert self._network is not None, "made before anything is recorded"
        for line in lines:
            session = Session(
                line,
                config=self.config,
                venue=self._dialect,
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
                    self._dialect,
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
                    topics = choose_topics(self.config, self._dialect, reference.instruments)
                except VenueError as error:
                    _log.error("reference data is odd: error=%s", error)
                    continue
                new = [topic for topic in topics if topic.text not in self._known]
                if new:
                    lines = self._add_lines(tape, new, group, recover=False)
                    _log.info(
                        "new listings: topics=%d lines=%s", len(new), ",".join(each.name for each in lines)
                    )
