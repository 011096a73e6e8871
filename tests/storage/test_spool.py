from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind
from tests.clocks import ManualClock
from tests.storage.journals import (
    SECOND,
    FaultyDisk,
    append,
    check_counts,
    events_of,
    frames_of,
    payload_of,
    read_archive,
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.sampled_from("aaaawwsrbt") | st.integers(0, 3000), max_size=40))
def test_the_counts_agree_after_every_step(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | int]
) -> None:
    """a: append, w: write, s: sync, r: rotate, b: short writes, t: time passes, a number: bytes of space left."""
    archive = tmp_path_factory.mktemp("counts")
    clock, disk = ManualClock(), FaultyDisk()
    options = JournalOptions(threads=False, segment_bytes=700, spool_bytes=1500)
    journal = Journal.open(archive, "huobi", clock=clock, options=options, disk=disk)
    sent = {}
    for number, step in enumerate(steps):
        if step == "a":
            pos = append(journal, number)
            if pos:
                sent[pos] = payload_of(number)
        elif step == "w":
            journal.pump_write()
        elif step == "s":
            journal.pump_sync()
        elif step == "r" and disk.room is None:
            journal.rotate()
        elif step == "b":
            disk.most = 7
        elif step == "t":
            clock.now += SECOND
            disk.room = disk.most = None
        elif isinstance(step, int):
            disk.room = step
        check_counts(journal)
        assert journal.counts().held_bytes <= 1500 + 1000, "events alone may go beyond the bound"
    disk.room = None
    clock.now += SECOND
    shed = journal.shed
    journal.close()
    check_counts(journal)
    assert journal.in_flight == 0
    records, damage = read_archive(archive)
    assert frames_of(records) == sent
    assert damage == []
    assert sum(event["records"] for event in events_of(records) if event["event"] == "shed") == shed


def test_a_full_spool_sheds_and_says_so(tmp_path: Path) -> None:
    """Records of no stream are shed at the ceiling, and may have told of any; test_shedding.py has the others."""
    clock = ManualClock()
    options = JournalOptions(threads=False, spool_bytes=4000)
    with Journal.open(tmp_path, "huobi", clock=clock, options=options) as journal:
        taken = [append(journal, number) for number in range(60)]
        assert taken.count(0) == journal.shed > 0
        assert journal.pressed
        clock.now += SECOND
        journal.flush()
        assert append(journal, 99) == max(taken) + 3, "two events come before the first record taken again"
        assert not journal.pressed
        check_counts(journal)
    first, last = (
        number * 3 for number in range(60) if taken[number] == 0 and number in (taken.index(0), 59)
    )
    facts = {"cause": "shed", "from": first}
    assert events_of(read_archive(tmp_path)[0]) == [
        {"event": "shedding", "topic": None, **facts},
        {
            "event": "shed",
            **facts,
            "to": last,
            "records": journal.shed,
            "others": journal.shed,
            "streams": [],
        },
    ]


def test_how_long_records_took_to_be_durable(tmp_path: Path) -> None:
    clock = ManualClock()
    options = JournalOptions(threads=False)
    with Journal.open(tmp_path, "huobi", clock=clock, options=options) as journal:
        for age_s in (0.04, 0.09):
            received = clock.mono_ns()
            for _ in range(3):
                journal.append(1, received, "line-0", 1, Direction.IN, Kind.COMPRESSED, b"frame")
            journal.pump_write()
            clock.now += int(age_s * 1e9)
            journal.pump_sync()
        times = journal.durable_times
        took = {bound: count for bound, count in zip(times.bounds, times.counts, strict=False) if count}
        assert journal.durable == sum(times.counts) == 6
    assert took == {0.01: 3, 0.1: 3}, "the first ones are durable with the segment's name"
