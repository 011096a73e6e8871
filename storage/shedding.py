"""Who is given up when memory is full: whole streams, the oldest first, so that the others stay whole.

Theory of operation
-------------------
The spool holds what the disk has not taken, up to a ceiling. Three marks divide it::

    0 ........ resume ........ begin ............ all ........ ceiling
                5/8             3/4               7/8

Up to ``begin`` everything is taken, and nothing here is called. Between ``begin`` and ``all`` ever more streams
are shed, in proportion to how far memory is filled: the first k of n. From ``all`` on every stream is; the rest, up
to the ceiling, is for what belongs to no stream and says what frames mean: requests, acknowledgements, heartbeats,
events. Once memory is down to ``resume``, all streams are taken again.

A stream that was shed once stays shed until then, as a stream with one hole is worth more than one with many. *Oldest
first*: the stream whose present run began first is given up first. A stream that was shed, or subscribed anew, begins
a new run and goes to the end of the row, so that a recorder that is too slow for long takes turns.

Every run is written down twice: an event ``shedding`` before the first frame of a stream that is given up, so that a
crash leaves no hole without its cause, and an event ``shed`` with the exact counts when it is over.

Frames are decoded here a second time, but only while memory is short.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from bookreel.book.model import Bbo, Cause, Delta, Event, Snapshot, Trade
from bookreel.storage.record import Direction, Kind
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Data, Reply, Rows, Venue

__all__ = ["SHED_CAUSES", "Marks", "Shedding", "Victim", "seq_of"]

SHED_CAUSES: Final[frozenset[Cause]] = frozenset({"shed", "disk_full"})
"""Why frames that were received are given up."""

_FRAMES: Final = (Kind.COMPRESSED, Kind.TEXT)


class Marks(msgspec.Struct, frozen=True):
    """Bytes of memory at which shedding changes."""

    resume: int
    begin: int
    all: int
    ceiling: int

    @classmethod
    def of(cls, ceiling: int) -> Marks:
        """Those of a spool with this ceiling, bytes."""
        return cls(resume=ceiling * 5 // 8, begin=ceiling * 3 // 4, all=ceiling * 7 // 8, ceiling=ceiling)


class Victim(msgspec.Struct, frozen=True):
    """Whose record was shed last: ``topic`` is the venue's text, None for a record of no stream."""

    topic: str | None
    cause: Cause


class _Run(msgspec.Struct):
    """Frames of one stream that were shed. Times are receive times (ns); numbers are the venue's."""

    topic: str
    records: int
    start: int
    end: int
    first_seq: int | None = None
    last_seq: int | None = None

    def facts(self) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "records": self.records,
            "from": self.start,
            "to": self.end,
            "first_seq": self.first_seq,
            "last_seq": self.last_seq,
        }


class Shedding:
    """Decides, and counts exactly. The spool's lock guards it."""

    def __init__(self, venue: Venue | None, marks: Marks) -> None:
        self._venue = venue
        self._marks = marks
        # In the order in which their runs began; the value is the place in that row, from 0 without holes unless
        # `_scattered`.
        self._places: dict[str, int] = {}
        self._next_place = 0
        self._scattered = False
        self._runs: dict[str, _Run] = {}
        self._others: _Run | None = None
        self._cause: Cause = "shed"
        self.victim = Victim(None, "shed")

    def began(self, topic: str) -> None:
        """A stream was subscribed: its run begins."""
        if topic not in self._runs:
            self._scattered |= self._places.pop(topic, None) is not None
            self._join(topic)

    def admits(
        self, held: int, ts_recv: int, direction: int, kind: int, payload: bytes, cause: Cause
    ) -> bool | dict[str, Any]:
        """Whether a record is taken that would fill memory to ``held`` bytes; the facts of an event ``shedding``
        if it is the first of its stream that is not.
        """
        marks = self._marks
        topic, seqs = self._read(direction, kind, payload)
        if topic is None:
            if held <= marks.ceiling:
                return True
            run = self._others
        else:
            run = self._runs.get(topic)
            if run is None and not self._gives_way(topic, held):
                return True
        if not self._runs and self._others is None:
            self._cause = cause
        self.victim = Victim(topic, self._cause)
        begins = run is None
        if run is None:
            run = _Run(topic or "", 0, ts_recv, ts_recv)
            if topic is None:
                self._others = run
            else:
                self._runs[topic] = run
        run.records += 1
        run.end = ts_recv
        for seq in seqs:
            run.last_seq = seq
            if run.first_seq is None:
                run.first_seq = seq
        return {"topic": topic, "cause": self._cause, "from": ts_recv} if begins else False

    def over(self, held: int) -> bool:
        """Whether memory is down to where all streams are taken again."""
        return held <= self._marks.resume

    def end(self) -> dict[str, Any] | None:
        """All streams are taken again: the facts of an event ``shed``, None if nothing was shed."""
        runs, others = list(self._runs.values()), self._others
        self._runs, self._others = {}, None
        for run in runs:
            self.began(run.topic)
        if not runs and others is None:
            return None
        every = runs if others is None else [*runs, others]
        return {
            "cause": self._cause,
            "from": min(run.start for run in every),
            "to": max(run.end for run in every),
            "records": sum(run.records for run in every),
            "others": 0 if others is None else others.records,
            "streams": [run.facts() for run in runs],
        }

    def _gives_way(self, topic: str, held: int) -> bool:
        """Whether it is this stream's turn, with ``held`` bytes."""
        if self._scattered and not self._runs:
            self._places = {each: place for place, each in enumerate(self._places)}
            self._next_place = len(self._places)
            self._scattered = False
        if topic not in self._places:
            self._join(topic)
        marks = self._marks
        span = max(1, marks.all - marks.begin)
        return held > marks.all or self._places[topic] * span < len(self._places) * (held - marks.begin)

    def _join(self, topic: str) -> None:
        self._places[topic] = self._next_place
        self._next_place += 1

    def _read(self, direction: int, kind: int, payload: bytes) -> tuple[str | None, Iterator[int]]:
        """The stream of a record, None if it belongs to none, and the numbers of its events."""
        venue = self._venue
        if venue is None or direction != Direction.IN or kind not in _FRAMES:
            return None, iter(())
        try:
            message = venue.decode(venue.plain(payload))
        except VenueError:
            topic = venue.salvage_topic(payload)
            return None if topic is None else topic.text, iter(())
        if isinstance(message, Rows):
            keys = () if message.asked else (row.key for row in message.rows if row.key is not None)
            return message.topic.text, iter(keys)
        if not isinstance(message, Data | Reply):
            return None, iter(())
        if isinstance(message, Reply):
            # An answer repeats what was pushed, or sums it up: its numbers bound nothing.
            return message.topic.text, iter(())
        return message.topic.text, (seq for event in message.events if (seq := seq_of(event)) is not None)


def seq_of(event: Event) -> int | None:
    """The venue's number of an event, where it has one."""
    if isinstance(event, Trade):
        return event.trade_seq
    return event.seq if isinstance(event, Delta | Snapshot | Bbo) else None
