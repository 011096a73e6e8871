"""What goes out to a client: under the encoding it takes, and at the pace at which it reads.

A client that reads slowly is waited for, with no more than a chunk and the buffers of the connection held for it. One
that takes nothing at all for a while is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from io import RawIOBase
from typing import Any, Final, Protocol

import pyarrow as pa
from aiohttp import web
from isal import isal_zlib

__all__ = ["ENCODERS", "Encoder", "SlowReader", "encoder_for", "patiently"]

_GZIP_WINDOW: Final = 31
_GZIP_LEVEL: Final = 1


class SlowReader(Exception):
    """The client took nothing for the time that it is given."""


async def patiently(
    sending: Coroutine[Any, Any, None], transport: asyncio.Transport | None, patience_s: float
) -> None:
    """Send as long as the client takes anything: raises SlowReader where ``patience_s`` pass without."""
    task = asyncio.ensure_future(sending)
    try:
        waiting = None
        while not (await asyncio.wait({task}, timeout=patience_s))[0]:
            left = 0 if transport is None else transport.get_write_buffer_size()
            if waiting is not None and left >= waiting:
                raise SlowReader
            waiting = left
        task.result()
    finally:
        task.cancel()


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
