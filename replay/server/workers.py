"""The processes that read, as the server sees them: asked, waited for, replaced when they die.

They run at a lower priority than the server, which runs at a lower one than a recorder: under load a recorder on the
same machine gets its processor first. What they read is theirs: a long answer delays no other request's head, and
one that breaks its process breaks no other process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bookreel.replay.server.errors import Busy, OverLimit, ServeError, Unavailable
from bookreel.replay.server.forking import Child, Stem, is_open
from bookreel.replay.server.wire import FRAME, Failure, Frame, Head, Question, read_frame

__all__ = ["Work", "Workers"]

_BUFFER_BYTES: Final = 1 << 20

_log = logging.getLogger(__name__)


class Relayed(ServeError):
    """What went wrong in a process that reads."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.body.message)
        self.status = failure.status  # type: ignore[misc]
        self.headers = failure.headers  # type: ignore[misc]
        self.body = failure.body


class _Worker:
    """One process."""

    def __init__(self, stem: Stem, child: Child) -> None:
        self.control = child.control
        self.busy = 0
        self._stem = stem
        self._pid = child.pid
        self._killed = False

    @property
    def alive(self) -> bool:
        return not self._killed and is_open(self.control)

    def kill(self) -> None:
        self._killed = True  # it may take a moment until the system says so
        self._stem.kill(self._pid)

    def close(self) -> None:
        self.control.close()


class Workers:
    """An asynchronous context manager: ``count`` processes after the orders of that number from entering to leaving.

    ``exclusive``: each answers one question at a time, and dies with a question that is given up.
    """

    def __init__(self, stem: Stem, orders: int, count: int, *, exclusive: bool = False) -> None:
        self._stem = stem
        self._orders = orders
        self._count = count
        self._exclusive = exclusive
        self._workers: list[_Worker] = []
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            await self._fill()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @contextlib.asynccontextmanager
    async def ask(
        self, job: str, values: Mapping[str, Any], seconds: float | None = None
    ) -> AsyncIterator[Work]:
        """A question to the least busy process; leaving the context gives it up. ``seconds``: to be waited for it,
        all in all. Raises Unavailable.
        """
        worker = await self._choose()
        near, far = socket.socketpair()
        worker.busy += 1
        try:
            try:
                with far:
                    socket.send_fds(worker.control, [b"?"], [far.fileno()])
            except OSError as error:
                near.close()
                raise Unavailable("a process that reads has just ended; try again") from error
            near.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=near, limit=_BUFFER_BYTES)
            work = Work(reader, seconds, exclusive=self._exclusive)
            try:
                question = msgspec.msgpack.encode(Question(job, dict(values)))
                writer.write(FRAME.pack(len(question), Frame.QUESTION) + question)
                yield work
            finally:
                writer.close()
                if self._exclusive and not work.ended:
                    worker.kill()
        finally:
            worker.busy -= 1

    async def _choose(self) -> _Worker:
        await self._fill()
        chosen = min(self._workers, key=lambda worker: worker.busy)
        if self._exclusive and chosen.busy:
            raise Busy("as many of these as are possible are under way; try again in a moment")
        return chosen

    async def _fill(self) -> None:
        """Replace processes that have died."""
        if len(self._workers) == self._count and all(worker.alive for worker in self._workers):
            return
        async with self._starting:
            for worker in [worker for worker in self._workers if not worker.alive]:
                if not self._exclusive:
                    _log.error("a process that reads has ended")
                worker.close()
                self._workers.remove(worker)
            while len(self._workers) < self._count:
                self._workers.append(_Worker(self._stem, await self._stem.fork(self._orders)))

    def _close(self) -> None:
        """They end where nobody can ask them any more."""
        for worker in self._workers:
            worker.close()
        self._workers.clear()


class Work:
    """An answer that is being made: first :meth:`head`, then the chunks of its body by iteration.

    Both raise ServeError for what went wrong in the process, Unavailable or OverLimit where it died.
    """

    def __init__(self, reader: asyncio.StreamReader, seconds: float | None, *, exclusive: bool) -> None:
        self._reader = reader
        self._seconds = self._left = seconds
        self._exclusive = exclusive
        self.ended = False
        """Whether nothing more is being done for it."""

    async def head(self) -> dict[str, str]:
        """The answer's headers."""
        kind, payload = await self._next()
        assert kind is Frame.HEAD, "an answer begins with its head"
        return msgspec.msgpack.decode(payload, type=Head).headers

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        kind, payload = await self._next()
        if kind is Frame.END:
            self.ended = True
            raise StopAsyncIteration
        return payload

    async def _next(self) -> tuple[Frame, bytes]:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._left):
                kind, payload = await read_frame(self._reader)
        except TimeoutError:
            raise OverLimit(
                f"it took more than {self._seconds:g} s, which is the limit; ask for less"
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if self._exclusive:
                raise OverLimit("it took more memory than is allowed, or broke its process") from error
            raise Unavailable("the process that read for this ended; try again") from error
        if self._left is not None:
            self._left = max(0.0, self._left - (clock() - began))
        if kind is Frame.FAILURE:
            self.ended = True
            failure = msgspec.msgpack.decode(payload, type=Failure)
            if failure.trace is not None:
                _log.error("a process that reads failed:\n%s", failure.trace)
            raise Relayed(failure)
        return kind, payload
