"""The whole recorder over loopback: a venue in a process of its own on one core, the recorder with its journal's
threads on another. What the recorder uses is counted in processor time too, which other work on the machine changes
less than the time that passes.
"""

from __future__ import annotations

import array
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
import uvloop
import venue
from frames import BOOK_TOPIC, SYMBOL, Frames

from bookreel.book.model import Delta
from bookreel.book.sync import BookSync, Outcome
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig
from bookreel.storage.record import Direction, Record
from bookreel.storage.segment import SegmentReader, list_segments

SYMBOLS: Final = 60
RATE: Final = 10_000.0
"""Frames a second where latency is measured, of 20 books on one connection."""
CORES: Final = sorted(os.sched_getaffinity(0))
_BEAT_S: Final = 0.005
_REST_S: Final = 20.0
"""What the venue sent before it left is in the kernel's buffers and the recorder's backlog no longer than this."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Figures(NamedTuple):
    """Of one recording. ``cpu_s``: processor time of the recorder while frames came. Times in ns, sorted."""

    frames: int
    seconds: float
    cpu_s: float
    stalls: list[int]
    latencies: list[int]
    rss: list[int]


class Watch:
    """When each delta was applied, how late the event loop turns, how much memory it takes."""

    def __init__(self) -> None:
        self.applied = array.array("q")
        self.cpu: list[int] = []
        self.stalls: list[int] = []
        self.rss: list[int] = []

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = time.monotonic_ns()
            await asyncio.sleep(_BEAT_S)
            late = time.monotonic_ns() - began - int(_BEAT_S * 1e9)
            if self.applied:
                self.stalls.append(max(0, late))
                self.rss.append(resident_bytes())

    def probe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note the time after each delta that is applied."""
        take, note, cpu = BookSync.delta, self.applied.append, self.cpu

        def delta(sync: BookSync, delta: Delta, pos: int, ts_recv: int) -> Outcome:
            outcome = take(sync, delta, pos, ts_recv)
            if outcome is _APPLIED:
                note(time.time_ns())
                if not len(self.applied) & 1023:
                    cpu.append(time.process_time_ns())
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
        self._texts = [text for text in pushes if _seq(text) > (run.snapshot.seq or 0)]
        names = venue.symbol_names(symbols)
        made = folder / "frames"
        made.mkdir()
        venue.prepare(made, self._texts, _reply(wanted[place], run), SYMBOL, names)
        self.frames = len(self._texts) * symbols

    def run(self, monkeypatch: pytest.MonkeyPatch, *, rate: float = 0.0, seal: bool = False) -> Figures:
        """Records all frames; everything must be applied and nothing shed."""
        self._runs += 1
        with self.sender(rate) as sender:
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
            watch = Watch()
            watch.probe(monkeypatch)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._record(collector, watch, sender))
        monkeypatch.undo()
        journal = collector.journal
        assert journal is not None and journal.shed == 0, "nothing was given up"
        assert len(watch.applied) == self.frames, "every book took every delta"
        return self._figures(watch)

    def sender(self, rate: float) -> subprocess.Popen[str]:
        """The venue's process."""
        script, made = Path(venue.__file__), self._folder / "frames"
        args = [sys.executable, os.fspath(script), os.fspath(made), str(CORES[-1]), str(rate)]
        return subprocess.Popen(args, stdout=subprocess.PIPE, text=True)

    async def _record(self, collector: Collector, watch: Watch, sender: subprocess.Popen[str]) -> None:
        recording = asyncio.create_task(collector.run())
        watching = asyncio.create_task(watch.run())
        left_at = time.monotonic()
        while len(watch.applied) < self.frames and not recording.done():
            if sender.poll() is None:
                left_at = time.monotonic()
            elif time.monotonic() > left_at + _REST_S:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        watching.cancel()
        collector.stop("measured")
        await recording

    def _figures(self, watch: Watch) -> Figures:
        sent = array.array("q", (self._folder / "frames" / "sent.bin").read_bytes())
        latencies = [done - began for began, done in zip(sent, watch.applied, strict=True)] if sent else []
        applied = watch.applied
        return Figures(
            frames=len(applied),
            seconds=(applied[-1] - applied[0]) / 1e9,
            cpu_s=(watch.cpu[-1] - watch.cpu[0]) / 1e9 * len(applied) / (1024 * (len(watch.cpu) - 1)),
            stalls=sorted(watch.stalls),
            latencies=sorted(latencies),
            rss=watch.rss,
        )


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


@pytest.fixture
def one_core() -> Iterator[None]:
    """The recorder's, all its threads included."""
    os.sched_setaffinity(0, {CORES[0]})
    yield
    os.sched_setaffinity(0, set(CORES))


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
            "stall p99 ms": at(figures.stalls, 0.99) / 1e6,
            "memory at the end to that after a third": figures.rss[-1] / figures.rss[third],
        },
    )


def test_full_speed(
    benchmark: Any, frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_core: None
) -> None:
    recording = Recording(tmp_path, frames, SYMBOLS)
    found: list[Figures] = []
    benchmark.pedantic(lambda: found.append(recording.run(monkeypatch)), rounds=1)
    tell(benchmark, found[-1])


@pytest.mark.parametrize("seal", [False, True], ids=["alone", "sealing"])
def test_latency(
    benchmark: Any,
    frames: Frames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_core: None,
    seal: bool,
) -> None:
    recording = Recording(tmp_path, frames, 20)
    found: list[Figures] = []
    benchmark.pedantic(lambda: found.append(recording.run(monkeypatch, rate=RATE, seal=seal)), rounds=1)
    figures = found[-1]
    tell(benchmark, figures)
    benchmark.extra_info["figures"] |= {
        f"p{part:g} us": at(figures.latencies, part / 100) / 1e3 for part in (50, 90, 99)
    }


def test_first_frame(benchmark: Any, frames: Frames, tmp_path: Path) -> None:
    recording = Recording(tmp_path, frames, 1)
    command = Path(sys.executable).with_name("bookreel")
    running: list[subprocess.Popen[Any]] = []
    archives: list[Path] = []

    def setup() -> Any:
        running.append(recording.sender(RATE))
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
    benchmark.pedantic(start, setup=setup, teardown=teardown, rounds=5)
