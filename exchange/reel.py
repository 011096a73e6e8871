"""The frames of an archive on their way to the exchange: read ahead in a thread, given at the replay's clock."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Collection, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay import Archive

__all__ = ["Cursor", "Record", "Reel", "ReplayClock"]

_AHEAD: Final = 2
"""Pages that are read ahead."""
_LOOK_S: Final = 0.1
_SECOND: Final = 1_000_000_000
_TABLES: Final = ("frames", "instruments")
_KINDS: Final = ("data", "reply", "ack", "undecodable")


class Record(NamedTuple):
    """One thing that was received. ``ts``: when it is due, its receive time (ns) or that of one before it that was
    later; ``kind`` as in the table ``frames``, or ``instrument``, whose ``topic`` is its symbol; ``topic`` is empty
    where several were acknowledged at once; ``payload`` where there is no text.
    """

    ts: int
    pos: int
    kind: str
    topic: str
    text: str | None
    payload: bytes | None


class Reel:
    """What was received of ``symbols`` (None: all) from ``start`` to ``end`` (ns), a page at a time."""

    def __init__(
        self, path: Path, symbols: Collection[str] | None, start: int | None, end: int | None
    ) -> None:
        self._archive = Archive(path)
        self._batches = self._archive.batches(symbols, _TABLES, start, end)
        self._newest = 0
        self._pages: queue.Queue[list[Record] | Exception | None] = queue.Queue(_AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reel", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read no more, and close what is open."""
        self._stopped.set()
        self._thread.join()
        self._archive.close()

    def take(self, *, wait: bool = False) -> list[Record] | None:
        """The next page, None at the end. Raises ``queue.Empty`` where it is not there yet, unless it is waited for,
        and what reading raised.
        """
        page = self._pages.get(block=wait)
        if isinstance(page, Exception):
            raise page
        return page

    def _run(self) -> None:
        try:
            for page in self._read():
                self._put(page)
            self._put(None)
        except Exception as error:  # raised where the page is asked for
            self._put(error)

    def _put(self, page: list[Record] | Exception | None) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._pages.put(page, timeout=_LOOK_S)
                return

    def _read(self) -> Iterator[list[Record]]:
        for batch in self._batches:
            if self._stopped.is_set():
                return
            rows = [*_frames(batch.rows.get("frames")), *_instruments(batch.rows.get("instruments"))]
            if not rows:
                continue
            rows.sort(key=_pos)
            due = list(accumulate((row.ts for row in rows), max, initial=self._newest))[1:]
            self._newest = due[-1]
            yield [row if row.ts == ts else row._replace(ts=ts) for row, ts in zip(rows, due, strict=True)]


def _pos(record: Record) -> int:
    return record.pos


def _frames(rows: pa.Table | None) -> Iterator[Record]:
    if rows is None:
        return iter(())
    named = pc.or_(pc.is_valid(rows["topic"]), pc.equal(rows["kind"], pa.scalar("ack")))
    wanted = pc.and_(pc.equal(rows["direction"], pa.scalar("in")), pc.is_in(rows["kind"], pa.array(_KINDS)))
    rows = rows.filter(pc.and_(wanted, named))
    times = pc.cast(rows["ts_recv"], pa.int64())
    columns = (times, *(rows[name] for name in ("pos", "kind", "topic", "payload", "payload_bytes")))
    ts, pos, kinds, topics, *contents = (column.to_pylist() for column in columns)
    return map(Record, ts, pos, kinds, (topic or "" for topic in topics), *contents)


def _instruments(rows: pa.Table | None) -> Iterator[Record]:
    if rows is None:
        return iter(())
    times = pc.cast(rows["ts_recv"], pa.int64()).to_pylist()
    facts = zip(times, *(rows[name].to_pylist() for name in ("pos", "symbol", "raw")), strict=True)
    return (Record(ts, pos, "instrument", symbol, raw, None) for ts, pos, symbol, raw in facts)


class Cursor:
    """What was received of ``symbols`` (None: all) from ``start`` to ``end`` (ns), one after the other. Raises what
    opening and reading an archive raises.
    """

    def __init__(
        self, path: Path, symbols: Collection[str] | None, start: int | None, end: int | None
    ) -> None:
        self._reel = Reel(path, symbols, start, end)
        self._at = 0
        self.taken = 0
        """Records so far."""
        try:
            page = self._reel.take(wait=True)
        except BaseException:
            self._reel.stop()
            raise
        self.ended = page is None
        """Whether there is no more."""
        self._page = page or []

    def stop(self) -> None:
        """Read no more, and close what is open."""
        self._reel.stop()

    @property
    def due(self) -> int | None:
        """When the next record is due (ns); None where it is still being read."""
        return self._page[self._at].ts if self._at < len(self._page) else None

    def head(self) -> Record | None:
        """The next record; None: there is none, or it is still being read."""
        if self._at == len(self._page):
            try:
                page = self._reel.take()
            except queue.Empty:
                return None
            self._page, self._at = page or [], 0
            self.ended = self.ended or page is None
            if self.ended:
                return None
        return self._page[self._at]

    def step(self) -> None:
        """Go past the next record."""
        self._at += 1
        self.taken += 1


class ReplayClock:
    """The venue's time (ns) in the replay: stands at ``start`` until it runs, then goes ``speed`` times as fast as
    the time that is passed in (ns). Without a speed it is where the replay has come to.
    """

    def __init__(self, start: int, speed: float | None) -> None:
        self._speed = speed
        self._at = start
        self._since: int | None = None

    @property
    def running(self) -> bool:
        """Whether it does not stand."""
        return self._since is not None

    @property
    def paced(self) -> bool:
        """Whether it has a speed."""
        return self._speed is not None

    def run(self, now_ns: int) -> None:
        """Go on from here."""
        self._since = now_ns

    def stand(self, now_ns: int) -> None:
        """Stand still."""
        self._at = self.at(now_ns)
        self._since = None

    def reach(self, ts: int) -> None:
        """Without a speed: the replay has come to ``ts``."""
        if self._speed is None:
            self._at = max(self._at, ts)

    def at(self, now_ns: int) -> int:
        """The venue's time at ``now_ns``."""
        if self._since is None or self._speed is None:
            return self._at
        return self._at + round((now_ns - self._since) * self._speed)

    def when(self, ts: int, now_ns: int) -> int:
        """When it will be ``ts``, by the time that is passed in."""
        if self._since is None:
            return now_ns + _SECOND
        if self._speed is None:
            return now_ns
        return self._since + round((ts - self._at) / self._speed)
