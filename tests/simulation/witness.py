"""Hears everything that the recorder gives its journal, over all its lives, and holds the archive against that."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from bookreel import venues
from bookreel.storage.disk import Disk
from bookreel.storage.journal import Journal, SegmentReader, list_segments
from bookreel.storage.record import Kind, Record, decode_event

__all__ = ["Told", "Witness"]


class Told(NamedTuple):
    """An event that the recorder journaled. ``wall`` is by its own clock; both in ns."""

    name: str
    pos: int
    wall: int
    mono: int
    conn: str
    epoch: int
    facts: dict[str, Any]


class Shed(NamedTuple):
    """The first frame of a topic that was shed in a run of them."""

    topic: str
    mono: int


class Witness:
    """``problems`` has a sentence for each promise that was broken."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.events: list[Told] = []
        self.acknowledged: list[tuple[int, int]] = []
        """For each life the positions that were acknowledged: first and last."""
        self.received = 0
        self.shed = 0
        self.checked = 0
        """Acknowledged records that were compared after a crash."""
        self.new_shed: list[Shed] = []
        """Since the caller last looked."""
        self._venue = venues.get("huobi")
        self._records: deque[tuple[Any, ...]] = deque()
        self._journal: Journal | None = None
        self._first = 0
        self._watermark = 0
        self._appended = 0
        self._refused = 0
        self._shed_topics: set[str] = set()

    def attach(self, journal: Journal) -> None:
        """A life begins: note each record from now on."""
        self._journal = journal
        self._first = journal.durable_pos + 1
        self._watermark = journal.durable_pos
        self._appended = self._refused = 0
        append, records = journal.append, self._records

        def noted(
            ts_recv: int, mono: int, conn: str, epoch: int, direction: int, kind: int, payload: bytes
        ) -> int:
            pos = append(ts_recv, mono, conn, epoch, direction, kind, payload)
            self._appended += 1
            if pos:
                if self._shed_topics:
                    self._shed_topics.clear()
                records.append((pos, ts_recv, mono, conn, epoch, direction, kind, payload))
            else:
                self._refused += 1
                self._not_taken(payload, mono)
            if kind == Kind.EVENT:
                facts = decode_event(payload)
                self.events.append(Told(facts.pop("event"), pos, ts_recv, mono, conn, epoch, facts))
            return pos

        journal.append = noted  # type: ignore[method-assign]

    def _not_taken(self, payload: bytes, mono: int) -> None:
        topic = self._venue.salvage_topic(payload)
        if topic is not None and topic.text not in self._shed_topics:
            self._shed_topics.add(topic.text)
            self.new_shed.append(Shed(topic.text, mono))

    def look(self) -> None:
        """At any moment: the books of the journal are balanced, and the watermark only rises."""
        journal = self._journal
        if journal is None:
            return
        counts = journal.counts()
        if counts.received != counts.durable + counts.in_flight + counts.shed:
            self.problems.append(f"received is not durable + in_flight + shed: {counts}")
        if counts.shed != self._refused:
            self.problems.append(f"{self._refused} records were not taken, but {counts.shed} counted as shed")
        if counts.received < self._appended:
            self.problems.append(f"{self._appended} records were given, but {counts.received} counted")
        if not self._watermark <= journal.durable_pos < journal.next_pos:
            self.problems.append(
                f"the durable watermark went from {self._watermark} to {journal.durable_pos}"
            )
        self._watermark = journal.durable_pos

    def died(self) -> None:
        """The life is over, one way or another."""
        journal = self._journal
        if journal is None:
            return
        self.look()
        counts = journal.counts()
        self.received += counts.received
        self.shed += counts.shed
        self._journal = None
        self._shed_topics.clear()
        if self._watermark >= self._first:
            self.acknowledged.append((self._first, self._watermark))

    def compare(self, archive: Path, disk: Disk) -> None:
        """On what a crash left: every acknowledged record that is not sealed yet is there, and the same."""
        found: dict[int, tuple[Any, ...]] = {}
        for segment in list_segments(archive, disk):
            with SegmentReader(segment.path, disk, closed=True) as reader:
                for item in reader.read():
                    if isinstance(item, Record):
                        found[item.pos] = (
                            item.pos,
                            item.ts_recv,
                            item.mono,
                            item.conn,
                            item.epoch,
                            item.direction,
                            item.kind,
                            item.payload,
                        )
        while self._records:
            record = self._records.popleft()
            pos = record[0]
            if not any(first <= pos <= last for first, last in self.acknowledged[-1:]):
                continue
            self.checked += 1
            if found.get(pos) != record:
                what = "changed" if pos in found else "gone"
                self.problems.append(f"record {pos} was acknowledged, and is {what} after a crash")

    def sealed(self, last_pos: int) -> None:
        """Records up to ``last_pos`` are sealed; the archive's own positions tell of them."""
        records = self._records
        while records and records[0][0] <= last_pos:
            records.popleft()
