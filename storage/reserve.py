"""Saying that the disk is full while it is full: a file of a few sectors that exists before.

The journal makes it when it opens an archive, written with zeros and synced, so that its blocks are there. When the
disk refuses a record, a note is written into it in place, which needs no new blocks: what would have been the next
record, and since when. Should the process die before space comes back, the next one finds the note, and knows why
what followed is missing; ``FORMAT.md`` has the bytes.

Notes go round eight slots; when what they say is durable in the journal a fresh file takes this one's place. So a
note that a crash tears destroys none that is needed. On a file system that copies on write even this needs a free
block, and the note may be refused: the hole is then a ``crash_tail``, which says less but nothing wrong.

Nothing here raises: the reserve is the second way to say something, and its absence must not stop the first.
"""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Final

import msgspec
from isal.isal_zlib import crc32

from bookreel.storage.codec import CRC
from bookreel.storage.disk import Disk, File, write_all

__all__ = ["RESERVE_BYTES", "Note", "Reserve", "read_note"]

_log = logging.getLogger(__name__)

_MAGIC: Final = b"bookfull"
_NOTE: Final = struct.Struct("<8s8sQqq")
"""Magic, archive id, number of the note, since (wall clock, ns UTC), position; a CRC-32 over them follows."""
_SLOT_BYTES: Final = 512
"""A sector: what a disk writes whole or not at all."""
_SLOTS: Final = 8
RESERVE_BYTES: Final = _SLOTS * _SLOT_BYTES


class Note(msgspec.Struct, frozen=True):
    """The disk was full from ``since`` (wall clock, ns UTC). As long as no record from ``pos`` on is found, it had
    not taken anything again.
    """

    since: int
    pos: int


def read_note(path: Path, archive_id: bytes, disk: Disk) -> Note | None:
    """The newest note of an archive's reserve; None if there is none, or no reserve, or it is damaged."""
    newest = _newest(path, archive_id, disk)
    return None if newest is None else newest[1]


def _newest(path: Path, archive_id: bytes, disk: Disk) -> tuple[int, Note] | None:
    """The newest note with its number."""
    try:
        file = disk.open(path)
    except FileNotFoundError:
        return None
    try:
        content = file.read(0, RESERVE_BYTES)
    except OSError as error:
        _log.error("reserve %s cannot be read: %s", path, error)
        return None
    finally:
        file.close()
    newest = None
    for start in range(0, len(content), _SLOT_BYTES):
        body, crc = content[start : start + _NOTE.size], content[start + _NOTE.size :][: CRC.size]
        if len(crc) == CRC.size and CRC.unpack(crc)[0] == crc32(body):
            magic, owner, number, since, pos = _NOTE.unpack(body)
            if magic == _MAGIC and owner == archive_id and (newest is None or number > newest[0]):
                newest = number, Note(since, pos)
    return newest


class Reserve:
    """The reserve of one archive, open for the next note. One thread uses it."""

    def __init__(self, path: Path, archive_id: bytes, disk: Disk) -> None:
        self._path = path
        self._id = archive_id
        self._disk = disk
        self._file: File | None = None
        # Of the next note; it says which slot is its.
        self._number = 0
        self._distrusted = False
        self.fresh = False
        """Whether the file is new, and holds no note."""

    def renew(self) -> None:
        """Puts a fresh file in place, which clears the notes; where that cannot be done the old one serves on."""
        temporary = self._path.with_name(self._path.name + ".new")
        file = None
        try:
            self._disk.unlink(temporary)
            file = self._disk.create(temporary)
            write_all(file, [bytes(RESERVE_BYTES)])
            file.datasync()
            self._disk.rename(temporary, self._path)
            self._disk.sync_folder(self._path.parent)
        except OSError as error:
            _log.warning("reserve %s cannot be made anew: %s", self._path, error)
            if file is not None:
                file.close()
            self.reopen()
            return
        self.close()
        self._file, self._number, self._distrusted, self.fresh = file, 0, False, True

    def reopen(self) -> None:
        """Goes on with the file that is there, if it is whole: a note goes into the slot after the newest one's."""
        if self._file is not None or self._distrusted:
            return
        try:
            file = self._disk.reopen(self._path)
        except OSError:
            return
        if file.size() != RESERVE_BYTES:
            file.close()
            return
        newest = _newest(self._path, self._id, self._disk)
        self._file, self._number = file, 0 if newest is None else newest[0] + 1

    def note(self, note: Note) -> None:
        """Writes it down, durable."""
        if self._file is None:
            return
        self.fresh = False
        body = _NOTE.pack(_MAGIC, self._id, self._number, note.since, note.pos)
        try:
            self._file.overwrite(self._number % _SLOTS * _SLOT_BYTES, body + CRC.pack(crc32(body)))
            self._file.datasync()
        except OSError as error:
            _log.error("the full disk of %s could not be registered: %s", self._path, error)
            # Nothing is known of the file after an error; what it says is still read at the next opening.
            self._distrusted = True
            self.close()
            return
        self._number += 1

    def close(self) -> None:
        self.fresh = False
        if self._file is not None:
            self._file.close()
            self._file = None
