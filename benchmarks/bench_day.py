"""A day of one busy symbol, sealed and compacted, its files in the page cache; and one symbol of many."""

from __future__ import annotations

import heapq
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import day
import pyarrow.parquet as pq
import pytest
from conftest import QUICK
from day import DAY_NS, MIDNIGHT_NS
from frames import SYMBOL, Run

from bookreel.replay import Archive
from bookreel.storage.manifest import Manifest

DELTAS = 36_000 if QUICK else 864_000
SYMBOLS = 70 if QUICK else 700
BUSIEST = 3_000 if QUICK else 30_000


@pytest.fixture(scope="session")
def busy(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """864,000 deltas a day; of a quick run, its first hour."""
    return day.build(
        tmp_path_factory.mktemp("day") / "archive",
        day.told(run, day.encoded(run), SYMBOL, DELTAS),
        compacted=True,
    )


@pytest.fixture
def archive(busy: Path) -> Iterator[Archive]:
    with Archive(busy) as opened:
        yield opened


def instants() -> Iterator[int]:
    rng = random.Random(1)
    while True:
        yield MIDNIGHT_NS + rng.randrange(10**9, DELTAS * day.DELTA_NS)


@pytest.fixture
def one_core() -> Iterator[None]:
    """This process, and the threads that it starts, on one core."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("a process cannot be held to one core here")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield
    os.sched_setaffinity(0, cores)


def test_bbo(benchmark: Any, archive: Archive, busy: Path) -> None:
    levels = sum(file.rows for file in Manifest.load(busy).files("book_deltas"))
    ask = (SYMBOL, MIDNIGHT_NS, MIDNIGHT_NS + DAY_NS)
    benchmark.extra_info["units"] = {"row": archive.bbo(*ask).num_rows, "level": levels}
    benchmark.pedantic(archive.bbo, args=ask, rounds=5, warmup_rounds=1)


def test_bbo_one_core(benchmark: Any, one_core: None, archive: Archive, busy: Path) -> None:
    test_bbo(benchmark, archive, busy)


def test_bbo_halves(benchmark: Any, archive: Archive, busy: Path) -> None:
    """Both halves of the day at once, each in a thread."""
    noon = MIDNIGHT_NS + DELTAS * day.DELTA_NS // 2
    halves = [(MIDNIGHT_NS, noon), (noon, MIDNIGHT_NS + DAY_NS)]

    def one(half: tuple[int, int]) -> int:
        with Archive(busy) as opened:
            return opened.bbo(SYMBOL, *half).num_rows

    levels = sum(file.rows for file in Manifest.load(busy).files("book_deltas"))
    rows = archive.bbo(SYMBOL, MIDNIGHT_NS, MIDNIGHT_NS + DAY_NS).num_rows
    benchmark.extra_info["units"] = {"row": rows, "level": levels}
    with ThreadPoolExecutor(2) as pool:
        found = benchmark.pedantic(lambda: sum(pool.map(one, halves)), rounds=5, warmup_rounds=1)
    assert found == rows, "each half has the rows of its time"


def test_books(benchmark: Any, archive: Archive) -> None:
    end = MIDNIGHT_NS + min(DELTAS * day.DELTA_NS, 6 * 3_600 * 10**9)
    ask, how = (SYMBOL, MIDNIGHT_NS, end), {"every": "100ms", "depth": 20}
    benchmark.extra_info["units"] = {"row": archive.books(*ask, **how).num_rows}
    benchmark.pedantic(archive.books, args=ask, kwargs=how, rounds=3, warmup_rounds=1)


def test_book(benchmark: Any, archive: Archive) -> None:
    drawn = instants()
    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(archive.book, setup=lambda: ((SYMBOL, next(drawn)), {}), rounds=100, warmup_rounds=5)


def test_open(benchmark: Any, busy: Path) -> None:
    def ask(at: int) -> None:
        with Archive(busy) as opened:
            assert opened.book(SYMBOL, at).valid, "the day has no gap"

    drawn = instants()
    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(ask, setup=lambda: ((next(drawn),), {}), rounds=40, warmup_rounds=2)


def test_book_sql(benchmark: Any, archive: Archive) -> None:
    def ask(at: int) -> None:
        assert archive.sql("FROM book_at(?, ?)", [SYMBOL, at]).fetchall(), "a book has levels"

    drawn = instants()
    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(ask, setup=lambda: ((next(drawn),), {}), rounds=30, warmup_rounds=2)


def test_one_symbol(benchmark: Any, run: Run, tmp_path: Path) -> None:
    """The busiest symbol has 30,000 deltas, the one of rank r an r-th of that."""
    names = [f"s{number:03d}usdt" for number in range(SYMBOLS)]
    counts = [BUSIEST // (rank + 1) for rank in range(SYMBOLS)]
    levels = day.encoded(run)
    streams = [
        day.told(run, levels, name, count, every_ns=DAY_NS // (count + 1))
        for name, count in zip(names, counts, strict=True)
    ]
    said = heapq.merge(*streams, key=lambda frame: frame.after_ns)
    archive = day.build(tmp_path / "archive", said, compacted=True, segment_ns=DAY_NS)
    shares = sorted(share(archive, name) for name in names)
    benchmark.extra_info["sizes"] = {
        "share": shares[len(shares) // 2],
        "share_p90": shares[len(shares) * 9 // 10],
    }
    benchmark.extra_info["units"] = {"question": 1}
    with Archive(archive) as opened:
        benchmark.pedantic(opened.bbo, args=(names[-1], MIDNIGHT_NS, MIDNIGHT_NS + DAY_NS), rounds=15)


def share(archive: Path, symbol: str) -> float:
    """Of the bytes of the largest file of deltas, those that a reader of one symbol needs: its row groups."""
    file = max(Manifest.load(archive).files("book_deltas"), key=lambda file: file.bytes)
    footer = pq.read_metadata(archive / file.path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    place = next(at for at in range(footer.num_columns) if groups[0].column(at).path_in_schema == "symbol")
    needed = 0
    for group in groups:
        bounds = group.column(place).statistics
        if bounds.min <= symbol <= bounds.max:
            needed += sum(group.column(at).total_compressed_size for at in range(footer.num_columns))
    return needed / file.bytes
