"""One line: one connection at a time, made again for as long as the recorder runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from random import Random
from typing import Final

from bookreel.ingest.books import LiveBooks
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.dialogue import Dialogue
from bookreel.ingest.errors import ConnectFailed, Disconnected, LineDown
from bookreel.ingest.health import CHECK_INTERVAL_S, Pace
from bookreel.ingest.network import Network, Socket
from bookreel.ingest.plan import Line
from bookreel.ingest.reconnect import TokenBucket, backoff
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.storage.errors import StorageError
from bookreel.venues.message import Venue

__all__ = ["Session"]

_STABLE_NS: Final = 5_000_000_000
"""A connection that brought data for this long ends the series of growing delays."""

_log = logging.getLogger(__name__)


class Session:
    """Keeps a line up. ``recover``: an earlier run may have missed trades, so ask for them at the first
    connection.
    """

    def __init__(
        self,
        line: Line,
        *,
        config: RecordConfig,
        venue: Venue,
        tape: Tape,
        books: LiveBooks,
        network: Network,
        bucket: TokenBucket,
        rng: Random,
        recover: bool,
    ) -> None:
        self.line = line
        self.stats = LineStats(line.name, line.url, len(line.topics))
        self._config = config
        self._venue = venue
        self._tape = tape
        self._clock = tape.clock
        self._network = network
        self._bucket = bucket
        self._rng = rng
        self._recover = recover
        self._topics = {topic.text: topic for topic in line.topics}
        self._books = {topic.text: books.add(topic) for topic in line.topics if topic.coverage == "sequenced"}
        self._paces: dict[str, Pace] = {}
        self._wake = asyncio.Event()
        self._dialogue: Dialogue | None = None

    async def run(self) -> None:
        """Connect, talk, and again; ends only by being cancelled."""
        delays = self._delays()
        wait_s = 0.0
        try:
            while True:
                self.stats.state = "waiting"
                if wait_s:
                    await self._clock.sleep(wait_s)
                await self._clock.sleep(self._bucket.reserve(self._clock.mono_ns()) / 1e9)
                self.stats.state = "connecting"
                try:
                    socket = await self._network.connect(self.line.url)
                except ConnectFailed as error:
                    wait_s = max(next(delays), error.retry_after or 0.0)
                    self.stats.connect_failures += 1
                    self._tape.event(
                        "connect_failed", self.line.name, self.stats.epoch, url=error.url, detail=error.reason
                    )
                    _log.warning(
                        "connect failed: line=%s error=%s retry_s=%.1f", self.line.name, error, wait_s
                    )
                    continue
                # In a task of its own: a group counts its own abort as a request to cancel the task it is in.
                good = await asyncio.create_task(self._connected(socket), name=f"{self.line.name} connection")
                _check_cancelled()
                if good:
                    delays = self._delays()
                wait_s = next(delays)
        finally:
            self.stats.state = "stopped"

    @property
    def pending(self) -> int:
        """Requests queued or not answered yet."""
        return self._dialogue.pending if self._dialogue is not None else 0

    def reconsider(self) -> None:
        """Reference data is new: ask again for what was refused for good."""
        if self._dialogue is not None:
            self._dialogue.reconsider()
        else:
            self.stats.refused.clear()

    def _delays(self) -> Iterator[float]:
        config = self._config
        return backoff(self._rng, base_s=config.backoff_base_ms / 1e3, cap_s=config.backoff_cap_ms / 1e3)

    async def _connected(self, socket: Socket) -> bool:
        """One connection from open to close. True if it was a good one."""
        stats = self.stats
        stats.epoch += 1
        stats.state = "up"
        stats.connected_wall = self._clock.wall_ns()
        self._tape.event("connect", stats.name, stats.epoch, url=self.line.url)
        _log.info("connected: line=%s epoch=%d url=%s", stats.name, stats.epoch, self.line.url)
        dialogue = self._dialogue = Dialogue(
            self._topics,
            self._books,
            stats,
            config=self._config,
            venue=self._venue,
            tape=self._tape,
            rng=self._rng,
            paces=self._paces,
            wake=self._wake.set,
            recover=self._recover or stats.epoch > 1,
        )
        dialogue.open()
        frames = stats.frames
        down = LineDown("disconnect", "closed by us")
        try:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._read(socket, dialogue), name=f"{stats.name} read")
                    tasks.create_task(self._write(socket, dialogue), name=f"{stats.name} write")
                    tasks.create_task(self._watch(dialogue), name=f"{stats.name} watch")
            except* LineDown as group:
                first = group.exceptions[0]
                assert isinstance(first, LineDown), "a task ends with one LineDown"
                down = first
            except* StorageError:
                # Without a journal there is nothing to record for.
                raise
            except* Exception as group:
                # A bug of ours: the other lines go on, and this one tries again, ever more slowly.
                _log.exception("line failed: line=%s epoch=%d", stats.name, stats.epoch, exc_info=group)
                stats.failures += 1
                down = LineDown("disconnect", f"an error of the recorder: {group.exceptions[0]!r}")
            self._disconnected(dialogue, down)
        finally:
            self._dialogue = None
            stats.acked.clear()
            await socket.close()
        lived = self._clock.mono_ns() - dialogue.opened_at
        return lived >= _STABLE_NS and stats.frames > frames

    def _disconnected(self, dialogue: Dialogue, down: LineDown) -> None:
        stats = self.stats
        stats.disconnects[down.cause] += 1
        now = self._clock.mono_ns()
        for book in self._books.values():
            book.lost(down.cause, dialogue.last_wall, now)
        since = {} if down.since is None else {"since": down.since}
        self._tape.event("disconnect", stats.name, stats.epoch, cause=down.cause, detail=down.detail, **since)
        _log.warning(
            "disconnected: line=%s epoch=%d cause=%s detail=%s",
            stats.name,
            stats.epoch,
            down.cause,
            down.detail,
        )

    async def _read(self, socket: Socket, dialogue: Dialogue) -> None:
        """The hot loop. Both clocks are read before anything else is done with a frame."""
        receive, take = socket.receive, dialogue.receive
        wall_ns, mono_ns = self._clock.wall_ns, self._clock.mono_ns
        try:
            while True:
                frame = await receive()
                pong = take(frame, wall_ns(), mono_ns())
                if pong is not None:
                    self.stats.pings += 1
                    await socket.send(dialogue.answer(pong))
        except Disconnected as error:
            raise LineDown("disconnect", str(error)) from error

    async def _write(self, socket: Socket, dialogue: Dialogue) -> None:
        """Everything but heartbeats, at its pace."""
        wake = self._wake
        while True:
            wake.clear()
            text = dialogue.outgoing(self._clock.mono_ns())
            if text is not None:
                try:
                    await socket.send(text)
                except Disconnected as error:
                    raise LineDown("disconnect", str(error)) from error
                continue
            wait = dialogue.wait(self._clock.mono_ns())
            if wait is None:
                await wake.wait()
                continue
            try:
                async with asyncio.timeout(wait / 1e9):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _watch(self, dialogue: Dialogue) -> None:
        while True:
            await self._clock.sleep(CHECK_INTERVAL_S)
            dialogue.check(self._clock.mono_ns())


def _check_cancelled() -> None:
    """A task group in which a task fails just when the group is cancelled forgets that it was (Python 3.11), and the
    line would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
