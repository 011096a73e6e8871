"""An archive's records once more, sealed or not, as the recorder wrote them: what a merge reads.

A sealed archive has no journal any more, but its table ``frames`` has every frame's text and ``sessions`` every
event, each with its position, so that they make the same rows again. What they have not is the number of a line's
connection, so no record has it here: a connection begins with its event ``connect``. Where the journal was damaged,
and where the clock was set back, is in the manifest; the monotonic clock of a record here goes back where a frame was
only written down late, and says nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from bookreel.storage.contents import Contents
from bookreel.storage.continuity import Stretch, hole_before, of_entry, reach
from bookreel.storage.disk import Disk, OsDisk
from bookreel.storage.errors import CorruptFile
from bookreel.storage.layout import read_meta
from bookreel.storage.manifest import Manifest, SegmentEntry
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import TABLES
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from bookreel.storage.steps import sealed_steps

__all__ = ["Source"]

_FRAMES: Final = ("pos", "ts_recv", "conn", "direction", "kind", "payload", "payload_bytes")
_SESSIONS: Final = ("pos", "ts_recv", "conn", "event", "detail")

_PLAIN: Final[dict[str, Any]] = {"ts_recv": pa.int64(), "payload": pa.binary(), "detail": pa.binary()}
"""What columns become before they are Python values: times are ns, and text that is decoded anyway stays bytes."""

_SLICE: Final = 8192
"""Rows turned into records at a time: a piece is a whole file, and Python values need several times its memory."""

_GZIP: Final = b"\x1f\x8b"


class Source:
    """The records of one archive, in the order of their positions. It is only read.

    Raises NotAnArchive, UnknownFormat, CorruptManifest.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = OsDisk() if disk is None else disk
        self.meta = read_meta(root, self._disk)
        # In this order, as every reader: see the manifest.
        self._segments = list_segments(root, self._disk)
        self._manifest = Manifest.load(root, self._disk)

    @property
    def last_pos(self) -> int:
        """The newest sealed position; a measure of the work."""
        return self._manifest.last_pos

    def same(self) -> bool:
        """Whether the archive still is as it was when this object was made."""
        return list_segments(self.root, self._disk) == self._segments and len(
            Manifest.load(self.root, self._disk, known=self._manifest).segments
        ) == len(self._manifest.segments)

    def compacted(self) -> bool:
        """Whether files were put in the place of others since this object was made."""
        now = Manifest.load(self.root, self._disk, known=self._manifest)
        return now.tables() != self._manifest.tables()

    def records(self) -> Iterator[Record | Damage]:
        """Every record, and a :class:`Damage` wherever some before the next one are missing."""
        last = 0
        for item in self._sealed():
            if isinstance(item, Record):
                last = item.pos
                yield item
            else:
                yield item
        # Damage at the end of a segment is known to have cost something with the next record.
        damage: Damage | None = None
        sealed = self._manifest.segments
        before = of_entry(sealed[-1]) if sealed else None
        for segment in self._segments:
            if self._manifest.sealed(segment.name):
                continue
            damage = hole_before(segment, before) or damage
            damages = []
            with SegmentReader(segment.path, self._disk, after=last, closed=True) as reader:
                for item in reader.read():
                    if isinstance(item, Damage):
                        damage = item
                        damages.append(item)
                        continue
                    if damage is not None and item.pos != last + 1:
                        yield damage
                    damage = None
                    last = item.pos
                    yield msgspec.structs.replace(item, epoch=0)
                before = Stretch(segment.name, segment.first_pos, reach(reader.last_pos, damages))

    def _sealed(self) -> Iterator[Record | Damage]:
        files = {table: self._manifest.files(table) for table in TABLES}
        contents = Contents(self.root, self.meta.venue, files, {}, [], None)
        damaged = deque(
            (entry.first_pos - 1 if damage.after is None else damage.after, damage)
            for entry, hole in self._with_holes()
            for damage in (*hole, *entry.damage)
        )
        steps = {step.pos for step in sealed_steps(self._manifest)}
        frames, events = _monotonic(_frames(contents), steps), _events(contents)
        frame, event = next(frames, None), next(events, None)
        last = 0
        while frame is not None or event is not None:
            if event is None or (frame is not None and frame.pos < event.pos):
                assert frame is not None, "one of the two is there"
                record, frame = frame, next(frames, None)
            else:
                record, event = event, next(events, None)
            if record.pos <= last:
                raise CorruptFile(self.root, f"position {record.pos} comes after {last}")
            while damaged and record.pos > damaged[0][0]:
                _, damage = damaged.popleft()
                if record.pos != last + 1:
                    yield damage
            last = record.pos
            yield record

    def _with_holes(self) -> Iterator[tuple[SegmentEntry, list[Damage]]]:
        """Each sealed segment, and what is missing before it."""
        before: Stretch | None = None
        for entry in self._manifest.segments:
            stretch = of_entry(entry)
            hole = hole_before(stretch, before)
            yield entry, [] if hole is None else [hole]
            before = stretch


def _frames(contents: Contents) -> Iterator[Record]:
    for rows in _slices(contents, "frames", _FRAMES):
        for pos, ts_recv, conn, direction, kind, text, raw in rows:
            way = Direction.OUT if direction == "out" else Direction.IN
            if kind == "reference":
                form = Kind.REFERENCE
            else:
                # A frame whose text could not be had is kept as it was received.
                form = Kind.COMPRESSED if text is None and raw.startswith(_GZIP) else Kind.TEXT
            yield Record(pos, ts_recv, 0, conn, 0, way, form, raw if text is None else text)


def _monotonic(frames: Iterator[Record], steps: Collection[int]) -> Iterator[Record]:
    """Frames with a clock that goes back where they are late; it does not where the wall clock was set back."""
    now = late = 0
    for frame in frames:
        if frame.direction is Direction.IN:
            if frame.ts_recv < now and frame.pos not in steps:
                late -= 1
                frame = msgspec.structs.replace(frame, mono=late)
            now = frame.ts_recv
        yield frame


def _events(contents: Contents) -> Iterator[Record]:
    for rows in _slices(contents, "sessions", _SESSIONS):
        for pos, ts_recv, conn, name, detail in rows:
            payload = msgspec.json.encode({"event": name, **msgspec.json.decode(detail)})
            yield Record(pos, ts_recv, 0, conn, 0, Direction.INTERNAL, Kind.EVENT, payload)


def _slices(contents: Contents, table: str, columns: tuple[str, ...]) -> Iterator[Iterator[tuple[Any, ...]]]:
    """Rows as Python values, some at a time."""
    for piece in Scanner().scan(contents, table, columns):
        for start in range(0, piece.num_rows, _SLICE):
            rows = piece.slice(start, _SLICE)
            yield zip(*(_values(name, rows[name]) for name in columns), strict=True)


def _values(name: str, column: pa.ChunkedArray[Any]) -> list[Any]:
    return column.cast(_PLAIN[name]).to_pylist() if name in _PLAIN else column.to_pylist()
