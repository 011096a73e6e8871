"""The only way by which files that must survive a crash are touched; tests put a simulated disk in its place.

Every call is synchronous and raises ``OSError`` as the system does. Nothing here retries: what an error means
is decided by the caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Final, Protocol

__all__ = ["Disk", "File", "Lock", "OsDisk", "advance", "is_full", "write_all", "write_whole"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_PROBE_TRIES: Final = 5
_PROBE_PAUSE_SECONDS: Final = 0.02

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
"""Of Linux' renameat2(2), which Python does not offer."""


class File(Protocol):
    """One open file."""

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Appends; returns the bytes taken, which may be fewer than given (a short write)."""
        ...

    def overwrite(self, offset: int, data: bytes) -> None:
        """Puts ``data`` in the place of bytes written before; needs no free space where a file system does not copy
        on write.
        """
        ...

    def datasync(self) -> None:
        """Returns when the content written so far, and the size, are on stable storage.

        After an error nothing is known.
        """
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Fewer bytes than asked for means the end of the file."""
        ...

    def size(self) -> int: ...

    def linked(self) -> bool:
        """False once the file was removed, or another was renamed over it; what is open can still be read."""
        ...

    def close(self) -> None: ...


class Lock(Protocol):
    """A held lock; the system releases it when the process dies, however it dies."""

    def release(self) -> None: ...


class Disk(Protocol):
    """A file system."""

    def create(self, path: Path) -> File:
        """A new file for appending. Raises ``FileExistsError``: no file is ever opened for appending twice."""
        ...

    def open(self, path: Path) -> File:
        """An existing file for reading."""
        ...

    def reopen(self, path: Path) -> File:
        """An existing file, of which bytes are to be overwritten; nothing is appended to it."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Names in a folder, sorted; none if there is no such folder."""
        ...

    def make_folder(self, folder: Path) -> None:
        """Makes it and its parents durable; an existing folder is fine."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Replaces ``new`` at once and whole; durable after :meth:`sync_folder`."""
        ...

    def unlink(self, path: Path) -> None:
        """Removes a file; one that is not there is fine. Durable after :meth:`sync_folder`."""
        ...

    def exchange(self, one: Path, other: Path) -> None:
        """Two folders take each other's place, at once; durable after :meth:`sync_folder` of either parent.

        Raises OSError with ENOSYS, EINVAL or EXDEV where the system or the file system cannot do that.
        """
        ...

    def remove_folder(self, folder: Path) -> None:
        """Removes an empty folder; one that is not there is fine. Durable after :meth:`sync_folder`."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Makes the names in a folder durable."""
        ...

    def lock(self, path: Path, note: str) -> Lock | None:
        """Takes the lock and leaves ``note`` in the file for people; None if another holds it.

        The file is never removed.
        """
        ...

    def locked(self, path: Path) -> bool:
        """Whether somebody holds the lock."""
        ...

    def free(self, folder: Path) -> int:
        """Bytes that can still be written there."""
        ...


class OsFile:
    """A :class:`File` of the operating system."""

    __slots__ = ("_file",)

    def __init__(self, path: Path, flags: int) -> None:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
        # FileIO owns the descriptor, so one that is forgotten is closed with its object and never closes
        # another's number.
        self._file = FileIO(fd, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "ab")

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        return os.writev(self._file.fileno(), buffers)

    def overwrite(self, offset: int, data: bytes) -> None:
        fd = self._file.fileno()
        assert offset + len(data) <= self.size(), "only what is there is overwritten"
        # A file opened for appending appends wherever it is told to write.
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_APPEND)
        while data:
            taken = os.pwrite(fd, data, offset)
            offset, data = offset + taken, data[taken:]

    def datasync(self) -> None:
        os.fdatasync(self._file.fileno())

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), size, offset)

    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def linked(self) -> bool:
        return os.fstat(self._file.fileno()).st_nlink > 0

    def close(self) -> None:
        self._file.close()


class OsLock:
    """A held flock."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsDisk:
    """The :class:`Disk` of the operating system."""

    def create(self, path: Path) -> File:
        return OsFile(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)

    def open(self, path: Path) -> File:
        return OsFile(path, os.O_RDONLY)

    def reopen(self, path: Path) -> File:
        return OsFile(path, os.O_WRONLY | os.O_NOFOLLOW)

    def names(self, folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - only names are wanted
        except FileNotFoundError:
            return []

    def make_folder(self, folder: Path) -> None:
        missing = []
        at = folder
        while not at.is_dir():
            missing.append(at)
            at = at.parent
        # Whoever made the one that is there may have died before its name was durable. Who may not read its parent
        # did not make it.
        with contextlib.suppress(PermissionError):
            self.sync_folder(at.parent)
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            self.sync_folder(path.parent)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def exchange(self, one: Path, other: Path) -> None:
        _exchange(one, other)

    def remove_folder(self, folder: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()

    def sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path, note: str) -> Lock | None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        for attempt in range(_PROBE_TRIES):
            # Somebody asking `locked` holds the lock for microseconds: not a reason to refuse an owner.
            if attempt:
                time.sleep(_PROBE_PAUSE_SECONDS)
            if _flock(fd, fcntl.LOCK_EX):
                # The note is for people: a full disk is no reason to refuse an owner.
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, note.encode(), 0)
                return OsLock(fd)
        os.close(fd)
        return None

    def locked(self, path: Path) -> bool:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def free(self, folder: Path) -> int:
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize


def _flock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def is_full(error: OSError) -> bool:
    """Whether a call failed because the disk, or the user's share of it, is full."""
    return error.errno in _FULL


def _exchange(one: Path, other: Path) -> None:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(one)) from None
    rename.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one), None, str(other))


def write_all(file: File, buffers: Sequence[bytes | memoryview]) -> None:
    """Writes everything, however often the system takes less than was given. At most IOV_MAX buffers."""
    todo = list(buffers)
    while todo:
        advance(todo, file.writev(todo))


def advance(todo: list[bytes | memoryview], taken: int) -> None:
    """Removes the first ``taken`` bytes from the buffers still to be written."""
    done = 0
    for buffer in todo:
        if taken < len(buffer):
            break
        taken -= len(buffer)
        done += 1
    del todo[:done]
    if taken:
        todo[0] = memoryview(todo[0])[taken:]


def write_whole(disk: Disk, path: Path, content: bytes) -> None:
    """Puts a small file in place: whole and durable, or not at all. An existing one is replaced."""
    temporary = path.with_name(path.name + ".new")
    disk.unlink(temporary)
    file = disk.create(temporary)
    try:
        write_all(file, [content])
        file.datasync()
    except OSError:
        # Half a file helps nobody, and a full disk needs the room.
        with contextlib.suppress(OSError):
            disk.unlink(temporary)
        raise
    finally:
        file.close()
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)
