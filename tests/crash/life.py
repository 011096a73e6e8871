"""The whole life of an archive on a simulated disk, step by step: made, recorded, rotated, closed, sealed, left by a
crash, recorded beside the sealer, sealed again. And what must be true of whatever a disturbance leaves of it.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from bookreel.storage.compact import DiskFull, compact
from bookreel.storage.dates import DAY_NS
from bookreel.storage.errors import NotDurable
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import Manifest
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.schema import TABLES
from bookreel.storage.seal import seal
from bookreel.storage.verify import verify
from tests.crash.trace import ARCHIVE, Clock
from tests.crash.witness import Found, Lost, Witness, look
from tests.simulation.disk import SimDisk, contents

__all__ = ["STEPS", "Life", "Step", "sealed_files"]

_OPTIONS: Final = JournalOptions(threads=False, archive_id=b"archive0", segment_seconds=1e9)
_LAYOUT: Final = Layout(ARCHIVE)
_SEALED: Final = (_LAYOUT.parquet, _LAYOUT.manifest, _LAYOUT.state)
_TRIES: Final = 5
_T = TypeVar("_T")

Step: TypeAlias = "Callable[[Life], object]"


class Life:
    """An archive, and the account of it. Every step can be taken on whatever the one before left."""

    def __init__(self, disk: SimDisk | None = None, witness: Witness | None = None) -> None:
        self.disk = disk or SimDisk()
        self.witness = witness or Witness()
        self.clock = Clock()
        self.number = 0
        self.steps_taken = 0
        self._journal: Journal | None = None

    def fork(self, disk: SimDisk) -> Life:
        """The same account, on another disk."""
        twin = Life(disk, self.witness.fork())
        twin.clock.now = self.clock.now
        twin.number = self.number
        twin.steps_taken = self.steps_taken
        return twin

    def take(self, step: Step) -> None:
        """Takes one step."""
        step(self)
        self.steps_taken += 1

    def hear(self) -> None:
        """Takes down what the journal says is durable."""
        if self._journal is not None:
            self.witness.told(self._journal.durable_pos)

    # -- what a recorder does

    def start(self) -> Journal:
        journal = self._persist(
            lambda: Journal.open(ARCHIVE, "huobi", clock=self.clock, options=_OPTIONS, disk=self.disk)
        )
        found = self._look()
        self.witness.check(found, journal.next_pos)
        self.witness.began(journal.next_pos, found)
        self._journal = journal
        self._event("start", run="test", version="1", venue="huobi")
        self._event("connect", "ws-0", url="ws://test")
        self._text('{"id":"1","status":"ok","subbed":"market.btcusdt.trade.detail","ts":1}')
        return journal

    def trades(self, count: int) -> None:
        """As many records are appended and written, but not synced."""
        for _ in range(count):
            self.number += 1
            trade = {
                "id": 10**26 + self.number,
                "ts": self.clock.now // 1_000_000,
                "tradeId": self.number,
                "amount": 1.0,
                "price": 5.0,
                "direction": "buy",
            }
            tick = {"id": 1, "ts": trade["ts"], "data": [trade]}
            self._text(json.dumps({"ch": "market.btcusdt.trade.detail", "ts": trade["ts"], "tick": tick}))
        self.write()

    def write(self) -> None:
        assert self._journal is not None
        self._journal.pump_write()
        self.hear()

    def sync(self) -> None:
        assert self._journal is not None
        self._journal.pump_sync()
        self.hear()

    def rotate(self) -> None:
        journal = self._journal
        assert journal is not None
        try:
            journal.rotate()
        except NotDurable:
            self._persist(journal.flush)
        self.hear()

    def stop(self) -> None:
        """Stops in order; a disk that refuses is asked again."""
        journal = self._journal
        assert journal is not None
        self._event("stop", reason="test")
        self._persist(journal.flush)
        self.hear()
        journal.close()
        self.hear()
        self._journal = None

    def die(self) -> None:
        """The recorder is killed: what it had not written is gone."""
        self._journal = None
        disk = self.disk.killed()
        disk.before = self.disk.before
        disk.operations = self.disk.operations
        self.disk = disk

    def seal(self) -> None:
        self._persist(lambda: seal(ARCHIVE, disk=self.disk))

    def compact(self) -> None:
        """A day later, the day's files become fewer."""
        self.clock.now += DAY_NS
        self._persist(lambda: compact(ARCHIVE, disk=self.disk, now_ns=self.clock.now))

    # -- what must be true

    def go_on(self, *, seals: bool = True, compacts: bool = True) -> None:
        """One more run on what is there; then all is sealed and compacted."""
        self.start()
        self.witness.check_layout(ARCHIVE, self.disk)
        self.trades(2)
        self.stop()
        if seals:
            self.seal()
        if compacts:
            self.compact()

    def finish(self, *, seals: bool = True, compacts: bool = True) -> None:
        """Goes on, with nothing in the way; then everything must be there."""
        self.disk.before = None
        self.go_on(seals=seals or compacts, compacts=compacts)
        if seals or compacts:
            self.check()
        else:
            self.witness.check(self._look(), 1 << 62)

    def check(self) -> None:
        """Everything is sealed: each acknowledged record is in the tables once, and nothing else is."""
        manifest = Manifest.load(ARCHIVE, self.disk)
        manifest._check(self.disk)
        files = sealed_files(self.disk)
        # A plain glob finds the manifest's files, and no other.
        listed = {str(ARCHIVE / file.path) for table in TABLES for file in manifest.files(table)}
        visible = {path for path in files if path.endswith(".parquet")}
        if visible != listed:
            raise Lost(f"files beside the manifest: {sorted(visible ^ listed)}")
        stored = self.check_glob()
        for pos, payload in self.witness.acknowledged.items():
            if stored.get(pos) != payload.decode():
                raise Lost(f"acknowledged record {pos} is not sealed as it was given")
        for pos, text in stored.items():
            if text.encode() not in self.witness.given.get(pos, ()):
                raise Lost(f"sealed record {pos} was never given")

    def check_glob(self) -> dict[int, str]:
        """Whoever reads all files that are there, at any instant, finds whole files and each record at most once.
        Returns the frames.
        """
        stored: dict[int, str] = {}
        for path, content in sealed_files(self.disk, _LAYOUT.parquet).items():
            if not path.endswith(".parquet"):
                continue
            try:
                frames = _read_whole(content, frames="/frames/" in path)
            except pa.ArrowException as error:
                raise Lost(f"{path} is not whole: {error}") from error
            for pos, payload in frames:
                if pos in stored:
                    raise Lost(f"record {pos} is sealed twice")
                stored[pos] = payload
        return stored

    def verify(self) -> None:
        """The product's own proof, on a real folder."""
        with tempfile.TemporaryDirectory() as folder:
            self.disk.export(Path(folder))
            report = verify(Path(folder) / ARCHIVE.name)
        if report.problems:
            raise Lost(f"verify: {report.problems[0]}")

    # -- inside

    def _look(self) -> Found:
        """Looking is not a part of the life."""
        disk = self.disk
        before, operations, disk.before = disk.before, disk.operations, None
        try:
            return look(ARCHIVE, disk)
        finally:
            disk.before, disk.operations = before, operations

    def _persist(self, call: Callable[[], _T]) -> _T:
        """Asks again after an error of the disk, as whoever runs the recorder does."""
        for _ in range(_TRIES - 1):
            try:
                return call()
            except (OSError, NotDurable, DiskFull):
                self.clock.now += 10**9
        return call()

    def _event(self, name: str, conn: str = "", **facts: str) -> None:
        self._append(conn, Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts))

    def _text(self, text: str) -> None:
        self._append("ws-0", Direction.IN, Kind.TEXT, text.encode())

    def _append(self, conn: str, direction: Direction, kind: Kind, payload: bytes) -> None:
        assert self._journal is not None
        self.clock.now += 10_000_000
        now = self.clock.now
        pos = self._journal.append(now, now, conn, 1 if conn else 0, direction, kind, payload)
        if direction is not Direction.INTERNAL:
            self.witness.gave(pos, payload, now)


STEPS: Final[tuple[tuple[str, Step], ...]] = (
    ("make", Life.start),
    ("append", lambda life: life.trades(2)),
    ("append", lambda life: life.trades(2)),
    ("sync", Life.sync),
    ("append", lambda life: life.trades(2)),
    ("rotate", Life.rotate),
    ("append", lambda life: life.trades(3)),
    ("close", Life.stop),
    ("seal", Life.seal),
    ("reopen", Life.start),
    ("append", lambda life: life.trades(2)),
    ("append", lambda life: life.trades(2)),
    ("sync", Life.sync),
    ("append", lambda life: life.trades(2)),
    ("killed", Life.die),
    ("recover", Life.start),
    ("append", lambda life: life.trades(2)),
    ("rotate", Life.rotate),
    ("seal beside", Life.seal),
    ("append", lambda life: life.trades(2)),
    ("sync", Life.sync),
    ("close", Life.stop),
    ("seal", Life.seal),
    ("compact", Life.compact),
    ("reopen", Life.start),
    ("append", lambda life: life.trades(2)),
    ("close", Life.stop),
    ("seal", Life.seal),
    ("compact", Life.compact),
)
"""The life of an archive, by the name of each step."""


@lru_cache(maxsize=1024)
def _read_whole(content: bytes, *, frames: bool) -> list[tuple[int, str]]:
    """Reads a whole file of Parquet; position and text of each row, of ``frames``. One that was read before is not
    read again: most files are those of the life before it was disturbed.
    """
    rows = pq.read_table(io.BytesIO(content), partitioning=None, use_threads=False)
    if not frames:
        return []
    return list(zip(*(rows.column(name).to_pylist() for name in ("pos", "payload")), strict=True))


def sealed_files(disk: SimDisk, *folders: Path) -> dict[str, bytes]:
    """All that sealing makes, or what is in these folders, by path."""
    return contents(disk, *(folders or _SEALED))
