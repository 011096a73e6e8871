"""Where a recorder of a gateway missed something: the holes of many streams that began together are one."""

from __future__ import annotations

from typing import Final, NamedTuple

from bookreel.replay import Archive
from bookreel.venues.futu.codes import SUB_TYPES

__all__ = ["Hole", "holes_of"]

_GAPS: Final = """
SELECT symbol, feed, epoch_ns(start), coalesce(epoch_ns("end"), $ever) FROM gaps
WHERE start IS NOT NULL AND cause <> 'decode_error'
ORDER BY start
"""
"""A push that could not be read is passed on as it came: whoever gets it sees for himself."""
_EVER: Final = (1 << 63) - 1


class Hole(NamedTuple):
    """``at``: when the last of its streams was heard last (ns); ``streams``: symbol and sub type of each."""

    at: int
    streams: frozenset[tuple[str, int]]


def holes_of(archive: Archive) -> list[Hole]:
    """The holes of an archive, oldest first. Streams whose holes overlap share one, up to where the first of them is
    heard again.
    """
    holes: list[Hole] = []
    until = 0
    for symbol, feed, start, end in archive.sql(_GAPS, {"ever": _EVER}).fetchall():
        stream = frozenset({(symbol, int(SUB_TYPES[feed]))})
        if holes and start < until:
            holes[-1] = Hole(start, holes[-1].streams | stream)
            until = min(until, end)
        else:
            holes.append(Hole(start, stream))
            until = end
    return holes
