"""A copy of the manifest's entries in one file, for readers: to open a file for each segment of a month takes longer
than to find a book in it.

It is never the truth. A compaction writes it when it is done; of what it has only entries count whose own files are
there, later ones are read from theirs, and a copy that is not what was written is left aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.disk import Disk, OsDisk, write_whole
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import Manifest, SegmentEntry

__all__ = ["PACK_FORMAT", "read_pack", "write_pack"]

PACK_FORMAT: Final = 1

_DIGEST_BYTES: Final = 32


class _Pack(msgspec.Struct, frozen=True):
    format: int
    entries: list[SegmentEntry]


def write_pack(archive: Path, entries: Sequence[SegmentEntry], disk: Disk) -> None:
    """Put a copy of entries in place. Raises OSError."""
    body = msgspec.msgpack.encode(_Pack(PACK_FORMAT, list(entries)))
    write_whole(disk, Layout(archive).pack, sha256(body).digest() + body)


def read_pack(archive: Path, disk: Disk | None = None) -> Manifest | None:
    """The entries of the copy, as ``known`` of :meth:`Manifest.load` takes them; None where there is none, or it
    cannot be used.
    """
    disk = OsDisk() if disk is None else disk
    try:
        file = disk.open(Layout(archive).pack)
    except OSError:
        return None
    try:
        content = memoryview(file.read(0, file.size()))
    except OSError:
        return None
    finally:
        file.close()
    body = content[_DIGEST_BYTES:]
    if sha256(body).digest() != content[:_DIGEST_BYTES]:
        return None
    try:
        pack = msgspec.msgpack.decode(body, type=_Pack)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return Manifest(archive, pack.entries) if pack.format == PACK_FORMAT else None
