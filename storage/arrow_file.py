"""A disk's files as pyarrow reads and writes them."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bookreel.storage.disk import Disk, File, write_all
from bookreel.storage.errors import FileGone

__all__ = ["BLOCK_BYTES", "Reading", "Sink", "open_file"]

BLOCK_BYTES: Final = 1 << 20
"""Of a file that is read or written as a whole, bytes at a time."""


class Reading(io.RawIOBase):
    """A :class:`File` as pyarrow reads it."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = self._file.size() - self._at
        data = self._file.read(self._at, size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size()}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class Sink(io.RawIOBase):
    """A new file as pyarrow writes it, in blocks. ``size`` and ``digest`` are of what was given to it."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.size = 0
        self.digest = sha256()
        self._file: File | None = disk.create(path)
        self._blocks: list[bytes] = []
        self._waiting = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self._file is None:
            raise ValueError("the file was given up")
        block = bytes(data)
        self.digest.update(block)
        self.size += len(block)
        self._blocks.append(block)
        self._waiting += len(block)
        if self._waiting >= BLOCK_BYTES:
            self._drain()
        return len(block)

    def finish(self) -> None:
        """Make it durable."""
        self._drain()
        if self._file is not None:
            self._file.datasync()

    def abandon(self) -> None:
        """Let the file go; whatever is written from now on is refused."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _drain(self) -> None:
        if self._file is not None and self._waiting:
            write_all(self._file, [b"".join(self._blocks)])
            self._blocks.clear()
            self._waiting = 0


def open_file(disk: Disk, path: Path) -> File:
    """Raises FileGone where there is none, OSError."""
    try:
        return disk.open(path)
    except FileNotFoundError:
        raise FileGone(path) from None
