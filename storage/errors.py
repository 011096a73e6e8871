"""What can be wrong with an archive or with its use."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

__all__ = [
    "ArchiveOwned",
    "CorruptFile",
    "CorruptSegment",
    "FileGone",
    "JournalClosed",
    "JournalFailed",
    "NotAnArchive",
    "NotDurable",
    "QueryError",
    "RecordTooLarge",
    "StorageError",
    "UnknownFormat",
    "Unsettled",
]


class StorageError(Exception):
    """Base of this package's errors.

    ``exit_code``: 2 for wrong use or ownership, 3 for data that cannot be read.
    """

    exit_code: ClassVar[int] = 3


class ArchiveOwned(StorageError):
    """Another process records or imports into the archive; nothing was touched."""

    exit_code = 2

    def __init__(self, path: Path, owner: str) -> None:
        self.path = path
        self.owner = owner
        super().__init__(f"archive {path} is in use by {owner}; stop that process or name another archive")


class NotAnArchive(StorageError):
    """The folder holds something else, or what says that it is an archive cannot be read."""

    exit_code = 3

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is not an archive of bookreel: {reason}; name an archive or a new folder")


class UnknownFormat(StorageError):
    """The file was written by a newer version."""

    exit_code = 3

    def __init__(self, path: Path, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(
            f"{path} has format {found}, this version reads up to {known}; use a newer version of bookreel"
        )


class CorruptSegment(StorageError):
    """A journal segment is damaged where the caller cannot do without it."""

    exit_code = 3

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        self.path = path
        self.offset = offset
        self.reason = reason
        super().__init__(
            f"segment {path} is damaged at byte {offset}: {reason}; run `bookreel verify` for the extent"
        )


class RecordTooLarge(StorageError):
    """A payload or a line's name is beyond the format's limit; it was not taken."""

    exit_code = 2

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.what = what
        self.size = size
        self.limit = limit
        super().__init__(
            f"a journal record's {what} has {size} bytes, the limit is {limit}; limit it at its source"
        )


class JournalClosed(StorageError):
    """The journal was closed; nothing more can be appended."""

    exit_code = 2

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"the journal of {path} is closed; open the archive again to append")


class JournalFailed(StorageError):
    """The journal's own code failed in a thread; what is durable stays so. The cause is chained."""

    exit_code = 3

    def __init__(self, path: Path, cause: BaseException) -> None:
        self.path = path
        self.cause = cause
        super().__init__(
            f"the journal of {path} stopped ({type(cause).__name__}: {cause}); open the archive again, "
            "every durable record is kept"
        )


class NotDurable(StorageError):
    """Records were given up at the end of a wait because the disk did not take them."""

    exit_code = 3

    def __init__(self, path: Path, in_flight: int, cause: str) -> None:
        self.path = path
        self.in_flight = in_flight
        self.cause = cause
        super().__init__(
            f"{in_flight} records of {path} are not durable ({cause}); check the disk and its free space"
        )


class CorruptFile(StorageError):
    """A sealed file is not what the manifest says."""

    exit_code = 3

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"sealed file {path} is damaged: {reason}; run `bookreel verify` for the extent")


class FileGone(CorruptFile):
    """A sealed file is not there. Where the day was compacted meanwhile, another look names the files that have
    its rows now.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "it is not there")


class QueryError(StorageError):
    """A SQL statement cannot be run: it is wrong, or it does more than read.

    ``hint``: what would be right.
    """

    exit_code = 2

    def __init__(self, reason: str, hint: str = "") -> None:
        self.reason = reason
        self.hint = hint
        super().__init__(f"{reason}; {hint}" if hint else reason)


class Unsettled(StorageError):
    """The archive changed each time it was looked at: no consistent picture of it could be had."""

    exit_code = 3

    def __init__(self, path: Path, tries: int) -> None:
        self.path = path
        self.tries = tries
        super().__init__(
            f"archive {path} changed during each of {tries} looks at it; try again when sealing is done"
        )
