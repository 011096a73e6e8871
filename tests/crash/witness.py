"""What a recorder was given and was told to be durable; and what every disk it may leave must therefore hold."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bookreel.storage.disk import Disk
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import Manifest
from bookreel.storage.record import Direction
from bookreel.storage.segment import Damage, SegmentReader, list_segments

__all__ = ["Found", "Lost", "Witness", "look", "read"]


class Lost(AssertionError):
    """A promise of the storage was broken; the text says which."""


class Found(msgspec.Struct):
    """What can be read. ``payloads``: by position, those of the journal's segments. ``sealed``: position up to which
    records are in sealed files. ``last_pos``: the highest position that anything names.
    """

    payloads: dict[int, bytes]
    sealed: int
    last_pos: int
    damage: list[Damage]


def look(archive: Path, disk: Disk) -> Found:
    """Reads an archive as one who comes after a crash does, in the product's order: segments, then manifest."""
    segments = list_segments(archive, disk)
    manifest = Manifest.load(archive, disk)
    manifest._check(disk)
    found = Found({}, manifest.last_pos, manifest.last_pos, [])
    for segment in segments:
        read(found, segment.path, disk)
    return found


def read(found: Found, segment: Path, disk: Disk) -> None:
    """Adds what a segment has to what the ones before it had."""
    with SegmentReader(segment, disk, after=found.last_pos, closed=True) as reader:
        for item in reader.read():
            if isinstance(item, Damage):
                found.damage.append(item)
            else:
                if item.pos <= found.last_pos:
                    raise Lost(f"position {item.pos} is given after {found.last_pos}")
                found.last_pos = item.pos
                if item.direction is not Direction.INTERNAL:
                    found.payloads[item.pos] = item.payload


class Witness:
    """Keeps the account. A position may have had several records: one that was lost before it was acknowledged
    leaves its position to another.
    """

    def __init__(self) -> None:
        self.given: dict[int, list[bytes]] = {}
        self.times: dict[int, int] = {}
        self.durable_pos = 0
        self.acknowledged: dict[int, bytes] = {}
        self._current: dict[int, bytes] = {}

    def began(self, next_pos: int, found: Found) -> None:
        """A new run gives out positions from here on. What it found is durable, for its positions go on above it;
        what it did not find will be acknowledged no more.
        """
        self.acknowledged.update(found.payloads)
        self.durable_pos = max(self.durable_pos, next_pos - 1)
        self.times.clear()
        self._current.clear()

    def ended(self) -> None:
        """The run is over: what it did not make durable has no age any more."""
        self.times.clear()

    def gave(self, pos: int, payload: bytes, now: int = 0) -> None:
        """A record was appended."""
        if pos in self.acknowledged:
            raise Lost(f"position {pos} was given out again")
        self.given.setdefault(pos, []).append(payload)
        self._current[pos] = payload
        self.times[pos] = now

    def told(self, durable_pos: int) -> None:
        """The journal said that everything up to here is durable."""
        for pos in range(self.durable_pos + 1, durable_pos + 1):
            if pos in self._current:
                self.acknowledged[pos] = self._current[pos]
        self.durable_pos = max(self.durable_pos, durable_pos)

    def fork(self) -> Witness:
        """An account that goes on from here by itself."""
        twin = Witness()
        twin.given = {pos: payloads.copy() for pos, payloads in self.given.items()}
        twin.times = self.times.copy()
        twin.durable_pos = self.durable_pos
        twin.acknowledged = self.acknowledged.copy()
        twin._current = self._current.copy()
        return twin

    def check(self, found: Found, next_pos: int) -> None:
        """Raises Lost. ``next_pos`` is what the recovered journal gives out next."""
        payloads, sealed = found.payloads, found.sealed
        for pos, payload in self.acknowledged.items():
            if pos > sealed and payloads.get(pos) != payload:
                what = "is lost" if pos not in payloads else "has another content"
                raise Lost(f"acknowledged record {pos} {what}")
        for pos, payload in payloads.items():
            if pos not in self.acknowledged and payload not in self.given.get(pos, ()):
                raise Lost(f"record {pos} was never given")
        last = max(found.last_pos, max(self.acknowledged, default=0))
        if next_pos <= last:
            raise Lost(f"position {next_pos} is given out although {last} is in use")

    def oldest_lost(self, found: Found, now: int) -> int:
        """Age in ns of the oldest record that cannot be read; 0 if none is lost."""
        lost = [time for pos, time in self.times.items() if pos > found.sealed and pos not in found.payloads]
        return now - min(lost, default=now)

    def check_layout(self, archive: Path, disk: Disk) -> None:
        """No file that a recovered archive holds is unknown to it."""
        for name in disk.names(Layout(archive).journal):
            if name.endswith(".new"):
                raise Lost(f"{name} was left by recovery")
