"""How cost grows, one case a process: ``python growth.py symbols|levels|hours SIZE FILE`` takes a run of the book
from a file and prints a JSON object with ``cpu_s`` of ``units`` (frames, levels or questions) and ``rss_mb``, the
largest resident size of the process.

- ``symbols``: the same number of frames of so many symbols: journal append, gunzip, decode, sequence check, apply.
- ``levels``: frames of so many levels, the same steps.
- ``hours``: an archive of so many hours, a delta every ten seconds, closed days compacted: opened, and a book at a
  random instant.
"""

from __future__ import annotations

import gzip
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import day
import msgspec
from frames import SYMBOL, Run

from bookreel.book.model import Delta, Snapshot
from bookreel.book.sync import BookSync
from bookreel.ingest.clock import SystemClock
from bookreel.replay import Archive
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Data

__all__ = ["CASES"]

_FRAMES = 20_000
_FRAMES_MIN = 2_000
_QUESTIONS = 50


def symbols(run: Run, size: int, folder: Path) -> tuple[float, int]:
    names = [f"s{number:03d}usdt" for number in range(size)]
    each = max(2, _FRAMES // size)
    encoded = day.encoded(run)
    said = {name: islice(day.told(run, encoded, name, each), 1, None) for name in names}
    books = {name: BookSync(name, "mbp.150") for name in names}
    return _record(run, folder, books, _in_turn(said))


def levels(run: Run, size: int, folder: Path) -> tuple[float, int]:
    """Bids below a price and asks above it, so that no book is crossed."""
    middle = run.snapshot.bids[0][0]
    bids = [level for delta in run.deltas for level in delta.bids if level[0] < middle]
    asks = [level for delta in run.deltas for level in delta.asks if level[0] > middle]
    count = min(len(bids), len(asks)) * 2 // size
    half = size // 2
    deltas = [
        Delta(
            SYMBOL,
            "mbp.150",
            1,
            1,
            1,
            bids[at * half : at * half + size - half],
            asks[at * half : at * half + half],
        )
        for at in range(count)
    ]
    first = Snapshot(SYMBOL, "mbp.150", 1, 1, [(middle / 2, 1.0)], [(middle * 2, 1.0)], "refresh")
    wide = Run(first, deltas)
    said = {
        SYMBOL: islice(
            day.told(wide, day.encoded(wide), SYMBOL, min(max(count, _FRAMES_MIN), _FRAMES)), 1, None
        )
    }
    cpu, frames = _record(wide, folder, {SYMBOL: BookSync(SYMBOL, "mbp.150")}, _in_turn(said))
    return cpu, frames * size


def hours(run: Run, size: int, folder: Path) -> tuple[float, int]:
    every = 10_000_000_000
    said = day.told(run, day.encoded(run), SYMBOL, size * 360, every_ns=every)
    archive = folder / "archive"
    # By a process of its own: what sealing needs is not what a question needs.
    options = {"compacted": True, "segment_ns": 3_600_000_000_000}
    builder = get_context("fork").Process(target=day.build, args=(archive, said), kwargs=options)
    builder.start()
    builder.join()
    assert builder.exitcode == 0, "the archive was made"
    rng = random.Random(1)
    instants = [day.MIDNIGHT_NS + rng.randrange(10**9, size * 360 * every) for _ in range(_QUESTIONS)]
    begun = time.process_time()
    for at in instants:
        with Archive(archive) as opened:
            opened.book(SYMBOL, at)
    return time.process_time() - begun, _QUESTIONS


def _in_turn(said: dict[str, Iterator[day.Told]]) -> Iterator[tuple[str, bytes]]:
    """A frame of each, and again, compressed as the venue does."""
    going = dict(said)
    while going:
        for name in list(going):
            frame = next(going[name], None)
            if frame is None:
                del going[name]
            else:
                yield name, gzip.compress(frame.text, 6, mtime=0)


def _record(
    run: Run, folder: Path, books: dict[str, BookSync], said: Iterator[tuple[str, bytes]]
) -> tuple[float, int]:
    options = JournalOptions(threads=False)
    cpu, count = 0.0, 0
    for book in books.values():
        book.subscribed("line-0")
        book.requested()
    with Journal.open(folder / "archive", "huobi", clock=SystemClock(), options=options) as journal:
        while frames := list(islice(said, 2_000)):
            begun = time.process_time()
            for name, payload in frames:
                now = time.time_ns()
                pos = journal.append(now, now, "line-0", 1, Direction.IN, Kind.COMPRESSED, payload)
                message = Huobi.decode(Huobi.inflate(payload))
                book = books[name]
                for event in message.events:  # type: ignore[union-attr]
                    if type(message) is Data:
                        book.delta(event, pos, now)
                    else:
                        book.snapshot(event, pos, now)
            cpu += time.process_time() - begun
            count += len(frames)
            journal.flush()
    assert all(book.valid for book in books.values()), "no chain is broken"
    return cpu, count


CASES: dict[str, tuple[Callable[[Run, int, Path], tuple[float, int]], list[int], list[int]]] = {
    "symbols": (symbols, [1, 10, 100, 700], [1, 10, 100]),
    "levels": (levels, [5, 20, 150, 400], [5, 20, 150]),
    "hours": (hours, [1, 24, 240, 720], [1, 24]),
}
"""What grows: how it is measured, the sizes, and those of a quick run."""


def main() -> None:
    case, size = sys.argv[1], int(sys.argv[2])
    run = Run(*msgspec.json.decode(Path(sys.argv[3]).read_bytes(), type=tuple[Snapshot, list[Delta]]))
    with tempfile.TemporaryDirectory() as folder:
        cpu, units = CASES[case][0](run, size, Path(folder))
    print(json.dumps({"cpu_s": cpu, "units": units, "rss_mb": _peak_mb()}))


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage tells begins with the peak of the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
