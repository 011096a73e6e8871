"""Which sealed files an archive has: one immutable entry for each sealed segment.

Writing an entry is the commit point of sealing its segment. Before it, the rows are in the journal; from then on they
are in the entry's files, and the segment may go. Readers therefore list the journal first and load the manifest after
that. Entries are never changed, so a reader that loads again reads only new ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.errors import StorageError, UnknownFormat
from bookreel.storage.layout import Layout
from bookreel.storage.segment import Damage

__all__ = ["MANIFEST_FORMAT", "CorruptManifest", "FileEntry", "Manifest", "SegmentEntry", "encode_entry"]

MANIFEST_FORMAT: Final = 1
"""The format of entries that this version writes, and the newest that it reads."""

_SUFFIX: Final = ".json"
_READ_BYTES: Final = 1 << 20


class CorruptManifest(StorageError):
    """An entry cannot be read, or the entries contradict each other."""

    exit_code = 3

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"manifest {path} is damaged: {reason}; restore it from a copy, its files are untouched"
        )


class FileEntry(msgspec.Struct, frozen=True):
    """One sealed file. ``path`` is relative to the archive; ``date`` (YYYY-MM-DD) is the UTC date of its rows'
    ``ts_recv``, ``ts_min`` and ``ts_max`` their bounds (ns), ``pos_min`` and ``pos_max`` those of the position.
    ``symbols``: how many. ``bytes`` and ``sha256`` are of the file's content.
    """

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str
    date: str
    ts_min: int
    ts_max: int
    pos_min: int
    pos_max: int
    symbols: int


class SegmentEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed segment. ``ts_min`` and ``ts_max`` (receive times, ns) are None where it had no record, and
    ``last_pos`` is then below ``first_pos``. ``state``: path, relative to the archive, of the checkpoint after
    it; only the newest segment's is kept. ``counts`` as in :class:`bookreel.storage.normalize.Normalizer`.
    """

    format: int
    segment: str
    first_pos: int
    last_pos: int
    records: int
    ts_min: int | None
    ts_max: int | None
    files: list[FileEntry]
    state: str
    state_sha256: str
    counts: dict[str, int]
    damage: list[Damage]


def encode_entry(entry: SegmentEntry) -> bytes:
    """An entry as its file holds it: JSON for people, the same bytes for the same entry."""
    return msgspec.json.format(msgspec.json.encode(entry), indent=1) + b"\n"


class Manifest:
    """The entries of an archive, by ascending position."""

    def __init__(self, archive: Path, segments: list[SegmentEntry]) -> None:
        self.archive = archive
        self.segments = segments
        self._names = {entry.segment for entry in segments}

    @classmethod
    def load(cls, archive: Path, disk: Disk | None = None, *, known: Manifest | None = None) -> Manifest:
        """Read the entries; those that ``known`` has are taken from there. An archive without any is fine. Raises
        :class:`CorruptManifest`, :class:`bookreel.storage.errors.UnknownFormat`.
        """
        disk = OsDisk() if disk is None else disk
        folder = Layout(Path(archive)).manifest
        old = {} if known is None else {entry.segment: entry for entry in known.segments}
        entries = [
            old.get(name.removesuffix(_SUFFIX)) or _read_entry(folder / name, disk)
            for name in disk.names(folder)
            if name.endswith(_SUFFIX)
        ]
        return cls(Path(archive), sorted(entries, key=lambda entry: entry.first_pos))

    @property
    def last_pos(self) -> int:
        """Position of the newest sealed record, 0 before the first."""
        return max((entry.last_pos for entry in self.segments), default=0)

    def sealed(self, segment: str) -> bool:
        """Whether the segment of this name is sealed."""
        return segment in self._names

    def files(self, table: str) -> list[FileEntry]:
        """The sealed files of a table, by ascending position."""
        return [file for entry in self.segments for file in entry.files if file.table == table]

    def add(self, entry: SegmentEntry) -> None:
        """Note an entry that was just written."""
        self.segments.append(entry)
        self._names.add(entry.segment)

    def _check(self, disk: Disk | None = None) -> None:
        """Assert what holds for every archive at every instant."""
        disk = OsDisk() if disk is None else disk
        # One entry a segment.
        assert len(self._names) == len(self.segments), "a segment has two entries"
        # Positions ascend and no two segments share one.
        last_pos = 0
        for entry in self.segments:
            assert entry.first_pos > last_pos, f"{entry.segment} begins at or before {last_pos}"
            assert entry.last_pos >= entry.first_pos - 1, f"{entry.segment} ends before it begins"
            last_pos = max(last_pos, entry.last_pos)
        files = [(entry, file) for entry in self.segments for file in entry.files]
        # No two files have one name.
        assert len({file.path for _, file in files}) == len(files), "a file is listed twice"
        folders: dict[Path, set[str]] = {}
        for entry, file in files:
            path = self.archive / file.path
            # A file is in the partition of its table and date, and named after its segment.
            assert path.parent.name == f"date={file.date}", (
                f"{file.path} is not in the partition of {file.date}"
            )
            assert Path(file.path).parts[:2] == ("parquet", file.table), f"{file.path} is not of {file.table}"
            assert path.name == f"{entry.segment}.parquet", f"{file.path} is not of segment {entry.segment}"
            # Its rows come from its segment. A delta that was buffered for a snapshot may come from an earlier one.
            assert file.pos_min <= file.pos_max <= entry.last_pos, (
                f"{file.path} has positions of other segments"
            )
            # It is there.
            if path.parent not in folders:
                folders[path.parent] = set(disk.names(path.parent))
            assert path.name in folders[path.parent], f"{file.path} is missing"


def _read_entry(path: Path, disk: Disk) -> SegmentEntry:
    file = disk.open(path)
    try:
        content = file.read(0, max(file.size(), _READ_BYTES))
    finally:
        file.close()
    try:
        form = msgspec.json.decode(content, type=_Form).format
        if form > MANIFEST_FORMAT:
            raise UnknownFormat(path, form, MANIFEST_FORMAT)
        entry = msgspec.json.decode(content, type=SegmentEntry)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CorruptManifest(path, str(error)) from error
    if entry.segment != path.name.removesuffix(_SUFFIX):
        raise CorruptManifest(path, f"it is the entry of segment {entry.segment}")
    return entry


class _Form(msgspec.Struct):
    """The one key that every version of an entry has."""

    format: int
