"""A copy of the manifest's entries in one file, for readers: to open a file for each segment of a month takes longer
than to find a book in it.

It is never the truth. A compaction writes it when it is done; of what it has only entries count whose own files are
there, later ones are read from theirs, and a copy that is not what was written is left aside.

It has the settled days as well, and of a segment's files only those that they did not replace: for each segment of a
compacted month there are a dozen files of which no reader asks any more. Where one of these days is gone, the copy is
of no use, since nothing else says where those rows are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.disk import Disk, OsDisk, write_whole
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import Day, DayEntry, Manifest, SegmentEntry, was_replaced

__all__ = ["PACK_FORMAT", "agrees", "read_pack", "write_pack"]

PACK_FORMAT: Final = 2
"""The format that this version writes, and the newest that it reads. In 1 entries have all their files."""

_DIGEST_BYTES: Final = 32


class _Pack(msgspec.Struct, frozen=True):
    format: int
    entries: list[SegmentEntry]
    days: list[DayEntry] = []


def write_pack(manifest: Manifest, disk: Disk) -> None:
    """Put a copy of the entries in place. Raises OSError."""
    days = {folder: day for folder, day in manifest.days.items() if not day.entry.before}
    entries = _without_replaced(manifest.segments, days)
    body = msgspec.msgpack.encode(_Pack(PACK_FORMAT, entries, [day.entry for day in days.values()]))
    write_whole(disk, Layout(manifest.archive).pack, sha256(body).digest() + body)


def agrees(copy: Manifest, manifest: Manifest) -> bool:
    """Whether a copy has what the manifest has. It may be older: a day may have been compacted again since, and
    segments sealed.
    """
    newest = {folder: day.entry for folder, day in manifest.days.items()}
    for folder, day in copy.days.items():
        other = newest.get(folder)
        if other is None or other.number < day.entry.number:
            return False
        if other.number == day.entry.number and other != day.entry:
            return False
    entries = {entry.segment: entry for entry in manifest.segments}
    own = [entries[entry.segment] for entry in copy.segments if entry.segment in entries]
    # In format 1 nothing was left out, and there were no days.
    return copy.segments == _without_replaced(own, copy.days)


def _without_replaced(entries: Sequence[SegmentEntry], days: Mapping[str, Day]) -> list[SegmentEntry]:
    """The entries without the files that these days replaced."""
    found = []
    for entry in entries:
        files = [file for file in entry.files if not was_replaced(file.folder, entry, days)]
        found.append(msgspec.structs.replace(entry, files=files))
    return found


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
    if not 1 <= pack.format <= PACK_FORMAT:
        return None
    return Manifest(archive, pack.entries, {entry.folder: Day(entry, True) for entry in pack.days})
