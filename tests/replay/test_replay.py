"""What every replay promises: one order, on every run, however it is cut, filtered, paced, resumed or followed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.replay import (
    REPLAY_TABLES,
    Archive,
    BadSpeed,
    BadToken,
    End,
    RecordedBbo,
    RecordedDelta,
    RecordedFrame,
    RecordedGap,
    RecordedInstrument,
    RecordedKline,
    RecordedSnapshot,
    RecordedTicker,
    RecordedTrade,
    Session,
)
from bookreel.replay.frame_lines import woven_lines
from bookreel.storage.compact import compact
from bookreel.storage.errors import FileGone
from tests.replay.market import SYMBOLS, Market

TABLE_OF = {
    RecordedFrame: "frames",
    RecordedGap: "gaps",
    Session: "sessions",
    RecordedInstrument: "instruments",
    RecordedTrade: "trades",
    RecordedBbo: "bbo",
    RecordedKline: "klines",
    RecordedTicker: "tickers",
    RecordedSnapshot: "book_snapshots",
    RecordedDelta: "book_deltas",
}

pytestmark = pytest.mark.usefixtures("small_pieces")


def standing(event: Any) -> int:
    """The position at which an event stands."""
    return max(event.pos, event.epoch) if isinstance(event, RecordedDelta) else int(event.pos)


def is_open(event: Any) -> bool:
    return isinstance(event, RecordedGap) and event.end is None


def everything(archive: Archive, **choice: Any) -> list[Any]:
    return list(archive.events(tables=REPLAY_TABLES, **choice))


def test_the_archive_has_what_a_replay_can_meet(archive: Archive) -> None:
    events = everything(archive)
    kinds = Counter(type(event) for event in events)
    assert kinds.keys() == TABLE_OF.keys()
    assert sum(isinstance(event, RecordedDelta) and event.pos < event.epoch for event in events) > 5
    assert sum(map(is_open, events)) > 0
    assert max(Counter(standing(event) for event in events if not is_open(event)).values()) > 4
    assert archive._tail.look().sealed_pos > 0
    assert archive._tail.look().last_pos > archive._tail.look().sealed_pos


def test_the_order_is_that_of_sql(archive: Archive) -> None:
    events = everything(archive)
    places = [(standing(event), _rank(event)) for event in events if not is_open(event)]
    assert places == sorted(places)
    for table, columns in {
        "frames": "pos, payload",
        "gaps": "pos, symbol, feed",
        "sessions": "pos, event",
        "instruments": "pos, symbol",
        "trades": "pos, trade_seq",
        "bbo": "pos, seq",
        "klines": "pos, symbol",
        "tickers": "pos, symbol",
        "book_snapshots": "pos, seq",
    }.items():
        names = columns.split(", ")
        order = "pos, symbol" if table in ("gaps", "instruments") else "pos"
        rows = archive.sql(f"SELECT {columns} FROM {table} WHERE pos IS NOT NULL ORDER BY {order}").fetchall()
        given = [event for event in events if TABLE_OF[type(event)] == table and not is_open(event)]
        found = [tuple(getattr(event, name) for name in names) for event in given]
        # Rows of one record that SQL does not order: an answer of that query may be any.
        assert sorted(found, key=str) == sorted(rows, key=str)
        assert [row[0] for row in found] == [row[0] for row in rows]
    levels = [
        (event.pos, event.seq, side, *level)
        for event in events
        if isinstance(event, RecordedDelta)
        for side, found in (("bid", event.bids), ("ask", event.asks))
        for level in found
    ]
    rows = archive.sql("SELECT pos, seq, side, price, size FROM book_deltas").fetchall()
    assert sorted(levels) == sorted(rows)


def _rank(event: Any) -> float:
    keyframe = isinstance(event, RecordedSnapshot) and event.source == "keyframe"
    return REPLAY_TABLES.index(TABLE_OF[type(event)]) + (1.5 if keyframe else 0)


def test_books_of_a_replay_are_right(archive: Archive) -> None:
    """A snapshot begins, each delta follows what is before it, and a keyframe is what they made."""
    seq: dict[str, int] = {}
    bids: dict[str, dict[float, float]] = {}
    checked = 0
    for event in archive.events(tables=("gaps", "book_snapshots", "book_deltas")):
        if isinstance(event, RecordedSnapshot):
            book = dict(event.bids)
            if event.source == "keyframe":
                assert bids[event.symbol] == book
                checked += 1
            elif event.pos == event.epoch:
                seq[event.symbol], bids[event.symbol] = event.seq or 0, book
        elif isinstance(event, RecordedDelta):
            assert seq[event.symbol] <= event.prev_seq  # a delta without levels has no rows
            seq[event.symbol] = event.seq
            book = bids[event.symbol]
            book.update(event.bids)
            for price in [price for price, size in book.items() if not size]:
                del book[price]
    assert checked > 5


def test_every_cut_gives_the_same(archive: Archive) -> None:
    whole = everything(archive)
    times = sorted({event.ts_recv for event in whole})
    edges = [times[0] - 1, *times, times[-1] + 1]

    @settings(max_examples=12, deadline=None, database=None)
    @given(st.lists(st.sampled_from(edges), max_size=5))
    def check(cuts: list[int]) -> None:
        bounds = [times[0], *sorted(cuts), times[-1] + 1]
        pieces = [
            event for start, end in pairwise(bounds) for event in everything(archive, start=start, end=end)
        ]
        assert pieces == whole

    check()


def test_every_token_goes_on(archive: Archive) -> None:
    whole = everything(archive, start=archive_start(archive))
    events = archive.events(tables=REPLAY_TABLES, start=archive_start(archive))
    tokens = [events.token, *(events.token for _ in events), events.token]
    picked = {*range(0, len(whole), 13), *range(len(whole) - 9, len(whole) + 1)}
    picked |= {at for at, event in enumerate(whole) if isinstance(event, RecordedInstrument)}
    for at in sorted(picked):
        assert list(archive.events(tables=REPLAY_TABLES, after=tokens[at])) == whole[at:], at
    assert list(archive.events(tables=REPLAY_TABLES, after=tokens[-1])) == []


def archive_start(archive: Archive) -> int:
    return int(next(iter(archive.events(tables="trades"))).ts_recv)


def test_a_token_is_good_after_sealing_and_recording_more(market: Market, archive: Archive) -> None:
    events = archive.events(tables=REPLAY_TABLES)
    whole = [(event, events.token) for event in events]
    market.steps(50)
    market.recording.rotate()
    market.recording.seal()
    later = [event for event in everything(archive) if not is_open(event)]
    closed = [event for event, _ in whole if not is_open(event)]
    assert later[: len(closed)] == closed
    for at in range(0, len(whole), 29):
        rest = archive.events(tables=REPLAY_TABLES, after=whole[at][1])
        assert [event for event in rest if not is_open(event)] == later[min(at + 1, len(closed)) :], at


@settings(max_examples=20, deadline=None, database=None)
@given(st.data())
def _filters(archive: Archive, whole: list[Any], data: st.DataObject) -> None:
    symbols = data.draw(st.none() | st.lists(st.sampled_from(SYMBOLS), max_size=3, unique=True))
    tables = data.draw(st.lists(st.sampled_from(REPLAY_TABLES), max_size=10, unique=True))
    feeds = data.draw(
        st.none()
        | st.lists(st.sampled_from(["mbp.150", "bbo", "trade.detail", "kline.1min", "detail"]), unique=True)
    )
    wanted = [
        event
        for event in whole
        if TABLE_OF[type(event)] in tables
        and (symbols is None or isinstance(event, Session) or event.symbol in symbols)
        and (feeds is None or isinstance(event, Session | RecordedInstrument) or _feed(event) in feeds)
    ]
    assert list(archive.events(symbols, tables, feeds=feeds)) == wanted


def _feed(event: Any) -> str | None:
    if isinstance(event, RecordedFrame):
        return event.topic.split(".", 2)[2] if event.topic and event.symbol else None
    return str(event.feed)


def test_filters(archive: Archive) -> None:
    _filters(archive, everything(archive))


def test_batches_are_the_rows_of_sql(archive: Archive) -> None:
    batches = list(archive.batches(tables=REPLAY_TABLES))
    assert len(batches) > 20
    for table in REPLAY_TABLES:
        rows = archive.sql(f"FROM {table}").to_arrow_table()
        pieces = [batch.rows[table] for batch in batches if table in batch.rows]
        if not pieces:  # of another venue
            assert not rows.num_rows, table
            continue
        found = pa.concat_tables(pieces)
        assert found.schema.equals(rows.schema)
        assert _sorted(found) == _sorted(rows)
    for at in range(0, len(batches), 3):
        rest = list(archive.batches(tables=REPLAY_TABLES, after=batches[at].token))
        assert sum(map(_count, rest)) == sum(map(_count, batches[at + 1 :]))
    with pytest.raises(BadToken, match="between two events"):
        events = archive.events(tables=REPLAY_TABLES)
        next(events)
        archive.batches(tables=REPLAY_TABLES, after=events.token)


def _sorted(rows: pa.Table) -> list[str]:
    for name in ("ts_event", "ts_recv", "start", "end", "open_time"):
        if name in rows.schema.names:
            rows = rows.set_column(rows.schema.get_field_index(name), name, rows[name].cast(pa.int64()))
    return sorted(map(str, rows.to_pylist()))


def _count(batch: Any) -> int:
    return sum(rows.num_rows for rows in batch.rows.values())


async def inline(call: Callable[..., Any], *arguments: Any) -> Any:
    return call(*arguments)


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream]


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


@pytest.mark.parametrize("speed", [None, 0.5, 1.0, 1000.0])
def test_every_speed_gives_the_same(archive: Archive, speed: float | None) -> None:
    whole = everything(archive)
    clock = Clock()
    choice = {"tables": REPLAY_TABLES, "clock": clock, "sleep": clock.sleep, "offload": inline}
    *events, end = asyncio.run(collect(archive.stream(speed=speed, **choice)))
    assert events == whole
    assert (type(end), end.reason) == (End, "complete")
    assert list(archive.events(tables=REPLAY_TABLES, after=end.token)) == []
    chunks = asyncio.run(collect(archive.lines(speed=speed, **choice)))
    lines = b"".join(chunks).splitlines()
    assert [json.loads(line)["pos"] for line in lines[:-1]] == [event.pos for event in whole]
    assert json.loads(lines[-1]) == {"type": "end", "reason": "complete", "token": end.token}
    if speed is not None:
        first, last = whole[0].ts_recv, max(event.ts_recv for event in whole)
        assert clock.now - 50.0 == pytest.approx(2 * (last - first) / 1e9 / speed, rel=1e-3)


@pytest.mark.parametrize("machine_code", [False, True])
def test_lines_of_frames_are_those_of_values(
    archive: Archive, small_pieces: None, monkeypatch: pytest.MonkeyPatch, machine_code: bool
) -> None:
    """The quick ways and the other one give the same bytes."""
    woven: list[bool] = []
    if machine_code:
        monkeypatch.setattr("bookreel.replay.frame_lines._ROWS", 0)

    def noted(batch: Any) -> Any:
        found = woven_lines(batch) if machine_code else None
        woven.append(found is not None)
        return found

    monkeypatch.setattr("bookreel.replay.ndjson.woven_lines", noted)

    async def lines(*tables: str) -> list[bytes]:
        chunks = await collect(archive.lines(tables=tables, offload=inline))
        return b"".join(chunks).splitlines()

    frames = asyncio.run(lines("frames"))[:-1]
    assert frames == [
        line for line in asyncio.run(lines("frames", "bbo")) if line.startswith(b'{"type":"frame"')
    ]
    values = list(archive.events(tables="frames"))
    assert len(values) == len(frames) > 100
    texts = {value.payload for value in values}
    assert {'{"a":"é\\n\\u0007"}', '{"a": "b",\n\t"c": 1}', '{"a":"b\\\\c"}', None} <= texts
    for line, value in zip(frames, values, strict=True):
        said = json.loads(line)
        assert (said["pos"], said["payload"], said["topic"]) == (value.pos, value.payload, value.topic)
        assert said["ts_recv"].endswith("Z")
        assert (said["payload_bytes"] is None) == (value.payload_bytes is None)
    assert set(woven) == ({False, True} if machine_code else {False}), "what is odd is left to the other way"


def test_what_is_followed_is_what_there_is_in_the_end(record: Callable[[], Any]) -> None:
    """The recorder writes, rotates and seals while it is followed; nothing is missed, and nothing comes twice."""
    for seed in range(4):
        market = Market(record(), Random(seed))
        rng = Random(seed)
        left = 40

        def go_on(seconds: float, market: Market = market, rng: Random = rng) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise TimeoutError
            market.steps(rng.randrange(12))

        with Archive(market.recording.path) as archive:
            events = archive.events(tables=REPLAY_TABLES, follow=True, sleep=go_on)
            found = []
            tokens = []
            with pytest.raises(TimeoutError):
                for event in events:
                    found.append(event)
                    tokens.append(events.token)
            whole = [event for event in everything(archive) if not is_open(event)]
            assert found == whole
            for at in range(0, len(found), 31):
                rest = archive.events(tables=REPLAY_TABLES, after=tokens[at])
                assert [event for event in rest if not is_open(event)] == whole[at + 1 :]


def test_following_ends_with_the_range(market: Market, archive: Archive) -> None:
    end = market.recording.at(market._now + 60)

    def go_on(seconds: float) -> None:
        market.steps(5)

    followed = list(archive.events(follow=True, end=end, sleep=go_on))
    assert followed == list(archive.events(end=end))
    assert market.recording.at(market._now) >= end


def test_a_slow_reader_finds_sealed_what_it_did_not_read(market: Market, archive: Archive) -> None:
    """Segments are sealed, and files could be anywhere by then, between two windows."""
    events = archive.events(tables=REPLAY_TABLES)
    found = [next(events) for _ in range(20)]
    for _ in range(3):
        market.steps(60)
        market.recording.rotate()
        market.recording.seal()
        found += [next(events) for _ in range(50)]
    found += events
    assert [event for event in found if not is_open(event)] == [
        event for event in everything(archive) if not is_open(event)
    ]


def test_a_file_that_moves_is_found_again(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = everything(archive)
    read = type(archive._scanner).read
    misses = Random(1)

    def sometimes(self: Any, root: Path, group: Any, *columns: Any) -> pa.Table:
        if misses.random() < 0.05:
            raise FileGone(root / group.entry.path)
        return read(self, root, group, *columns)

    monkeypatch.setattr("bookreel.replay.sweep._TRIES", 10_000)
    monkeypatch.setattr(type(archive._scanner), "read", sometimes)
    assert everything(archive) == whole


def test_controls(archive: Archive) -> None:
    whole = everything(archive)
    # Where it is paused, the next event is some time away.
    at = next(at for at in range(10, 100) if whole[at].ts_recv - max(e.ts_recv for e in whole[:at]) > 10**8)
    clock = Clock()

    async def run() -> None:
        stream = archive.stream(
            tables=REPLAY_TABLES, speed=2.0, clock=clock, sleep=clock.sleep, offload=inline
        )
        found = [await anext(stream) for _ in range(at)]
        token = stream.token
        stream.pause()
        assert stream.paused
        waiting = asyncio.ensure_future(anext(stream))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        clock.now += 1000  # time does not count while it is paused
        before = clock.now
        stream.resume()
        found.append(await waiting)
        distance = (whole[at].ts_recv - max(event.ts_recv for event in whole[:at])) / 1e9 / 2
        assert clock.now - before == pytest.approx(distance, abs=1e-3)
        assert found == whole[: at + 1]

        stream.speed = None
        found += [await anext(stream) for _ in range(40)]
        assert found == whole[: at + 41]
        assert clock.now - before == pytest.approx(distance, abs=1e-3)

        stream.seek(whole[5].ts_recv)
        after = [
            event for event in whole if event.ts_recv >= whole[5].ts_recv or _stands_after(event, whole[5])
        ]
        assert [await anext(stream) for _ in range(20)] == after[:20]
        stream.seek_token(token)
        assert [await anext(stream) for _ in range(20)] == whole[at : at + 20]
        stream.stop()
        end = await anext(stream)
        assert isinstance(end, End)
        assert end.reason == "stopped"
        assert list(archive.events(tables=REPLAY_TABLES, after=end.token)) == whole[at + 20 :]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(BadSpeed):
            stream.speed = -1.0

    asyncio.run(run())


def _stands_after(event: Any, other: Any) -> bool:
    return isinstance(event, RecordedDelta) and event.pos < event.epoch >= other.pos


def test_a_token_after_a_seek_begins_there(archive: Archive) -> None:
    whole = everything(archive)

    async def run() -> str:
        stream = archive.stream(tables=REPLAY_TABLES, speed=None, offload=inline)
        await anext(stream)
        stream.seek(whole[-1].ts_recv)
        token = stream.token
        stream.close()
        return token

    late = list(archive.events(tables=REPLAY_TABLES, after=asyncio.run(run())))
    assert late
    assert late == everything(archive, start=whole[-1].ts_recv)


def test_what_a_cancelled_reader_did_not_get_comes_next(archive: Archive) -> None:
    whole = everything(archive)

    async def run() -> list[Any]:
        stream = archive.stream(tables=REPLAY_TABLES, speed=None)  # reads in a thread
        found: list[Any] = []
        while True:
            waiting = asyncio.ensure_future(anext(stream))
            if len(found) % 3 == 0:
                await asyncio.sleep(0)
                waiting.cancel()
            try:
                found.append(await waiting)
            except asyncio.CancelledError:
                found.append(await anext(stream))
            if isinstance(found[-1], End):
                return found[:-1]

    assert asyncio.run(run()) == whole


def test_tokens_of_something_else(archive: Archive, record: Callable[[], Any]) -> None:
    token = archive.events(tables="trades").token
    for wrong in ("", "x", token[:-4], token + "AAAA", "ü", token.replace("A", "B", 1)):
        with pytest.raises(BadToken, match="resume token"):
            archive.events(tables="trades", after=wrong)
    with pytest.raises(BadToken, match="tables"):
        archive.events(tables="bbo", after=token)
    with pytest.raises(BadToken, match="tables, symbols"):
        archive.events(tables="trades", symbols="btcusdt", after=token)
    other = record()
    other.flush()
    with Archive(other.path) as another, pytest.raises(BadToken, match="another archive"):
        another.events(tables="trades", after=token)


def test_a_day_is_compacted_meanwhile(market: Market, archive: Archive) -> None:
    """Its files are others in the middle of a replay; tokens from before stay good."""
    start = market.recording.at(market._now / 2)
    market.rotate()
    market._now += 2 * 86_400
    market.steps(20)
    market.rotate()
    market.seal()
    whole = everything(archive)
    fresh = Archive(archive.path)
    events = fresh.events(tables=REPLAY_TABLES)
    found = [next(events) for _ in range(len(whole) // 3)]
    token = events.token
    report = compact(archive.path, now_ns=market.recording.at(10 * 86_400))
    assert report.folders > 5
    assert found + list(events) == whole
    fresh.close()
    assert everything(archive) == whole
    assert list(archive.events(tables=REPLAY_TABLES, after=token)) == whole[len(found) :]
    with Archive(archive.path) as again:
        late = everything(again, start=start)
    cut = [event for event in whole if event in late]
    assert late == cut
    assert 0 < len(late) < len(whole)
