"""Ten times what a recorder takes, into a journal whose disk does not answer: memory stays below its ceiling, who
appends never waits, and once the disk answers every record is either durable or registered as shed.

A process of its own, so that its memory is the journal's: its resident set is looked at from outside.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from bookreel.ingest.clock import SystemClock
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind, Record, decode_event
from bookreel.storage.segment import SegmentReader, list_segments
from tests.crash.held import HeldDisk

__all__ = ["run"]

MIB: Final = 1 << 20
CEILING: Final = 64 * MIB
STREAMS: Final = 40
NORMAL_PER_S: Final = 500
"""Frames a second of a recorder of twenty books and their trades."""
OVERLOAD: Final = 10
PAYLOAD_BYTES: Final = 900
LOOK_S: Final = 0.25


def run(seconds: float, ceiling: int = CEILING) -> dict[str, float]:
    """Overload for so long, with so many bytes of spool; returns the figures.

    Raises AssertionError where a promise is broken.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_record, args=(theirs, seconds, ceiling))
    process.start()
    theirs.close()
    sizes: list[tuple[float, int]] = []
    try:
        ours.recv()
        began = time.monotonic()
        while not ours.poll(LOOK_S):
            sizes.append((time.monotonic() - began, _resident(process.pid)))
        figures: dict[str, float] = ours.recv()
    finally:
        process.join(60)
        process.kill()
    base = sizes[0][1]
    # The ceiling is reached in the first part; what comes after must not grow.
    warm = [size for at, size in sizes if at > seconds / 2]
    minutes = seconds / 2 / 60
    figures["overload: memory above the beginning, MiB"] = round(
        (max(size for _, size in sizes) - base) / MIB, 1
    )
    figures["overload: growth after warm-up, MiB a minute"] = round((warm[-1] - warm[0]) / MIB / minutes, 2)
    assert figures["overload: held at most, bytes"] <= ceiling, figures
    # What reading the archive back takes comes on top of it.
    assert figures["overload: memory above the beginning, MiB"] < 1.25 * ceiling / MIB + 16, figures
    return figures


def _record(pipe: Connection, seconds: float, ceiling: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pipe.send(None)
        pipe.send(_overload(Path(folder), seconds, ceiling))


def _overload(archive: Path, seconds: float, ceiling: int) -> dict[str, float]:
    disk = HeldDisk()
    options = JournalOptions(spool_bytes=ceiling)
    journal = Journal.open(archive, "huobi", clock=SystemClock(), options=options, disk=disk)
    topics = [f"market.symbol{number}.bbo" for number in range(STREAMS)]
    for topic in topics:
        journal.began(topic)
    journal.append(1, 1, "", 0, Direction.INTERNAL, Kind.EVENT, b'{"event":"start"}')
    journal.flush()
    disk.hold = "all"
    padding = "x" * PAYLOAD_BYTES
    shed: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    longest = held = 0.0
    began = time.monotonic()
    number = 0
    while (passed := time.monotonic() - began) < seconds:
        # As far as the rate is behind the clock; a busy machine makes bursts of it.
        while number < passed * NORMAL_PER_S * OVERLOAD:
            number += 1
            topic = topics[number % STREAMS]
            tick = {"seqId": number, "bid": 1.0, "ask": 2.0, "symbol": padding}
            frame = json.dumps({"ch": topic, "ts": 1, "tick": tick}).encode()
            at = time.perf_counter()
            pos = journal.append(number, number, "line-0", 1, Direction.IN, Kind.TEXT, frame)
            longest = max(longest, time.perf_counter() - at)
            (taken if pos else shed)[topic] += 1
        counts = journal.counts()
        assert counts.received == counts.durable + counts.in_flight + counts.shed, counts
        held = max(held, counts.held_bytes)
        time.sleep(0.002)
    disk.release()
    journal.close()
    counts = journal.counts()
    assert (counts.in_flight, counts.shed) == (0, shed.total()), counts
    assert counts.received == counts.durable + counts.shed, counts
    found, registered = _read(archive)
    assert found == taken, "a record that was taken is not there, or one that was shed is"
    assert registered == shed, "what was shed is not what is registered"
    first = next(iter(shed), "")
    return {
        "overload: frames": float(number),
        "overload: frames shed": float(shed.total()),
        "overload: streams shed": float(len(shed)),
        "overload: the oldest stream first": float(first in ("", topics[0])),
        "overload: ceiling, bytes": float(ceiling),
        "overload: held at most, bytes": held,
        "overload: longest append, ms": round(longest * 1e3, 2),
    }


def _read(archive: Path) -> tuple[Counter[str], Counter[str]]:
    """Frames that are there, and frames registered as shed, by topic."""
    found: Counter[str] = Counter()
    registered: Counter[str] = Counter()
    for segment in list_segments(archive):
        with SegmentReader(segment.path, closed=True) as reader:
            for item in reader.read():
                assert isinstance(item, Record), item
                if item.kind is Kind.TEXT:
                    found[json.loads(item.payload)["ch"]] += 1
                elif (event := decode_event(item.payload))["event"] == "shed":
                    registered.update({run["topic"]: run["records"] for run in event["streams"]})
    return found, registered


def _resident(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
