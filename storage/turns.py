"""Where receive times go back: the stretches of a stream's journal in which they only rise.

The wall clock may be set back, and an older capture may be taken in after newer data. The journal knows the order all
the same, but an instant then names more than one place in it. A *turn* is a stretch of the journal in which the clock
was not set back. An answer as of an instant is that of the last turn the instant lies in, with all that comes before
it in the journal; of an instant that lies in several it is said that it is not valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final, TypeAlias

import msgspec

__all__ = ["TURNS_MAX", "Span", "Step", "Turn", "Turns", "overlaps", "turn_at", "turns_of"]

TURNS_MAX: Final = 64
"""Turns of one stream that are told apart. Of more, the oldest become one in which nothing is promised."""

_EVER: Final = (1 << 63) - 1

Span: TypeAlias = tuple[int, int]
"""First and last instant, ns."""


class Step(msgspec.Struct, frozen=True):
    """The clock was set back, from ``before`` to ``after`` (receive times of frames, ns), at record ``pos``."""

    pos: int
    before: int
    after: int


class Turn(msgspec.Struct, frozen=True):
    """From record ``pos`` on; receive times (ns) from ``since`` to ``until``, None while it goes on."""

    pos: int
    since: int
    until: int | None = None

    def holds(self, ts: int) -> bool:
        """Whether the clock showed this instant (ns) in it."""
        return self.since <= ts <= self.end

    @property
    def end(self) -> int:
        """The last instant (ns); of one that goes on there is none yet."""
        return _EVER if self.until is None else self.until


class Turns(msgspec.Struct):
    """Of one stream. ``doubts``: first and last instants (ns) of what the bounds of a hole do not tell, since
    it began in one turn and ended in another.
    """

    turns: list[Turn] = []
    doubts: list[Span] = []

    def begin(self, pos: int, ts: int) -> None:
        """The stream is good from record ``pos``, received at ``ts`` (ns), on."""
        if not self.turns:
            self.turns.append(Turn(pos, ts))
            return
        last = self.turns[-1]
        if last.until is not None:
            if ts < last.until:
                self._turn(pos, ts)
            else:
                self.turns[-1] = Turn(last.pos, last.since)

    def end(self, ts: int) -> None:
        """The stream was ended, or the recorder died; nothing of it came after ``ts`` (ns)."""
        if self.turns and self.turns[-1].until is None:
            last = self.turns[-1]
            self.turns[-1] = Turn(last.pos, last.since, max(last.since, ts))

    def set_back(self, pos: int, before: int, after: int) -> None:
        """The clock was set back from ``before`` to ``after`` (ns) at record ``pos``."""
        if self.turns and self.turns[-1].until is None:
            self.end(before)
            self._turn(pos, after)

    def copy(self) -> Turns:
        """The same, to go on from."""
        return Turns([*self.turns], [*self.doubts])

    def until(self, pos: int) -> Turns:
        """Those that had begun at record ``pos``."""
        return Turns([turn for turn in self.turns if turn.pos <= pos])

    def crossed(self, start: int, end: int = _EVER) -> list[Span]:
        """Instants inside a hole from ``start`` to ``end`` (ns) that ends in the newest turn, if it began before."""
        older = [at for at, turn in enumerate(self.turns[:-1]) if turn.holds(start)]
        if not older:
            return []
        first = older[-1]
        between = [(turn.since, turn.end) for turn in self.turns[first + 1 : -1]]
        spans = [(start + 1, self.turns[first].end), *between, (self.turns[-1].since, end - 1)]
        return [(low, high) for low, high in spans if low <= high]

    def _turn(self, pos: int, since: int) -> None:
        self.turns.append(Turn(pos, since))
        if len(self.turns) > TURNS_MAX:
            first, second = self.turns[:2]
            both = Turn(first.pos, min(first.since, second.since), max(first.end, second.end))
            self.turns[:2] = [both]
            kept = [span for span in self.doubts if not (both.since <= span[0] and span[1] <= both.end)]
            self.doubts = [(both.since, both.end), *kept]


def turns_of(steps: Iterable[Step], pos: int, since: int) -> Turns:
    """The turns of a journal that begins with record ``pos`` at ``since`` (ns). The last one goes on."""
    turns = Turns()
    turns.begin(pos, since)
    for step in steps:
        turns.set_back(step.pos, step.before, step.after)
    return turns


def overlaps(turns: Sequence[Turn]) -> list[Span]:
    """Instants that lie in more than one turn."""
    spans = [(max(one.since, other.since), min(one.end, other.end)) for one, other in combinations(turns, 2)]
    return [(low, high) for low, high in spans if low <= high]


def turn_at(turns: Sequence[Turn], ts: int) -> int | None:
    """Which turn an instant (ns) is answered from: the last one that it lies in, else the one that had ended last."""
    held = [at for at, turn in enumerate(turns) if turn.holds(ts)]
    if held:
        return held[-1]
    ended = [(turn.end, at) for at, turn in enumerate(turns) if turn.end < ts]
    return max(ended)[1] if ended else None
