from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
from typing import Any

import pytest

from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.display import show
from bookreel.ingest.plan import Line
from bookreel.ingest.reconnect import TokenBucket
from bookreel.ingest.session import Session
from bookreel.ingest.status import StatusReader, describe
from bookreel.ingest.tape import Tape
from bookreel.storage.journal import Journal
from bookreel.venues.huobi import Huobi


def make(clock: Any, journal: Any, archive: str) -> Collector:
    """A collector with two lines that nobody connected."""
    config = RecordConfig(archive=archive)
    collector = Collector(config, clock=clock)
    venue = Huobi()
    for name, feed in (("feed-0", "mbp.150"), ("ws-0", "bbo")):
        line = Line(name, "ws://x", (venue.topic("btcusdt", feed),))
        session = Session(
            line,
            config=config,
            venue=venue,
            tape=Tape(journal, clock),
            books=collector.books,
            network=None,  # type: ignore[arg-type]  # never connected
            bucket=TokenBucket(rate=1, burst=1),
            rng=None,  # type: ignore[arg-type]
            recover=False,
        )
        collector.sessions.append(session)
    return collector


def test_why_it_is_not_ready(clock: Any, journal: Any, tmp_path: Any) -> None:
    collector = make(clock, journal, str(tmp_path))
    reader = StatusReader(collector)
    assert reader.read().reasons == ["it is starting"]
    collector.phase = "recording"
    assert reader.read().reasons == [
        "line feed-0 is waiting",
        "line ws-0 is waiting",
        "books are not live: btcusdt mbp.150",
    ]
    for session in collector.sessions:
        session.stats.state = "up"
    assert "1 topics of line ws-0 are not subscribed" in reader.read().reasons
    collector.sessions[0].stats.acked.add("market.btcusdt.mbp.150")
    collector.sessions[1].stats.refused.add("market.btcusdt.bbo")
    assert reader.read().reasons == ["books are not live: btcusdt mbp.150"]


def test_rates_are_since_the_last_look(clock: Any, journal: Any, tmp_path: Any) -> None:
    collector = make(clock, journal, str(tmp_path))
    reader = StatusReader(collector)
    first = reader.read()
    assert (first.frames_per_s, first.lines[0].silent_s) == (0, None)
    stats = collector.sessions[0].stats
    stats.frames, stats.frame_bytes, stats.last_frame_wall = 500, 100_000, clock.wall_ns()
    clock.advance(2)
    line = reader.read().lines[0]
    assert (line.frames_per_s, line.bytes_per_s, line.silent_s) == (250, 50_000, 2)
    assert reader.read().disk_free_bytes == 0
    with Journal.open(tmp_path, "huobi", clock=clock) as collector.journal:
        assert reader.read().disk_free_bytes == collector.journal.disk_free > 0


def test_elsewhere_a_log_line_now_and_then(
    clock: Any, journal: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    collector = make(clock, journal, str(tmp_path))
    with caplog.at_level(logging.INFO):
        run_display(collector, clock, 3)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0] == describe(StatusReader(collector).read())
    assert "lines_up=0/2" in lines[0]


def test_on_a_terminal_a_table(clock: Any, journal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("LINES", "29")
    collector = make(clock, journal, ".")
    collector.sessions *= 15
    run_display(collector, clock, 2)
    shown = terminal.getvalue()
    assert "feed-0" in shown
    assert "books live 0/1" in shown
    assert "and 10 more" in shown


def run_display(collector: Collector, clock: Any, looks: int) -> None:
    """Show so many times; the last sleep does not end."""
    sleep = clock.sleep
    seen = 0

    async def main() -> None:
        enough = asyncio.Event()

        async def counted(seconds: float) -> None:
            nonlocal seen
            seen += 1
            if seen == looks:
                enough.set()
                await asyncio.Event().wait()
            await sleep(seconds)

        clock.sleep = counted
        task = asyncio.create_task(show(collector))
        await enough.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    clock.sleep = sleep
