"""The process that others are forked of, as the server sees it: started, asked, replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from bookreel.replay.server.errors import Unavailable
from bookreel.replay.server.stem import FORK, KILL, WORD, Setup
from bookreel.replay.server.worker import BORN

__all__ = ["Child", "Stem", "is_open"]

_READY_S: Final = 600.0
"""For the first of them to be there: it has the journal's tails to decode, maybe on a machine that is busy."""

_FORKED_S: Final = 60.0
_END_S: Final = 3.0

_PROGRAM: Final = "import sys; from bookreel.replay.server.stem import main; main(sys.argv[1:])"

_log = logging.getLogger(__name__)


class Child(NamedTuple):
    """A process that was forked. ``control``: a socket that takes questions, and ends when it does."""

    control: socket.socket
    pid: int


class Stem:
    """An asynchronous context manager: from entering to leaving, processes can be forked after ``setup``."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def fork(self, orders: int) -> Child:
        """A process after the orders of that number. Raises Unavailable."""
        async with self._turn:
            if self._control is None or not is_open(self._control):
                await self._start()
            near, far = socket.socketpair()
            near.setblocking(False)
            try:
                assert self._control is not None, "it was started"
                with far:
                    socket.send_fds(self._control, [WORD.pack(FORK, orders)], [far.fileno()])
                said = await _said(near, BORN.size, _FORKED_S)
            except BaseException as error:
                near.close()
                if isinstance(error, OSError):
                    raise Unavailable("a process that reads has just ended; try again") from error
                raise
            return Child(near, *BORN.unpack(said))

    def kill(self, pid: int) -> None:
        """Kill what was forked; nothing where it is no more."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(WORD.pack(KILL, pid))

    async def _start(self) -> None:
        if (ended := self._process) is not None:
            await self._close()
            _log.error("the process that others are forked of ended with code %s", ended.returncode)
        near, far = socket.socketpair()
        near.setblocking(False)
        self._control = near
        with far:
            # -P: no module is taken from the folder the server happens to be started in.
            words = [sys.executable, "-P", "-c", _PROGRAM, str(far.fileno())]
            self._process = await asyncio.create_subprocess_exec(
                *words,
                msgspec.json.encode(self._setup).decode(),
                pass_fds=[far.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                env=_environment(),
            )
        try:
            await _said(near, 1, _READY_S)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        """What it forked ends with it."""
        process, control, self._process, self._control = self._process, self._control, None, None
        if control is not None:
            control.close()
        if process is None:
            return
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def is_open(control: socket.socket) -> bool:
    """Whether the other side is there, of which nothing more is to be read."""
    try:
        return bool(control.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


async def _said(control: socket.socket, size: int, seconds: float) -> bytes:
    """So many bytes of what a process says. Raises Unavailable where it does not."""
    said = b""
    try:
        async with asyncio.timeout(seconds):
            while len(said) < size:
                part = await asyncio.get_running_loop().sock_recv(control, size - len(said))
                if not part:
                    break
                said += part
    except (TimeoutError, ConnectionError):
        said = b""
    if len(said) < size:
        raise Unavailable("a process that reads could not be started; the server's log says why")
    return said


def _environment() -> dict[str, str]:
    """What such a process sees of the server's environment: nothing that is a secret."""
    kept = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}
