"""Questions to a sealed archive that is open, its files in the page cache."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import rounds
from frames import SYMBOL, Frames, Run

from bookreel.replay import Archive


@pytest.fixture
def archive(sealed: Path) -> Iterator[Archive]:
    with Archive(sealed) as opened:
        yield opened


@pytest.fixture
def instants(frames: Frames) -> Callable[[], int]:
    """Draws instants (ns) at which the book is live."""
    rng = random.Random(1)
    first, last = frames.all[0].ts_recv + 2_000_000_000, frames.all[-1].ts_recv
    return lambda: rng.randrange(first, last)


@pytest.fixture
def whole(frames: Frames) -> tuple[int, int]:
    return frames.all[0].ts_recv, frames.all[-1].ts_recv + 1


def test_book(benchmark: Any, archive: Archive, instants: Callable[[], int]) -> None:
    def ask(at: int) -> None:
        assert archive.book(SYMBOL, at).valid, "the capture has no gap"

    ask(instants())
    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(ask, setup=lambda: ((instants(),), {}), rounds=200, warmup_rounds=5)


def test_book_sql(benchmark: Any, archive: Archive, instants: Callable[[], int]) -> None:
    def ask(at: int) -> None:
        assert archive.sql("FROM book_at(?, ?)", [SYMBOL, at]).fetchall(), "a book has levels"

    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(ask, setup=lambda: ((instants(),), {}), rounds=40, warmup_rounds=2)


def test_books(benchmark: Any, archive: Archive, whole: tuple[int, int]) -> None:
    rows = archive.books(SYMBOL, *whole, every=None, depth=20).num_rows
    benchmark.extra_info["units"] = {"row": rows}
    benchmark.pedantic(
        archive.books,
        args=(SYMBOL, *whole),
        kwargs={"every": None, "depth": 20},
        rounds=rounds(9),
        warmup_rounds=1,
    )


def test_bbo(benchmark: Any, archive: Archive, whole: tuple[int, int], run: Run) -> None:
    rows = archive.bbo(SYMBOL, *whole).num_rows
    benchmark.extra_info["units"] = {"row": rows, "level": run.levels}
    benchmark.pedantic(archive.bbo, args=(SYMBOL, *whole), rounds=rounds(15), warmup_rounds=1)


def test_events(benchmark: Any, archive: Archive) -> None:
    def count() -> int:
        return sum(1 for _ in archive.events())

    benchmark.extra_info["units"] = {"event": count()}
    benchmark.pedantic(count, rounds=rounds(9), warmup_rounds=1)


def test_open(benchmark: Any, sealed: Path, instants: Callable[[], int]) -> None:
    def ask(at: int) -> None:
        with Archive(sealed) as opened:
            assert opened.book(SYMBOL, at).valid, "the capture has no gap"

    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(ask, setup=lambda: ((instants(),), {}), rounds=rounds(20), warmup_rounds=1)
