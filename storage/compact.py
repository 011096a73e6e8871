"""Compaction: the many sealed files of a day that is over become one a table, or a few of bounded size.

For each folder (the rows of one table, venue and UTC date):

1. The new content is written as a whole folder under ``compact/``, where no reader's glob looks, durable and
   compared with what it is to replace.
2. Under the sealer's lock, so that no file is added meanwhile: an entry under ``manifest/days/`` names the files
   before and after, and then the two folders are exchanged, at once.
3. The old content, which is under ``compact/`` now, is removed, and the entry forgets it.

So whoever lists the folder sees each row exactly once at every instant. Killed anywhere, the next run removes what is
under ``compact/``: before the exchange that is what was half made, after it what was replaced. Readers need nobody:
the entry tells them both states, and the folder which one it is.

What becomes one file is in :mod:`bookreel.storage.compact_plan`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.compact_plan import DayOpen, Task, plan
from bookreel.storage.compact_rows import copy, merge
from bookreel.storage.disk import Disk, Lock, OsDisk, is_full, write_whole
from bookreel.storage.errors import StorageError
from bookreel.storage.layout import Layout, read_meta
from bookreel.storage.manifest import MANIFEST_FORMAT, DayEntry, FileEntry, Manifest, encode_entry
from bookreel.storage.pack import write_pack
from bookreel.storage.seal import KEEP_FREE_BYTES

__all__ = [
    "CompactReport",
    "CompactRunning",
    "DayOpen",
    "DiskFull",
    "ExchangeUnsupported",
    "Task",
    "compact",
    "leftovers",
    "plan",
]

_IMPOSSIBLE: Final = (errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTSUP)


class CompactRunning(StorageError):
    """Another process compacts the archive."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"archive {path} is being compacted by another process; give --wait to wait for it")


class DiskFull(StorageError):
    """There is no room for the new files beside the old ones; nothing was changed."""

    exit_code = 3

    def __init__(self, path: Path, folder: str) -> None:
        self.path = path
        self.folder = folder
        super().__init__(
            f"the disk of {path} is full: {folder} could not be written anew beside the old files, which are "
            "untouched; free as much as they take"
        )


class ExchangeUnsupported(StorageError):
    """Two folders cannot be exchanged at once here; nothing was changed."""

    exit_code = 2

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"archive {path} cannot be compacted: its file system cannot exchange two folders at once ({reason}); "
            "keep it on ext4, XFS or btrfs of a Linux system, in one mount"
        )


class CompactReport(msgspec.Struct):
    """What was done. ``skipped``: folders that were left as they are, and why. ``stopped``: on request."""

    days: int = 0
    folders: int = 0
    rows: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    skipped: list[str] = []
    stopped: bool = False
    seconds: float = 0.0


def compact(
    archive: Path | str,
    *,
    date: str | None = None,
    disk: Disk | None = None,
    now_ns: int | None = None,
    progress: Callable[[Task], None] | None = None,
    total: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    wait: bool = False,
    poll_seconds: float = 0.1,
) -> CompactReport:
    """Compact every day that is over, or one of them (YYYY-MM-DD), oldest first. ``total`` is told how many folders,
    ``progress`` of each that was seen to.

    Also beside a recorder: the sealer waits for moments only. Once ``stop`` is set what is half made is given up. A
    second compaction waits with ``wait``, else it raises :class:`CompactRunning`. Raises BadDate, DayOpen, DiskFull,
    ExchangeUnsupported, NotAnArchive, UnknownFormat, CorruptManifest, CorruptFile, Mismatch, OSError.
    """
    archive = Path(archive)
    disk = OsDisk() if disk is None else disk
    now_ns = time.time_ns() if now_ns is None else now_ns
    run = _Run(archive, disk, threading.Event() if stop is None else stop, poll_seconds)
    begun = time.perf_counter()
    read_meta(archive, disk)
    try:
        with run.lock(Layout(archive).compact_lock, wait):
            run.tidy()
            tasks = plan(archive, date=date, disk=disk, now_ns=now_ns)
            if total is not None:
                total(len(tasks))
            run.all(tasks, progress)
    except _Stopped:
        run.report.stopped = True
    run.report.seconds = time.perf_counter() - begun
    return run.report


def leftovers(archive: Path, disk: Disk | None = None) -> list[Path]:
    """Files that a compaction which was interrupted, or is at work, keeps beside the archive's own."""
    disk = OsDisk() if disk is None else disk
    return [folder / name for folder in _made(Layout(archive).compact, disk) for name in disk.names(folder)]


def _made(compact: Path, disk: Disk) -> Iterator[Path]:
    """The folders of days under ``compact/``."""
    for table in disk.names(compact):
        for venue in disk.names(compact / table):
            for day in disk.names(compact / table / venue):
                yield compact / table / venue / day


class _Stopped(Exception):
    """Compaction was given up on request."""


class _Changed(Exception):
    """A folder is not as it was planned; the text says how."""


class _Run:
    """One run over an archive."""

    def __init__(self, archive: Path, disk: Disk, stop: threading.Event, poll_seconds: float) -> None:
        self.report = CompactReport()
        self._archive = archive
        self._layout = Layout(archive)
        self._disk = disk
        self._stop = stop
        self._poll_seconds = poll_seconds
        self._manifest: Manifest | None = None

    @contextmanager
    def lock(self, path: Path, wait: bool) -> Iterator[None]:
        """Hold a lock; ``wait`` for it until stopped."""
        lock: Lock | None
        while (lock := self._disk.lock(path, f"process {os.getpid()}")) is None:
            if not wait:
                raise CompactRunning(self._archive)
            if self._stop.wait(self._poll_seconds):
                raise _Stopped
        try:
            yield
        finally:
            lock.release()

    def tidy(self) -> None:
        """Finish what an earlier run left: it was killed."""
        manifest = self._load()
        for folder in list(_made(self._layout.compact, self._disk)):
            self._discard(folder)
        for day in manifest.days.values():
            if day.entry.before and day.switched:
                self._settle(day.entry)

    def all(self, tasks: Sequence[Task], progress: Callable[[Task], None] | None) -> None:
        """Compact folder by folder."""
        if tasks:
            self._probe()
        days = set()
        for task in tasks:
            self._look_for_stop()
            done = self._one(task)
            if done is not None:
                days.add(task.date)
                self._count(task, done)
            if progress is not None:
                progress(task)
        self.report.days = len(days)
        if days:
            # A copy for readers: without it nothing is missing.
            with suppress(OSError):
                write_pack(self._load(), self._disk)

    def _one(self, task: Task) -> list[FileEntry] | None:
        """Compact one folder. None: it was left as it is."""
        if self._disk.free(self._archive) < sum(file.bytes for file in task.files) + KEEP_FREE_BYTES:
            raise DiskFull(self._archive, task.folder)
        built = self._built(task.folder)
        try:
            self._disk.make_folder(built)
            files = [self._write(task, group, built) for group in task.groups]
            self._disk.sync_folder(built)
            with self.lock(self._layout.seal_lock, wait=True):
                self._refuse_change(task)
                entry = self._switch(task, files)
        except _Changed as changed:
            self.report.skipped.append(f"{task.folder}: {changed}")
            self._discard(built)
            return None
        except OSError as error:
            self._give_up(built)
            if is_full(error):
                raise DiskFull(self._archive, task.folder) from error
            raise
        except Exception:
            self._give_up(built)
            raise
        self._discard(built)
        self._settle(entry)
        return files

    def _write(self, task: Task, group: Sequence[FileEntry], built: Path) -> FileEntry:
        if len(group) == 1:
            return copy(self._disk, self._archive, group[0], built / Path(group[0].path).name)
        name = f"{group[0].segments[0]:016d}-{group[-1].segments[1]:016d}.parquet"
        return merge(
            self._disk, self._archive, group, built / name, f"{task.folder}/{name}", self._look_for_stop
        )

    def _refuse_change(self, task: Task) -> None:
        """Raise _Changed if the folder is not as it was planned. The sealer's lock is held."""
        # An entry that a killed sealer left may not be durable yet, and what is written now relies on it.
        self._disk.sync_folder(self._layout.manifest)
        listed = {file.path for file in self._load().files(task.table) if file.folder == task.folder}
        if listed != {file.path for file in task.files}:
            raise _Changed("rows were added meanwhile; the next run takes them as well")
        known = {Path(path).name for path in listed}
        for name in self._disk.names(self._archive / task.folder):
            if name not in known and not name.endswith(".new"):
                raise _Changed(
                    f"it holds {name}, which the manifest does not have; seal the archive, or verify it"
                )

    def _switch(self, task: Task, files: list[FileEntry]) -> DayEntry:
        """Put the new folder in the old one's place. The sealer's lock is held."""
        assert self._manifest is not None, "it was loaded to see what changed"
        known = self._manifest.days.get(task.folder)
        entry = DayEntry(
            format=MANIFEST_FORMAT,
            folder=task.folder,
            number=1 if known is None else known.entry.number + 1,
            last_pos=max(segment.first_pos for segment in self._manifest.segments),
            files=files,
            before=task.files,
        )
        self._disk.make_folder(self._layout.days)
        write_whole(self._disk, self._layout.day_entry(entry.folder, entry.number), encode_entry(entry))
        self._exchange(self._archive / task.folder, self._built(task.folder))
        self._sync(task.folder)
        return entry

    def _settle(self, entry: DayEntry) -> None:
        """The folder is exchanged for good and the old content removed: the entry can forget it."""
        path = self._layout.day_entry(entry.folder, entry.number)
        write_whole(self._disk, path, encode_entry(msgspec.structs.replace(entry, before=[])))
        for number in range(entry.number - 1, 0, -1):
            older = self._layout.day_entry(entry.folder, number)
            if older.name not in self._disk.names(self._layout.days):
                break
            self._disk.unlink(older)
        self._disk.sync_folder(self._layout.days)

    def _discard(self, built: Path) -> None:
        """Remove a folder under ``compact/``. Should an exchange have put it there, that is made durable before."""
        folder = "parquet" / built.relative_to(self._layout.compact)
        self._sync(folder.as_posix())
        for name in self._disk.names(built):
            self._disk.unlink(built / name)
        self._disk.remove_folder(built)
        self._disk.sync_folder(built.parent)

    def _give_up(self, built: Path) -> None:
        """After an error that is being told: if the disk lets us, leave nothing."""
        with suppress(OSError):
            self._discard(built)

    def _sync(self, folder: str) -> None:
        self._disk.sync_folder((self._archive / folder).parent)
        self._disk.sync_folder(self._built(folder).parent)

    def _probe(self) -> None:
        """See that folders can be exchanged, before work is spent on it."""
        pair = [self._layout.compact / "probe" / name for name in ("one", "other")]
        for folder in pair:
            self._disk.make_folder(folder)
        self._exchange(*pair)
        for folder in pair:
            self._disk.remove_folder(folder)
        self._disk.remove_folder(pair[0].parent)

    def _exchange(self, one: Path, other: Path) -> None:
        try:
            self._disk.exchange(one, other)
        except OSError as error:
            if error.errno in _IMPOSSIBLE:
                raise ExchangeUnsupported(self._archive, error.strerror or str(error)) from error
            raise

    def _built(self, folder: str) -> Path:
        return self._layout.compact / Path(folder).relative_to("parquet")

    def _load(self) -> Manifest:
        self._manifest = Manifest.load(self._archive, self._disk, known=self._manifest)
        return self._manifest

    def _count(self, task: Task, files: Sequence[FileEntry]) -> None:
        report = self.report
        report.folders += 1
        report.rows += sum(file.rows for file in files)
        report.files_before += len(task.files)
        report.files_after += len(files)
        report.bytes_before += sum(file.bytes for file in task.files)
        report.bytes_after += sum(file.bytes for file in files)

    def _look_for_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped
