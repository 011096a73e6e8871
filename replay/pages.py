"""Windows of rows as pages of what a replay gives: events, or lines of JSON."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from bookreel.replay.events import Arranged, Numbers, arrange, ns_times, open_gap_events
from bookreel.replay.exact import FrameNumbers, exact
from bookreel.replay.kinds import MAKERS, NUMBERS, Recorded
from bookreel.replay.sweep import Sweep
from bookreel.replay.tokens import Place

__all__ = ["EventForm", "Form", "Page", "Pages", "Reader", "exact_events"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Form(Protocol[_T_co]):
    """What rows become. ``texts``: the text of frames is needed for that.

    Both methods give the items, the positions at which they stand, and their receive times (ns).
    """

    texts: bool

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> tuple[_T_co, memoryview, memoryview]:
        """The rows of a window."""
        ...

    def gaps(self, rows: pa.Table, horizon: int) -> _T_co:
        """Gaps that had not ended when the newest record was received (``horizon``, ns)."""
        ...


class EventForm:
    """Typed values. ``numbers``: see :data:`bookreel.replay.events.Numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self.texts = numbers == "decimal"

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> Arranged:
        found = arrange(rows, ns_times, MAKERS[sweep.venue.name])
        return found._replace(events=exact_events(found.events, sweep)) if self.texts else found

    def gaps(self, rows: pa.Table, horizon: int) -> list[Recorded]:
        return [*open_gap_events(rows, horizon, ns_times)]


def exact_events(events: list[Recorded], sweep: Sweep) -> list[Recorded]:
    """The events with their numbers as in the text of their frames.

    A keyframe is ours: its levels came in many frames, and each of those doubles is its shortest decimal.
    """
    texts = sweep.payloads({event.pos for event in events if event.pos is not None and _is_sent(event)})
    pos: int | None = None
    numbers = FrameNumbers(None)
    found: list[Recorded] = []
    for event in events:
        fields = NUMBERS.get(type(event))
        if fields is not None:
            if not _is_sent(event):
                numbers, pos = FrameNumbers(None), None
            elif event.pos != pos or pos is None:
                numbers, pos = FrameNumbers(texts.get(event.pos or 0)), event.pos
            event = exact(event, numbers, fields)
        found.append(event)
    return found


def _is_sent(event: Recorded) -> bool:
    """Whether an event's numbers are those of one frame."""
    return type(event) in NUMBERS and getattr(event, "source", "") != "keyframe"


class Page(NamedTuple, Generic[_T]):
    """A piece of a replay. Items before ``first`` were given already. ``end``: it is that of the open gaps, which
    stand at no position.
    """

    items: _T
    order: memoryview
    ts: memoryview
    first: int
    end: bool

    def place(self, count: int, start: int | None) -> Place:
        """The place after so many of the items, at least one."""
        pos = self.order[count - 1]
        if self.end:
            return Place(pos, 0, count, start)
        return Place(pos, count - bisect_left(self.order, pos), 0, start)


class Reader(Protocol[_T]):
    """Gives pages from a place on. ``place``: where those given so far lead to; ``done``: there will be no more."""

    place: Place
    done: bool

    def read(self) -> Page[_T] | None:
        """The next page; None: there is none, or none yet."""
        ...


class Pages(Generic[_T]):
    """Reads a sweep from a place on. ``follow``: as long as it is not stopped, or until the range's end is past."""

    def __init__(self, sweep: Sweep, form: Form[_T], place: Place, *, follow: bool) -> None:
        self.place = place
        """Where the pages read so far lead to."""
        self.done = False
        """There will be no more."""
        self._sweep = sweep
        self._form = form
        self._follow = follow

    def read(self) -> Page[_T] | None:
        """The next page; None: there is none, or none yet. Raises what :meth:`Sweep.read` does."""
        sweep, place = self._sweep, self.place
        while not self.done:
            window = sweep.read()
            if window is None:
                if self._follow and not sweep.past_end:
                    if sweep.next_pos > place.pos:
                        self.place = Place(sweep.next_pos, start=place.start)
                    return None
                return self._close()
            items, order, ts = self._form.make(window.rows, sweep)
            first = 0
            if len(order) and order[0] == place.pos:
                first = min(place.given, bisect_left(order, place.pos + 1))
            place = self.place = Place(window.upto, start=place.start)
            if first < len(order):
                return Page(items, order, ts, first, False)
        return None

    def _close(self) -> Page[_T] | None:
        self.done = True
        sweep, before = self._sweep, self.place
        gaps = sweep.closing_gaps()
        count, pos = gaps.num_rows, sweep.next_pos
        known = before.closing if before.pos == pos else 0
        self.place = Place(pos, 0, max(count, known), before.start)
        if count <= known or sweep.horizon is None:
            return None
        order, ts = array("q", [pos]) * count, array("q", [sweep.horizon]) * count
        items = self._form.gaps(gaps, sweep.horizon)
        return Page(items, memoryview(order), memoryview(ts), known, True)
