"""Taking an archive for writing: own it, check or create it, and learn where positions go on.

Nothing that is there is changed: a leftover segment is read whole, made durable, as positions go on above it, and
left to the sealer. The names that everything builds on are made durable too: the one who gave them may have been
killed before they were. Damage in a segment is registered by an event in the new one, once, however often the archive
is opened before that segment is sealed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bookreel.storage.continuity import reach
from bookreel.storage.disk import Disk, Lock
from bookreel.storage.errors import ArchiveOwned
from bookreel.storage.layout import Layout, Meta, check_free, create_archive, read_meta
from bookreel.storage.manifest import CorruptManifest, read_entry
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.segment import Damage, Segment, SegmentReader, list_segments

__all__ = ["Recovery", "claim", "recover"]

_log = logging.getLogger(__name__)

_NOTE_BYTES_MAX = 4096
_SEGMENT_RECORDS_MAX = 1 << 32
"""More than any segment holds."""


class Recovery(msgspec.Struct, frozen=True):
    """``next_pos``: the first position to give out. ``last_pos``: that of the last record there is, 0 for none.

    ``events``: facts of the ``recovery`` events still to be registered. ``full``: since when (wall clock, ns UTC) the
    disk was full, each time that the journal tells of.
    """

    next_pos: int
    events: list[dict[str, Any]]
    last_pos: int = 0
    full: frozenset[int] = frozenset()


class _Owner(msgspec.Struct, frozen=True):
    """What the owner leaves in the lock file. ``started_ns``: wall clock, ns UTC."""

    pid: int
    started_ns: int


def claim(
    archive: Path, venue: str, *, created_ns: int, archive_id: bytes | None, disk: Disk
) -> tuple[Lock, Meta, Recovery]:
    """Owns the archive, creates it if it is not there, and recovers it.

    Raises ArchiveOwned before anything is touched, NotAnArchive, UnknownFormat, OSError.
    """
    layout = Layout(archive)
    is_new = layout.meta.name not in disk.names(archive)
    if is_new:
        check_free(archive, disk)
        disk.make_folder(archive)
    note = msgspec.json.encode(_Owner(os.getpid(), created_ns)).decode()
    lock = disk.lock(layout.owner_lock, note)
    if lock is None:
        raise ArchiveOwned(archive, _describe_owner(layout.owner_lock, disk))
    try:
        # Looked up again: another may have created the archive, and closed it, before the lock was ours.
        if layout.meta.name in disk.names(archive):
            meta = read_meta(archive, disk)
            disk.sync_folder(archive)
        else:
            meta = create_archive(archive, venue, created_ns, disk, archive_id)
        return lock, meta, recover(archive, disk)
    except BaseException:
        lock.release()
        raise


def _describe_owner(path: Path, disk: Disk) -> str:
    file = disk.open(path)
    try:
        owner = msgspec.json.decode(file.read(0, _NOTE_BYTES_MAX), type=_Owner)
    except msgspec.DecodeError:
        return "another process"
    finally:
        file.close()
    started = datetime.fromtimestamp(owner.started_ns // 1_000_000_000, UTC)
    return f"process {owner.pid}, started at {started:%Y-%m-%dT%H:%M:%SZ}"


def recover(archive: Path, disk: Disk) -> Recovery:
    """Reads every leftover segment and the manifest's positions.

    Removes nothing but files that never got their name.
    """
    layout = Layout(archive)
    for name in disk.names(layout.journal):
        if name.endswith(".new"):
            disk.unlink(layout.journal / name)
    highest = max(_sealed_positions(layout, disk), default=0)
    clean = True
    found: list[tuple[Damage, Segment | None]] = []
    registered: set[tuple[object, ...]] = set()
    full: set[int] = set()
    last_pos = highest
    segments = list_segments(archive, disk)
    if segments:
        disk.sync_folder(layout.journal)
    for index, segment in enumerate(segments):
        following = segments[index + 1] if index + 1 < len(segments) else None
        highest = max(highest, segment.first_pos)
        with SegmentReader(segment.path, disk, closed=True) as reader:
            for item in reader.read():
                if isinstance(item, Damage):
                    found.append((item, following))
                    highest = reach(highest, [item])
                    continue
                last_pos = max(last_pos, item.pos)
                if item.kind is Kind.EVENT and item.direction is Direction.INTERNAL:
                    _note_event(item, registered, full)
            highest = max(highest, reader.last_pos)
            clean = reader.footer is not None
        # A footer was synced before the next segment got its name; the newest may have died between the two.
        if not clean or following is None:
            _settle(segment, disk)
    # After a crash the numbering has a break, so that no segment looks like the rewritten end of the last one.
    next_pos = highest + (1 if clean else 2)
    events = []
    for damage, following in found:
        if _key(damage.segment, damage.offset, damage.length) in registered:
            continue
        before = damage.before
        if before is None:
            before = following.first_pos if following is not None else next_pos
        events.append(
            {
                "segment": damage.segment,
                "offset": damage.offset,
                "reason": damage.reason,
                "lost_bytes": damage.length,
                "after": damage.after,
                "before": before,
            }
        )
    return Recovery(next_pos, events, last_pos, frozenset(full))


def _settle(segment: Segment, disk: Disk) -> None:
    """Makes durable what a killed recorder may have left to the kernel."""
    file = disk.open(segment.path)
    try:
        file.datasync()
    except OSError as error:
        # None of it was ever said to be durable.
        _log.error("segment %s: %s; its last records may be lost with the power", segment.path, error)
    finally:
        file.close()


def _key(segment: object, offset: object, lost_bytes: object) -> tuple[object, ...]:
    return (segment, offset, lost_bytes)


def _note_event(record: Record, registered: set[tuple[object, ...]], full: set[int]) -> None:
    """Adds what an event says of damage that is registered, or of a full disk."""
    try:
        event = decode_event(record.payload)
    except msgspec.DecodeError:
        return
    if event.get("event") == "recovery":
        registered.add(_key(event.get("segment"), event.get("offset"), event.get("lost_bytes")))
    elif event.get("event") == "disk_full" and isinstance(since := event.get("from"), int):
        full.add(since)


def _sealed_positions(layout: Layout, disk: Disk) -> Iterator[int]:
    """The newest position of each sealed segment, or more than that."""
    for name in disk.names(layout.manifest):
        if not name.endswith(".json"):
            continue
        path = layout.manifest / name
        try:
            yield read_entry(path, disk).last_pos
        except CorruptManifest as error:
            # What is not recorded now is lost for ever, so recording goes on, above any position it can have named.
            _log.error("%s; recording goes on, sealing waits until it is put right", error)
            yield int(path.stem) + _SEGMENT_RECORDS_MAX
