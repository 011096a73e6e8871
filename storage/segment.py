"""One file of the journal: its bytes, and a reader that gives every whole record and says where others were lost.

``FORMAT.md`` has the layout. The reader's rules, in the order in which they are applied:

1. A record counts only if marker, limits, checksum and position are all right. Positions in a segment are consecutive, so a record's
   position is the one expected next, or, after damage, larger and no larger than the bytes before it could have held.
2. Anything else begins a damaged region. It ends at the next marker whose record counts, or at the end of the file.
3. A record that is whole but whose position was already passed (a duplicated block) is part of a damaged region.
4. While a segment grows, whatever may still become whole is waited for: a tail is judged only when the segment is closed.

Work is linear in the bytes of the file whatever they are: the checksum of any range follows from two entries of a table of running
checksums, so a marker followed by an absurd length costs the same as any other.
"""

from __future__ import annotations

import enum
import errno
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from isal.isal_zlib import crc32, crc32_combine

from bookreel.storage.disk import Disk, File, OsDisk
from bookreel.storage.errors import StorageError, UnknownFormat
from bookreel.storage.layout import Layout, read_meta
from bookreel.storage.record import Direction, Kind, Record

__all__ = [
    "CONN_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "SEGMENT_FORMAT",
    "Damage",
    "Segment",
    "SegmentReader",
    "encode_footer",
    "encode_header",
    "encode_record",
    "list_segments",
]

SEGMENT_FORMAT: Final = 1
MAGIC: Final = b"bookreel"
MARKER: Final = b"\xf5\xb0\xc4R"
"""Not possible in UTF-8 text; read as a number it is larger than any payload, so a run of markers is no record."""
PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
CONN_BYTES_MAX: Final = 255

FILE_HEADER: Final = struct.Struct("<8sI8sqq")
CRC: Final = struct.Struct("<I")
FILE_HEADER_BYTES: Final = FILE_HEADER.size + CRC.size
FRAME: Final = struct.Struct("<4sI")
BODY: Final = struct.Struct("<IqqqIBBB")
FRAME_BYTES: Final = FRAME.size
HEADER: Final = struct.Struct("<4sIIqqqIBBB")
HEADER_BYTES: Final = HEADER.size
RECORD_BYTES_MAX: Final = HEADER_BYTES + CONN_BYTES_MAX + PAYLOAD_BYTES_MAX
FOOTER: Final = struct.Struct("<qq")
FOOTER_KIND: Final = 255

_BLOCK_BYTES: Final = 4 * 1024 * 1024
_PAGE_BYTES: Final = 4096
_DIRECT_BYTES: Final = 16 * 1024
_STEP_BYTES: Final = 2048

_DIRECTIONS: Final = tuple(Direction)
_KINDS: Final = tuple(Kind)


class Damage(msgspec.Struct, frozen=True):
    """A region of a segment without a usable record.

    ``segment``: stem of the file's name. ``offset``, ``length``: bytes; a length of 0 means that records are missing between two whole
    ones. ``after``, ``before``: positions of the last record before it and the first one after it, None where none is known.
    """

    segment: str
    offset: int
    length: int
    reason: str
    after: int | None
    before: int | None

    @property
    def lost(self) -> int | None:
        """Records lost, None if nothing bounds them. 0: only bytes that were no record of their own (header, footer, duplicates)."""
        if self.after is None or self.before is None:
            return None
        return self.before - self.after - 1


class Segment(msgspec.Struct, frozen=True):
    """A file of the journal. ``name`` is its stem, ``size`` is in bytes."""

    path: Path
    name: str
    first_pos: int
    size: int


class SegmentHeader(msgspec.Struct, frozen=True):
    """The first bytes of a segment. ``created_ns``: wall clock, ns UTC."""

    archive_id: bytes
    first_pos: int
    created_ns: int


def seed_of(archive_id: bytes) -> int:
    """Where the checksum of every record of an archive begins."""
    return crc32(archive_id)


def encode_header(archive_id: bytes, first_pos: int, created_ns: int) -> bytes:
    """The first bytes of a segment; the checksum there begins at 0."""
    head = FILE_HEADER.pack(MAGIC, SEGMENT_FORMAT, archive_id, first_pos, created_ns)
    return head + CRC.pack(crc32(head))


def encode_record(
    seed: int,
    pos: int,
    ts_recv: int,
    mono: int,
    conn: bytes,
    epoch: int,
    direction: int,
    kind: int,
    payload: bytes,
) -> bytes:
    """One record. :meth:`Journal.append` does the same in line."""
    body = BODY.pack(len(payload), pos, ts_recv, mono, epoch, direction, kind, len(conn)) + conn + payload
    return FRAME.pack(MARKER, crc32(body, seed)) + body


def encode_footer(seed: int, records: int, last_pos: int) -> bytes:
    """The last bytes of a segment that was closed in order: a record of a kind of its own, without a position of its own."""
    payload = FOOTER.pack(records, last_pos)
    return encode_record(seed, last_pos, 0, 0, b"", 0, Direction.INTERNAL, FOOTER_KIND, payload)


def first_pos_of(name: str) -> int | None:
    """The position in a segment's file name, None if it is not the name of a segment."""
    stem, dot, suffix = name.partition(".")
    if suffix != "seg" or not dot or len(stem) < 16 or not (stem.isascii() and stem.isdecimal()):
        return None
    return int(stem)


def list_segments(archive: Path, disk: Disk | None = None) -> list[Segment]:
    """The segments of an archive by ascending position; one that vanishes meanwhile is left out."""
    disk = OsDisk() if disk is None else disk
    folder = Layout(Path(archive)).journal
    found = []
    for name in disk.names(folder):
        first_pos = first_pos_of(name)
        if first_pos is None:
            continue
        try:
            file = disk.open(folder / name)
        except FileNotFoundError:
            continue
        try:
            found.append(Segment(folder / name, name.partition(".")[0], first_pos, file.size()))
        finally:
            file.close()
    return sorted(found, key=lambda segment: segment.first_pos)


class _Verdict(enum.Enum):
    WHOLE = enum.auto()
    FOOTER = enum.auto()
    PASSED = enum.auto()
    """A whole record whose position was passed already."""
    REPEATED = enum.auto()
    """A whole record that the next segment has once more."""
    INCOMPLETE = enum.auto()
    """Its end is beyond the end of the file."""
    BAD_LENGTH = enum.auto()
    BAD_CHECKSUM = enum.auto()
    BAD_POSITION = enum.auto()
    NO_MARKER = enum.auto()


_REASONS: Final = {
    _Verdict.PASSED: "position not rising",
    _Verdict.INCOMPLETE: "record cut short",
    _Verdict.BAD_LENGTH: "impossible header",
    _Verdict.BAD_CHECKSUM: "checksum",
    _Verdict.BAD_POSITION: "impossible position",
    _Verdict.NO_MARKER: "no marker",
}


class SegmentReader:
    """Reads one segment, also while another process appends to it or removes it.

    :meth:`read` gives what is there and returns; called again it goes on with what came since. ``closed``: the file will not grow,
    so that a torn tail is damage; :meth:`finish` says the same later, and a newer segment beside it implies it. Positions up to
    ``after`` are passed over in silence. After a failure of the disk the journal writes records once more, into the next segment:
    they are given by that one only.

    A context manager. Raises FileNotFoundError, UnknownFormat, OSError.
    """

    def __init__(self, path: Path, disk: Disk | None = None, *, after: int = 0, closed: bool = False) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        first_pos = first_pos_of(self.path.name)
        self._disk: Disk = OsDisk() if disk is None else disk
        self._file = self._disk.open(self.path)
        self._closed = closed
        self._after = after
        self._name_pos = first_pos
        self._next_first: int | None = None
        self.header: SegmentHeader | None = None
        self.records = 0
        """Whole records seen, those passed over included."""
        self.footer: tuple[int, int] | None = None
        """Record count and last position, once the footer was read."""
        self._conns: dict[bytes, str] = {}
        self._restart()

    def _restart(self) -> None:
        self._size = 0
        self.offset = 0
        self.last_pos = 0
        self._seed = 0
        self._done = False
        self._bad_from: int | None = None
        self._bad_reason = ""
        self._scan = 0
        self._forget()

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._done = True
        self._forget()

    def finish(self) -> None:
        """The segment is closed: what the next :meth:`read` meets at its end is final."""
        self._closed = True

    def read(self, limit: int | None = None) -> Iterator[Record | Damage]:
        """Whole records and damaged regions, in order of the file; at most ``limit`` of them."""
        if self._done:
            return
        self._look_around()
        if self._size < FILE_HEADER_BYTES and not self._closed:
            return
        count = 0
        if self.offset == 0:
            damage = self._read_file_header()
            if damage is not None:
                yield damage
                count = 1
        seed, before, after = self._seed, self._next_first, self._after
        unpack, directions, kinds, conns = HEADER.unpack_from, _DIRECTIONS, _KINDS, self._conns
        checksum, frame_bytes, header_bytes, direct = crc32, FRAME_BYTES, HEADER_BYTES, _DIRECT_BYTES
        while limit is None or count < limit:
            # The common case in line: the next record is whole and inside the buffer.
            at = self.offset - self._base
            room = len(self._data) - at
            if self._bad_from is None and room >= header_bytes:
                data = self._data
                marker, crc, size, pos, ts_recv, mono, epoch, direction, kind, conn_size = unpack(data, at)
                start = at + header_bytes + conn_size
                stop = start + size
                if (
                    marker == MARKER
                    and size <= direct
                    and stop <= len(data)
                    and pos == self.last_pos + 1
                    and kind <= 3
                    and direction <= 2
                    and (before is None or pos < before)
                    and checksum(self._view[at + frame_bytes : stop], seed) == crc
                ):
                    self.offset += stop - at
                    self.last_pos = pos
                    self.records += 1
                    if pos > after:
                        raw = data[at + header_bytes : start]
                        conn = conns.get(raw)
                        if conn is None:
                            conn = self._conn(raw)
                        count += 1
                        yield Record(
                            pos,
                            ts_recv,
                            mono,
                            conn,
                            epoch,
                            directions[direction],
                            kinds[kind],
                            data[start:stop],
                        )
                    continue
            item = self._step()
            if item is None:
                return
            if isinstance(item, Damage) or item.pos > after:
                count += 1
                yield item

    # -- everything but the common case

    def _step(self) -> Record | Damage | None:
        """The next item by the full set of rules; None if there is nothing more now."""
        while not self._done:
            if self._bad_from is None:
                verdict = self._judge(self.offset)
                if verdict is _Verdict.WHOLE:
                    pos = self._pos_at(self.offset)
                    if pos > self.last_pos + 1:
                        damage = self._damage(self.offset, 0, "records missing", self.last_pos, pos)
                        self.last_pos = pos - 1
                        return damage
                    return self._take()
                if verdict is _Verdict.FOOTER:
                    item = self._take_footer()
                    if item is not None:
                        return item
                    continue
                if verdict is _Verdict.REPEATED:
                    assert self._next_first is not None, "repeated by the next segment"
                    first, last = self._next_first, self.last_pos
                    if last + 1 < first:
                        self.last_pos = first - 1
                        return self._damage(self.offset, 0, "records missing", last, first)
                    self._end()
                    continue
                if self.offset == self._size or (verdict is _Verdict.INCOMPLETE and not self._closed):
                    if not self._closed:
                        return None
                    self._end()
                    continue
                self._bad_from = self._scan = self.offset
                self._bad_reason = _REASONS[verdict]
            item = self._resync()
            if item is None:
                return None
            return item
        return None

    def _resync(self) -> Damage | None:
        """Ends the damaged region at the next record that counts; None while that may still be to come."""
        assert self._bad_from is not None, "called inside a damaged region only"
        while True:
            at = self._find(self._scan)
            if at < 0:
                if not self._closed:
                    self._scan = max(self._scan, self._size - len(MARKER) + 1)
                    return None
                return self._give_up()
            self._scan = at
            verdict = self._judge(at)
            if verdict is _Verdict.PASSED:
                self._scan = at + self._length_at(at)
            elif verdict is _Verdict.INCOMPLETE and not self._closed:
                return None
            elif verdict in (_Verdict.WHOLE, _Verdict.REPEATED, _Verdict.FOOTER):
                start, self._bad_from = self._bad_from, None
                self.offset = at
                before = self._pos_at(at) if verdict is not _Verdict.FOOTER else self._footer_at(at)[1] + 1
                if verdict is _Verdict.REPEATED:
                    assert self._next_first is not None, "repeated by the next segment"
                    before = max(self._next_first, self.last_pos + 1)
                damage = self._damage(start, at - start, self._bad_reason, self.last_pos, before)
                self.last_pos = before - 1
                return damage
            else:
                self._scan = at + 1

    def _give_up(self) -> Damage:
        """The damaged region reaches to the end of the file."""
        assert self._bad_from is not None, "called inside a damaged region only"
        start, self._bad_from = self._bad_from, None
        reason = self._bad_reason
        if self.footer is None and reason != _REASONS[_Verdict.PASSED]:
            reason = "torn tail"
        before = self.last_pos + 1 if self._continued() or self.footer is not None else None
        damage = self._damage(start, self._size - start, reason, self.last_pos, before)
        self._end()
        return damage

    def _continued(self) -> bool:
        """Whether the next segment goes on where this one stops, so that nothing can be missing in between."""
        return self._next_first is not None and self._next_first <= self.last_pos + 1

    def _end(self) -> None:
        self.offset = self._size
        self._done = True
        self._file.close()
        self._forget()

    def _take(self) -> Record:
        at = self.offset - self._base
        _, _, size, pos, ts_recv, mono, epoch, direction, kind, conn_size = HEADER.unpack_from(self._data, at)
        start = at + HEADER_BYTES + conn_size
        conn = self._conn(self._data[at + HEADER_BYTES : start])
        self.offset += HEADER_BYTES + conn_size + size
        self.last_pos = pos
        self.records += 1
        payload = self._data[start : start + size]
        return Record(pos, ts_recv, mono, conn, epoch, _DIRECTIONS[direction], _KINDS[kind], payload)

    def _take_footer(self) -> Damage | None:
        records, last_pos = self._footer_at(self.offset)
        start = self.offset
        self.offset += self._length_at(start)
        self.footer = (records, last_pos)
        if last_pos > self.last_pos:
            damage = self._damage(start, 0, "records missing", self.last_pos, last_pos + 1)
            self.last_pos = last_pos
            return damage
        return None

    def _damage(self, offset: int, length: int, reason: str, after: int, before: int | None) -> Damage:
        return Damage(self.name, offset, length, reason, after, before)

    def _read_file_header(self) -> Damage | None:
        """Learns the seed and where positions begin; both can be had without the header."""
        self._load(0, FILE_HEADER_BYTES)
        head = self._data[: FILE_HEADER.size]
        crc = self._data[FILE_HEADER.size : FILE_HEADER_BYTES]
        self.offset = min(FILE_HEADER_BYTES, self._size)
        if len(crc) == CRC.size and CRC.unpack(crc)[0] == crc32(head) and head[:8] == MAGIC:
            _, form, archive_id, first_pos, created_ns = FILE_HEADER.unpack(head)
            if form > SEGMENT_FORMAT:
                raise UnknownFormat(self.path, form, SEGMENT_FORMAT)
            self.header = SegmentHeader(archive_id, first_pos, created_ns)
            self._seed = seed_of(archive_id)
            self.last_pos = first_pos - 1
            self._first_pos = first_pos
            return None
        self._first_pos = 1 if self._name_pos is None else self._name_pos
        self.last_pos = self._first_pos - 1
        self._seed = seed_of(self._archive_id())
        return self._damage(0, self.offset, "segment header", self.last_pos, self._first_pos)

    def _archive_id(self) -> bytes:
        """The archive's id from its archive.json, for a segment whose own copy is damaged."""
        try:
            archive_id = bytes.fromhex(read_meta(self.path.parent.parent, self._disk).id)
        except (StorageError, OSError, ValueError):
            return bytes(8)
        return archive_id

    def _conn(self, raw: bytes) -> str:
        conn = self._conns[raw] = raw.decode("utf-8", "replace")
        return conn

    def _look_around(self) -> None:
        """Notes how long the file is, whether it is closed, and whether another was put in its place."""
        if self._next_first is None and self._name_pos is not None:
            later = [
                pos
                for name in self._disk.names(self.path.parent)
                if (pos := first_pos_of(name)) is not None and pos > self._name_pos
            ]
            # The names were read before the size: a newer segment means that this one has its last byte.
            if later:
                self._next_first = min(later)
                self._closed = True
        if not self._file.linked():
            try:
                replacement = self._disk.open(self.path)
            except FileNotFoundError:
                self._closed = True
            else:
                # The journal put the rewritten records under the same name: read them from the start, past those given.
                self._file.close()
                self._file = replacement
                self._after = max(self._after, self.last_pos)
                self._restart()
        size = self._file.size()
        if size != self._size:
            self._size = size
            self._forget()

    # -- judging what the bytes at an offset are

    def _judge(self, at: int) -> _Verdict:
        """What begins at a file offset."""
        if at + HEADER_BYTES > self._size:
            return _Verdict.INCOMPLETE if self._may_begin(at) else _Verdict.NO_MARKER
        self._load(at, HEADER_BYTES)
        marker, crc, size, pos, _, _, _, direction, kind, conn_size = HEADER.unpack_from(
            self._data, at - self._base
        )
        if marker != MARKER:
            return _Verdict.NO_MARKER
        if size > PAYLOAD_BYTES_MAX or direction > 2 or (kind > 3 and kind != FOOTER_KIND):
            return _Verdict.BAD_LENGTH
        # No more records than fit in the bytes before it: a position from nowhere cannot make all later ones look passed.
        if not 0 < pos <= self._first_pos + (at - FILE_HEADER_BYTES) // HEADER_BYTES:
            return _Verdict.BAD_POSITION
        stop = at + HEADER_BYTES + conn_size + size
        if stop > self._size:
            return _Verdict.INCOMPLETE
        self._load(at, stop - at)
        if self._checksum(at + FRAME_BYTES, stop) != crc:
            return _Verdict.BAD_CHECKSUM
        if kind == FOOTER_KIND:
            if size != FOOTER.size:
                return _Verdict.BAD_LENGTH
            return _Verdict.PASSED if pos < self.last_pos or self.footer is not None else _Verdict.FOOTER
        if self._next_first is not None and pos >= self._next_first:
            return _Verdict.REPEATED
        return _Verdict.WHOLE if pos > self.last_pos and self.footer is None else _Verdict.PASSED

    def _may_begin(self, at: int) -> bool:
        """Whether the last few bytes of the file can be the beginning of a record."""
        self._load(at, self._size - at)
        head = self._data[at - self._base : at - self._base + len(MARKER)]
        return MARKER.startswith(head)

    def _pos_at(self, at: int) -> int:
        return int(HEADER.unpack_from(self._data, at - self._base)[3])

    def _length_at(self, at: int) -> int:
        header = HEADER.unpack_from(self._data, at - self._base)
        return int(HEADER_BYTES + header[9] + header[2])

    def _footer_at(self, at: int) -> tuple[int, int]:
        records, last_pos = FOOTER.unpack_from(self._data, at - self._base + HEADER_BYTES)
        return records, last_pos

    def _find(self, at: int) -> int:
        """File offset of the next marker, -1 if there is none."""
        while at < self._size:
            self._load(at, min(HEADER_BYTES, self._size - at))
            found = self._data.find(MARKER, at - self._base)
            if found >= 0:
                return self._base + found
            at = max(at + 1, self._base + len(self._data) - len(MARKER) + 1)
        return -1

    # -- the buffer, and the checksum of any range of it

    def _forget(self) -> None:
        self._base = 0
        self._data = b""
        self._view = memoryview(b"")
        self._running = [0]

    def _load(self, at: int, size: int) -> None:
        """Makes the bytes from ``at`` available in the buffer; ``size`` of them are in the file."""
        if self._base <= at and at + size <= self._base + len(self._data):
            return
        # A whole block beyond the largest record: the window moves on by a block at least before it is loaded again.
        want = _BLOCK_BYTES if size <= _BLOCK_BYTES // 4 else RECORD_BYTES_MAX + _BLOCK_BYTES
        self._data = _read_what_can_be(self._file, at, min(want, self._size - at))
        self._base = at
        self._view = memoryview(self._data)
        self._running = [0]

    def _checksum(self, start: int, stop: int) -> int:
        """CRC of the bytes between two file offsets in the buffer, beginning with the seed."""
        start -= self._base
        stop -= self._base
        if stop - start <= _DIRECT_BYTES:
            return crc32(self._view[start:stop], self._seed)
        return self._running_at(stop) ^ crc32_combine(self._running_at(start) ^ self._seed, 0, stop - start)

    def _running_at(self, index: int) -> int:
        """CRC of the buffer up to an index."""
        running, view = self._running, self._view
        step, rest = divmod(index, _STEP_BYTES)
        while len(running) <= step:
            at = (len(running) - 1) * _STEP_BYTES
            running.append(crc32(view[at : at + _STEP_BYTES], running[-1]))
        return crc32(view[index - rest : index], running[step])


def _read_what_can_be(file: File, offset: int, size: int) -> bytes:
    """The bytes of a range; a page that the disk cannot read comes as zeros, so that it costs only the records in it."""
    try:
        return _read_exactly(file, offset, size)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    pages = []
    for at in range(offset, offset + size, _PAGE_BYTES):
        length = min(_PAGE_BYTES, offset + size - at)
        try:
            pages.append(_read_exactly(file, at, length))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            pages.append(bytes(length))
    return b"".join(pages)


def _read_exactly(file: File, offset: int, size: int) -> bytes:
    data = file.read(offset, size)
    while len(data) < size:
        more = file.read(offset + len(data), size - len(data))
        if not more:
            raise OSError(errno.EIO, "file is shorter than it was")
        data += more
    return data
