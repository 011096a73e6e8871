"""The holes that several lines have in common: what is missing of a stream although each of them recorded it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec

from bookreel.book.model import Gap
from bookreel.storage.merge_chain import ChainRun

__all__ = ["Life", "common_gaps"]


class Life(msgspec.Struct):
    """One line's record of one stream. ``first``: when it was good for the first time (ns), None for never; ``pos``:
    position of the frame that made it so. ``gaps``: its holes in order of time; the last one may be open, which is
    also how a record that was ended on purpose ends.
    """

    first: int | None = None
    pos: int | None = None
    gaps: list[Gap] = []


def common_gaps(lives: Sequence[Life], runs: Sequence[ChainRun] = ()) -> list[Gap]:
    """What no line covers, from the first instant that any does: the intersection of the lines' holes, without the
    stretches over which the merged chain (``runs``) is whole nevertheless.

    A hole's cause and line are those of the line that was the last to fail: that made a hole of it. Its end, and
    what ended it, are those of the first to come back. The last one may be open, as above.
    """
    known = [life for life in lives if life.first is not None]
    if not known:
        return []
    common = list(_absences(known[0]))
    for life in known[1:]:
        common = list(_intersection(common, list(_absences(life))))
    since = min(life.first for life in known if life.first is not None)
    return [piece for gap in common if gap.end is None or gap.end > since for piece in _without(gap, runs)]


def _absences(life: Life) -> Iterator[Gap]:
    """A line's holes, and the time before it began as one more."""
    assert life.first is not None, "the stream was covered"
    yield Gap("", "", "", None, "operator", None, None, -1, life.first, None, life.pos)
    yield from sorted(life.gaps, key=lambda gap: gap.start)


def _intersection(left: list[Gap], right: list[Gap]) -> Iterator[Gap]:
    """What lies in holes of both. Those of one side do not overlap."""
    a = b = 0
    while a < len(left) and b < len(right):
        one, other = left[a], right[b]
        opened = other if other.start > one.start else one
        closed = one if other.end is None or (one.end is not None and one.end <= other.end) else other
        if closed.end is None or opened.start < closed.end:
            yield msgspec.structs.replace(
                opened, end=closed.end, next_seq=closed.next_seq, repaired_by=closed.repaired_by
            )
        if closed is one:
            a += 1
        else:
            b += 1


def _without(gap: Gap, runs: Sequence[ChainRun]) -> Iterator[Gap]:
    """The parts of a hole that no run covers, with the numbers between which the chain was broken."""
    index = max(bisect_right(runs, gap.start, key=_start) - 1, 0)
    start = gap.start
    while True:
        run = runs[index] if index < len(runs) else None
        if run is not None and run.start <= start:
            start = max(start, run.end)
            index += 1
            if gap.end is not None and start >= gap.end:
                return
            continue
        stop = gap.end
        if run is not None and (stop is None or run.start < stop):
            stop = run.start
        piece = msgspec.structs.replace(gap, start=start, end=stop)
        if index:
            before = runs[index - 1]
            piece = msgspec.structs.replace(piece, epoch=before.epoch, last_seq=before.last_seq)
        if run is not None and run.start == stop:
            piece = msgspec.structs.replace(piece, next_seq=run.first_seq, repaired_by=run.pos)
        yield piece
        if run is None or stop == gap.end:
            return
        start = run.start


def _start(run: ChainRun) -> int:
    return run.start
