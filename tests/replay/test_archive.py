from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from bookreel.replay import (
    Archive,
    BadTime,
    NoSuchSymbol,
    NoSuchTable,
    NotAnArchive,
    QueryError,
    iso,
    to_interval,
    to_ns,
)

Record = Callable[[], Any]


@pytest.fixture
def recording(record: Record) -> Any:
    recording = record()
    recording.connect(1, "market.btcusdt.bbo", "market.btcusdt.trade.detail", conn="ws-0")
    recording.bbo(2, 1, 99.0, 101.0)
    recording.trade(3, 1, 100.0)
    recording.trade(5, 2, 100.5)
    recording.event("disconnect", 6, "ws-0", cause="disconnect", detail="")
    recording.flush()
    return recording


def test_not_an_archive(tmp_path: Any) -> None:
    with pytest.raises(NotAnArchive) as caught:
        Archive(tmp_path)
    assert caught.value.exit_code == 3


def test_what_is_in_it(recording: Any) -> None:
    with Archive(recording.path) as archive:
        assert archive.symbols() == ["btcusdt"]
        assert "trades" in archive.tables()
        assert set(archive.coverage("btcusdt")["state"].to_pylist()) == {"covered", "connected", "disconnect"}
        with pytest.raises(NoSuchSymbol, match="btcusdt") as caught:
            archive.coverage("btcusdtt")
        assert caught.value.exit_code == 2


def test_what_was_just_received_is_in_the_answer(recording: Any) -> None:
    with Archive(recording.path) as archive:
        query = "select count(*) from trades"
        assert archive.sql(query).fetchall() == [(2,)]
        recording.connect(7, "market.btcusdt.trade.detail", conn="ws-0")
        recording.trade(8, 3, 101.0)
        recording.flush()
        assert archive.sql(query).fetchall() == [(3,)]
        recording.rotate()
        recording.seal()
        assert archive.sql(query).fetchall() == [(3,)]


def test_relations_and_their_errors(recording: Any) -> None:
    with Archive(recording.path) as archive:
        relation = archive.sql("select price from trades where trade_seq = $seq", {"seq": 2})
        assert relation.to_arrow_table()["price"].to_pylist() == [100.5]
        with pytest.raises(QueryError, match="trades"):
            archive.sql("select * from tradez")


def test_a_paced_stream_keeps_the_distances(recording: Any) -> None:
    now = [100.0]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    async def run(speed: float | None) -> list[tuple[float, Any]]:
        with Archive(recording.path) as archive:
            stream = archive.stream(start=recording.at(2), speed=speed, clock=lambda: now[0], sleep=sleep)
            return [(now[0], event) async for event in stream]

    began = now[0]
    events = asyncio.run(run(2.0))
    kinds = [type(event).__name__ for _, event in events]
    assert kinds[:4] == ["RecordedBbo", "RecordedTrade", "RecordedTrade", "Session"]
    assert kinds.count("RecordedGap") == 2
    assert [round(at - began, 6) for at, _ in events[:4]] == [0.0, 0.5, 1.5, 2.0]
    slept.clear()
    assert len(asyncio.run(run(None))) == len(events)
    assert slept == []
    with pytest.raises(ValueError, match="speed"):
        asyncio.run(run(0))


def test_unknown_tables_and_symbols_of_events(recording: Any) -> None:
    with Archive(recording.path) as archive:
        with pytest.raises(NoSuchTable, match="trades"):
            archive.events(tables="ticks")
        with pytest.raises(NoSuchSymbol):
            archive.events(symbols=["ethusdt"])


@pytest.mark.parametrize(
    ("given", "ns"),
    [
        (5, 5),
        ("1723161255030314711", 1723161255030314711),
        ("2024-08-08T23:54:15.030314711Z", 1723161255030314711),
        ("2024-08-08 23:54:15.030314711", 1723161255030314711),
        ("2024-08-09T01:54:15.030314711+02:00", 1723161255030314711),
        ("2024-08-08", 1723075200000000000),
        ("2024-08-08T12", 1723118400000000000),
        (datetime(2024, 8, 8, tzinfo=UTC), 1723075200000000000),
        (datetime(2024, 8, 8, 0, 0, 0, 7, tzinfo=timezone(timedelta(hours=1))), 1723071600000007000),
    ],
)
def test_times(given: Any, ns: int) -> None:
    assert to_ns(given) == ns
    assert to_ns(iso(ns)) == ns


@pytest.mark.parametrize("given", ["", "noon", "2024-13-01", datetime(2024, 8, 8), 1.5, True, None, 1 << 70])
def test_what_is_not_a_time(given: Any) -> None:
    with pytest.raises(BadTime, match="2026-11-20T12:00:00"):
        to_ns(given)


def test_intervals() -> None:
    assert [to_interval(text) for text in ("100ms", "1s", "5m", 7)] == [
        100_000_000,
        1_000_000_000,
        300_000_000_000,
        7,
    ]
