"""A recorder at work on loopback, and replays that go on from what is sealed into what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from bookreel.exchange import Exchange
from bookreel.ingest.collector import Collector
from bookreel.replay import REPLAY_TABLES, Archive, End, RecordedGap, Stream
from bookreel.storage.manifest import Manifest


def test_history_goes_on_into_what_is_recorded(
    run_recorder: Callable[..., Collector], until: Callable[..., Any]
) -> None:
    """Three readers, who begin at different times and read at different paces, see what there is in the end."""
    found: list[list[Any]] = [[], [], []]

    async def read(stream: Stream, events: list[Any], pause_s: float) -> None:
        async for event in stream:
            events.append(event)
            if pause_s and len(events) % 200 == 0:
                await asyncio.sleep(pause_s)

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        def sealed() -> int:
            return len(Manifest.load(collector.archive).segments)

        await until(lambda: collector.books.live == 2)
        choice = {"tables": REPLAY_TABLES, "follow": True}
        with Archive(collector.archive) as archive:
            streams = [archive.stream(speed=None, **choice)]  # type: ignore[arg-type]
            readers = [asyncio.create_task(read(streams[0], found[0], 0))]
            await until(lambda: sealed() >= 1)
            streams.append(archive.stream(speed=20.0, **choice))  # type: ignore[arg-type]
            streams.append(archive.stream(speed=None, **choice))  # type: ignore[arg-type]
            readers.append(asyncio.create_task(read(streams[1], found[1], 0)))
            readers.append(asyncio.create_task(read(streams[2], found[2], 0.05)))
            before = sealed()
            await until(lambda: sealed() > before)
            assert collector.journal is not None
            collector.stop("enough was seen")
            await until(lambda: collector.phase == "stopped")
            await until(lambda: all(events and _is_stop(events) for events in found))
            for stream in streams:
                stream.stop()
            await asyncio.gather(*readers)

    collector = run_recorder(
        scenario,
        exchange={"rate": 40.0},
        seal=True,
        segment_seconds=1,
        feeds=["mbp.150", "trade", "bbo"],
    )
    with Archive(collector.archive) as archive:
        whole = [event for event in archive.events(tables=REPLAY_TABLES) if not _is_open(event)]
    assert len(whole) > 100
    for events in found:
        assert isinstance(events[-1], End)
        assert events[:-1] == whole


def _is_open(event: Any) -> bool:
    return isinstance(event, RecordedGap) and event.end is None


def _is_stop(events: list[Any]) -> bool:
    return any(getattr(event, "event", "") == "stop" for event in events[-20:])
