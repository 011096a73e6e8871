"""The whole recorder over loopback: a venue in a process of its own on one core, the recorder with its journal's
threads on another. What the recorder uses is counted in processor time too, which other work on the machine changes
less than the time that passes.
"""

from __future__ import annotations

import array
import asyncio
import itertools
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import uvloop
import venue
from conftest import CORES, QUICK, rounds
from frames import BOOK_TOPIC, SYMBOL, Frames

from bookreel.book.model import Delta
from bookreel.book.sync import BookSync, Outcome
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig
from bookreel.storage.histogram import Histogram
from bookreel.storage.record import Direction, Record
from bookreel.storage.segment import SegmentReader, list_segments

SYMBOLS: Final = int(os.environ.get("BOOKREEL_BENCH_BOOKS", "60"))
"""Each brings 6,551 captured frames: with 800 it takes a minute, and the venue 1.4 GB of memory."""
RATE: Final = 10_000.0
"""Frames a second where latency is measured, of ten books on one connection."""
_BEAT_S: Final = 0.005
_REST_S: Final = 20.0
"""What the venue sent before it left is in the kernel's buffers and the recorder's backlog no longer than this."""
_SETTLED: Final = 50
"""Measured at full speed is all but the first one in so many frames."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Figures(NamedTuple):
    """Of one recording. ``cpu_s``: processor time of the recorder while frames came. Times in ns, sorted.
    ``durable_s``: 99 % of the records were durable so long after their receipt.
    """

    frames: int
    seconds: float
    cpu_s: float
    stalls: list[int]
    latencies: list[int]
    rss: list[int]
    durable_s: float


class Watch:
    """How far a recorder is, how late its event loop turns, how much memory it takes; when deltas were applied."""

    def __init__(self, collector: Collector, *, frames: int, last_seq: int) -> None:
        self._collector = collector
        self._first = frames // _SETTLED
        self._last_seq = last_seq
        self.whole = False
        self.applied = array.array("q")
        self.beats: list[tuple[int, int, int]] = []
        """Frames received, monotonic and processor time (ns), from when the first ones were."""
        self.stalls: list[int] = []
        self.rss: list[int] = []

    async def run(self) -> None:
        """Until every book is where it ends. :attr:`whole` is true then if no book ever lacked a delta."""
        while not self._complete():
            began = time.monotonic_ns()
            await asyncio.sleep(_BEAT_S)
            now = time.monotonic_ns()
            received = sum(line.stats.frames for line in self._collector.lines)
            if received > self._first:
                self.stalls.append(max(0, now - began - int(_BEAT_S * 1e9)))
                self.rss.append(resident_bytes())
                self.beats.append((received, now, time.process_time_ns()))
        # The venue may have left before its last frames were looked at.
        self.whole = self._collector.books.gaps.keys() <= {"disconnect"}

    def _complete(self) -> bool:
        books = self._collector.books
        return books.total > 0 and all(book.sync.last_seq == self._last_seq for book in books)

    def probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note the time after each delta that is applied."""
        take, note = BookSync.delta, self.applied.append

        def delta(sync: BookSync, delta: Delta, pos: int, ts_recv: int) -> Outcome:
            outcome = take(sync, delta, pos, ts_recv)
            if outcome is _APPLIED:
                note(time.time_ns())
            return outcome

        monkeypatch.setattr(BookSync, "delta", delta)


_APPLIED: Final = Outcome.APPLIED


class Recording:
    """Frames made for ``symbols``; :meth:`run` records them once."""

    def __init__(self, folder: Path, frames: Frames, symbols: int) -> None:
        self._folder = folder
        self._runs = 0
        wanted = [frame.text for frame in frames.all if BOOK_TOPIC.encode() in frame.text[:160]]
        place = next(i for i, text in enumerate(wanted) if b'"rep"' in text[:160])
        pushes = [text for text in wanted if text.startswith(b'{"ch"')]
        run = frames.run()
        texts = [text for text in pushes if _seq(text) > (run.snapshot.seq or 0)]
        self._texts = texts[: len(texts) // 2] if QUICK else texts
        names = venue.symbol_names(symbols)
        made = folder / "frames"
        made.mkdir()
        venue.prepare(made, self._texts, _reply(wanted[place], run), SYMBOL, names)
        self._last_seq = _seq(self._texts[-1])
        self.frames = len(self._texts) * symbols

    def run(self, monkeypatch: pytest.MonkeyPatch, *, rate: float = 0.0, seal: bool = False) -> Figures:
        """Records all frames; everything must be applied and nothing shed."""
        self._runs += 1
        with start_venue(self._folder / "frames", rate) as sender:
            urls = urls_of(sender)
            config = RecordConfig(
                symbols="all",
                feeds=("mbp.150",),
                archive=os.fspath(self._folder / f"archive{self._runs}"),
                ws_url=urls["ws"],
                feed_url=urls["feed"],
                rest_url=urls["rest"],
                audit_interval_s=0,
                seal=seal,
            )
            collector = Collector(config)
            watch = Watch(collector, frames=self.frames, last_seq=self._last_seq)
            if rate:
                watch.probe(monkeypatch)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._record(collector, watch, sender))
        monkeypatch.undo()
        journal = collector.journal
        assert journal is not None and journal.shed == 0, "nothing was given up"
        assert watch.whole, "every book took every delta"
        return self._figures(watch, journal.durable_times)

    async def _record(self, collector: Collector, watch: Watch, sender: subprocess.Popen[str]) -> None:
        recording = asyncio.create_task(collector.run())
        watching = asyncio.create_task(watch.run())
        left_at = time.monotonic()
        while not watching.done() and not recording.done():
            if sender.poll() is None:
                left_at = time.monotonic()
            elif time.monotonic() > left_at + _REST_S:
                break
            await asyncio.sleep(0.05)
        watching.cancel()
        await asyncio.sleep(0.3)
        collector.stop("measured")
        await recording

    def _figures(self, watch: Watch, durable: Histogram) -> Figures:
        sent = array.array("q", (self._folder / "frames" / "sent.bin").read_bytes())
        latencies = [done - began for began, done in zip(sent, watch.applied, strict=True)] if sent else []
        first, last = watch.beats[0], watch.beats[-1]
        return Figures(
            frames=last[0] - first[0],
            seconds=(last[1] - first[1]) / 1e9,
            cpu_s=(last[2] - first[2]) / 1e9,
            stalls=sorted(watch.stalls),
            latencies=sorted(latencies),
            rss=watch.rss,
            durable_s=bound(durable, 0.99),
        )


def start_venue(folder: Path, rate: float) -> subprocess.Popen[str]:
    """The venue's process, with the frames of a folder."""
    script = Path(venue.__file__)
    args = [sys.executable, os.fspath(script), os.fspath(folder), str(CORES[-1]), str(rate)]
    return subprocess.Popen(args, stdout=subprocess.PIPE, text=True)


def bound(times: Histogram, part: float) -> float:
    """The least of the histogram's bounds (s) that ``part`` of its values are not above."""
    below = itertools.accumulate(times.counts)
    total = sum(times.counts)
    bounds = (*times.bounds, math.inf)
    return next(limit for limit, count in zip(bounds, below, strict=True) if count >= part * total)


def urls_of(sender: subprocess.Popen[str]) -> dict[str, str]:
    """Where the venue is."""
    assert sender.stdout is not None, "it is a pipe"
    host = f"127.0.0.1:{int(sender.stdout.readline())}"
    return {"ws": f"ws://{host}/ws", "feed": f"ws://{host}/feed", "rest": f"http://{host}"}


def has_frame(archive: Path) -> bool:
    """Whether a frame that was received can be read from the journal."""
    for segment in list_segments(archive):
        with SegmentReader(segment.path) as reader:
            for item in reader.read():
                if isinstance(item, Record) and item.direction is Direction.IN and item.conn:
                    return True
    return False


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _seq(text: bytes) -> int:
    return int(text.split(b'"seqNum":', 1)[1].split(b",", 1)[0])


def _reply(captured: bytes, run: Any) -> bytes:
    """The answer that begins the run: the captured one, with the book as it was joined."""
    said = msgspec.json.decode(captured)
    book = run.snapshot
    said["data"] = {"seqNum": book.seq, "bids": book.bids, "asks": book.asks}
    return msgspec.json.encode(said)


def at(values: list[int], part: float) -> int:
    """The value below which ``part`` of them are."""
    return values[min(len(values) - 1, int(len(values) * part))]


def tell(benchmark: Any, figures: Figures) -> None:
    """What belongs to every recording."""
    third = len(figures.rss) // 3
    benchmark.extra_info.update(
        units={"frame": figures.frames},
        figures={
            "frames per s": figures.frames / figures.seconds,
            "CPU us per frame": figures.cpu_s / figures.frames * 1e6,
            "frames per CPU s": figures.frames / figures.cpu_s,
            "durable p99 ms": figures.durable_s * 1e3,
            "stall p99 ms": at(figures.stalls, 0.99) / 1e6,
            "memory at the end to that after a third": figures.rss[-1] / figures.rss[third],
        },
    )


@pytest.mark.parametrize(("symbols", "times"), [(1, rounds(5)), (SYMBOLS, 1)], ids=["one", "many"])
def test_full_speed(
    benchmark: Any,
    frames: Frames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_core: None,
    symbols: int,
    times: int,
) -> None:
    recording = Recording(tmp_path, frames, symbols)
    found: list[Figures] = []
    benchmark.pedantic(lambda: found.append(recording.run(monkeypatch)), rounds=times)
    tell(benchmark, sorted(found, key=lambda figures: figures.cpu_s / figures.frames)[times // 2])


@pytest.mark.parametrize("seal", [False, True], ids=["alone", "sealing"])
def test_latency(
    benchmark: Any,
    frames: Frames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_core: None,
    seal: bool,
) -> None:
    recording = Recording(tmp_path, frames, 10)
    found: list[Figures] = []
    benchmark.pedantic(lambda: found.append(recording.run(monkeypatch, rate=RATE, seal=seal)), rounds=1)
    figures = found[-1]
    tell(benchmark, figures)
    benchmark.extra_info["figures"] |= {
        f"p{part:g} us": at(figures.latencies, part / 100) / 1e3 for part in (50, 90, 99)
    }


def test_first_frame(benchmark: Any, frames: Frames, tmp_path: Path) -> None:
    Recording(tmp_path, frames, 1)
    command = Path(sys.executable).with_name("bookreel")
    running: list[subprocess.Popen[Any]] = []
    archives: list[Path] = []

    def setup() -> Any:
        running.append(start_venue(tmp_path / "frames", RATE))
        archives.append(tmp_path / f"first{len(archives)}")
        return (urls_of(running[-1]), archives[-1]), {}

    def start(urls: dict[str, str], archive: Path) -> None:
        flags = [f"--{kind}-url={url}" for kind, url in urls.items()]
        wanted = ["--symbols=all", "--feeds=mbp.150", f"--archive={archive}"]
        running.append(subprocess.Popen([command, "record", *flags, *wanted], stderr=subprocess.DEVNULL))
        while not has_frame(archive):
            time.sleep(0.002)

    def teardown(*_: object) -> None:
        while running:
            with running.pop() as process:
                process.terminate()

    benchmark.extra_info["units"] = {"start": 1}
    benchmark.pedantic(start, setup=setup, teardown=teardown, rounds=rounds(5))
