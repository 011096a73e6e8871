"""The recorder's own path of a frame, from the socket to the rows, with nothing replaced but disk and clock.

A frame goes into :meth:`Dialogue.receive` and so into a real :class:`Journal`; the record that this made goes into a
:class:`Normalizer`, as the sealer would feed it. What a connection's owner does beside that (send what is due, check
the line, begin anew when it is given up) is done here as the session does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from bookreel.book.sync import BookSync
from bookreel.ingest.books import LiveBooks
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.dialogue import Dialogue
from bookreel.ingest.errors import LineDown
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.ingest.watch import Pace
from bookreel.storage.disk import Disk
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.shedding import Victim
from bookreel.venues.huobi import Huobi
from tests.fuzz.oracle import BookOracle, Violation, check_rows
from tests.fuzz.peer import BOOK_TOPICS, TOPICS, Peer

__all__ = ["Clock", "DiscardDisk", "OwnBug", "Target"]

_MS: Final = 1_000_000


class OwnBug(Exception):
    """The recorder caught an exception that no frame should cause."""


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.mono = 1_000_000 * _MS

    def wall_ns(self) -> int:
        return self.mono + 1_790_000_000_000 * _MS

    def mono_ns(self) -> int:
        return self.mono

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


class _DiscardFile:
    def __init__(self) -> None:
        self._size = 0

    def writev(self, buffers: Sequence[bytes | memoryview]) -> int:
        size = sum(map(len, buffers))
        self._size += size
        return size

    def overwrite(self, offset: int, data: bytes) -> None: ...

    def datasync(self) -> None: ...

    def read(self, offset: int, size: int) -> bytes:
        return b""

    def size(self) -> int:
        return self._size

    def linked(self) -> bool:
        return True

    def close(self) -> None: ...


class _DiscardLock:
    def release(self) -> None: ...


class DiscardDisk:
    """A disk that takes everything and keeps nothing."""

    def create(self, path: Path) -> _DiscardFile:
        return _DiscardFile()

    def open(self, path: Path) -> _DiscardFile:
        raise FileNotFoundError(path)

    def reopen(self, path: Path) -> _DiscardFile:
        return _DiscardFile()

    def names(self, folder: Path) -> list[str]:
        return []

    def exchange(self, one: Path, other: Path) -> None: ...

    def remove_folder(self, folder: Path) -> None: ...

    def free(self, folder: Path) -> int:
        return 1 << 40

    def make_folder(self, folder: Path) -> None: ...

    def rename(self, old: Path, new: Path) -> None: ...

    def unlink(self, path: Path) -> None: ...

    def sync_folder(self, folder: Path) -> None: ...

    def lock(self, path: Path, note: str) -> _DiscardLock:
        return _DiscardLock()

    def locked(self, path: Path) -> bool:
        return False


class _Feeding:
    """A journal that hands each record on as the sealer will read it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.records: list[Record] = []

    @property
    def victim(self) -> Victim:
        return self._journal.victim

    def began(self, topic: str) -> None:
        self._journal.began(topic)

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: Direction, kind: Kind, payload: bytes
    ) -> int:
        pos = self._journal.append(ts_recv, mono, conn, epoch, direction, kind, payload)
        if pos:
            self.records.append(Record(pos, ts_recv, mono, conn, epoch, direction, kind, payload))
        return pos


class _Complaints(logging.Handler):
    """Remembers what the recorder logs as a bug of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


class Target:
    """One recorder of one line."""

    def __init__(self, path: Path, disk: Disk, rng: Random) -> None:
        self.rng = rng
        self.clock = Clock()
        self.peer = Peer(rng)
        self.venue = Huobi()
        # Sheds nothing, makes no audit of its own accord that a seed does not repeat.
        self.journal = Journal.open(
            path,
            "huobi",
            clock=self.clock,
            options=JournalOptions(threads=False, archive_id=bytes(8)),
            disk=disk,
        )
        self._feeding = _Feeding(self.journal)
        self.tape = Tape(self._feeding, self.clock)
        self.normalizer = Normalizer(self.venue)
        self.config = RecordConfig(audit_interval_s=5)
        self.topics = {
            name.decode(): topic for name in TOPICS if (topic := self.venue.parse_topic(name.decode()))
        }
        assert len(self.topics) == len(TOPICS), "the peer's topics are the venue's"
        self.books = LiveBooks()
        self._held = {
            text: self.books.add(topic)
            for text, topic in self.topics.items()
            if topic.coverage == "sequenced"
        }
        self.oracles = {text.encode(): BookOracle(text, book.sync) for text, book in self._held.items()}
        self._followed = [
            (text.encode(), self.oracles[text.encode()], book.sync) for text, book in self._held.items()
        ]
        self.live: dict[bytes, int | None] = dict.fromkeys(BOOK_TOPICS)
        self._paces: dict[str, Pace] = {}
        self.stats = LineStats("line-0", "ws://venue/ws", len(self.topics))
        self._complaints = _Complaints()
        logging.getLogger("bookreel").addHandler(self._complaints)
        self.frames = self.downs = self.rows = 0
        self._stored = 0
        self._next_check = 0
        self.tape.event("start", run="fuzz", version="0", venue="huobi")
        self.dialogue = self._connect()

    def sync(self, topic: bytes) -> BookSync:
        """The live book of a topic."""
        return self._held[topic.decode()].sync

    def close(self) -> None:
        """Stop as the recorder does."""
        logging.getLogger("bookreel").removeHandler(self._complaints)
        self.tape.event("stop", reason="done")
        self.feed()
        self.journal.close()

    def receive(self, payload: bytes | str, said: bytes | None = None) -> int:
        """One frame, to the end of its way; ``said``: the text it was made of. CPU time of it in ns. Raises whatever
        should not have been raised.
        """
        now = self.clock.mono
        wall = now + 1_790_000_000_000 * _MS
        down = None
        pong = None
        begun = time.thread_time_ns()
        try:
            pong = self.dialogue.receive(payload, wall, now)
        except LineDown as error:
            down = error
        feed = self.normalizer.feed
        records = self._feeding.records
        for record in records:
            feed(record)
        took = time.thread_time_ns() - begun
        records.clear()
        self.frames += 1
        frame = payload, said
        for topic, oracle, sync in self._followed:
            self.live[topic] = sync.last_seq if oracle.after(frame) else None
        if pong is not None:
            self.dialogue.requests.sent(pong)
        if down is not None:
            self._disconnected(down)
        if self._complaints.found:
            found = self._complaints.found.pop()
            raise OwnBug(found.getMessage()) from (found.exc_info[1] if found.exc_info else None)
        return took

    def pass_time(self, ms: float) -> None:
        """Time passes; what is due is said, and the peer answers at once."""
        clock = self.clock
        clock.mono += int(ms * _MS)
        self.peer.ms = clock.wall_ns() // _MS
        if clock.mono < self._next_check:
            return
        self._next_check = clock.mono + 100 * _MS
        try:
            self.dialogue.check(clock.mono)
        except LineDown as error:
            self._disconnected(error)
        while (text := self.dialogue.requests.outgoing(clock.mono)) is not None:
            self.peer.hear(text)
        self.feed()

    def feed(self) -> None:
        """Give the sealer what was written since."""
        for record in self._feeding.records:
            self.normalizer.feed(record)
        self._feeding.records.clear()

    def pump(self) -> None:
        """Let the journal write."""
        self.journal.pump_write()
        self.journal.pump_sync()

    def check(self) -> None:
        """Books against the frames, and the sealer's books against the live ones. Raises :class:`Violation`."""
        for oracle in self.oracles.values():
            oracle.check()
        for text, book in self._held.items():
            topic = self.topics[text]
            stream = self.normalizer._streams._streams.get((topic.symbol, topic.feed))
            sealed = None if stream is None else stream.sync
            live = book.sync
            if live.valid and sealed is not None and sealed.valid:
                if sealed.last_seq != live.last_seq or sealed.book != live.book:
                    raise Violation(
                        f"the sealer's {text} is at {sealed.last_seq}, the live one at {live.last_seq}"
                    )
            elif live.valid:
                raise Violation(f"{text} is valid live, and not for the sealer")

    def check_rows(self) -> None:
        """The rows made since the last call. Raises :class:`Violation`."""
        self.feed()
        tables = self.normalizer.take(compact=True)
        check_rows(tables)
        self.rows += sum(table.num_rows for table in tables.values())
        self._stored += sum(direction == "in" for direction in tables["frames"]["direction"].to_pylist())
        if self._stored != self.frames:
            raise Violation(f"{self.frames} frames came, {self._stored} have a row")

    def _connect(self) -> Dialogue:
        stats = self.stats
        stats.epoch += 1
        self.tape.event("connect", stats.name, stats.epoch, url="ws://venue/ws")
        dialogue = Dialogue(
            self.topics,
            self._held,
            stats,
            config=self.config,
            venue=self.venue,
            tape=self.tape,
            rng=self.rng,
            paces=self._paces,
            wake=lambda: None,
            recover=stats.epoch > 1,
        )
        dialogue.open()
        return dialogue

    def _disconnected(self, down: LineDown) -> None:
        """As the session does."""
        self.downs += 1
        stats = self.stats
        now = self.clock.mono
        for book in self._held.values():
            book.lost(down.cause, self.dialogue.last_wall, now)
        since = {} if down.since is None else {"since": down.since}
        self.tape.event("disconnect", stats.name, stats.epoch, cause=down.cause, detail=down.detail, **since)
        stats.acked.clear()
        stats.refused.clear()
        self.peer.due.clear()
        for oracle in self.oracles.values():
            oracle.lost()
        self.clock.mono += 500 * _MS
        self.dialogue = self._connect()
