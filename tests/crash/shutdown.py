"""The whole recorder, on the embedded exchange under load: terminated, terminated twice, and killed.

What could be read from the journal before the signal must be there after it; after one SIGTERM all is sealed, ends in
``stop`` and no stream has a hole.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bookreel.ingest.config import load_config
from bookreel.ingest.run import record
from bookreel.storage.disk import OsDisk
from bookreel.storage.manifest import CorruptManifest
from bookreel.storage.query import open_views
from bookreel.storage.seal import SealRunning, seal
from bookreel.storage.segment import list_segments
from bookreel.storage.verify import verify
from tests.crash.kills import in_child
from tests.crash.witness import Lost, look

__all__ = ["ENDS", "Shutdowns", "shut_down"]

_SYMBOLS: Final = ("btcusdt", "ethusdt", "aidogeusdt")
_FEEDS: Final = ("mbp.150", "depth.step0", "bbo", "trade", "kline.1min", "detail")
_RATE: Final = 300
"""Events a second and symbol: some ten thousand frames a second."""
_PATIENCE_S: Final = 60.0

ENDS: Final[dict[str, tuple[tuple[int, ...], int]]] = {
    "terminated": ((signal.SIGTERM,), 8),
    "terminated twice": ((signal.SIGTERM, signal.SIGTERM), 1),
    "killed": ((signal.SIGKILL,), 1),
}
"""The signals that a recorder gets, and how often that is chosen."""


class Shutdowns(msgspec.Struct):
    """``seconds``: from SIGTERM to the end. ``ends``: by what was done. ``records``: those that were looked for."""

    seconds: list[float] = msgspec.field(default_factory=list)
    ends: Counter[str] = msgspec.field(default_factory=Counter)
    records: int = 0

    def add(self, other: Shutdowns) -> None:
        """Joins two counts."""
        self.seconds += other.seconds
        self.ends += other.ends
        self.records += other.records

    def figures(self) -> dict[str, float]:
        """Quantiles of the time to the end."""
        times = sorted(self.seconds)
        if not times:
            return {}
        return {
            "SIGTERM to the end, p50, s": round(times[len(times) // 2], 2),
            "SIGTERM to the end, p99, s": round(times[min(len(times) - 1, len(times) * 99 // 100)], 2),
            "SIGTERM to the end, max, s": round(times[-1], 2),
        }


def shut_down(count: int, seed: int, ends: tuple[str, ...] = tuple(ENDS)) -> Shutdowns:
    """Ends so many recorders, one after the other. Raises Lost."""
    rng = random.Random(seed)
    total = Shutdowns()
    with _exchange(seed) as urls:
        for _ in range(count):
            [name] = rng.choices(ends, [ENDS[end][1] for end in ends])
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
                archive = Path(home) / "archive"
                seconds, records = _record_and_end(archive, urls, ENDS[name][0], 0.5 + 1.5 * rng.random())
                if name == "terminated":
                    total.seconds.append(seconds)
                    in_child(lambda at=archive: _check_ended(at))  # type: ignore[misc]
                else:
                    in_child(lambda at=archive, had=records: _check_cut(at, had))  # type: ignore[misc]
                total.records += len(records)
                total.ends[name] += 1
    return total


@contextlib.contextmanager
def _exchange(seed: int) -> Iterator[dict[str, str]]:
    words = [sys.executable, "-m", "bookreel.cli", "exchange", "--port", "0", "--seed", str(seed)]
    words += ["--symbols", ",".join(_SYMBOLS), "--rate", str(_RATE)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            _, ws, feed, rest = process.stdout.readline().split()
            yield {"ws_url": ws, "feed_url": feed, "rest_url": rest}
        finally:
            process.kill()


def _record_and_end(
    archive: Path, urls: dict[str, str], signals: tuple[int, ...], seconds: float
) -> tuple[float, dict[int, bytes]]:
    """How long the end took, and what could be read before it."""
    flags = {"symbols": list(_SYMBOLS), "feeds": list(_FEEDS), "archive": str(archive), **urls}
    child = os.fork()
    if child == 0:
        sink = os.open(archive.with_name("log"), os.O_WRONLY | os.O_CREAT)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        code = 1
        try:
            record(load_config(None, flags))
            code = 0
        finally:
            os._exit(code)
    _wait_for(lambda: bool(list_segments(archive)) and len(_read(archive)) > 10, archive)
    time.sleep(seconds)
    before = _read(archive)
    begun = time.monotonic()
    for number in signals:
        os.kill(child, number)
        time.sleep(0.02 if len(signals) > 1 else 0)
    _, status = os.waitpid(child, 0)
    took = time.monotonic() - begun
    expected = 0 if len(signals) == 1 and signals[0] == signal.SIGTERM else None
    if expected is not None and os.waitstatus_to_exitcode(status) != expected:
        raise Lost(f"the recorder ended with {status}:\n{archive.with_name('log').read_text()[-2000:]}")
    return took, before


def _wait_for(found: Callable[[], bool], archive: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not found():
        if time.monotonic() > deadline:
            raise Lost(f"nothing was recorded:\n{archive.with_name('log').read_text()[-2000:]}")
        time.sleep(0.02)


def _read(archive: Path) -> dict[int, bytes]:
    for _ in range(100):
        try:
            return look(archive, OsDisk()).payloads
        except (FileNotFoundError, AssertionError, CorruptManifest):
            # The sealer went on meanwhile.
            continue
    raise Lost("the archive never came to rest")


def _check_ended(archive: Path) -> None:
    """Closed in order: everything is sealed and proven, and nothing is missing."""
    if list_segments(archive):
        raise Lost("something is not sealed")
    _check_proven(archive)
    with open_views(archive, ("sessions", "gaps")) as views:
        last = views.sql("SELECT event FROM sessions ORDER BY pos DESC LIMIT 1").fetchall()
        gaps = views.sql("SELECT cause, symbol, feed FROM gaps").fetchall()
    if last != [("stop",)] or gaps:
        raise Lost(f"it ends with {last}, gaps {gaps}")


def _check_cut(archive: Path, had: dict[int, bytes]) -> None:
    """Cut off: what could be read can be read, and sealing needs no help."""
    found = look(archive, OsDisk())
    lost = [pos for pos in had if pos > found.sealed and found.payloads.get(pos) != had[pos]]
    if lost:
        raise Lost(f"{len(lost)} records that could be read are gone, from {lost[0]} on")
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            seal(archive)
            break
        except SealRunning:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    _check_proven(archive)


def _check_proven(archive: Path) -> None:
    report = verify(archive)
    if report.problems:
        raise Lost(f"verify: {report.problems[0]}")
