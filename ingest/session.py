"""One line: one connection at a time, made again for as long as the recorder runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random
from typing import Final

from bookreel.ingest.books import LiveBooks
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.dialogue import Dialogue
from bookreel.ingest.errors import ConnectFailed, Disconnected, LineDown
from bookreel.ingest.health import LineHealth
from bookreel.ingest.life import LineLife
from bookreel.ingest.network import Network, Socket
from bookreel.ingest.plan import Line
from bookreel.ingest.reconnect import TokenBucket, backoff
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.ingest.watch import Pace
from bookreel.storage.errors import StorageError
from bookreel.venues.message import Dialect

__all__ = ["Session", "check_cancelled"]

_UNWELCOME_S: Final = {429: 2.0, 418: 60.0}
"""Seconds to stay away when the server says "too many", or "banned" where that was not heeded, and no more."""
_PAUSE_CAP_S: Final = 3600.0
"""No server stops the recorder for longer than this."""
_READ_TURN: Final = 128
"""Frames that a line journals before others get their turn, some 2 us each..."""
_WORK_TURN: Final = 16
"""...and of those, how many it looks at: some 7 us each."""
_BACKLOG_MAX: Final = 10_000
"""Frames that may wait; with more the venue is held back by TCP."""


class Session:
    """Keeps a line up. ``recover``: an earlier run may have missed trades, so ask for them at the first
    connection.
    """

    def __init__(
        self,
        line: Line,
        *,
        config: RecordConfig,
        venue: Dialect,
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
        self._life = LineLife(self.stats, tape)
        self._topics = {topic.text: topic for topic in line.topics}
        self._books = {topic.text: books.add(topic) for topic in line.topics if topic.coverage == "sequenced"}
        self._witnesses = books.witnesses
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
                await self._turn()
                self.stats.state = "connecting"
                try:
                    socket = await self._network.connect(self.line.url)
                except ConnectFailed as error:
                    wait_s = next(delays)
                    pause_s = self._pause_s(error)
                    if pause_s:
                        # It is the process that is asked to wait, not this line.
                        self._bucket.hold(self._clock.mono_ns() + int(pause_s * 1e9))
                    self._life.failed(error, max(wait_s, pause_s))
                    continue
                # In a task of its own: a group counts its own abort as a request to cancel the task it is in.
                good = await asyncio.create_task(self._connected(socket), name=f"{self.line.name} connection")
                check_cancelled()
                if good:
                    delays = self._delays()
                wait_s = next(delays)
        finally:
            self.stats.state = "stopped"

    async def _turn(self) -> None:
        """Wait until it is this line's turn to connect."""
        clock, bucket = self._clock, self._bucket
        while True:
            await clock.sleep(bucket.reserve(clock.mono_ns()) / 1e9)
            if not bucket.held(clock.mono_ns()):
                return

    @staticmethod
    def _pause_s(error: ConnectFailed) -> float:
        """For how long the server does not want to see us, 0 if it did not say so."""
        asked = error.retry_after or 0.0
        return min(max(asked, _UNWELCOME_S.get(error.status or 0, 0.0)), _PAUSE_CAP_S)

    @property
    def pending(self) -> int:
        """Requests queued or not answered yet."""
        return self._dialogue.requests.pending if self._dialogue is not None else 0

    @property
    def health(self) -> LineHealth | None:
        """Of the connection that is up; None where none is."""
        return self._dialogue.health if self._dialogue is not None else None

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
        self._life.opened()
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
            witnesses=self._witnesses,
        )
        dialogue.open()
        down = LineDown("disconnect", "closed by us")
        try:
            try:
                async with asyncio.TaskGroup() as tasks:
                    work = _Work(dialogue)
                    tasks.create_task(self._read(socket, dialogue, work), name=f"{stats.name} read")
                    tasks.create_task(work.run(), name=f"{stats.name} work")
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
                down = self._life.broken(group)
            dialogue.close()
            now = self._clock.mono_ns()
            for book in self._books.values():
                book.lost(down.cause, dialogue.last_wall, now)
            self._life.lost(down)
        finally:
            self._dialogue = None
            stats.acked.clear()
            await socket.close()
        return self._life.good

    async def _read(self, socket: Socket, dialogue: Dialogue, work: _Work) -> None:
        """The hot loop. Both clocks are read before anything else is done with a frame."""
        receive, take, count = socket.receive, dialogue.receive, work.count
        wall_ns, mono_ns = self._clock.wall_ns, self._clock.mono_ns
        try:
            while True:
                frame = await receive()
                done = count()
                pong = take(frame, wall_ns(), mono_ns(), done > _WORK_TURN)
                if pong is not None:
                    self.stats.pings += 1
                    await socket.send(dialogue.requests.sent(pong))
                if done >= _READ_TURN:
                    self.stats.turns += 1
                    await work.give_way()
        except Disconnected as error:
            raise LineDown("disconnect", str(error)) from error

    async def _write(self, socket: Socket, dialogue: Dialogue) -> None:
        """Everything but heartbeats, at its pace."""
        wake = self._wake
        while True:
            wake.clear()
            text = dialogue.requests.outgoing(self._clock.mono_ns())
            if text is not None:
                try:
                    await socket.send(text)
                except Disconnected as error:
                    raise LineDown("disconnect", str(error)) from error
                dialogue.requests.left(self._clock.mono_ns())
                continue
            wait = dialogue.requests.wait(self._clock.mono_ns())
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
            await self._clock.sleep(dialogue.next_check(self._clock.mono_ns()) / 1e9)
            dialogue.check(self._clock.mono_ns())


def check_cancelled() -> None:
    """Raise CancelledError where the running task was cancelled and forgot it: a task group in which a task fails
    just when the group is cancelled does so (Python 3.11), and the line would go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Work:
    """Looks at the frames that wait, a few in each turn of the event loop, so that neither a ping behind them nor
    another line waits for all of them.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._loop = asyncio.get_running_loop()
        self._done = 0
        self._ready = asyncio.Event()
        self._room = asyncio.Event()

    def count(self) -> int:
        """One more frame in this turn of the event loop; how many it were."""
        if not self._done:
            self._loop.call_soon(self._turned)
        self._done += 1
        return self._done

    async def give_way(self) -> None:
        """Let everybody else have a turn; longer where too much waits already."""
        self._ready.set()
        await asyncio.sleep(0)
        while len(self._dialogue.backlog) >= _BACKLOG_MAX:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Never ends by itself."""
        dialogue = self._dialogue
        while True:
            await self._ready.wait()
            while dialogue.backlog:
                dialogue.catch_up(_WORK_TURN)
                self._room.set()
                await asyncio.sleep(0)
            self._ready.clear()

    def _turned(self) -> None:
        self._done = 0
        if self._dialogue.backlog:
            self._ready.set()
