"""Long archives for measuring: the deltas of one capture again and again, each time as what came next.

The levels of the deltas and the time between them are the capture's; their numbers and times go on. Segments are of
five minutes, as a recorder makes them, and the archive is sealed; a closed day is compacted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from frames import Run

from bookreel.book.model import Levels
from bookreel.ingest.clock import SystemClock
from bookreel.storage.compact import compact
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.seal import seal

__all__ = ["DAY_NS", "DELTA_NS", "MIDNIGHT_NS", "SEGMENT_NS", "Told", "build", "encoded", "told"]

DELTA_NS: Final = 100_000_000
"""Time between two deltas: 864,000 are a day."""

MIDNIGHT_NS: Final = 1_700_006_400_000_000_000
"""When an archive begins, UTC."""

DAY_NS: Final = 86_400_000_000_000
SEGMENT_NS: Final = 300_000_000_000
_FLUSH: Final = 2_000


class Told(NamedTuple):
    """What a symbol's venue says: when (ns after the beginning), and the frame's text."""

    after_ns: int
    text: bytes


def encoded(run: Run) -> list[bytes]:
    """The levels of each delta as the venue writes them, and of one that makes the book the first again."""
    encode = msgspec.json.encode
    levels = [*((delta.bids, delta.asks) for delta in run.deltas), _back(run)]
    return [b'"bids":' + encode(bids) + b',"asks":' + encode(asks) for bids, asks in levels]


def told(
    run: Run, levels: Sequence[bytes], symbol: str, deltas: int, every_ns: int = DELTA_NS
) -> Iterator[Told]:
    """An ack, a snapshot, and so many deltas of :func:`encoded` levels, again and again, ``every_ns`` apart."""
    topic = f"market.{symbol}.mbp.150"
    encode = msgspec.json.encode
    yield Told(0, encode({"id": symbol, "status": "ok", "subbed": topic, "ts": MIDNIGHT_NS // 1_000_000}))
    whole = {"seqNum": 1, "bids": run.snapshot.bids, "asks": run.snapshot.asks}
    reply = {"id": symbol, "rep": topic, "status": "ok", "ts": MIDNIGHT_NS // 1_000_000, "data": whole}
    yield Told(1, encode(reply))
    for number in range(deltas):
        at = (number + 1) * every_ns
        ts = (MIDNIGHT_NS + at) // 1_000_000
        yield Told(
            at,
            b'{"ch":"%b","ts":%d,"tick":{"seqNum":%d,"prevSeqNum":%d,%b}}'
            % (topic.encode(), ts, number + 2, number + 1, levels[number % len(levels)]),
        )


def _back(run: Run) -> tuple[Levels, Levels]:
    """The levels of a delta that makes the last book the first one again."""
    book = run.begin()
    for pos, delta in enumerate(run.deltas):
        book.delta(delta, pos, delta.ts_event)
    sides = zip(book.book.top(), (run.snapshot.bids, run.snapshot.asks), strict=True)
    bids, asks = ([*((price, 0.0) for price, _ in last), *first] for last, first in sides)
    return bids, asks


def build(
    archive: Path, said: Iterator[Told], *, compacted: bool = False, segment_ns: int = SEGMENT_NS
) -> Path:
    """A sealed archive of what was told on one line, which began at midnight."""
    options = JournalOptions(threads=False, segment_bytes=1 << 40, segment_seconds=1e9)
    internal = (Direction.INTERNAL, Kind.EVENT)
    with Journal.open(archive, "huobi", clock=SystemClock(), options=options) as journal:
        start = encode_event("start", run="1", venue="huobi")
        journal.append(MIDNIGHT_NS, MIDNIGHT_NS, "", 0, *internal, start)
        connect = encode_event("connect", url="ws://venue")
        journal.append(MIDNIGHT_NS, MIDNIGHT_NS, "line-0", 1, *internal, connect)
        last = segment = 0
        for number, (after_ns, text) in zip(count(1), said, strict=False):
            now = MIDNIGHT_NS + after_ns
            journal.append(now, now, "line-0", 1, Direction.IN, Kind.TEXT, text)
            last = now
            if number % _FLUSH == 0:
                journal.flush()
            if after_ns // segment_ns > segment:
                segment = after_ns // segment_ns
                journal.rotate()
        journal.append(last, last, "", 0, *internal, encode_event("stop", reason="end"))
        journal.flush()
        assert journal.shed == 0, "everything was waited for"
    seal(archive)
    if compacted:
        compact(archive)
    return archive
