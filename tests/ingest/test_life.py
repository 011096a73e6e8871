from __future__ import annotations

from typing import Any

import pytest

from bookreel.ingest.errors import ConnectFailed, LineDown
from bookreel.ingest.life import LineLife
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape


@pytest.fixture
def stats() -> LineStats:
    return LineStats("line-0", "ws://venue/ws", 2)


@pytest.fixture
def life(stats: LineStats, clock: Any, journal: Any) -> LineLife:
    return LineLife(stats, Tape(journal, clock))


def test_each_step_is_counted_and_journaled(life: LineLife, stats: LineStats, journal: Any) -> None:
    life.failed(ConnectFailed("ws://venue/ws", "refused"), 0.5)
    life.opened()
    assert (stats.epoch, stats.state) == (1, "up")
    life.lost(LineDown("half_open", "nothing came", since=7))
    life.opened()
    life.lost(LineDown("disconnect", "closed"))
    url = "ws://venue/ws"
    assert journal.events() == [
        {"event": "connect_failed", "url": url, "detail": "refused"},
        {"event": "connect", "url": url},
        {"event": "disconnect", "cause": "half_open", "detail": "nothing came", "since": 7},
        {"event": "connect", "url": url},
        {"event": "disconnect", "cause": "disconnect", "detail": "closed"},
    ]
    assert [record.epoch for record in journal.records] == [0, 1, 1, 2, 2]
    assert {record.conn for record in journal.records} == {"line-0"}
    assert stats.connect_failures == 1
    assert stats.disconnects == {"half_open": 1, "disconnect": 1}


@pytest.mark.parametrize(("seconds", "frames", "good"), [(5, 1, True), (4.9, 1, False), (60, 0, False)])
def test_a_good_connection_lasts_and_brings_data(
    life: LineLife, stats: LineStats, clock: Any, seconds: float, frames: int, good: bool
) -> None:
    stats.frames = 10
    clock.advance(100)
    life.opened()
    clock.advance(seconds)
    stats.frames += frames
    assert life.good == good


def test_a_bug_of_ours_is_told_with_its_trace(
    life: LineLife, stats: LineStats, caplog: pytest.LogCaptureFixture
) -> None:
    down = life.broken(ExceptionGroup("tasks", [ZeroDivisionError("oh")]))
    assert (down.cause, down.detail) == ("disconnect", "an error of the recorder: ZeroDivisionError('oh')")
    assert stats.failures == 1
    assert "ZeroDivisionError" in caplog.text
