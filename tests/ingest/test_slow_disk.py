from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bookreel.exchange import Exchange
from bookreel.ingest.collector import Collector
from bookreel.ingest.metrics import render
from bookreel.storage.record import Direction, Kind
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from tests.crash.held import HeldDisk

Run = Callable[..., Collector]
Until = Callable[..., Awaitable[None]]


def scrape(collector: Collector) -> dict[str, float]:
    """One scrape, in which every record is accounted for."""
    text = render(collector).decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    found = {name.removeprefix("bookreel_"): float(value) for name, value in lines}
    counted = found["records_durable_total"] + found["records_in_flight"] + found["records_shed_total"]
    assert found["records_received_total"] == counted
    by_reason = [value for name, value in found.items() if name.startswith("frames_shed_total")]
    assert sum(by_reason) == found["records_shed_total"]
    return found


def test_the_feed_is_read_on_while_the_disk_does_not_answer(run_recorder: Run, until: Until) -> None:
    """Received, interpreted, answered, looked at: everything but made durable."""
    disk = HeldDisk()
    seen: list[dict[str, float]] = []

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        try:
            await held(collector)
        finally:
            # Whatever is wrong: nobody is to wait for this disk for ever.
            disk.release()
        await until(lambda: collector.journal is not None and collector.journal.in_flight < 50)
        seen.append(scrape(collector))

    async def held(collector: Collector) -> None:
        await until(lambda: collector.books.live == 2)
        disk.hold = "all"
        await until(disk.held.is_set)
        assert collector.journal is not None
        durable = collector.journal.durable
        for _ in range(5):
            frames = sum(session.stats.frames for session in collector.sessions)
            await until(lambda: sum(s.stats.frames for s in collector.sessions) > frames + 40)  # noqa: B023
            seen.append(scrape(collector))
            assert collector.journal.durable <= durable + seen[0]["records_in_flight"]
        assert collector.books.live == 2
        await until(lambda: collector.pulse.durable_lag_s > 0)

    collector = run_recorder(scenario, disk=disk, exchange={"rate": 100})
    assert collector.journal is not None
    assert [each["records_in_flight"] for each in seen[:5]] == sorted(
        e["records_in_flight"] for e in seen[:5]
    )
    assert seen[0]["fsync_seconds_count"] > 0
    assert (collector.journal.shed, collector.journal.in_flight) == (0, 0)


def test_a_recorder_whose_disk_is_too_slow_sheds_whole_streams_and_its_books_stay_the_archives(
    run_recorder: Run, until: Until
) -> None:
    disk = HeldDisk()

    async def scenario(exchange: Exchange, collector: Collector) -> None:
        await until(lambda: collector.books.live == 2)
        disk.hold = "writev"
        try:
            assert collector.journal is not None
            # Most of the memory at once, so that the feed need not fill it.
            collector.journal.append(1, 1, "", 0, Direction.OUT, Kind.TEXT, bytes(780_000))
            await until(lambda: collector.journal is not None and collector.journal.shed > 10)
            values = scrape(collector)
            assert values["queue_bytes"] <= 1024 * 1024
            assert values['frames_shed_total{exchange="huobi",reason="shed"}'] > 0
        finally:
            disk.release()
        await until(lambda: collector.books.live == 2)
        await asyncio.sleep(0)
        scrape(collector)

    settings = {"spool_bytes": 1024 * 1024, "feeds": ["mbp.150"]}
    collector = run_recorder(scenario, disk=disk, exchange={"rate": 100}, **settings)
    assert collector.journal is not None
    frames = 0
    for segment in list_segments(collector.archive):
        with SegmentReader(segment.path, closed=True) as reader:
            for item in reader.read():
                assert not isinstance(item, Damage)
                frames += item.kind is not Kind.EVENT
    assert 0 < frames < collector.journal.received - collector.journal.shed
