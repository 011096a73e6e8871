"""Processes that are killed while they seal; in the end every acknowledged record is in the tables once.

Apart from :mod:`tests.crash.kills`, as a process that has no library for Parquet in it is forked much faster.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from bookreel.storage.manifest import Manifest
from bookreel.storage.record import Direction, Kind
from bookreel.storage.seal import seal
from tests.crash.kills import WORK, Kills, Work, kill, open_archive
from tests.crash.witness import Lost

__all__ = ["check_sealed", "kill_sealers"]


def kill_sealers(kills: int, seed: int) -> Kills:
    """As :func:`kill`, with sealers among the victims."""
    return kill(kills, seed, _WORK, check_sealed)


def _seal(archive: Path, run: int, pipe: int) -> None:
    """Seals what is closed; then there must be more."""
    open_archive(archive).close()
    while True:
        seal(archive)
        with open_archive(archive) as journal:
            for number in range(3):
                now = time.time_ns()
                journal.append(now, now, "ws-0", 1, Direction.IN, Kind.TEXT, b'{"ping":%d}' % number)


_WORK: Final[dict[str, tuple[Work, int, float]]] = {
    "writing": (WORK["writing"][0], 1, 0.012),
    "sealing": (_seal, 3, 0.03),
}


def check_sealed(archive: Path, acknowledged: dict[int, bytes]) -> None:
    """Everything sealed, each record is in the tables once."""
    seal(archive)
    manifest = Manifest.load(archive)
    manifest._check()
    listed = {archive / file.path for entry in manifest.segments for file in entry.files}
    found = set((archive / "parquet").rglob("*.parquet"))
    if listed != found:
        raise Lost(f"files beside the manifest: {listed ^ found}")
    stored: dict[int, str] = {}
    for file in manifest.files("frames"):
        table = pq.read_table(
            archive / file.path, columns=["pos", "payload"], partitioning=None, use_threads=False
        )
        for pos, text in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if pos in stored:
                raise Lost(f"record {pos} is sealed twice")
            stored[pos] = text
    for pos, expected in acknowledged.items():
        if stored.get(pos) != expected.decode():
            raise Lost(f"acknowledged record {pos} is not sealed as it was given")
