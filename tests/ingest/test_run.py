"""The recorder as a process of its own, ended by signals."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.exchange import Exchange, ExchangeConfig
from bookreel.storage.journal import is_recording
from bookreel.storage.manifest import Manifest
from bookreel.storage.record import Kind, Record, decode_event
from bookreel.storage.segment import SegmentReader, list_segments

PROGRAM = """
import sys
from bookreel.ingest.config import load_config
from bookreel.ingest.errors import IngestError
from bookreel.ingest.run import record
try:
    record(load_config(sys.argv[1]))
except IngestError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def run(
    tmp_path: Path, signals: list[signal.Signals], until: Callable[..., Any], settings: str = ""
) -> tuple[int, str]:
    """Record until frames are durable, then send the signals; exit code and log."""

    async def main() -> tuple[int, str]:
        async with Exchange(ExchangeConfig(symbols=("btcusdt",))) as exchange:
            config = tmp_path / "recorder.toml"
            config.write_text(
                f'symbols = ["btcusdt"]\narchive = "{tmp_path / "archive"}"\nws_url = "{exchange.ws_url}"\n'
                f'feed_url = "{exchange.feed_url}"\nrest_url = "{exchange.rest_url}"\n{settings}\n'
            )
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PROGRAM, str(config), stderr=asyncio.subprocess.PIPE
            )
            if signals:
                await until(lambda: len(recorded(tmp_path)) > 60)
            for number in signals:
                process.send_signal(number)
            async with asyncio.timeout(60):
                _, log = await process.communicate()
            assert process.returncode is not None
            return process.returncode, log.decode()

    return asyncio.run(main())


def recorded(tmp_path: Path) -> list[Record]:
    return [
        record
        for segment in list_segments(tmp_path / "archive")
        for record in SegmentReader(segment.path).read()
        if isinstance(record, Record)
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, until: Callable[..., Any], number: signal.Signals) -> None:
    code, log = run(tmp_path, [number], until, "seal = false")
    assert code == 0, log
    last = recorded(tmp_path)[-1]
    assert last.kind is Kind.EVENT
    assert decode_event(last.payload) == {"event": "stop", "reason": number.name}
    assert not is_recording(tmp_path / "archive")
    assert "stopping: reason=" + number.name in log
    assert "Traceback" not in log


def test_in_the_end_everything_is_sealed(tmp_path: Path, until: Callable[..., Any]) -> None:
    code, log = run(tmp_path, [signal.SIGTERM], until)
    assert code == 0, log
    assert recorded(tmp_path) == []
    manifest = Manifest.load(tmp_path / "archive")
    assert manifest.last_pos > 60


def test_a_second_signal_ends_it_at_once_and_loses_nothing_durable(
    tmp_path: Path, until: Callable[..., Any]
) -> None:
    code, log = run(tmp_path, [signal.SIGTERM, signal.SIGTERM], until)
    assert code in (0, 128 + signal.SIGTERM), log
    found = recorded(tmp_path)
    manifest = Manifest.load(tmp_path / "archive")
    assert len(found) > 60 or manifest.last_pos > 60
    assert not is_recording(tmp_path / "archive")


def test_wrong_use_ends_with_2(tmp_path: Path, until: Callable[..., Any]) -> None:
    code, log = run(tmp_path, [], until, 'feed = "bbo"')
    assert code == 2
    assert "feeds" in log
    assert not (tmp_path / "archive").exists()
