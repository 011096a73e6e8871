"""Which sealed files an archive has: one immutable entry for each sealed segment.

Writing an entry is the commit point of sealing its segment. Before it, the rows are in the journal; from then on they
are in the entry's files, and the segment may go. Readers therefore list the journal first and load the manifest after
that. Entries are never changed, so a reader that loads again reads only new ones.

A compaction writes other files for a day that is over: all rows of one table, venue and date, whatever segments they
are from. It leaves a :class:`DayEntry`, written before the day's folder is exchanged, that names the files before and
after. Which of them count is decided by which are there, so entry and folder agree at every instant. A folder is
never changed back, and no name in it ever gets a second content.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.errors import StorageError, UnknownFormat
from bookreel.storage.layout import Layout
from bookreel.storage.segment import Damage
from bookreel.storage.turns import Step

__all__ = [
    "MANIFEST_FORMAT",
    "CorruptManifest",
    "Day",
    "DayEntry",
    "FileEntry",
    "Manifest",
    "SegmentEntry",
    "encode_entry",
    "read_entry",
    "was_replaced",
]

MANIFEST_FORMAT: Final = 2
"""The format of entries that this version writes, and the newest that it reads. Since 2 an entry ends with its own
digest: a bound or a count that is off by one flipped bit would hide rows.
"""

_SUFFIX: Final = ".json"
_END: Final = b"\n}"
_DIGEST: Final = b',\n "sha256": "'
"""The last key: the digest of all before it."""

_Entry = TypeVar("_Entry", "SegmentEntry", "DayEntry")


class CorruptManifest(StorageError):
    """An entry cannot be read, or the entries contradict each other."""

    exit_code = 3

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"manifest {path} is damaged: {reason}; restore it from a copy, its files are untouched"
        )


class FileEntry(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One sealed file. ``path`` is relative to the archive; ``date`` (YYYY-MM-DD) is the UTC date of its rows'
    ``ts_recv``, ``ts_min`` and ``ts_max`` their bounds (ns), ``pos_min`` and ``pos_max`` those of the position.
    ``symbols``: how many. ``bytes`` and ``sha256`` are of the file's content, ``footer_bytes`` and ``footer_crc``
    (CRC-32) of so many last bytes, which are the Parquet footer; 0 where the entry is of an older version. ``added``:
    which of :data:`bookreel.storage.schema.ADDED` it has.
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
    footer_bytes: int = 0
    footer_crc: int = 0
    added: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Of all files of its table, venue and date, relative to the archive."""
        return self.path.rpartition("/")[0]

    @property
    def segments(self) -> tuple[int, int]:
        """First position of the first and of the last segment whose rows it has, as its name says them."""
        first, _, last = self.path.rpartition("/")[2].removesuffix(".parquet").partition("-")
        return int(first), int(last or first)


class SegmentEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sealed segment. ``ts_min`` and ``ts_max`` (receive times, ns) are None where it had no record, and
    ``last_pos`` is then below ``first_pos``. ``state``: path, relative to the archive, of the checkpoint after
    it; only the newest segment's is kept. ``counts`` as in :class:`bookreel.storage.normalize.Normalizer`.
    ``steps``: where the clock was set back; None where the entry is of an older version.
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
    steps: list[Step] | None = None


class DayEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one compaction made of one folder: the rows of one table, venue and UTC date.

    ``folder``: relative to the archive. ``number``: of this folder's compactions, from 1; the highest counts.
    ``last_pos``: segments that begin at or below it were sealed then, those above it add their own files.
    ``files`` replace ``before``. Once the folder is known to be exchanged for good, ``before`` is empty.
    """

    format: int
    folder: str
    number: int
    last_pos: int
    files: list[FileEntry]
    before: list[FileEntry]


class Day(msgspec.Struct, frozen=True):
    """A compacted folder as it was found. ``switched``: it holds the new files."""

    entry: DayEntry
    switched: bool

    @property
    def files(self) -> list[FileEntry]:
        """The files that are in the folder, but for those of later segments."""
        return self.entry.files if self.switched else self.entry.before


def encode_entry(entry: SegmentEntry | DayEntry) -> bytes:
    """An entry as its file holds it: JSON for people, the same bytes for the same entry."""
    body = msgspec.json.format(msgspec.json.encode(entry), indent=1).removesuffix(_END)
    return body + _DIGEST + sha256(body).hexdigest().encode() + b'"' + _END + b"\n"


def was_replaced(folder: str, segment: SegmentEntry, days: Mapping[str, Day]) -> bool:
    """Whether a compaction took what a segment has in a folder; ``days``: by their folders."""
    day = days.get(folder)
    return day is not None and segment.first_pos <= day.entry.last_pos


class Manifest:
    """The entries of an archive, by ascending position. ``days``: compacted folders by their path in the archive."""

    def __init__(
        self, archive: Path, segments: list[SegmentEntry], days: dict[str, Day] | None = None
    ) -> None:
        self.archive = archive
        self.segments = segments
        self.days = {} if days is None else days
        self._names = {entry.segment for entry in segments}
        self._files: dict[str, list[FileEntry]] | None = None

    @classmethod
    def load(cls, archive: Path, disk: Disk | None = None, *, known: Manifest | None = None) -> Manifest:
        """Read the entries; those that ``known`` has are taken from there. An archive without any is fine. Raises
        :class:`CorruptManifest`, :class:`bookreel.storage.errors.UnknownFormat`.
        """
        disk = OsDisk() if disk is None else disk
        layout = Layout(Path(archive))
        folder = layout.manifest
        # Days first: each segment that they know of is then found as well, and none counts twice.
        days = _read_days(layout, disk, {} if known is None else known.days)
        if known is not None and not known.days.keys() <= days.keys():
            # A day that is gone says no more what it replaced: then the entries of segments have to.
            known = None
        old = {} if known is None else {entry.segment: entry for entry in known.segments}
        entries = [
            old.get(name.removesuffix(_SUFFIX)) or read_entry(folder / name, disk)
            for name in disk.names(folder)
            if name.endswith(_SUFFIX)
        ]
        return cls(Path(archive), sorted(entries, key=lambda entry: entry.first_pos), days)

    @property
    def last_pos(self) -> int:
        """Position of the newest sealed record, 0 before the first."""
        return max((entry.last_pos for entry in self.segments), default=0)

    def sealed(self, segment: str) -> bool:
        """Whether the segment of this name is sealed."""
        return segment in self._names

    def files(self, table: str) -> list[FileEntry]:
        """The sealed files of a table, by ascending position."""
        return self.tables().get(table, [])

    def tables(self) -> dict[str, list[FileEntry]]:
        """The sealed files that hold the archive's rows now, by table and ascending position."""
        if self._files is None:
            self._files = self._live()
        return self._files

    def add(self, entry: SegmentEntry) -> None:
        """Note an entry that was just written."""
        self.segments.append(entry)
        self._names.add(entry.segment)
        self._files = None

    def _live(self) -> dict[str, list[FileEntry]]:
        found: dict[str, list[FileEntry]] = {}
        for segment in self.segments:
            for file in segment.files:
                if self.days and was_replaced(file.folder, segment, self.days):
                    continue
                found.setdefault(file.table, []).append(file)
        for table in {file.table for day in self.days.values() for file in day.files}:
            files = found.setdefault(table, [])
            files += [file for day in self.days.values() for file in day.files if file.table == table]
            files.sort(key=lambda file: (file.segments[0], file.date))
        return found

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
        # A segment's own file is named after it alone.
        for entry in self.segments:
            for file in entry.files:
                assert file.segments == (int(entry.segment),) * 2, (
                    f"{file.path} is not of segment {entry.segment}"
                )
        files = [file for files in self.tables().values() for file in files]
        # No two files have one name.
        assert len({file.path for file in files}) == len(files), "a file is listed twice"
        last = {int(entry.segment): entry.last_pos for entry in self.segments}
        folders: dict[str, set[str]] = {}
        for file in files:
            path = self.archive / file.path
            # A file is in the partition of its table and date.
            assert path.parent.name == f"date={file.date}", (
                f"{file.path} is not in the partition of {file.date}"
            )
            assert Path(file.path).parts[:2] == ("parquet", file.table), f"{file.path} is not of {file.table}"
            assert last.keys() >= set(file.segments), f"{file.path} is of a segment that is not sealed"
            # It is named after its segments, and its rows come from them. A delta that was buffered for a snapshot
            # may come from an earlier one.
            assert file.pos_min <= file.pos_max <= last[file.segments[1]], (
                f"{file.path} has positions of other segments"
            )
            # It is there.
            if file.folder not in folders:
                folders[file.folder] = set(disk.names(path.parent))
            assert path.name in folders[file.folder], f"{file.path} is missing"
        # What a compaction made has the rows of what it replaced.
        for folder, day in self.days.items():
            assert all(file.folder == folder for file in (*day.entry.files, *day.entry.before)), (
                f"the entry of {folder} lists files elsewhere"
            )
            assert not day.entry.before or _rows(day.entry.files) == _rows(day.entry.before), (
                f"the entry of {folder} has other rows after than before"
            )


def _rows(files: list[FileEntry]) -> int:
    return sum(file.rows for file in files)


def _read_days(layout: Layout, disk: Disk, known: dict[str, Day]) -> dict[str, Day]:
    """The newest entry of each compacted folder. A settled one never changes and is not read again."""
    settled = {
        layout.day_entry(folder, day.entry.number).name: day
        for folder, day in known.items()
        if not day.entry.before
    }
    days: dict[str, Day] = {}
    for name in disk.names(layout.days):
        if not name.endswith(_SUFFIX):
            continue
        day = settled.get(name)
        if day is None:
            try:
                entry = _decode(layout.days / name, disk, DayEntry)
            except FileNotFoundError:
                # A newer one took its place: whoever then looks for files that are gone looks again.
                continue
            day = Day(entry, _is_switched(layout, disk, entry))
        other = days.get(day.entry.folder)
        if other is None or other.entry.number < day.entry.number:
            days[day.entry.folder] = day
    return days


def _is_switched(layout: Layout, disk: Disk, entry: DayEntry) -> bool:
    """Whether the folder holds what the compaction wrote."""
    if not entry.before:
        return True
    fresh = {file.path for file in entry.files} - {file.path for file in entry.before}
    names = set(disk.names(layout.root / entry.folder))
    return {Path(path).name for path in fresh} <= names


def read_entry(path: Path, disk: Disk) -> SegmentEntry:
    """The entry in one file. Raises :class:`CorruptManifest`, UnknownFormat."""
    entry = _decode(path, disk, SegmentEntry)
    if entry.segment != path.name.removesuffix(_SUFFIX):
        raise CorruptManifest(path, f"it is the entry of segment {entry.segment}")
    return entry


def _decode(path: Path, disk: Disk, kind: type[_Entry]) -> _Entry:
    file = disk.open(path)
    try:
        content = file.read(0, file.size())
    finally:
        file.close()
    try:
        entry = msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        _refuse_newer(path, content)
        raise CorruptManifest(path, str(error)) from error
    if entry.format > MANIFEST_FORMAT:
        raise UnknownFormat(path, entry.format, MANIFEST_FORMAT)
    body, found, digest = content.rpartition(_DIGEST)
    if (found or entry.format != 1) and digest != sha256(body).hexdigest().encode() + b'"' + _END + b"\n":
        raise CorruptManifest(path, "its content is not what was written")
    return entry


def _refuse_newer(path: Path, content: bytes) -> None:
    """Raises UnknownFormat for an entry that a later version wrote in its own way."""
    try:
        form = msgspec.json.decode(content, type=_Form).format
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if form > MANIFEST_FORMAT:
        raise UnknownFormat(path, form, MANIFEST_FORMAT)


class _Form(msgspec.Struct):
    """The one key that every version of an entry has."""

    format: int
