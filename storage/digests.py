"""Digests of sealed files, checked before a file is used and remembered after."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bookreel.storage.errors import CorruptFile, FileGone

__all__ = ["Digests"]


class Digests:
    """Files known to be what the manifest says. A sealed file is never changed, so each is read once."""

    def __init__(self) -> None:
        self._good: set[tuple[Path, str]] = set()

    def check(self, path: Path, sha256: str) -> None:
        """Raise :class:`CorruptFile` unless the file has this digest, :class:`FileGone` where there is none."""
        if (path, sha256) in self._good:
            return
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise FileGone(path) from error
        except OSError as error:
            raise CorruptFile(path, f"cannot be read: {error.strerror}") from error
        if found != sha256:
            raise CorruptFile(path, "its SHA-256 is not that of the manifest")
        self._good.add((path, sha256))
