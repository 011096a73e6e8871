"""A sliding view of a file: find bytes, and get the checksum of any range of them in constant time."""

from __future__ import annotations

import errno
from typing import Final

from isal.isal_zlib import crc32, crc32_combine

from bookreel.storage.disk import File

__all__ = ["Window"]

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_PAGE_BYTES: Final = 4096
_DIRECT_BYTES: Final = 16 * 1024
_STEP_BYTES: Final = 2048


class Window:
    """The bytes of a file from ``base`` on that are in memory (``data``, and ``view`` of it).

    ``reach``: the longest range ever asked for. A load for a long range takes a block more than that, so the
    window moves on by a block before it is loaded again, and all loads together are linear in the file,
    whatever the order of long and short ranges.
    """

    __slots__ = ("_file", "_reach", "_running", "base", "data", "size", "view")

    def __init__(self, file: File, reach: int) -> None:
        self._file = file
        self._reach = reach
        self.size = 0
        self.forget()

    def forget(self) -> None:
        """Gives the memory back."""
        self._hold(0, b"")

    def resize(self, size: int) -> None:
        """The file has this many bytes now."""
        if size != self.size:
            self.size = size
            self.forget()

    def load(self, at: int, size: int) -> None:
        """Brings ``size`` bytes from file offset ``at`` on into memory; all of them are in the file."""
        if self.base <= at and at + size <= self.base + len(self.data):
            return
        want = _BLOCK_BYTES if size <= _BLOCK_BYTES // 4 else self._reach + _BLOCK_BYTES
        self._hold(at, _read_what_can_be(self._file, at, min(want, self.size - at)))

    def find(self, wanted: bytes, at: int) -> int:
        """File offset of the next place where the bytes are wholly in the file, -1 if there is none."""
        while at + len(wanted) <= self.size:
            self.load(at, len(wanted))
            found = self.data.find(wanted, at - self.base)
            if found >= 0:
                return self.base + found
            at = self.base + len(self.data) - len(wanted) + 1
        return -1

    def checksum(self, start: int, stop: int, seed: int) -> int:
        """CRC-32 of the bytes between two file offsets that are in memory, begun with ``seed``."""
        start -= self.base
        stop -= self.base
        if stop - start <= _DIRECT_BYTES:
            return int(crc32(self.view[start:stop], seed))
        # crc(A + B) = shift(crc(A), len(B)) ^ crc(B), where shift(c, n) = combine(c, 0, n) is linear in c.
        return self._running_at(stop) ^ int(crc32_combine(self._running_at(start) ^ seed, 0, stop - start))

    def _running_at(self, index: int) -> int:
        """CRC-32 of the memory up to an index, from a table that grows as far as it is asked for."""
        running, view = self._running, self.view
        step, rest = divmod(index, _STEP_BYTES)
        for at in range((len(running) - 1) * _STEP_BYTES, step * _STEP_BYTES, _STEP_BYTES):
            running.append(crc32(view[at : at + _STEP_BYTES], running[-1]))
        return int(crc32(view[index - rest : index], running[step]))

    def _hold(self, base: int, data: bytes) -> None:
        self.base = base
        self.data = data
        self.view = memoryview(data)
        self._running = [0]


def _read_what_can_be(file: File, offset: int, size: int) -> bytes:
    """The bytes of a range.

    A page that the disk cannot read comes as zeros: it costs only the records in it.
    """
    try:
        return _read_exactly(file, offset, size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    pages = []
    for at in range(offset, offset + size, _PAGE_BYTES):
        length = min(_PAGE_BYTES, offset + size - at)
        try:
            pages.append(_read_exactly(file, at, length))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            pages.append(bytes(length))
    return b"".join(pages)


def _read_exactly(file: File, offset: int, size: int) -> bytes:
    data = file.read(offset, size)
    while len(data) < size:
        more = file.read(offset + len(data), size - len(data))
        # Nobody truncates a segment; bytes that are gone are treated like those of a bad page.
        data += more or bytes(size - len(data))
    return data
