"""What goes out to a client, at the pace at which it reads.

A client that reads slowly is waited for, with no more than a chunk and the buffers of the connection held for it. One
that takes nothing at all for a while is given up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

from aiohttp import web

from bookreel.replay.server.packing import packer

__all__ = ["Beside", "SlowReader", "held", "patiently", "send_body"]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_OFFLOAD_BYTES: Final = 65_536
"""What is encoded in a thread: below it the way there and back takes longer."""


class SlowReader(Exception):
    """The client took nothing for the time that it is given."""


def held(transport: asyncio.Transport | None) -> int:
    """Bytes that wait for the client to read."""
    return 0 if transport is None else transport.get_write_buffer_size()


async def patiently(
    sending: Coroutine[Any, Any, None], measure: Callable[[], object], patience_s: float
) -> None:
    """Send as long as the client takes anything, which ``measure`` shows by changing: raises SlowReader where
    ``patience_s`` pass without.
    """
    task = asyncio.ensure_future(sending)
    try:
        before: object = None
        while not (await asyncio.wait({task}, timeout=patience_s))[0]:
            now = measure()
            if now == before:
                raise SlowReader
            before = now
        task.result()
    finally:
        # Waited for: whoever goes on with the connection, to close it, would be cancelled together with the task.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Beside(AsyncIterator[_T]):
    """What a generator that blocks gives, all of it made in threads."""

    def __init__(self, pieces: Generator[_T, None, None]) -> None:
        self._pieces = pieces
        self._busy = threading.Lock()

    async def __anext__(self) -> _T:
        found = await asyncio.to_thread(self._next)
        if not found:
            raise StopAsyncIteration
        return found[0]

    async def aclose(self) -> None:
        """Let go what it holds; what is being made is waited for beside the loop."""
        await asyncio.shield(asyncio.to_thread(self._close))

    def _next(self) -> list[_T]:
        with self._busy:
            return list(islice(self._pieces, 1))

    def _close(self) -> None:
        with self._busy:
            self._pieces.close()


async def send_body(
    request: web.Request,
    pieces: AsyncIterator[bytes | memoryview],
    headers: Mapping[str, str],
    encoding: str | None,
    patience_s: float,
) -> web.StreamResponse:
    """Answer with all of the pieces, at the pace at which the client reads; who takes nothing is disconnected.
    ``encoding``: of ENCODINGS, or None.
    """
    response = web.StreamResponse(headers=headers)
    packs = packer(encoding)
    if encoding is not None:
        response.headers["Content-Encoding"] = encoding
        response.headers["Vary"] = "Accept-Encoding"
    transport = request.transport

    async def send(piece: bytes | memoryview) -> None:
        await patiently(response.write(piece), lambda: held(transport), patience_s)

    try:
        await response.prepare(request)
        async for piece in pieces:
            if encoding is None or len(piece) < _OFFLOAD_BYTES:
                await send(packs.add(piece))
            else:
                await send(await asyncio.to_thread(packs.add, piece))
        if last := packs.end():
            await send(last)
        await response.write_eof()
    except SlowReader:
        _log.warning("%s takes nothing, and is disconnected", request.remote)
        if transport is not None:
            transport.abort()
    return response
