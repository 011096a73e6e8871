"""Whether segments are missing: positions go on from one segment to the next.

A recorder that closed its last segment in order goes on with the next position. After a crash it leaves one out, and
as many as may have been in bytes that could not be read. So a segment that was deleted, or cut, leaves a hole that is
larger than that, as soon as there is a segment after it; of the newest segment's end nobody knows how far it went.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from bookreel.storage.codec import HEADER
from bookreel.storage.manifest import SegmentEntry
from bookreel.storage.segment import Damage, Segment

__all__ = ["LEAP", "Stretch", "hole_before", "holes", "of_entry", "reach"]

_AFTER_CRASH: Final = 1
"""Positions left out, so that no segment looks like the rewritten end of the last one."""

LEAP: Final = 1 << 31
"""A hole of so many positions is none: who finds a damaged manifest entry goes on above all that it can name."""


class Stretch(msgspec.Struct, frozen=True):
    """The positions of one segment. ``last_pos``: the newest one it can have had. ``clean``: it was closed in order,
    so that none is left out after it.
    """

    name: str
    first_pos: int
    last_pos: int
    clean: bool = False


def reach(last_pos: int, damages: Iterable[Damage]) -> int:
    """The newest position that a segment can have had, of which ``last_pos`` is the newest that was found."""
    for damage in damages:
        if damage.before is None and damage.after is not None:
            # Nothing says how many records were there: as many as its bytes could hold.
            last_pos = max(last_pos, damage.after + damage.length // HEADER.size)
    return last_pos


def of_entry(entry: SegmentEntry) -> Stretch:
    """The positions of a sealed segment, of which it is not known any more how it was closed."""
    return Stretch(entry.segment, entry.first_pos, reach(entry.last_pos, entry.damage))


def hole_before(segment: Stretch | Segment, before: Stretch | None) -> Damage | None:
    """What is missing between a segment and the one before it (None: there is none), as damage of it."""
    last_pos, slack = 0, 0
    if before is not None:
        last_pos, slack = before.last_pos, 0 if before.clean else _AFTER_CRASH
    if slack < segment.first_pos - last_pos - 1 < LEAP:
        return Damage(segment.name, 0, 0, "segment missing", last_pos, segment.first_pos)
    return None


def holes(stretches: Iterable[Stretch]) -> Iterator[Damage]:
    """Where records are missing between segments, by position."""
    before: Stretch | None = None
    for stretch in sorted(stretches, key=lambda stretch: stretch.first_pos):
        if damage := hole_before(stretch, before):
            yield damage
        if before is None or stretch.last_pos >= before.last_pos:
            before = stretch
