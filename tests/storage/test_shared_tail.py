"""A tail that several share says what one of their own would, whatever happens to the archive meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from bookreel.replay import REPLAY_TABLES, Archive
from bookreel.storage.contents import Contents
from bookreel.storage.journal import Journal
from bookreel.storage.schema import TABLES
from bookreel.storage.shared_tail import SharedTail
from bookreel.storage.tail import Tail
from tests.replay.market import SYMBOLS, Market

Record = Callable[[], Any]

ROUNDS = 12


def plain(archive: Any, tables: Any = tuple(TABLES)) -> Contents:
    """What a reader of its own finds, that begins now."""
    with closing(Tail(archive)) as tail:
        return tail.look(tables)


def same(left: Contents, right: Contents) -> None:
    assert left.tail.keys() == right.tail.keys()
    for table, rows in left.tail.items():
        order = pa.Table.combine_chunks
        assert order(rows).equals(order(right.tail[table])), table
    assert left.streams == right.streams
    assert left.files == right.files
    assert (left.horizon, left.sealed_pos, left.last_pos) == (right.horizon, right.sealed_pos, right.last_pos)


def crash(recording: Any) -> None:
    """The recorder is killed in the middle of a record, and another one goes on."""
    recording.flush()
    newest = max((recording.path / "journal").glob("*.seg"))
    whole = newest.read_bytes()
    recording.journal.close()
    newest.write_bytes(whole + whole[-40:-7])
    recording.journal = Journal.open(recording.path, "huobi", clock=recording.clock)
    recording.event("start", 5_000, run="next", venue="huobi", version="1")
    recording.flush()


@pytest.fixture(params=[1, 2])
def market(
    record: Record, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Market]:
    monkeypatch.setattr("bookreel.storage.tail_rows._PIECE_ROWS", 24)
    monkeypatch.setattr("bookreel.storage.tail._BLOCK_RECORDS", 16)
    yield Market(record(), Random(request.param))


@pytest.mark.parametrize("bytes_max", [1 << 30, 8_000])
def test_it_says_what_a_reader_of_its_own_would(market: Market, bytes_max: int) -> None:
    """Also where there is no memory for all of it, and tables are let go and asked for again."""
    path, rng = market.recording.path, Random(7)
    with SharedTail(path, bytes_max=bytes_max) as shared:
        for round_ in range(ROUNDS):
            market.steps(rng.randrange(1, 25))
            if round_ == ROUNDS // 2:
                crash(market.recording)
            if rng.random() < 0.3:
                shared.advance()
            tables = rng.sample(sorted(TABLES), rng.randrange(len(TABLES)))
            same(shared.look(tables), plain(path, tables))
        same(shared.look(TABLES), plain(path))


@pytest.mark.parametrize("read_before", [True, False])
def test_a_sealed_segment_is_let_go(market: Market, read_before: bool) -> None:
    recording = market.recording
    with SharedTail(recording.path) as shared:
        market.steps(60)
        before = shared.look(TABLES)
        count = before.tail["frames"].num_rows
        assert count > 20
        recording.rotate()
        if read_before:
            # To its end, so that nothing has to be read again.
            market.steps(1)
            shared.advance()
        recording.seal()
        after = shared.look(TABLES)
        assert after.tail["frames"].num_rows < 5
        # What somebody still reads stays.
        assert before.tail["frames"].num_rows == count
        same(after, plain(recording.path))


def test_memory_is_bounded_by_what_was_not_asked_for_lately(market: Market) -> None:
    market.steps(100)
    whole = sum(rows.nbytes for rows in plain(market.recording.path).tail.values())
    with SharedTail(market.recording.path, bytes_max=whole // 3) as shared:
        for tables in (["frames"], ["trades"], ["bbo"]):
            shared.look(tables)
            market.steps(20)
            shared.advance()
            rows = shared._tail._rows
            assert rows.nbytes() - rows.nbytes(tables[0]) <= whole // 3
            assert shared.look(tables).tail[tables[0]].num_rows > 0


def test_pieces_are_few_and_small(market: Market) -> None:
    with SharedTail(market.recording.path) as shared:
        for _ in range(150):
            market.steps(1)
            shared.advance()
        for table, rows in shared.look(TABLES).tail.items():
            sizes = [batch.num_rows for batch in rows.to_batches()]
            assert len(sizes) < 14 + rows.num_rows // 12, (table, sizes)
            assert max(sizes, default=0) <= 24, (table, sizes)


def test_a_replay_on_it_goes_on_through_a_seal(market: Market) -> None:
    """A seal, a rotation and a crash while somebody reads: every event once, in the same order as ever."""
    recording = market.recording
    market.steps(80)
    recording.rotate()
    recording.seal()
    market.steps(60)
    with SharedTail(recording.path) as shared:
        for cut in (0, 1, 30, 90):
            with Archive(shared) as archive:
                events = archive.events(tables=REPLAY_TABLES)
                given = [next(events) for _ in range(cut)]
                recording.rotate()
                recording.seal()
                market.steps(5)
                given += events
            with Archive(recording.path) as alone:
                expected = list(alone.events(tables=REPLAY_TABLES))
            known = [event for event in expected if getattr(event, "end", 0) is not None]
            stand = [event for event in given if getattr(event, "end", 0) is not None]
            # What came while it was read may be in it or not; nothing else.
            assert stand == known[: len(stand)]
            assert len(stand) >= len(known) - 60
        crash(recording)
        market.steps(10)
        choices: list[dict[str, Any]] = [{}, {"symbols": [SYMBOLS[1]]}, {"tables": ["trades"]}]
        for choice in (*choices, {"start": recording.at(60)}):
            with Archive(shared) as archive, Archive(recording.path) as alone:
                assert list(archive.events(**choice)) == list(alone.events(**choice))
        with Archive(shared) as archive:
            frames = list(archive.events(tables="frames"))
            newest = frames[-1].ts_recv
            assert list(archive.events(tables="frames", start=newest)) == [
                frame for frame in frames if frame.ts_recv >= newest
            ]


def test_threads_share_it_beside_a_sealer(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail")
    done = threading.Event()
    written = [0]
    wrong: list[object] = []

    def read(shared: SharedTail) -> None:
        while not done.is_set():
            least = written[0]
            with Archive(shared) as archive:
                found = [getattr(event, "trade_seq", None) for event in archive.events(tables="trades")]
            if found != list(range(1, len(found) + 1)) or len(found) < least:
                wrong.append((least, found))

    with SharedTail(recording.path) as shared:
        readers = [threading.Thread(target=read, args=(shared,)) for _ in range(3)]
        for reader in readers:
            reader.start()
        try:
            for number in range(1, 41):
                recording.trade(1 + number, number, 100.0)
                recording.flush()
                written[0] = number
                if number % 5 == 0:
                    recording.rotate()
                    recording.seal()
        finally:
            done.set()
            for reader in readers:
                reader.join()
    assert wrong == []


def test_what_cannot_be_followed_is_said_once_and_followed_again(
    record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recording = record()
    recording.flush()
    steps = threading.Semaphore(0)
    real = Tail.advance

    def advance(tail: Tail) -> None:
        steps.release()
        real(tail)

    monkeypatch.setattr("bookreel.storage.shared_tail._STEP_S", 0.001)
    monkeypatch.setattr(Tail, "advance", advance)
    manifest = recording.path / "manifest"
    moved = manifest.rename(recording.path / "moved")
    manifest.write_text("no folder")
    with SharedTail(recording.path) as shared:
        for _ in range(5):
            assert steps.acquire(timeout=30)
        manifest.unlink()
        moved.rename(manifest)
        recording.connect(1, "market.btcusdt.trade.detail")
        recording.trade(2, 1, 100.0)
        recording.flush()
        for _ in range(2):
            assert steps.acquire(timeout=30)
        assert shared.look(["trades"]).tail["trades"].num_rows == 1
    assert len([record for record in caplog.records if "cannot be followed" in record.getMessage()]) == 1
