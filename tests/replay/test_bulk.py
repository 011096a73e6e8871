"""The bulk reader against the engine's way through the same questions."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from bookreel.replay import Archive, asof
from tests.replay.market import SYMBOLS, Market

pytest.importorskip("numba")

_EVER: Final = 1 << 62
_NEVER: Final = 1 << 62

Record = Callable[[], Any]
Ask = Callable[[Archive], pa.Table]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Archive, Ask], pa.Table]:
    """Asks both ways, and gives the answer if it is one."""

    def ask(archive: Archive, question: Ask) -> pa.Table:
        found = []
        for least in (0, _NEVER):
            monkeypatch.setattr(asof, "_BULK_LEVELS", least)
            monkeypatch.setattr(asof, "_BULK_LEVELS_FIRST", least)
            found.append(question(archive).combine_chunks())
        bulk, plain = found
        assert bulk.schema.equals(plain.schema)
        for name in plain.schema.names:
            assert bulk[name].equals(plain[name]), name
        return plain

    return ask


def questions(symbol: str, start: int, end: int) -> list[Ask]:
    return [
        lambda archive: archive.bbo(symbol, start, end),
        lambda archive: archive.books(symbol, start, end, depth=2),
        lambda archive: archive.books(symbol, start, end, every="700ms", depth=20),
        lambda archive: archive.books(
            symbol, start, end, every="1ms" if end - start < 10**9 else "3s", depth=1
        ),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_of_a_market_with_every_fault(record: Record, both: Any, seed: int) -> None:
    recording, rng = record(), random.Random(seed)
    Market(recording, rng).steps(400)
    rows = 0
    with Archive(recording.path) as archive:
        for symbol in SYMBOLS:
            whole = archive.bbo(symbol, 0, _EVER)
            times = whole["ts_recv"].cast(pa.int64()).to_pylist() or [0]
            ranges = [
                (0, _EVER),
                *((at, at + rng.randrange(1, 60 * 10**9)) for at in rng.choices(times, k=3)),
            ]
            for start, end in ranges:
                rows += sum(both(archive, ask).num_rows for ask in questions(symbol, start, end))
    assert rows > 100


@pytest.mark.parametrize("sealed", [False, True])
def test_of_a_book_whose_deltas_waited_for_it(record: Record, both: Any, sealed: bool) -> None:
    """A delta of the time before, one known already, an audit, an empty side, a gap, a book of another price."""
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.delta(2, 10, 11, [[99, 1]], [[101, 1]])
    recording.delta(2.5, 11, 12, [[99, 2]], [[101, 0]])
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.delta(4, 12, 13, [[99, 0], [98, 0]])
    recording.delta(4, 12, 13, [[1, 1]])
    recording.snapshot(5, 13, [], [[102, 5]])
    recording.delta(6, 13, 14, [[1 / 3, 2]], [[102, 0]])
    recording.delta(8, 20, 21, [[1, 1]])
    recording.snapshot(10, 21, [[50_000_000, 1]], [[60_000_000.123, 1]])
    recording.delta(11, 21, 22, [[51_000_000, 1]])
    recording.flush()
    if sealed:
        recording.rotate()
        recording.seal()
    at = recording.at
    with Archive(recording.path) as archive:
        for start, end in ((0, _EVER), (at(3), at(6)), (at(5), at(11)), (at(7), at(9)), (at(20), at(21))):
            for ask in questions("btcusdt", start, end):
                both(archive, ask)
        bids = both(archive, lambda a: a.bbo("btcusdt", 0, _EVER))["bid"].to_pylist()
        assert bids == [99.0, None, 1 / 3, 50_000_000.0, 51_000_000.0]


def test_of_pushed_books(record: Record, both: Any) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.depth.step0", conn="ws-0")
    for at, bids in ((2, [[99.0, 1.0]]), (3, [[98.0, 1.0], [97.0, 0.0]]), (4, [])):
        tick = {"bids": bids, "asks": [[101.0, 1.0]], "ts": 1, "version": at}
        recording.frame(at, {"ch": "market.btcusdt.depth.step0", "ts": 1, "tick": tick}, "ws-0")
    recording.flush()
    with Archive(recording.path) as archive:
        for ask in questions("btcusdt", 0, recording.at(9)):
            assert both(archive, ask).num_rows > 0


def test_of_captured_frames(captured: Path, both: Any) -> None:
    with Archive(captured) as archive:
        times = archive.bbo("btcusdt", 0, _EVER)["ts_recv"].cast(pa.int64()).to_pylist()
        assert both(archive, lambda a: a.books("btcusdt", 0, _EVER, depth=20)).num_rows > 6000
        middle = times[len(times) // 2]
        assert both(archive, lambda a: a.books("btcusdt", middle, _EVER, every="100ms")).num_rows > 1000


def test_a_clock_that_steps_back_a_little(record: Record, both: Any) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    for at, seq in ((5, 10), (4.5, 11), (4.75, 12), (6, 13), (5.9, 14)):
        recording.delta(at, seq, seq + 1, [[98, seq]])
    recording.rotate()
    recording.seal()
    with Archive(recording.path) as archive:
        for ask in questions("btcusdt", 0, recording.at(9)):
            assert both(archive, ask).num_rows > 0


def test_without_its_packages_the_answer_is_the_same(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.flush()

    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(asof, "_BULK_LEVELS", 0)
    monkeypatch.setattr(asof, "_BULK_LEVELS_FIRST", 0)
    monkeypatch.setattr(asof, "import_module", missing)
    with Archive(recording.path) as archive:
        assert archive.bbo("btcusdt", 0, recording.at(9))["bid"].to_pylist() == [98.0]
