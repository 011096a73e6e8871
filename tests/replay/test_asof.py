from __future__ import annotations

import bisect
import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta
from bookreel.replay import Archive, BadInterval, BadTime, NoSuchFeed, NoSuchSymbol

Record = Callable[[], Any]


def ints(table: pa.Table, name: str) -> list[int]:
    return table[name].cast(pa.int64()).to_pylist()


@pytest.fixture(params=["tail", "sealed"])
def holed(record: Record, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Archive]]:
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.delta(2, 10, 11, [[99, 1]], [[101, 1]])
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.delta(4, 11, 12, [[99, 0]])
    recording.delta(6, 12, 14, [[97.5, 2]])
    recording.delta(8, 20, 21, [[1, 1]])
    recording.snapshot(10, 21, [[50, 1]], [[60, 1]])
    recording.delta(11, 21, 22, [[51, 1]])
    recording.flush()
    if request.param == "sealed":
        recording.rotate()
        recording.seal()
    with Archive(recording.path) as archive:
        yield recording, archive


def test_a_book_inside_a_gap_is_not_valid(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    assert archive.book("btcusdt", recording.at(6)).valid
    book = archive.book("btcusdt", recording.at(7))
    assert not book.valid
    assert book.gap is not None
    assert (book.gap.cause, book.gap.start, book.gap.end) == ("seq_gap", recording.at(6), recording.at(10))
    assert (book.seq, book.bids) == (14, [(98.0, 5.0), (97.5, 2.0)])
    assert archive.book("btcusdt", recording.at(10)).valid
    assert archive.book("btcusdt", recording.at(10)).bids == [(50.0, 1.0)]


def test_before_the_beginning_nothing_is_known(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    book = archive.book("btcusdt", recording.at(2.5))
    assert (book.valid, book.gap, book.seq, book.bids, book.asks) == (False, None, None, [], [])


def test_after_the_end_nothing_is_promised(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.flush()
    with Archive(recording.path) as archive:
        assert archive.book("btcusdt", recording.at(9)).valid  # still being recorded
        recording.stop(4)
        assert archive.book("btcusdt", recording.at(3)).valid
        assert not archive.book("btcusdt", recording.at(9)).valid


def test_depth(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    assert archive.book("btcusdt", recording.at(6), depth=1).bids == [(98.0, 5.0)]


def test_books_one_row_a_change(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    at = recording.at
    rows = archive.books("btcusdt", at(0), at(100))
    assert list(
        zip(ints(rows, "ts_recv"), rows["seq"].to_pylist(), rows["valid"].to_pylist(), strict=True)
    ) == [
        (at(3), 11, True),
        (at(4), 12, True),
        (at(6), 14, True),
        (at(10), 21, True),
        (at(11), 22, True),
    ]
    assert rows["bid_price"].to_pylist()[2] == [98.0, 97.5]
    assert rows["ask_size"].to_pylist()[2] == [1.0, 5.0]


def test_a_range_includes_its_start_and_excludes_its_end(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    rows = archive.books("btcusdt", recording.at(4), recording.at(10))
    assert rows["seq"].to_pylist() == [12, 14]
    assert archive.bbo("btcusdt", recording.at(4), recording.at(10))["bid"].to_pylist() == [98.0, 98.0]


def test_books_sampled_on_multiples(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    at = recording.at
    rows = archive.books("btcusdt", at(0.5), at(100), every="2s")
    assert ints(rows, "ts") == [at(4), at(6), at(8), at(10)]
    assert rows["valid"].to_pylist() == [True, True, False, True]
    assert rows["seq"].to_pylist() == [12, 14, 14, 21]
    for ts, seq in zip(ints(rows, "ts"), rows["seq"].to_pylist(), strict=True):
        assert archive.book("btcusdt", ts).seq == seq


def test_a_pushed_book_replaces_the_one_before(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.depth.step0", conn="ws-0")
    for at, price in ((2, 99.0), (3, 98.0)):
        tick = {"bids": [[price, 1.0]], "asks": [[101.0, 1.0]], "ts": 1, "version": at}
        recording.frame(at, {"ch": "market.btcusdt.depth.step0", "ts": 1, "tick": tick}, "ws-0")
    recording.flush()
    with Archive(recording.path) as archive:
        assert archive.book("btcusdt", recording.at(2.5)).bids == [(99.0, 1.0)]
        assert archive.book("btcusdt", recording.at(3)).feed == "depth.step0"
        rows = archive.books("btcusdt", recording.at(0), recording.at(9))
        assert rows["bid_price"].to_pylist() == [[99.0], [98.0]]


def test_a_clock_that_steps_back_does_not_mix_up_deltas(record: Record) -> None:
    """A sealed file is sorted by receive time, a book follows the journal."""
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.delta(5, 10, 11, [[98, 6]])
    recording.delta(4.5, 11, 12, [[98, 7]])
    recording.delta(6, 12, 13, [[97, 1]])
    recording.rotate()
    recording.seal()
    with Archive(recording.path) as archive:
        assert archive.book("btcusdt", recording.at(6)).bids == [(98.0, 7.0), (97.0, 1.0)]
        assert archive.bbo("btcusdt", 0, recording.at(7))["bid_size"].to_pylist() == [5.0, 6.0, 7.0, 7.0]
        rows = archive.sql(
            "select price, size from book_at('btcusdt', ?) where side = 'bid'", [recording.at(6)]
        )
        assert rows.fetchall() == [(98.0, 7.0), (97.0, 1.0)]


def test_wrong_questions_say_what_would_be_right(holed: tuple[Any, Archive]) -> None:
    recording, archive = holed
    with pytest.raises(NoSuchSymbol, match="did you mean btcusdt"):
        archive.book("btcusd", recording.at(5))
    with pytest.raises(NoSuchFeed, match=r"mbp\.150"):
        archive.book("btcusdt", recording.at(5), feed="mbp.20")
    with pytest.raises(BadTime, match="2026-11-20T12"):
        archive.book("btcusdt", "noon")
    with pytest.raises(BadInterval):
        archive.books("btcusdt", 0, 1, every="soon")


def test_every_rebuilt_best_is_the_recorded_one(captured: Path, shared_data: Path) -> None:
    """The best prices and sizes after each delta are those of the newest bbo frame that is not newer."""
    quotes: list[tuple[int, tuple[float, float, float, float]]] = []
    with gzip.open(shared_data / "mbp150_btcusdt_20240808.ndjson.gz", "rt") as lines:
        for line in lines:
            frame = json.loads(json.loads(line)["raw"])
            if str(frame.get("ch", "")).endswith(".bbo"):
                tick = frame["tick"]
                quotes.append((tick["seqId"], (tick["bid"], tick["bidSize"], tick["ask"], tick["askSize"])))
    quotes.sort()
    numbers = [seq for seq, _ in quotes]
    with Archive(captured) as archive:
        rows = archive.bbo("btcusdt", 0, "2100-01-01")
    compared = 0
    for seq, *best in zip(
        *(rows[name].to_pylist() for name in ("seq", "bid", "bid_size", "ask", "ask_size")), strict=True
    ):
        index = bisect.bisect_right(numbers, seq) - 1
        if index >= 0:
            assert tuple(best) == quotes[index][1], f"at {seq}"
            compared += 1
    assert compared > 6000


_LEVELS = ("bid_price", "bid_size", "ask_price", "ask_size")


def test_books_and_book_are_the_engine(captured: Path) -> None:
    """300 random instants against the engine, which applies every delta."""
    draw = random.Random(11)
    with Archive(captured) as archive:
        rows = archive.books("btcusdt", 0, "2100-01-01", depth=1000)
        times, numbers = ints(rows, "ts_recv"), ints(rows, "seq")
        instants = [draw.randrange(times[0], times[-1]) for _ in range(300)]
        asked = {at: bisect.bisect_right(times, at) - 1 for at in instants}
        wanted = set(asked.values())
        engine = L2Book()
        index = -1
        true: dict[int, Any] = {}
        for event in archive.events(tables=("book_deltas", "book_snapshots")):
            if hasattr(event, "source"):
                if event.source == "keyframe" and event.pos == event.epoch:
                    engine.load(event.bids, event.asks)
                else:
                    continue
            elif index < 0:
                continue  # waited for the snapshot: the keyframe has it
            else:
                engine.apply(
                    Delta("btcusdt", "mbp.150", 0, event.seq, event.prev_seq, event.bids, event.asks)
                )
            index += 1
            if index in wanted:
                true[index] = engine.top()
            assert numbers[index] == event.seq
        assert index == rows.num_rows - 1
        for at, index in asked.items():
            bids, asks = true[index]
            row = {name: rows[name][index].as_py() for name in _LEVELS}
            assert list(zip(row["bid_price"], row["bid_size"], strict=True)) == bids
            assert list(zip(row["ask_price"], row["ask_size"], strict=True)) == asks
            book = archive.book("btcusdt", at)
            assert (book.bids, book.asks, book.seq, book.valid) == (bids, asks, numbers[index], True)


def _set_back(record: Record, *, sealed: bool) -> Any:
    """The clock is set back from 20 to 0 in the middle of a chain, which then breaks and is joined anew; at 2 it is
    set forward to 30.
    """
    recording = record()
    append = recording.journal.append
    monos = iter(range(1, 1_000))
    recording.journal.append = lambda wall, mono, *rest: append(wall, next(monos), *rest)
    recording.connect(9, "market.btcusdt.mbp.150")
    recording.snapshot(10, 10, [[98, 5]], [[102, 5]])
    recording.delta(15, 10, 11, [[98, 6]])
    recording.delta(20, 11, 12, [[98, 7]])
    recording.delta(0, 12, 13, [[97, 1]])
    recording.delta(1, 20, 21, [[1, 1]])
    recording.snapshot(2, 21, [[50, 1]], [[60, 1]])
    recording.delta(30, 21, 22, [[51, 1]])
    recording.flush()
    if sealed:
        recording.rotate()
        recording.seal()
    return recording


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    ("at", "valid", "seq"),
    [
        (0, True, 13),
        (0.5, False, 13),
        (1.5, False, 13),
        (2, True, 21),
        (9, True, 21),
        (15, False, 21),
        (20, False, 21),
        (21, True, 21),
        (30, True, 22),
    ],
)
def test_where_the_clock_was_set_back_the_journal_decides(
    record: Record, at: float, valid: bool, seq: int, sealed: bool
) -> None:
    """The oldest whole book has the latest time, and is not the newest. What came twice is not valid."""
    recording = _set_back(record, sealed=sealed)
    with Archive(recording.path) as archive:
        book = archive.book("btcusdt", recording.at(at))
        assert (book.seq, book.valid) == (seq, valid)
        rows = archive.sql(
            "SELECT DISTINCT seq, valid, epoch, epoch_ns(ts_recv) FROM book_at('btcusdt', ?)",
            [recording.at(at)],
        )
        assert rows.fetchall() == [(seq, valid, book.epoch, book.ts_recv)]
        each = archive.books("btcusdt", recording.at(at), recording.at(at) + 1, every="1ns")
        assert (each["seq"].to_pylist(), each["valid"].to_pylist()) == ([seq], [valid])


def test_changes_follow_the_journal_where_the_clock_was_set_back(record: Record) -> None:
    recording = _set_back(record, sealed=True)
    with Archive(recording.path) as archive:
        assert archive.bbo("btcusdt", 0, recording.at(40))["bid"].to_pylist() == [98.0] * 4 + [50.0, 51.0]
        found = archive.bbo("btcusdt", recording.at(0), recording.at(3))
        assert list(zip(found["seq"].to_pylist(), found["bid_size"].to_pylist(), strict=True)) == [
            (13, 7.0),
            (21, 1.0),
        ]
