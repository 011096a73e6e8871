from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bookreel.exchange import Exchange, ExchangeConfig
from bookreel.replay import Archive

SYMBOLS = "btcusdt,ethusdt,aidogeusdt"
FEEDS = "mbp.150,depth.step0,bbo,trade,kline.1min,detail"

ENOUGH = """
SELECT least(
    (SELECT count(DISTINCT symbol) FROM gaps WHERE cause = 'seq_gap' AND "end" IS NOT NULL),
    (SELECT count(DISTINCT symbol) FROM book_snapshots WHERE feed LIKE 'depth%'),
    (SELECT count(DISTINCT symbol) FROM bbo),
    (SELECT count(DISTINCT symbol) FROM trades),
    (SELECT count(DISTINCT symbol) FROM klines),
    (SELECT count(DISTINCT symbol) FROM tickers)
) - (SELECT count(*) FROM gaps WHERE "end" IS NULL)
"""
"""How many symbols have rows of every kind, and a gap that is over."""

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "bookreel.cli", *map(str, words)]


class Process:
    """A command that runs beside the test, its stderr in a file."""

    def __init__(self, log: Path, *words: object) -> None:
        self.log = log
        with log.open("w") as sink:
            self.popen = subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=sink, text=True)

    def line(self) -> str:
        """The next line of its output."""
        assert self.popen.stdout is not None
        return self.popen.stdout.readline()

    def wait_for(self, found: Callable[[], Any], seconds: float = 60) -> Any:
        """What ``found`` gives as soon as that is true; the process has to live until then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := found():
                return result
            assert self.popen.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"it did not happen in {seconds} s:\n{self.log.read_text()}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code after the signal."""
        self.popen.send_signal(number)
        self.popen.communicate(timeout=60)
        return self.popen.returncode


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command to its end; a traceback is never an answer."""

    def run(
        *words: object, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*words),
            cwd=cwd,
            env=os.environ | {"COLUMNS": "200"} | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start a command; it is gone after the test."""
    started: list[Process] = []

    def start(*words: object) -> Process:
        started.append(Process(tmp_path / f"process-{len(started)}.log", *words))
        return started[-1]

    yield start
    for process in started:
        process.popen.kill()
        process.popen.communicate()


@pytest.fixture(scope="session")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The flags of `record` for an exchange that loses a delta each second."""
    log = tmp_path_factory.mktemp("exchange") / "log"
    exchange = Process(
        log, "exchange", "--port", 0, "--symbols", SYMBOLS, "--rate", 60, "--faults", "lost_delta=60"
    )
    word, ws, feed, rest = exchange.line().split()
    assert word == "listening:"
    yield ["--ws-url", ws, "--feed-url", feed, "--rest-url", rest]
    exchange.popen.kill()
    exchange.popen.communicate()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything of three symbols, each with a gap, and all gaps over, however long that takes. Tests read it; one
    that writes takes a copy.
    """
    folder = tmp_path_factory.mktemp("recorded")
    path, config = folder / "archive", folder / "r.toml"
    symbols = SYMBOLS.split(",")
    # A machine that is busy is no silent venue.
    config.write_text("silence_floor_ms = 60000\n")

    def enough() -> bool:
        if not (path / "archive.json").exists():
            return False
        with Archive(path) as growing:
            return growing.sql(ENOUGH).fetchall() == [(len(symbols),)]

    async def main() -> None:
        async with Exchange(ExchangeConfig(symbols=tuple(symbols), rate=60.0)) as exchange:
            urls = [
                "--ws-url",
                exchange.ws_url,
                "--feed-url",
                exchange.feed_url,
                "--rest-url",
                exchange.rest_url,
            ]
            chosen = ["--symbols", SYMBOLS, "--feeds", FEEDS, "--archive", path]
            recorder = Process(folder / "log", "record", config, *chosen, *urls)
            for symbol in symbols:
                exchange.inflict("lost_delta", f"market.{symbol}.mbp.150")
            try:
                await asyncio.to_thread(recorder.wait_for, enough)
                assert await asyncio.to_thread(recorder.end) == 0, recorder.log.read_text()
            finally:
                recorder.popen.kill()

    asyncio.run(main())
    return path


@pytest.fixture
def copy(archive: Path, tmp_path: Path) -> Path:
    """The archive, for this test alone."""
    return Path(shutil.copytree(archive, tmp_path / "copy"))


@pytest.fixture(scope="session")
def query(run: Run) -> Callable[[Path, str], list[dict[str, Any]]]:
    """Rows of a statement."""

    def query(archive: Path, statement: str) -> list[dict[str, Any]]:
        done = run("sql", "--archive", archive, statement, "--format", "json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return query


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A small file of captured frames."""
    path = tmp_path / "capture.ndjson"
    lines = []
    for number in range(1, 21):
        tick = {
            "id": f"1234567890123456789{number:05}",
            "ts": 1_700_000_000_000 + number,
            "tradeId": 100 + number,
            "amount": 0.5,
            "price": 100.25,
            "direction": "buy",
        }
        message = {
            "ch": "market.btcusdt.trade.detail",
            "ts": 1_700_000_000_000 + number,
            "tick": {"id": number, "ts": 1_700_000_000_000 + number, "data": [tick]},
        }
        lines.append(json.dumps({"recv_ts": 1_700_000_000 + number, "raw": json.dumps(message)}) + "\n")
    path.write_text("".join(lines))
    return path
