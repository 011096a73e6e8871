"""Where things are inside an archive, and the file that says that a folder is one."""

from __future__ import annotations

import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.disk import Disk, write_whole
from bookreel.storage.errors import NotAnArchive, UnknownFormat

__all__ = ["FORMAT", "Layout", "Meta", "check_free", "create_archive", "is_canonical", "read_meta"]

FORMAT: Final = 1
"""The archive format that this version writes, and the newest that it reads."""

_META_LIMIT: Final = 64 * 1024


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Content of ``archive.json``, written once.

    ``venue``: the first one recorded here; records name their line, so further ones may follow.
    ``created_ns``: wall clock, ns UTC. ``id``: 16 hex digits drawn when the archive was made; it seeds the
    records' checksums, so that bytes which came in over the network can never pass for a record.
    """

    format: int
    venue: str
    created_ns: int
    id: str = "0" * 16
    sha256: str = ""
    """Of the same without this field; empty in archives made before it was there."""

    def digest(self) -> str:
        """What ``sha256`` must be."""
        return sha256(msgspec.json.encode(msgspec.structs.replace(self, sha256=""))).hexdigest()


class Layout(msgspec.Struct, frozen=True):
    """Every path of an archive, from its root."""

    root: Path

    @property
    def meta(self) -> Path:
        return self.root / "archive.json"

    @property
    def owner_lock(self) -> Path:
        return self.root / "owner.lock"

    @property
    def seal_lock(self) -> Path:
        return self.root / "seal.lock"

    @property
    def compact_lock(self) -> Path:
        return self.root / "compact.lock"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def parquet(self) -> Path:
        return self.root / "parquet"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest"

    @property
    def days(self) -> Path:
        """What compactions made of days."""
        return self.manifest / "days"

    @property
    def pack(self) -> Path:
        """The entries of sealed segments once more, in one file."""
        return self.manifest / "entries.pack"

    @property
    def compact(self) -> Path:
        """Where a compaction builds, beside everything that a reader's glob can see."""
        return self.root / "compact"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.journal, self.parquet, self.manifest, self.state)

    @property
    def reserve(self) -> Path:
        return self.root / "reserve"

    def segment(self, first_pos: int) -> Path:
        """The journal segment whose first record has this position."""
        return self.journal / f"{first_pos:016d}.seg"

    def table_file(self, table: str, venue: str, date: str, segment: str) -> Path:
        """A sealed file; ``segment`` is the stem of the journal segment, ``date`` is YYYY-MM-DD in UTC."""
        return self.parquet / table / f"venue={venue}" / f"date={date}" / f"{segment}.parquet"

    def manifest_entry(self, segment: str) -> Path:
        return self.manifest / f"{segment}.json"

    def day_entry(self, folder: str, number: int) -> Path:
        """``folder``: that of the day's files of one table and venue, relative to the archive."""
        _, table, venue, date = folder.split("/")
        return (
            self.days / f"{date.removeprefix('date=')}.{venue.removeprefix('venue=')}.{table}.{number}.json"
        )

    def state_file(self, segment: str) -> Path:
        return self.state / f"{segment}.state"


def is_canonical(archive: Path, disk: Disk) -> bool:
    """Whether ``archive.json`` is byte for byte what a recorder writes: also in what no reader looks at."""
    file = disk.open(Layout(archive).meta)
    try:
        return file.read(0, _META_LIMIT) == _content(read_meta(archive, disk))
    finally:
        file.close()


def _content(meta: Meta) -> bytes:
    return msgspec.json.encode(meta) + b"\n"


def read_meta(archive: Path, disk: Disk) -> Meta:
    """What ``archive.json`` says. Raises NotAnArchive, UnknownFormat."""
    path = Layout(archive).meta
    try:
        file = disk.open(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotAnArchive(archive, "it has no archive.json") from None
    try:
        content = file.read(0, _META_LIMIT)
    finally:
        file.close()
    try:
        form = msgspec.json.decode(content, type=_Form).format
        if form > FORMAT:
            raise UnknownFormat(path, form, FORMAT)
        meta = msgspec.json.decode(content, type=Meta)
        if meta.sha256 and meta.sha256 != meta.digest():
            raise NotAnArchive(archive, "its archive.json is not what was written")
        return meta
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotAnArchive(archive, f"its archive.json cannot be read ({error})") from error


class _Form(msgspec.Struct):
    """The one key that every version of the file has."""

    format: int


def create_archive(
    archive: Path, venue: str, created_ns: int, disk: Disk, archive_id: bytes | None = None
) -> Meta:
    """Makes the folders, and ``archive.json`` as the last thing; what an interrupted attempt left is
    completed.

    ``archive_id``: 8 bytes; None draws them.
    """
    layout = Layout(archive)
    for folder in layout.folders:
        disk.make_folder(folder)
    identity = secrets.token_bytes(8) if archive_id is None else archive_id
    assert len(identity) == 8, "an archive's id has 8 bytes"
    meta = Meta(format=FORMAT, venue=venue, created_ns=created_ns, id=identity.hex())
    meta = msgspec.structs.replace(meta, sha256=meta.digest())
    write_whole(disk, layout.meta, _content(meta))
    return meta


def check_free(archive: Path, disk: Disk) -> None:
    """Raises NotAnArchive if the folder holds anything that an archive, even half made, does not."""
    layout = Layout(archive)
    known = {path.name for path in (*layout.folders, layout.meta, layout.owner_lock, layout.seal_lock)}
    known |= {layout.meta.name + ".new", layout.reserve.name, layout.reserve.name + ".new"}
    strange = [name for name in disk.names(archive) if name not in known]
    if strange:
        raise NotAnArchive(archive, f"it has no archive.json but holds {strange[0]!r}")
