"""What goes out to a client: under the encoding it takes, and at the pace at which it reads.

A client that reads slowly is waited for, with no more than a chunk and the buffers of the connection held for it. One
that takes nothing at all for a while is given up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from io import RawIOBase
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

import pyarrow as pa
from aiohttp import web
from isal import isal_zlib

__all__ = ["ENCODERS", "Beside", "Encoder", "SlowReader", "encoder_for", "held", "patiently", "send_body"]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

_OFFLOAD_BYTES: Final = 65_536
"""What is encoded in a thread: below it the way there and back takes longer."""

_GZIP_WINDOW: Final = 31
_GZIP_LEVEL: Final = 1


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
    encoder: Encoder | None,
    patience_s: float,
) -> web.StreamResponse:
    """Answer with all of the pieces, at the pace at which the client reads; who takes nothing is disconnected."""
    response = web.StreamResponse(headers=headers)
    if encoder is not None:
        response.headers["Content-Encoding"] = encoder.name
        response.headers["Vary"] = "Accept-Encoding"
    transport = request.transport

    async def send(piece: bytes | memoryview) -> None:
        await patiently(response.write(piece), lambda: held(transport), patience_s)

    try:
        await response.prepare(request)
        async for piece in pieces:
            if encoder is None:
                await send(piece)
            elif len(piece) < _OFFLOAD_BYTES:
                await send(encoder.encode(piece))
            else:
                await send(await asyncio.to_thread(encoder.encode, piece))
        if encoder is not None:
            await send(encoder.finish())
        await response.write_eof()
    except SlowReader:
        _log.warning("%s takes nothing, and is disconnected", request.remote)
        if transport is not None:
            transport.abort()
    return response


class Encoder(Protocol):
    """Makes pieces of a body as the client takes them; what it is given can be read as soon as it is sent."""

    name: str

    def encode(self, chunk: bytes | memoryview) -> bytes:
        """A piece, every byte of it."""
        ...

    def finish(self) -> bytes:
        """The end."""
        ...


class _Gzip:
    name = "gzip"

    def __init__(self) -> None:
        self._deflate = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)

    def encode(self, chunk: bytes | memoryview) -> bytes:
        return bytes(self._deflate.compress(chunk) + self._deflate.flush(isal_zlib.Z_SYNC_FLUSH))

    def finish(self) -> bytes:
        return bytes(self._deflate.flush(isal_zlib.Z_FINISH))


class _Zstd:
    name = "zstd"

    def __init__(self) -> None:
        self._sink = _Sink()
        self._stream = pa.CompressedOutputStream(pa.PythonFile(self._sink, mode="w"), "zstd")

    def encode(self, chunk: bytes | memoryview) -> bytes:
        self._stream.write(chunk)
        self._stream.flush()
        return self._sink.take()

    def finish(self) -> bytes:
        self._stream.close()
        return self._sink.take()


class _Sink(RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def take(self) -> bytes:
        """All that was written since the last time."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


ENCODERS: Final[dict[str, type[_Zstd | _Gzip]]] = {"zstd": _Zstd, "gzip": _Gzip}
"""By the name in ``Accept-Encoding``, the one to be preferred first."""


def encoder_for(request: web.Request) -> Encoder | None:
    """What the client asks for most, ours first where it does not care; None: as it is."""
    wanted: dict[str, float] = {}
    for part in request.headers.get("Accept-Encoding", "").split(","):
        name, _, weight = part.partition(";")
        try:
            wanted[name.strip().lower()] = float(weight.partition("=")[2]) if weight else 1.0
        except ValueError:
            continue
    best = max(ENCODERS, key=lambda name: wanted.get(name, 0.0))
    return ENCODERS[best]() if wanted.get(best, 0.0) > 0 else None
