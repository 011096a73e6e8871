"""A question to one stream of an archive: what was covered of it, and the books and changes that answer it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from bookreel.book.model import Gap, Levels
from bookreel.storage.changes import Change, Whole, beginnings, changes, newest_whole, steps
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.turns import Turn, turn_at

__all__ = ["NOW", "Book", "Coverage", "Question", "standing"]

NOW: Final = (1 << 63) - 1
"""Later than all instants (ns) and positions."""


class Book(msgspec.Struct, frozen=True):
    """A book at an instant, both sides best first. Times in ns.

    ``seq``, ``epoch``, ``ts_event``, ``ts_recv`` are of the last change that is in it, None where nothing
    was known yet. ``valid`` is False where the stream was not covered at that instant; ``gap`` is then the
    gap, or None before the stream's beginning and after its end.

    ``age_ns``, of a feed that only pushes whole books, is how long before that instant the push was received: what
    happened since is not known. It is None for a feed whose chain proves each change, and where the clock was set
    back in between.
    """

    symbol: str
    feed: str
    seq: int | None
    epoch: int | None
    ts_event: int | None
    ts_recv: int | None
    bids: Levels
    asks: Levels
    valid: bool
    gap: Gap | None
    age_ns: int | None = None


class Coverage:
    """When one stream was covered. ``gaps``: by their start."""

    def __init__(self, stream: Stream, gaps: Sequence[Gap]) -> None:
        self.stream = stream
        self.gaps = sorted(gaps, key=lambda gap: gap.start)
        self._starts = [gap.start for gap in self.gaps]
        ended = [(gap.repaired_by, gap.end) for gap in gaps if gap.repaired_by is not None]
        self._renewals = sorted((pos, NOW if end is None else end) for pos, end in ended)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The stretches of the stream's journal in which the clock was not set back, where there are several."""
        return self.stream.turns

    @property
    def until(self) -> int | None:
        """When the stream ended (ns), None if it has not."""
        return self.stream.until

    def gap(self, ts: int) -> Gap | None:
        """The gap that an instant (ns) is inside of."""
        # Gaps of one stream do not overlap, so only the newest that began before can reach it.
        index = bisect_left(self._starts, ts) - 1
        if index >= 0:
            gap = self.gaps[index]
            if gap.end is None or ts < gap.end:
                return gap
        return None

    def renewed(self, pos: int, ts: int, turn: int | None) -> bool:
        """Whether a gap had ended by an instant (ns) of a turn, and the frame that ended it came after position
        ``pos``.
        """
        following = None if turn is None else self.turns[turn + 1 : turn + 2]
        last = following[0].pos if following else NOW
        at = bisect_right(self._renewals, (pos, NOW))
        # Their times only rise, so the first one tells, unless the clock was set back.
        later = self._renewals[at:] if self.turns else self._renewals[at : at + 1]
        return any(after < last and end <= ts for after, end in later)

    def valid(self, ts: int) -> bool:
        """Whether nothing is missing at an instant (ns), and it is one instant."""
        if any(low <= ts <= high for low, high in self.stream.doubts):
            return False
        until = self.stream.until
        return self.stream.since <= ts and (until is None or ts <= until) and self.gap(ts) is None


class Question(msgspec.Struct, frozen=True):
    """One stream of an archive, and what is needed to answer for it. ``sequenced``: its changes form a chain; else
    each of its books is a whole one.
    """

    scanner: Scanner
    contents: Contents
    symbol: str
    feed: str
    coverage: Coverage
    sequenced: bool = True

    def holds(self, change: Change, ts: int, turn: int | None) -> bool:
        """Whether the book that a change led to, the newest at an instant (ns) of a turn, is valid then. A pushed
        book says nothing of the time after a gap that began later.
        """
        if not self.coverage.valid(ts):
            return False
        if self.sequenced:
            return True
        pushed = isinstance(change, Whole) and change.source == "push"
        return pushed and not self.coverage.renewed(change.pos, ts, turn)

    def bounds(self, *, until: int | None = None, pos_from: int | None = None) -> Bounds:
        """Rows of this stream."""
        return Bounds(symbol=self.symbol, feed=self.feed, until=until, pos_from=pos_from)

    def before(self, until: int, turn: int | None) -> Iterator[Bounds]:
        """What came before ``until`` (ns) in a turn, and all that the turn went on from, the newest first; without a
        turn what came before.
        """
        bounds = self.bounds(until=until)
        turns = self.coverage.turns
        if turn is None:
            yield bounds
            return
        last = NOW if turn + 1 == len(turns) else turns[turn + 1].pos
        for index in range(turn, -1, -1):
            first = turns[index].pos if index else 0
            yield bounds._replace(pos_from=first, pos_until=last)
            bounds, last = bounds._replace(until=None), first

    def newest(self, until: int, turn: int | None) -> Whole | None:
        """The newest whole book there."""
        found = (newest_whole(self.scanner, self.contents, bounds) for bounds in self.before(until, turn))
        return next((whole for whole in found if whole is not None), None)

    def newest_at(self, at: int) -> tuple[int | None, Whole | None]:
        """The turn that an instant (ns) lies in, and the newest whole book at or before it."""
        turns = self.coverage.turns
        turn = turn_at(turns, at)
        known = turn is not None or not turns
        return turn, self.newest(min(at + 1, NOW), turn) if known else None

    def unknown(self, at: int) -> Book:
        """The answer where nothing is known as of ``at`` (ns)."""
        return Book(self.symbol, self.feed, None, None, None, None, [], [], False, self.coverage.gap(at))

    def parts(self, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
        """A range of time (ns, end exclusive) as ranges that are each answered from one turn."""
        turns = self.coverage.turns
        edges = {edge for turn in turns for edge in (turn.since, turn.end + 1) if start < edge < end}
        for low, high in pairwise([start, *sorted(edges), max(start, end)]):
            yield low, high, turn_at(turns, low)

    def changes(self, start: int, end: int) -> Iterator[Change]:
        """The newest whole book before ``start`` and every change after it received before ``end`` (ns), by the
        journal: where the clock was set back, also what came between them at other times.
        """
        turns = self.coverage.turns
        if not turns:
            return self._changes(self.newest(start, None), self.bounds(until=end))
        touched = [at for at, turn in enumerate(turns) if turn.since < end and turn.end >= start]
        if not touched:
            return iter(())
        base = self.newest(start, touched[0])
        after = turns[touched[-1] + 1].pos if touched[-1] + 1 < len(turns) else None
        return self._changes(base, self.bounds()._replace(pos_until=after))

    def changes_of(self, start: int, end: int, turn: int | None) -> Iterator[Change]:
        """The book as of ``start`` and every change after it before ``end`` (ns), of one turn."""
        if turn is None:
            return self.changes(start, end) if not self.coverage.turns else iter(())
        base = self.newest(start, turn)
        last = next(self.before(end, turn))
        found = self._changes(base, last._replace(until=None, pos_from=None))
        first = last.pos_from or 0
        return (change for change in found if standing(change) < first or change.ts_recv < end)

    def beginnings(self, start: int, end: int) -> tuple[Bounds, Iterator[Whole]]:
        """Where the clock was not set back, what :meth:`changes` is made of: bounds of the deltas, and the books that
        begin anew, the first of them that of ``start``.
        """
        return self._beginnings(self.newest(start, None), self.bounds(until=end))

    def _beginnings(self, base: Whole | None, bounds: Bounds) -> tuple[Bounds, Iterator[Whole]]:
        bounds = bounds._replace(pos_from=None if base is None else base.pos)
        books = beginnings(self.scanner, self.contents, bounds)
        # A keyframe in the middle of an epoch is as good a beginning as any.
        if base is None:
            return bounds, books
        return bounds, _after(base if base.begins else base._replace(source="push"), books)

    def _changes(self, base: Whole | None, bounds: Bounds) -> Iterator[Change]:
        bounds, books = self._beginnings(base, bounds)
        return changes(steps(self.scanner, self.contents, bounds), books)


def standing(change: Change) -> int:
    """The position at which it took effect."""
    return max(change.pos, change.epoch)


def _after(first: Whole, books: Iterator[Whole]) -> Iterator[Whole]:
    yield first
    for whole in books:
        if whole.pos > first.pos:
            yield whole
