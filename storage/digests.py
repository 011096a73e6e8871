"""Sealed files held against the manifest before they are used; what was found good is remembered.

A file's footer is always looked at: a reader that believes a damaged one can end the process. Rows are looked at on
request, by the digest of the whole file.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from isal.isal_zlib import crc32

from bookreel.storage.errors import CorruptFile, FileGone

if TYPE_CHECKING:
    from bookreel.storage.manifest import FileEntry

__all__ = ["END_BYTES", "Digests", "footer_bytes"]

END_BYTES: Final = 8
"""A Parquet file ends with the length of its footer, 4 bytes, and 4 more that name the format."""


class Digests:
    """Files known to be what the manifest says. A sealed file is never changed, so each is read once. ``whole``:
    check every byte; else only the footer, which is a few kB.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self.whole = whole
        self._good: set[str] = set()

    def check(self, root: Path, entry: FileEntry) -> None:
        """Raise :class:`CorruptFile` unless the file of an archive is what its entry says, :class:`FileGone` where
        there is none.
        """
        if entry.path in self._good:
            return
        path = root / entry.path
        try:
            wrong = _wrong_digest(path, entry) if self.whole else _wrong_footer(path, entry)
        except FileNotFoundError as error:
            raise FileGone(path) from error
        except OSError as error:
            raise CorruptFile(path, f"cannot be read: {error.strerror}") from error
        if wrong is not None:
            raise CorruptFile(path, wrong)
        self._good.add(entry.path)


def footer_bytes(end: bytes) -> int:
    """How long the footer of a Parquet file is, its length and the format's name included; ``end``: the file's last
    :data:`END_BYTES`, or more.
    """
    return int.from_bytes(end[-END_BYTES:-4], "little") + END_BYTES


def _wrong_digest(path: Path, entry: FileEntry) -> str | None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == entry.sha256 else "its SHA-256 is not that of the manifest"


def _wrong_footer(path: Path, entry: FileEntry) -> str | None:
    """An entry of an older version does not tell of the footer."""
    if not entry.footer_bytes:
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # One byte more than there should be: the footer is the end of the file.
        footer = os.pread(fd, entry.footer_bytes + 1, max(entry.bytes - entry.footer_bytes, 0))
    finally:
        os.close(fd)
    if len(footer) == entry.footer_bytes and crc32(footer) == entry.footer_crc:
        return None
    return "its footer is not what was written"
