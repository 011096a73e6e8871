"""What docs/serve.md shows is run, in order, against servers of an archive of the embedded exchange."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from bookreel.replay.server import ROUTES
from bookreel.replay.server.errors import ServeError
from bookreel.replay.server.limits import DEFAULT
from tests.documents import ROOT, Outputs, blocks, served

TEXT: Final = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
BLOCKS: Final = blocks(TEXT)
TOKEN: Final = "0123456789abcdef-token"
ADDRESS: Final = "127.0.0.1:8000"

OUTPUT: Final = {
    "/v1/symbols": r'^\{"symbols":\["btcusdt","ethusdt"\]\}$',
    "/v1/trades?symbol=btcusdt&limit=3": r'^\{"type":"trades",(.*\n){3}\{"type":"end","reason":"limit","rows":3',
    "allow_gap=1": r'^\{"symbol":"btcusdt","feed":"mbp.150".*"bids":\[\[',
    "/v1/tables": r'"name":"trades"',
    "/v1/coverage": r'"state":"covered"',
    "/v1/count": r'"rows":[1-9]',
    "every=1s": r'^\{"type":"books".*"bid_price":\[\d',
    "source=book": r'^\{"type":"bbo".*"bid":\d',
    "period=1min": r'^\{"type":"bars".*"period":"1min"',
    "feed=mbp.150,bbo": r'^\{"type":"end","reason":"complete"',
    "/health-check": r'"status":"Healthy"',
    "format=csv'\n": r"^\"?ts_event\"?,",
    "Accept: text/csv": r"^\"?ts_event\"?,",
    "limit=10": r"^[1-9]\d* trades$",
    "import duckdb": r"btcusdt .* buy",
    "symbol=btcusd'": r'^\{"error":"not_found","message":"the archive has no symbol \'btcusd\'; did you mean btcusdt',
    "Authorization": r'^\{"symbols"',
    "--data-urlencode 'q=": r'^\{"type":"row","symbol":"btcusdt","trades":[1-9]',
    "ohlcv(": r"^\"?bucket",
    "openapi.json'": r'^\{"openapi":"3.1.0"',
    "tables=trades,gaps": r'^\{"type":"trade","symbol":"btcusdt"(.*\n)*\{"type":"end","reason":"complete"',
    "speed=20": r'^\{"type":"bbo"',
    "new WebSocket": r"^(done: \w+\n){5}complete true true\nclosed 1000$",
    '"filters"': r'^\{"localTimestamp":"[^"]+","message":\{"ch":"market.btcusdt.trade.detail"',
    '"dataTypes"': r'^\{"type":"trade","symbol":"BTCUSDT"(.*\n)*\{"type":"trade_bar"',
}
"""A word of an example to what its output has to look like."""


def run(folder: Path, words: list[str]) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{words}\n{done.stderr}"
    return done.stdout


def commands(language: str, source: str) -> list[list[str]]:
    """What runs a block. Raises nothing: a program that is not here is skipped, and the test says so at its end."""
    source = source.replace("$BOOKREEL_TOKEN", TOKEN)
    day = time.time()
    for date, instant in (("2026-01-01", day - 86_400), ("2027-01-01", day + 86_400)):
        source = source.replace(date, time.strftime("%Y-%m-%d", time.gmtime(instant)))
    if language == "python":
        return [[sys.executable, "-c", source]]
    if language == "js":
        return [["node", "--experimental-websocket", "--input-type=module", "-e", source]]
    return [shlex.split(line) for line in source.splitlines()]


def has_websockets(node: str) -> bool:
    """Since version 22, and behind a flag since 20.10, Node has what browsers have."""
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=120).stdout
    return tuple(map(int, version.strip().lstrip("v").split(".")[:2])) >= (20, 10)


def test_blocks_run(recorded_folder: Path) -> None:
    node = shutil.which("node")
    missing = {
        *(() if shutil.which("curl") else ("curl",)),
        *(() if node and has_websockets(node) else ("node",)),
    }
    assert {language for language, _ in BLOCKS} == {"sh", "python", "js"}
    outputs = Outputs(OUTPUT)
    environment = {**os.environ, "BOOKREEL_TOKEN": TOKEN}
    address = ""
    with ExitStack() as running:
        for language, block in BLOCKS:
            if block.startswith("bookreel serve "):
                running.close()
                line = running.enter_context(served(recorded_folder, shlex.split(block)[1:], environment))
                address = line.strip().removeprefix("listening: http://")
                continue
            sources = block.splitlines(keepends=True) if language == "sh" else [block]
            for source in sources:
                for words in commands(language, source.replace(ADDRESS, address)):
                    outputs.check(source, None if words[0] in missing else run(recorded_folder, words))
    outputs.check_all_seen()
    if missing:
        pytest.skip(f"run without {' and '.join(sorted(missing))}, which is not installed")


def test_every_path_and_parameter_is_named() -> None:
    for route in ROUTES:
        assert f"`{route.path}" in TEXT, route.path
        for parameter in route.parameters:
            if route.path.startswith("/v1/") and "data-feeds" not in route.path:
                assert re.search(rf"`{parameter.name}[`=]", TEXT), (route.path, parameter.name)


def test_every_error_is_named() -> None:
    kinds = {kind for kind in ServeError.__subclasses__() if kind.__module__ == ServeError.__module__}
    for kind in kinds:
        if kind.name != "bad_listen":
            row = rf"^\| {kind.status} \| .*`{kind.name}`"
            assert re.search(row, TEXT, flags=re.MULTILINE), (kind.status, kind.name)


def test_limits_are_those_there_are() -> None:
    values = (
        f"{DEFAULT.range_days} days", f"{DEFAULT.rows:,}", f"`--streams`, {DEFAULT.streams}",
        f"{DEFAULT.headers} headers", f"{DEFAULT.header_s:.0f} s", f"after {DEFAULT.reader_s:.0f} s",
        f"{DEFAULT.body_bytes >> 10} KiB",
    )  # fmt: skip
    for value in values:
        assert value in TEXT, value
