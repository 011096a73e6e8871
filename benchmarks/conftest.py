"""Frames, an archive of them, and the peers, made once for all measurements."""

from __future__ import annotations

import base64
import gc
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import frames as captures
import pytest
from frames import Frames, Run

from bookreel.ingest.clock import SystemClock
from bookreel.ingest.run import spare_collector
from bookreel.storage.journal import Journal
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.seal import seal

PEERS_PYTHON: Final = Path(__file__).resolve().parents[1] / "build" / "peers" / "bin" / "python"
OUR_PARTS: Final = (
    "bookreel",
    "msgspec",
    "isal",
    "pyarrow",
    "duckdb",
    "numba",
    "numpy",
    "sortedcontainers",
    "matplotlib",
    "pytest-benchmark",
)

CORES: Final = sorted(os.sched_getaffinity(0))
QUICK: Final = os.environ.get("BOOKREEL_BENCH") == "quick"
"""Smaller archives, for a run of two minutes."""


def rounds(full: int) -> int:
    """How often to measure what takes long."""
    return max(2, full // 5) if QUICK else full


_facts: dict[str, Any] = {"quick": QUICK}
_load_before: Final = os.getloadavg()[0]


@pytest.fixture(scope="session")
def frames() -> Frames:
    """The frames of this run."""
    found = captures.load()
    _facts["data"] = found.describe()
    return found


@pytest.fixture(scope="session")
def run(frames: Frames) -> Run:
    """The one run of the book in the capture."""
    return frames.run()


@pytest.fixture(scope="session")
def journaled(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with the capture in its journal, each frame as received; not sealed."""
    archive = tmp_path_factory.mktemp("journaled") / "archive"
    with Journal.open(archive, "huobi", clock=SystemClock()) as journal:
        first, last = frames.all[0].ts_recv, frames.all[-1].ts_recv
        internal = (Direction.INTERNAL, Kind.EVENT)
        journal.append(first, first, "", 0, *internal, encode_event("start", run="1", venue="huobi"))
        journal.append(first, first, "line-0", 1, *internal, encode_event("connect", url="ws://venue"))
        for number, frame in enumerate(frames.all):
            journal.append(
                frame.ts_recv, frame.ts_recv, "line-0", 1, Direction.IN, Kind.COMPRESSED, frame.payload
            )
            if number % 10_000 == 0:
                journal.flush()
        journal.append(last, last, "", 0, *internal, encode_event("stop", reason="end"))
        journal.flush()
        assert journal.shed == 0, "everything was waited for"
    return archive


@pytest.fixture(scope="session")
def sealed(journaled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same archive, sealed."""
    archive = copy(journaled, tmp_path_factory.mktemp("sealed"))
    seal(archive)
    return archive


def copy(archive: Path, folder: Path) -> Path:
    """A copy of an archive that is not open."""
    target = folder / "archive"
    subprocess.run(["cp", "-r", os.fspath(archive), os.fspath(target)], check=True)
    return target


@pytest.fixture
def fresh(journaled: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of the archive that is not sealed."""
    made: list[Path] = []

    def make() -> Path:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(copy(journaled, folder))
        return made[-1]

    return make


@pytest.fixture
def one_core() -> Iterator[None]:
    """One core for the recorder and all its threads, in a process that is set up as its own."""
    os.sched_setaffinity(0, {CORES[0]})
    thresholds = gc.get_threshold()
    spare_collector()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    os.sched_setaffinity(0, set(CORES))


class Peer:
    """The process of one peer; each round is asked of it over a pipe. A context manager."""

    def __init__(self, name: str, data: Path) -> None:
        self._name = name
        self._errors = data.with_name(f"{name}.stderr")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [os.fspath(PEERS_PYTHON), os.fspath(Path(__file__).with_name("peers.py")), os.fspath(data)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)

    def ask(self, verb: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        self._process.stdin.write(json.dumps({"do": verb, "peer": self._name}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} failed at {verb}: {self._errors.read_text()[-2000:]}")
        return json.loads(line)


@pytest.fixture(scope="session")
def peers_data(frames: Frames, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the peers are given."""
    numbers = [pair for delta in run.deltas for pair in (*delta.bids, *delta.asks)]
    symbols = {json.loads(frame.text)["ch"].split(".")[1] for frame in frames.depth}
    data = {
        "bids": run.snapshot.bids,
        "asks": run.snapshot.asks,
        "deltas": [(delta.ts_event, delta.bids, delta.asks) for delta in run.deltas],
        "price_digits": max(decimals(price) for price, _ in numbers),
        "size_digits": max(decimals(size) for _, size in numbers),
        "depth": [base64.b64encode(frame.payload).decode() for frame in frames.depth],
        "depth_symbols": sorted(symbols),
    }
    path = tmp_path_factory.mktemp("peers") / "frames.json"
    path.write_text(json.dumps(data))
    return path


def decimals(value: float) -> int:
    """Digits after the point."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    assert isinstance(exponent, int), "a market has only finite numbers"
    return max(0, -exponent)


@pytest.fixture
def measure_peer(
    peers_data: Path, benchmark: Any
) -> Callable[[str, dict[str, int], tuple[float, float]], None]:
    """Measures a peer by name, and compares the best bid and ask it ends with; skips one that is not here."""

    def measure(name: str, units: dict[str, int], best: tuple[float, float]) -> None:
        if not PEERS_PYTHON.exists():
            pytest.skip("the environment of the peers is not here")
        with Peer(name, peers_data) as peer:
            _facts.setdefault("peers", peer.ask("versions"))
            answer = peer.ask("prepare")
            if answer is not None:
                pytest.skip(answer["missing"])
            benchmark.extra_info["units"] = units
            benchmark.pedantic(
                peer.ask, args=("run",), setup=lambda: peer.ask("prepare"), rounds=9, warmup_rounds=1
            )
            assert tuple(peer.ask("best")) == pytest.approx(best, rel=1e-12), "its book is another one"

    return measure


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """What the report says about the run, beside the times."""
    output_json["bookreel"] = {
        **_facts,
        "versions": {name: importlib.metadata.version(name) for name in OUR_PARTS},
        "machine": {
            "cores": os.cpu_count(),
            "load": [round(_load_before, 1), round(os.getloadavg()[0], 1)],
            "system": f"{platform.system()} {platform.machine()}",
            "python": f"{platform.python_implementation()} {platform.python_version()}",
        },
    }
