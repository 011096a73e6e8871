"""Compressions of an answer: what is given to one can be read by the client as soon as it is sent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
from isal import isal_zlib

__all__ = ["ENCODINGS", "Packer", "Sink", "packer"]

_GZIP_WINDOW: Final = 31
_GZIP_LEVEL: Final = 1


class Sink(io.RawIOBase):
    """A file whose content is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


class Packer:
    """Leaves everything as it is."""

    def add(self, data: bytes | memoryview) -> bytes | memoryview:
        """What to send now; all of ``data`` can be read by whoever has it."""
        return data

    def end(self) -> bytes:
        """What to send last."""
        return b""


class _Gzip(Packer):
    def __init__(self) -> None:
        self._deflate = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)

    def add(self, data: bytes | memoryview) -> bytes:
        return bytes(self._deflate.compress(data) + self._deflate.flush(isal_zlib.Z_SYNC_FLUSH))

    def end(self) -> bytes:
        return bytes(self._deflate.flush(isal_zlib.Z_FINISH))


class _Zstd(Packer):
    def __init__(self) -> None:
        self._sink = Sink()
        self._stream: Any = pa.CompressedOutputStream(pa.PythonFile(self._sink, mode="w"), "zstd")

    def add(self, data: bytes | memoryview) -> bytes:
        if len(data):
            self._stream.write(data)
            self._stream.flush()
        return self._sink.take()

    def end(self) -> bytes:
        self._stream.close()
        return self._sink.take()


_PACKERS: Final[Mapping[str | None, type[Packer]]] = {None: Packer, "gzip": _Gzip, "zstd": _Zstd}

ENCODINGS: Final = ("gzip", "zstd")
"""By their names in ``Accept-Encoding``."""


def packer(encoding: str | None) -> Packer:
    """Compresses one answer. ``encoding``: of :data:`ENCODINGS`, or None: as it is."""
    return _PACKERS[encoding]()
