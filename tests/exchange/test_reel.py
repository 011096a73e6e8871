from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookreel.exchange.reel import Record, Reel, ReplayClock
from bookreel.replay import Archive, NoSuchSymbol
from tests.exchange.tape import SMALL, T0, bar, ns, trade, write

SECOND = 1_000_000_000


@pytest.fixture
def opened() -> Iterator[list[Reel]]:
    reels: list[Reel] = []
    yield reels
    for reel in reels:
        reel.stop()


def read(opened: list[Reel], path: Path, start: int | None = None, end: int | None = None) -> list[Record]:
    reel = Reel(path, None, start, end)
    opened.append(reel)
    records: list[Record] = []
    while (page := reel.take(wait=True)) is not None:
        records += page
    return records


def test_everything_comes_in_its_order_with_its_text(opened: list[Reel], small: Path) -> None:
    records = read(opened, small)
    assert [(record.ts, record.text) for record in records] == [(ns(at), text) for at, text in SMALL]
    assert [record.kind for record in records] == [
        "reply" if '"rep"' in text else "data" for _, text in SMALL
    ]
    assert records[0].topic == "market.btcusdt.mbp.150"


def test_a_range_has_its_first_instant_and_not_its_last(opened: list[Reel], small: Path) -> None:
    times = [record.ts for record in read(opened, small, ns(1.0), ns(3.0))]
    assert times == [ns(at) for at in (1.0, 1.5, 2.0, 2.5)]
    assert not read(opened, small, ns(60.0))


def test_a_time_never_goes_back(opened: list[Reel], tmp_path: Path) -> None:
    frames = [trade(5.0, 1), trade(2.0, 2), trade(6.0, 3)]
    records = read(opened, write(tmp_path, frames))
    assert [record.ts for record in records] == [ns(5.0), ns(5.0), ns(6.0)]
    assert [record.pos for record in records] == sorted(record.pos for record in records)


def test_only_what_the_venue_sent_of_a_topic_is_there(opened: list[Reel], recorded: Path) -> None:
    records = read(opened, recorded)
    assert {record.kind for record in records} == {"data", "reply", "ack", "instrument"}
    with Archive(recorded) as archive:
        [(frames,)] = archive.sql(
            "SELECT count(*) FROM frames WHERE direction = 'in' AND kind IN ('data', 'reply', 'ack')"
        ).fetchall()
        [(listed,)] = archive.sql("SELECT count(*) FROM instruments").fetchall()
    assert len(records) == frames + listed
    entry = next(record for record in records if record.kind == "instrument")
    assert json.loads(entry.text or "")["symbol"] == entry.topic


def test_what_could_not_be_decoded_is_there_as_it_came(opened: list[Reel], tmp_path: Path) -> None:
    broken = '{"ch":"market.btcusdt.trade.detail","ts":1700000001000,"tick":{"id":1,'
    records = read(opened, write(tmp_path, [trade(1.0, 1), (2.0, broken), trade(3.0, 2)]))
    assert [record.kind for record in records] == ["data", "undecodable", "data"]
    assert (records[1].text or (records[1].payload or b"").decode()) == broken


def test_a_symbol_that_is_not_there_is_refused_at_once(small: Path) -> None:
    with pytest.raises(NoSuchSymbol):
        Reel(small, ["ethusdt"], None, None)


def test_a_page_that_is_not_there_yet_is_not_waited_for(
    opened: list[Reel], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read = threading.Event()
    whole = Archive.batches

    def slow(*arguments: object) -> object:
        def batches() -> Iterator[object]:
            assert may_read.wait(30)
            yield from whole(*arguments)  # type: ignore[arg-type]

        return batches()

    monkeypatch.setattr(Archive, "batches", slow)
    reel = Reel(small, None, None, None)
    opened.append(reel)
    with pytest.raises(queue.Empty):
        reel.take()
    may_read.set()
    assert reel.take(wait=True)
    assert reel.take(wait=True) is None


def test_what_reading_raises_is_raised_where_it_is_asked_for(
    opened: list[Reel], small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[object]:
        raise OSError("no such disk")
        yield

    monkeypatch.setattr(Archive, "batches", broken)
    reel = Reel(small, None, None, None)
    opened.append(reel)
    with pytest.raises(OSError, match="no such disk"):
        reel.take(wait=True)


def test_stopped_while_it_is_ahead_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [bar(at, T0, 100.0) for at in range(20)])
    whole = Archive.batches

    def many(*arguments: object) -> Iterator[object]:
        for batch in whole(*arguments):  # type: ignore[arg-type]
            yield from [batch] * 10  # more pages than are read ahead

    monkeypatch.setattr(Archive, "batches", many)
    reel = Reel(path, None, None, None)
    assert reel.take(wait=True)
    reel.stop()
    assert not any(thread.name == "reel" for thread in threading.enumerate())


# The clock


def test_a_clock_stands_until_it_runs_and_goes_at_its_speed() -> None:
    clock = ReplayClock(1_000, 10.0)
    assert clock.paced and not clock.running
    assert clock.at(5) == clock.at(10**9) == 1_000
    assert clock.when(2_000, 7) == 7 + SECOND, "nobody knows: look again"
    clock.run(500)
    assert clock.running
    assert (clock.at(500), clock.at(600)) == (1_000, 2_000)
    assert clock.when(2_000, 0) == 600
    clock.stand(600)
    assert clock.at(10**9) == 2_000 and not clock.running
    clock.run(700)
    assert (clock.at(700), clock.at(710)) == (2_000, 2_100)
    assert clock.when(2_100, 0) == 710


def test_without_a_speed_it_is_where_the_replay_is() -> None:
    clock = ReplayClock(1_000, None)
    clock.run(0)
    assert not clock.paced and clock.at(10**12) == 1_000
    assert clock.when(10**15, 77) == 77, "everything is due"
    clock.reach(3_000)
    clock.reach(2_000)
    assert clock.at(0) == 3_000


def test_with_a_speed_what_is_reached_does_not_move_it() -> None:
    clock = ReplayClock(1_000, 1.0)
    clock.run(0)
    clock.reach(10**9)
    assert clock.at(5) == 1_005
