"""Which folders compaction makes anew, and which of their files become one.

Files are merged that follow each other in the journal. Rows that came much later for the same day keep a file of
their own, as our readers go through files by position.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.dates import date_of, day_start
from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.errors import StorageError
from bookreel.storage.journal import is_recording
from bookreel.storage.manifest import FileEntry, Manifest
from bookreel.storage.segment import list_segments

__all__ = ["DayOpen", "Task", "plan"]

FILE_ROWS: Final = {"book_deltas": 32 << 20, "book_snapshots": 1 << 20}
"""Rows of a merged file, by table: some hundred megabytes."""

FILE_ROWS_ELSE: Final = 4 << 20


class DayOpen(StorageError):
    """The day can still get rows."""

    exit_code = 2

    def __init__(self, day: str) -> None:
        self.day = day
        super().__init__(
            f"{day} is not over, or the journal still has rows of it; compact it when it is sealed"
        )


class Task(msgspec.Struct, frozen=True):
    """One folder to compact. ``groups``: its files now, those that become one together."""

    table: str
    date: str
    folder: str
    groups: list[list[FileEntry]]

    @property
    def files(self) -> list[FileEntry]:
        """The files there are now."""
        return [file for group in self.groups for file in group]


def plan(
    archive: Path, *, date: str | None = None, disk: Disk | None = None, now_ns: int | None = None
) -> list[Task]:
    """What :func:`compact` would do, oldest day first. Raises BadDate, DayOpen."""
    disk = OsDisk() if disk is None else disk
    date = None if date is None else date_of(day_start(date))
    limit = _open_day(archive, disk, time.time_ns() if now_ns is None else now_ns)
    if date is not None and date >= limit:
        raise DayOpen(date)
    tasks = []
    for table, files in Manifest.load(archive, disk).tables().items():
        folders: dict[str, list[FileEntry]] = defaultdict(list)
        for file in files:
            folders[file.folder].append(file)
        reaches = _Reaches(files)
        for folder, inside in folders.items():
            day = inside[0].date
            if len(inside) < 2 or day >= limit or date not in (None, day):
                continue
            groups = _groups(inside, reaches, FILE_ROWS.get(table, FILE_ROWS_ELSE))
            if len(groups) < len(inside):
                tasks.append(Task(table, day, folder, groups))
    return sorted(tasks, key=lambda task: (task.date, task.folder))


def _groups(files: Sequence[FileEntry], reaches: _Reaches, most: int) -> list[list[FileEntry]]:
    """Files of one folder that become one each: at most so many rows, and no other folder's file between them."""
    groups: list[list[FileEntry]] = []
    rows = reach = 0
    for file in sorted(files, key=lambda file: file.segments):
        if groups and rows + file.rows <= most and not reaches.between(file.folder, reach, file.pos_min):
            groups[-1].append(file)
            rows += file.rows
        else:
            groups.append([file])
            rows = file.rows
        reach = max(reach, file.pos_max)
    return groups


class _Reaches:
    """Of all files of a table: how far those reach that begin before a position."""

    def __init__(self, files: Sequence[FileEntry]) -> None:
        spans = sorted((file.pos_min, file.pos_max, file.folder) for file in files)
        self._starts = [pos_min for pos_min, _, _ in spans]
        # The farthest, and the farthest of another folder than that one's.
        self._farthest: list[tuple[tuple[int, str], tuple[int, str]]] = []
        first = second = (0, "")
        for _, pos_max, folder in spans:
            if folder == first[1]:
                first = max(first, (pos_max, folder))
            elif pos_max > first[0]:
                first, second = (pos_max, folder), first
            else:
                second = max(second, (pos_max, folder))
            self._farthest.append((first, second))

    def between(self, folder: str, after: int, before: int) -> bool:
        """Whether another folder's file may have a position between two."""
        count = bisect_left(self._starts, before)
        if not count:
            return False
        first, second = self._farthest[count - 1]
        return (second if first[1] == folder else first)[0] > after


def _open_day(archive: Path, disk: Disk, now_ns: int) -> str:
    """The first day that can still get rows: today, or the one that the sealer is at."""
    until = now_ns
    manifest = Manifest.load(archive, disk)
    segments = list_segments(archive, disk)
    if is_recording(archive, disk) or any(not manifest.sealed(segment.name) for segment in segments):
        sealed = [entry.ts_max for entry in manifest.segments if entry.ts_max is not None]
        until = min(until, sealed[-1]) if sealed else 0
    return date_of(until)
