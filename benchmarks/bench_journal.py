"""Records into the journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from frames import Frames

from bookreel.ingest.clock import SystemClock
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.record import Direction, Kind

RECORDS = 20_000


@pytest.fixture
def payloads(frames: Frames) -> list[bytes]:
    deltas = [frame.payload for frame in frames.of("mbp.150")]
    return (deltas * (RECORDS // len(deltas) + 1))[:RECORDS]


class Bench:
    """A new journal a round; the pumps are called, not run by threads."""

    def __init__(self, folder: Path, payloads: list[bytes]) -> None:
        self._folder = folder
        self._payloads = payloads
        self._journal: Journal | None = None
        self._rounds = 0

    def begin(self) -> None:
        self._rounds += 1
        folder = self._folder / str(self._rounds)
        self._journal = Journal.open(
            folder, "huobi", clock=SystemClock(), options=JournalOptions(threads=False)
        )

    def append(self) -> None:
        assert self._journal is not None, "a round begins with a journal"
        append = self._journal.append
        for payload in self._payloads:
            append(1, 1, "line-0", 1, Direction.IN, Kind.COMPRESSED, payload)

    def make_durable(self) -> None:
        assert self._journal is not None, "a round begins with a journal"
        self.append()
        self._journal.flush()
        assert self._journal.durable == self._journal.received

    def end(self) -> None:
        assert self._journal is not None, "a round begins with a journal"
        self._journal.close()


def test_append(benchmark: Any, payloads: list[bytes], tmp_path: Path) -> None:
    bench = Bench(tmp_path, payloads)
    benchmark.extra_info["units"] = {"record": len(payloads)}
    benchmark.pedantic(bench.append, setup=bench.begin, teardown=bench.end, rounds=9, warmup_rounds=1)


def test_durable(benchmark: Any, payloads: list[bytes], tmp_path: Path) -> None:
    bench = Bench(tmp_path, payloads)
    benchmark.extra_info["units"] = {"record": len(payloads)}
    benchmark.pedantic(bench.make_durable, setup=bench.begin, teardown=bench.end, rounds=9, warmup_rounds=1)


def test_plain_file(benchmark: Any, payloads: list[bytes], tmp_path: Path) -> None:
    def write() -> None:
        with (tmp_path / "plain").open("wb") as file:
            for payload in payloads:
                file.write(payload)
            file.flush()
            os.fdatasync(file.fileno())

    benchmark.extra_info["units"] = {"record": len(payloads)}
    benchmark.pedantic(write, rounds=9, warmup_rounds=1)
