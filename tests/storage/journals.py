"""What tests of the journal share: records, what is read back of them, and a disk that fails when it is told to."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bookreel.storage.disk import Disk, File, OsDisk
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.segment import Damage, SegmentReader, list_segments

__all__ = [
    "MANUAL",
    "SECOND",
    "FaultyDisk",
    "FaultyFile",
    "append",
    "check_counts",
    "events_of",
    "frames_of",
    "payload_of",
    "read_archive",
]

MANUAL = JournalOptions(threads=False, archive_id=b"archive0")
SECOND = 1_000_000_000


def payload_of(number: int) -> bytes:
    return b"%d:" % number + random.Random(number).randbytes(number % 90)


def append(journal: Journal, number: int) -> int:
    return journal.append(
        number * 3, number * 2, "feed-0", 1, Direction.IN, Kind.COMPRESSED, payload_of(number)
    )


def read_archive(archive: Path, disk: Disk | None = None) -> tuple[list[Record], list[Damage]]:
    """Everything in the journal, as one who follows it would see it."""
    records: list[Record] = []
    damage: list[Damage] = []
    for segment in list_segments(archive, disk):
        after = records[-1].pos if records else 0
        with SegmentReader(segment.path, disk, after=after, closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Damage):
                    damage.append(item)
                else:
                    records.append(item)
    return records, damage


def frames_of(records: list[Record]) -> dict[int, bytes]:
    return {record.pos: record.payload for record in records if record.kind is Kind.COMPRESSED}


def events_of(records: list[Record]) -> list[dict[str, Any]]:
    return [decode_event(record.payload) for record in records if record.kind is Kind.EVENT]


def check_counts(journal: Journal) -> None:
    counts = journal.counts()
    assert counts.received == counts.durable + counts.in_flight + counts.shed
    assert (counts.held_bytes > 0) == (counts.in_flight > 0)
    assert counts.in_flight == journal.in_flight
    assert counts.written >= counts.durable


class FaultyFile:
    def __init__(self, file: File, disk: FaultyDisk, path: Path) -> None:
        self._file = file
        self._disk = disk
        self._other = os.open(path, os.O_RDWR)
        self._synced = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        self._disk.met("write")
        if self._disk.room is None and self._disk.most is None:
            return self._file.writev(buffers)
        whole = b"".join(buffers)
        take = len(whole)
        if self._disk.most is not None:
            take = min(take, self._disk.most)
        if self._disk.room is not None:
            take = min(take, self._disk.room)
            if take == 0:
                raise OSError(errno.ENOSPC, "no space left")
            self._disk.room -= take
        return self._file.writev([whole[:take]])

    def datasync(self) -> None:
        size = self._file.size()
        try:
            self._disk.met("datasync")
        except OSError:
            # What a kernel may do: drop the pages, and be fine with the next sync.
            os.pwrite(self._other, bytes(size - self._synced), self._synced)
            raise
        self._file.datasync()
        self._synced = size

    def close(self) -> None:
        os.close(self._other)
        self._file.close()


class FaultyDisk(OsDisk):
    """Fails in the journal's folder. ``fail``: call, its number over all files, error.

    ``room``: bytes left. ``most``: bytes that a write takes.
    """

    def __init__(self, fail: tuple[str, int, int] | None = None) -> None:
        self.fail = fail
        self.room: int | None = None
        self.most: int | None = None
        self.calls: dict[str, int] = {}
        self.hook: Callable[[str], None] | None = None

    def met(self, call: str) -> None:
        self.calls[call] = number = self.calls.get(call, 0) + 1
        if self.hook is not None:
            self.hook(call)
        if self.fail is not None and self.fail[:2] == (call, number):
            raise OSError(self.fail[2], os.strerror(self.fail[2]))

    def create(self, path: Path) -> File:
        if path.parent.name != "journal":
            return super().create(path)
        self.met("create")
        return FaultyFile(super().create(path), self, path)  # type: ignore[return-value]

    def rename(self, old: Path, new: Path) -> None:
        if new.parent.name == "journal":
            self.met("rename")
        super().rename(old, new)

    def sync_folder(self, folder: Path) -> None:
        if folder.name == "journal":
            self.met("sync_folder")
        super().sync_folder(folder)
