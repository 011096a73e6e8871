"""A whole sealed archive replayed, its files in the page cache: opened, read, ordered, and made what is given.

What is made is let go at once: writing it to a pipe or a socket is not in these numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import rounds

from bookreel.replay import Archive
from bookreel.replay.server.tardis_normal import normal_chunks
from bookreel.replay.server.tardis_options import NormalOptions, Span


def _lines(archive: Path, **choice: Any) -> int:
    async def run() -> int:
        with Archive(archive) as opened:
            return sum([len(chunk) async for chunk in opened.lines(**choice)])

    return asyncio.run(run())


def _events(archive: Path, **choice: Any) -> int:
    with Archive(archive) as opened:
        return sum(1 for _ in opened.events(**choice))


def _stream(archive: Path, **choice: Any) -> int:
    async def run() -> int:
        count = -1
        with Archive(archive) as opened:
            async for _ in opened.stream(speed=None, **choice):
                count += 1
        return count

    return asyncio.run(run())


def _batches(archive: Path, **choice: Any) -> int:
    with Archive(archive) as opened:
        return sum(rows.num_rows for batch in opened.batches(**choice) for rows in batch.rows.values())


def _measure(
    benchmark: Any,
    archive: Path,
    unit: str,
    read: Callable[..., int],
    *,
    warmup_rounds: int = 1,
    **choice: Any,
) -> None:
    counts = {"frame": lambda: _events(archive, tables="frames"), "row": lambda: _batches(archive)}
    benchmark.extra_info["units"] = {unit: counts.get(unit, lambda: _events(archive))()}
    benchmark.pedantic(read, args=(archive,), kwargs=choice, rounds=rounds(9), warmup_rounds=warmup_rounds)


def test_frames_lines(benchmark: Any, sealed: Path) -> None:
    # Machine code writes them once a process has made half a million lines.
    _measure(benchmark, sealed, "frame", _lines, warmup_rounds=7, tables="frames")


def test_events_lines(benchmark: Any, sealed: Path) -> None:
    _measure(benchmark, sealed, "event", _lines)


@pytest.mark.parametrize("table", ["trades", "bbo", "book_deltas"])
def test_lines_of(benchmark: Any, sealed: Path, table: str) -> None:
    benchmark.extra_info["units"] = {"event": _events(sealed, tables=table)}
    benchmark.pedantic(_lines, args=(sealed,), kwargs={"tables": table}, rounds=rounds(9), warmup_rounds=1)


@pytest.mark.parametrize("data_type", ["book_snapshot_20_0ms", "book_change"])
def test_normal(benchmark: Any, sealed: Path, data_type: str) -> None:
    options = NormalOptions(exchange="huobi", start="", end="", data_types=[data_type])

    def read() -> tuple[int, int]:
        lines = size = 0
        for chunk in normal_chunks(sealed, [(options, Span(0, 1 << 62))]):
            lines += bytes(chunk).count(b"\n")
            size += len(chunk)
        return lines, size

    # The first time a process begins with the engine, and loads machine code.
    found, size = read()
    benchmark.extra_info["units"] = {"book": found, "byte": size}
    benchmark.pedantic(read, rounds=rounds(9), warmup_rounds=1)


def test_events(benchmark: Any, sealed: Path) -> None:
    _measure(benchmark, sealed, "event", _events)


def test_events_async(benchmark: Any, sealed: Path) -> None:
    _measure(benchmark, sealed, "event", _stream)


def test_events_decimal(benchmark: Any, sealed: Path) -> None:
    _measure(benchmark, sealed, "event", _events, numbers="decimal")


def test_batches(benchmark: Any, sealed: Path) -> None:
    _measure(benchmark, sealed, "row", _batches)


def test_first_event(benchmark: Any, sealed: Path) -> None:
    def first() -> None:
        with Archive(sealed) as opened:
            next(opened.events())

    benchmark.extra_info["units"] = {"question": 1}
    benchmark.pedantic(first, rounds=rounds(20), warmup_rounds=1)
