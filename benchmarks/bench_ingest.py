"""The recorder's own path: a frame as received to the journal and to the live book."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from frames import BOOK_TOPIC, SYMBOL, Frame, Frames

from bookreel.ingest.books import LiveBooks
from bookreel.ingest.clock import SystemClock
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.dialogue import Dialogue
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.storage.journal import Journal
from bookreel.venues.huobi import Huobi


class Line:
    """One connection of a recorder without its socket, with a journal whose threads write and sync."""

    def __init__(self, folder: Path, feeds: tuple[str, ...]) -> None:
        venue = Huobi()
        topics = {topic.text: topic for topic in (venue.topic(SYMBOL, feed) for feed in feeds)}
        clock = SystemClock()
        self.books = LiveBooks()
        self.journal = Journal.open(folder, "huobi", clock=clock)
        self.dialogue = Dialogue(
            topics,
            {text: self.books.add(topic) for text, topic in topics.items() if topic.feed.startswith("mbp.")},
            LineStats("line-0", "ws://venue", len(topics), epoch=1),
            config=RecordConfig(audit_interval_s=0),
            venue=venue,
            tape=Tape(self.journal, clock),
            rng=random.Random(1),
            paces={},
            wake=lambda: None,
            recover=False,
        )
        self.dialogue.open()

    def receive(self, frames: list[Frame]) -> None:
        """As a session does: both clocks, then the dialogue."""
        receive = self.dialogue.receive
        wall_ns, mono_ns = time.time_ns, time.monotonic_ns
        for frame in frames:
            receive(frame.payload, wall_ns(), mono_ns())

    def say(self) -> None:
        """Send everything that may be sent a second from now."""
        while self.dialogue.requests.outgoing(time.monotonic_ns() + 1_000_000_000) is not None:
            continue


class Bench:
    """A new line a round, live before the clock starts."""

    def __init__(self, folder: Path, before: list[Frame], feeds: tuple[str, ...]) -> None:
        self._folder = folder
        self._before = before
        self._feeds = feeds
        self._rounds = 0
        self.line: Line | None = None

    def begin(self) -> Line:
        self._rounds += 1
        line = self.line = Line(self._folder / str(self._rounds), self._feeds)
        line.say()
        for frame in self._before:
            line.receive([frame])
            line.say()
        assert line.books.live == line.books.total, "the snapshot was joined"
        return line

    def end(self, *_: object) -> None:
        assert self.line is not None, "a round begins with a line"
        assert self.line.books.live == self.line.books.total, "the chain is whole"
        assert self.line.journal.shed == 0, "everything was journaled"
        self.line.journal.close()


@pytest.fixture
def parts(frames: Frames) -> tuple[list[Frame], list[Frame]]:
    """The frames of the book up to its snapshot, and those after it."""
    wanted = [frame for frame in frames.all if BOOK_TOPIC.encode() in frame.text[:160]]
    place = next(i for i, frame in enumerate(wanted) if b'"rep"' in frame.text[:160]) + 1
    return wanted[:place], wanted[place:]


def test_book(benchmark: Any, parts: tuple[list[Frame], list[Frame]], run: Any, tmp_path: Path) -> None:
    before, after = parts
    bench = Bench(tmp_path, before, ("mbp.150",))
    benchmark.extra_info["units"] = {"frame": len(after), "level": run.levels}
    benchmark.pedantic(
        lambda line: line.receive(after),
        setup=lambda: ((bench.begin(),), {}),
        teardown=bench.end,
        rounds=15,
        warmup_rounds=1,
    )


def test_book_each(benchmark: Any, parts: tuple[list[Frame], list[Frame]], tmp_path: Path) -> None:
    before, after = parts
    bench = Bench(tmp_path, before, ("mbp.150",))
    line = bench.begin()
    coming = iter(after)
    benchmark.extra_info["units"] = {"frame": 1}
    benchmark.pedantic(
        line.receive, setup=lambda: (([next(coming)],), {}), rounds=len(after), warmup_rounds=0
    )
    bench.end()
    times = sorted(benchmark.stats.stats.data)
    benchmark.extra_info["p99"] = times[len(times) * 99 // 100]


def test_other(benchmark: Any, frames: Frames, tmp_path: Path) -> None:
    found = frames.of("bbo")[:20_000]
    bench = Bench(tmp_path, [], ("bbo",))
    benchmark.extra_info["units"] = {"frame": len(found)}
    benchmark.pedantic(
        lambda line: line.receive(found),
        setup=lambda: ((bench.begin(),), {}),
        teardown=bench.end,
        rounds=11,
        warmup_rounds=1,
    )


def test_steps(benchmark: Any, parts: tuple[list[Frame], list[Frame]], run: Any) -> None:
    inflate: Callable[[bytes], bytes] = Huobi.inflate
    payloads = [frame.payload for frame in parts[1]]

    def steps(sync: Any) -> None:
        for pos, payload in enumerate(payloads):
            message: Any = Huobi.decode(inflate(payload))
            for event in message.events:
                sync.delta(event, pos, pos)

    benchmark.extra_info["units"] = {"frame": len(payloads), "level": run.levels}
    benchmark.pedantic(steps, setup=lambda: ((run.begin(),), {}), rounds=15, warmup_rounds=1)
