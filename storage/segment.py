"""One file of the journal, and a reader that gives every whole record and says where others were lost.

``FORMAT.md`` has the layout. The reader's rules:

1. A record counts only if marker, limits, checksum and position are right. Positions in a segment are
   consecutive: the next one is expected, and after damage a larger one, but none beyond what the file could hold.
2. Anything else begins a damaged region. It ends at the next marker whose record counts, or with the file.
3. A whole record whose position was passed already (a duplicated block) is part of a damaged region.
4. While a segment grows, whatever may still become whole is waited for: a tail is judged once it is closed.

The work is linear in the bytes of the file whatever they are: see :class:`Window`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from isal.isal_zlib import crc32

from bookreel.storage.codec import (
    CONN_BYTES_MAX,
    CRC,
    FOOTER,
    FOOTER_KIND,
    FRAME,
    HEADER,
    MAGIC,
    MARKER,
    PAYLOAD_BYTES_MAX,
    SEGMENT_FORMAT,
    START,
    START_BYTES,
    seed_of,
)
from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.errors import StorageError, UnknownFormat
from bookreel.storage.layout import Layout, read_meta
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.window import Window

__all__ = ["Damage", "Segment", "SegmentReader", "first_pos_of", "list_segments"]

_RECORD_BYTES_MAX: Final = HEADER.size + CONN_BYTES_MAX + PAYLOAD_BYTES_MAX
_DIRECT_BYTES: Final = 16 * 1024
_DIRECTIONS: Final = tuple(Direction)
_KINDS: Final = tuple(Kind)


class Damage(msgspec.Struct, frozen=True):
    """A region of a segment without a usable record.

    ``segment``: stem of the file's name. ``offset``, ``length``: bytes; a length of 0 means that records are
    missing between whole ones. ``after``, ``before``: positions of the last record before the region (or the
    one that came before the segment) and of the first one after it; None where none is known.
    """

    segment: str
    offset: int
    length: int
    reason: str
    after: int | None
    before: int | None

    @property
    def lost(self) -> int | None:
        """Records lost, None where nothing bounds them.

        With 0, no record is missing: header, footer, a duplicate.
        """
        if self.after is None or self.before is None:
            return None
        return self.before - self.after - 1


class Segment(msgspec.Struct, frozen=True):
    """A file of the journal. ``name`` is the stem of the file's name, ``size`` is in bytes."""

    path: Path
    name: str
    first_pos: int
    size: int


def first_pos_of(name: str) -> int | None:
    """The position in a segment's file name, None if it is not the name of a segment."""
    stem, _, suffix = name.partition(".")
    if suffix != "seg" or len(stem) < 16 or not (stem.isascii() and stem.isdecimal()):
        return None
    return int(stem)


def list_segments(archive: Path | str, disk: Disk | None = None) -> list[Segment]:
    """The segments of an archive by ascending position; one that is removed meanwhile is left out."""
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
    """What begins at an offset; the text is the reason of a damaged region that begins there."""

    WHOLE = "a record"
    FOOTER = "the footer"
    REPEATED = "a record that the next segment has once more"
    PASSED = "position not rising"
    INCOMPLETE = "record cut short"
    LIMITS = "impossible header"
    CHECKSUM = "checksum"
    POSITION = "impossible position"
    NOTHING = "no marker"


class SegmentReader:
    """Reads one segment, also while another process appends to it or removes it.

    :meth:`read` gives what is there and returns; called again it goes on with what came since. ``closed``
    says that the file will not grow, so that a torn tail is damage; :meth:`finish` says so later, and a newer
    segment beside it implies it. Positions up to ``after`` are passed over in silence.

    After an error of the disk the journal writes records once more into the next segment, and only that one
    gives them. Whoever follows a growing journal may have seen them before it did so, and passes the last
    position seen as ``after``.

    A context manager. Raises FileNotFoundError, UnknownFormat, OSError.
    """

    def __init__(
        self, path: Path | str, disk: Disk | None = None, *, after: int = 0, closed: bool = False
    ) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self._disk: Disk = OsDisk() if disk is None else disk
        self._named_pos = first_pos_of(self.path.name)
        self._next_first: int | None = None
        self._after = after
        self._closed = closed
        self._conns: dict[bytes, str] = {}
        self._file = self._disk.open(self.path)
        self._begin()

    def _begin(self) -> None:
        self._window = Window(self._file, _RECORD_BYTES_MAX)
        self._first_pos = 1 if self._named_pos is None else self._named_pos
        self._seed = 0
        self._done = False
        self._bad_from: int | None = None
        self._bad_reason = ""
        self._scan = 0
        self.offset = 0
        """File offset up to which everything was given."""
        self.last_pos = self._first_pos - 1
        """Highest position given or known to be lost."""
        self.records = 0
        """Whole records met, those passed over included."""
        self.footer: tuple[int, int] | None = None
        """Number of records and last position as the footer has them."""

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives file and memory back; nothing more is read."""
        self._done = True
        self._file.close()
        self._window.forget()

    def finish(self) -> None:
        """The segment is closed: what the next :meth:`read` meets at its end is final."""
        self._closed = True

    def read(self, limit: int | None = None) -> Iterator[Record | Damage]:
        """Whole records and damaged regions in the order of the file, at most ``limit`` of them."""
        if self._done:
            return
        self._look_around()
        window = self._window
        if window.size < START_BYTES and not self._closed:
            return
        count = 0
        if self.offset == 0:
            damage = self._read_start()
            if damage is not None:
                yield damage
                count = 1
        seed, after, before, conns = self._seed, self._after, self._next_first, self._conns
        unpack, header_bytes, frame_bytes, checksum = HEADER.unpack_from, HEADER.size, FRAME.size, crc32
        while limit is None or count < limit:
            data = window.data
            at = self.offset - window.base
            # The common case in line: the record expected next, whole, in memory and not large.
            if self._bad_from is None and at + header_bytes <= len(data):
                marker, crc, size, pos, ts_recv, mono, epoch, direction, kind, conn_size = unpack(data, at)
                start = at + header_bytes + conn_size
                stop = start + size
                if (
                    pos == self.last_pos + 1
                    and size <= _DIRECT_BYTES
                    and stop <= len(data)
                    and checksum(window.view[at + frame_bytes : stop], seed) == crc
                    and marker == MARKER
                    and kind <= 3
                    and direction <= 2
                    and (before is None or pos < before)
                ):
                    self.offset += stop - at
                    self.last_pos = pos
                    self.records += 1
                    if pos > after:
                        raw = data[at + header_bytes : start]
                        conn = conns.get(raw)
                        if conn is None:
                            conn = self._decode_conn(raw)
                        count += 1
                        # fmt: off
                        yield Record(
                            pos, ts_recv, mono, conn, epoch, _DIRECTIONS[direction], _KINDS[kind],
                            data[start:stop]
                        )
                        # fmt: on
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
            if self._bad_from is not None:
                return self._resync()
            if self.offset == self._window.size:
                if not self._closed:
                    return None
                self._end()
                return None
            verdict = self._judge(self.offset)
            if verdict is _Verdict.INCOMPLETE and not self._closed:
                return None
            if verdict in (_Verdict.WHOLE, _Verdict.FOOTER, _Verdict.REPEATED):
                missing = self._skip_to(self._resumes_at(self.offset, verdict))
                if missing is not None:
                    return missing
                if verdict is _Verdict.WHOLE:
                    return self._take()
                if verdict is _Verdict.FOOTER:
                    self.footer = self._footer_at(self.offset)
                    self.offset += self._length_at(self.offset)
                else:
                    self._end()
            else:
                self._bad_from = self._scan = self.offset
                self._bad_reason = verdict.value
        return None

    def _skip_to(self, pos: int) -> Damage | None:
        """Says so if positions before ``pos`` are missing although no byte is damaged."""
        last = self.last_pos
        if pos <= last + 1:
            return None
        self.last_pos = pos - 1
        return Damage(self.name, self.offset, 0, "records missing", last, pos)

    def _resumes_at(self, at: int, verdict: _Verdict) -> int:
        """The first position that is not lost, if what begins at ``at`` counts."""
        pos = int(HEADER.unpack_from(self._window.data, at - self._window.base)[3])
        if verdict is _Verdict.FOOTER:
            pos += 1
        elif verdict is _Verdict.REPEATED:
            assert self._next_first is not None, "repeated by the next segment"
            pos = self._next_first
        return max(pos, self.last_pos + 1)

    def _resync(self) -> Damage | None:
        """Ends the damaged region at the next record that counts; None while that may still be to come."""
        while True:
            at = self._window.find(MARKER, self._scan)
            if at < 0:
                # The last bytes may be the first of a marker.
                self._scan = max(self._scan, self._window.size - len(MARKER) + 1)
                return self._give_up() if self._closed else None
            self._scan = at
            verdict = self._judge(at)
            if verdict in (_Verdict.WHOLE, _Verdict.FOOTER, _Verdict.REPEATED):
                return self._end_region(at, self._bad_reason, self._resumes_at(at, verdict))
            if verdict is _Verdict.INCOMPLETE and not self._closed:
                return None
            self._scan += self._length_at(at) if verdict is _Verdict.PASSED else 1

    def _give_up(self) -> Damage:
        """The damaged region reaches to the end of the file."""
        reason = self._bad_reason
        if self.footer is None and reason != _Verdict.PASSED.value:
            reason = "torn tail"
        # A journal that went on without a break, or a footer before the region: no record can be in it.
        continued = self._next_first is not None and self._next_first <= self.last_pos + 1
        before = self.last_pos + 1 if continued or self.footer is not None else None
        return self._end_region(self._window.size, reason, before)

    def _end_region(self, at: int, reason: str, before: int | None) -> Damage:
        start = self._bad_from
        assert start is not None, "a region was begun"
        damage = Damage(self.name, start, at - start, reason, self.last_pos, before)
        self._bad_from = None
        self.offset = at
        if before is not None:
            self.last_pos = before - 1
        return damage

    def _end(self) -> None:
        self.offset = self._window.size
        self.close()

    def _take(self) -> Record:
        data, at = self._window.data, self.offset - self._window.base
        _, _, size, pos, ts_recv, mono, epoch, direction, kind, conn_size = HEADER.unpack_from(data, at)
        start = at + HEADER.size + conn_size
        stop = start + size
        conn = self._decode_conn(data[at + HEADER.size : start])
        self.offset += stop - at
        self.last_pos = pos
        self.records += 1
        return Record(pos, ts_recv, mono, conn, epoch, _DIRECTIONS[direction], _KINDS[kind], data[start:stop])

    def _decode_conn(self, raw: bytes) -> str:
        conn = self._conns[raw] = raw.decode("utf-8", "replace")
        return conn

    def _read_start(self) -> Damage | None:
        """Learns the seed and the first position. Both can be had without the header, if it is damaged."""
        window = self._window
        self.offset = min(START_BYTES, window.size)
        window.load(0, self.offset)
        head, crc = window.data[: START.size], window.data[START.size : START_BYTES]
        if len(crc) == CRC.size and CRC.unpack(crc)[0] == crc32(head) and head.startswith(MAGIC):
            _, form, archive_id, first_pos, _ = START.unpack(head)
            if form > SEGMENT_FORMAT:
                raise UnknownFormat(self.path, form, SEGMENT_FORMAT)
            self._seed = seed_of(archive_id)
            self._first_pos = first_pos
            self.last_pos = first_pos - 1
            return None
        self._seed = seed_of(self._find_archive_id())
        return Damage(self.name, 0, self.offset, "segment header", self.last_pos, self._first_pos)

    def _find_archive_id(self) -> bytes:
        """From archive.json, as the segment's own copy is damaged."""
        try:
            return bytes.fromhex(read_meta(self.path.parent.parent, self._disk).id)
        except (StorageError, OSError, ValueError):
            return bytes(8)

    def _look_around(self) -> None:
        """Notes how long the file is, whether it is closed, and whether another was put in its place."""
        if self._next_first is None and self._named_pos is not None:
            positions = map(first_pos_of, self._disk.names(self.path.parent))
            later = [pos for pos in positions if pos is not None and pos > self._named_pos]
            # Looked up before the size is: with a newer segment there, this one has its last byte.
            if later:
                self._next_first = min(later)
                self._closed = True
        if not self._file.linked():
            try:
                replacement = self._disk.open(self.path)
            except FileNotFoundError:
                self._closed = True
            else:
                # Records that were rewritten under the same name: from the start, but not those given
                # already.
                self._file.close()
                self._file = replacement
                self._after = max(self._after, self.last_pos)
                self._begin()
        self._window.resize(self._file.size())

    # -- judging the bytes at an offset

    def _judge(self, at: int) -> _Verdict:
        window = self._window
        if at + HEADER.size > window.size:
            window.load(at, window.size - at)
            head = window.data[at - window.base :][: len(MARKER)]
            return _Verdict.INCOMPLETE if MARKER.startswith(head) else _Verdict.NOTHING
        window.load(at, HEADER.size)
        marker, crc, size, pos, _, _, _, direction, kind, conn_size = HEADER.unpack_from(
            window.data, at - window.base
        )
        if marker != MARKER:
            return _Verdict.NOTHING
        if (
            size > PAYLOAD_BYTES_MAX
            or direction > 2
            or (kind > 3 and (kind, size) != (FOOTER_KIND, FOOTER.size))
        ):
            return _Verdict.LIMITS
        # A position from nowhere must not make all later ones look passed.
        if not 0 <= pos <= self._first_pos + window.size:
            return _Verdict.POSITION
        stop = at + HEADER.size + conn_size + size
        if stop > window.size:
            return _Verdict.INCOMPLETE
        window.load(at, stop - at)
        if window.checksum(at + FRAME.size, stop, self._seed) != crc:
            return _Verdict.CHECKSUM
        if self.footer is not None:
            return _Verdict.PASSED
        if kind == FOOTER_KIND:
            return _Verdict.FOOTER if pos >= self.last_pos else _Verdict.PASSED
        if self._next_first is not None and pos >= self._next_first:
            return _Verdict.REPEATED
        return _Verdict.WHOLE if pos > self.last_pos else _Verdict.PASSED

    def _length_at(self, at: int) -> int:
        header = HEADER.unpack_from(self._window.data, at - self._window.base)
        return int(HEADER.size + header[9] + header[2])

    def _footer_at(self, at: int) -> tuple[int, int]:
        records, last_pos = FOOTER.unpack_from(self._window.data, at - self._window.base + HEADER.size)
        return records, last_pos
