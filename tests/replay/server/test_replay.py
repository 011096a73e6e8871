"""``/v1/replay`` over HTTP: the lines of ``Archive.lines``, and how they get to a client."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bookreel.replay import Archive
from bookreel.replay.server import Limits, Settings
from tests.replay.server.serving import Site, serving

CHOICES: list[dict[str, Any]] = [
    {},
    {"tables": "frames"},
    {"symbols": "btcusdt", "tables": "trades,gaps"},
    {"feeds": "mbp.150,trade", "numbers": "decimal"},
]


def lines(archive: Path, **choice: Any) -> bytes:
    """What is to be given."""

    async def run() -> bytes:
        with Archive(archive) as opened:
            return b"".join([bytes(chunk) async for chunk in opened.lines(**choice)])

    return asyncio.run(run())


def spelled(choice: dict[str, Any]) -> dict[str, Any]:
    """A query as arguments."""
    names = {
        key: choice[key].replace(",trade", ",trade.detail").split(",")
        for key in ("symbols", "tables", "feeds")
        if key in choice
    }
    return {**choice, **names}


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_it_is_the_same_bytes_as_in_python(site: Site, recorded: Path, choice: dict[str, Any]) -> None:
    reply = site.get("/v1/replay", **choice)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.body == lines(recorded, **spelled(choice))
    assert reply.lines()[-1]["type"] == "end"


def test_a_range_and_a_token_lead_on(site: Site) -> None:
    whole = site.get("/v1/replay").body
    middle = json.loads(whole.splitlines()[len(whole.splitlines()) // 2])["ts_recv"]
    first = site.get("/v1/replay", to=middle)
    second = site.get("/v1/replay", to=middle, after=first.lines()[-1]["token"])
    assert len(second.lines()) == 1, "its range had ended"
    parts = [reply.body.rpartition(b"{")[0] for reply in (first, site.get("/v1/replay", from_=middle))]
    assert len(parts[0]) > 1000
    assert b"".join(parts) == whole.rpartition(b"{")[0]


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "gzip;q=0.5, zstd;q=0", "br, gzip"])
def test_encodings(site: Site, encoding: str) -> None:
    plain = site.get("/v1/replay", tables="bbo").body
    reply = site.get("/v1/replay", {"Accept-Encoding": encoding}, tables="bbo")
    name = reply.headers["content-encoding"]
    assert name in encoding and reply.headers["vary"] == "Accept-Encoding"
    if name == "gzip":
        found = gzip.decompress(reply.body)
    else:
        found = pa.CompressedInputStream(pa.BufferReader(reply.body), "zstd").read()
    assert found == plain
    assert len(reply.body) < len(plain) / 3


@pytest.mark.parametrize("encoding", ["", "identity", "br", "gzip;q=0", "gzip;q=x"])
def test_no_encoding(site: Site, encoding: str) -> None:
    reply = site.get("/v1/replay", {"Accept-Encoding": encoding}, tables="sessions")
    assert "content-encoding" not in reply.headers
    assert reply.lines()


@pytest.mark.parametrize(
    ("query", "status", "parameter"),
    [
        ({"symbols": "nothere"}, 404, "symbol"),
        ({"tables": "nothing"}, 404, "table"),
        ({"from_": "yesterday"}, 400, "from"),
        ({"from_": 2, "to": 1}, 400, "to"),
        ({"speed": 0}, 400, "speed"),
        ({"speed": "nan"}, 400, "speed"),
        ({"numbers": "exact"}, 400, "numbers"),
        ({"after": "x"}, 400, "after"),
        ({"follow": "maybe"}, 400, "follow"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(site: Site, query: dict[str, Any], status: int, parameter: str) -> None:
    reply = site.get("/v1/replay", **query)
    assert reply.status == status
    body = reply.json()
    assert body["parameter"] == parameter
    assert body["message"]


def test_a_replay_that_fails_says_so_in_its_last_line(recorded: Path, tmp_path: Path, site: Site) -> None:
    whole = site.get("/v1/replay", tables="trades").lines()
    archive = tmp_path / "archive"
    archive.mkdir()
    for path in recorded.rglob("*"):
        target = archive / path.relative_to(recorded)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    damaged = sorted((archive / "parquet" / "trades").rglob("*.parquet"))[-1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:40] + bytes(byte ^ 0xFF for byte in content[40:80]) + content[80:])
    with serving(archive) as running:
        found = running.get("/v1/replay", tables="trades").lines()
    assert found[-1]["type"] == "error"
    assert found[-1]["error"] == "CorruptFile"
    assert found[:-1] == whole[: len(found) - 1]


def test_a_paced_replay_comes_as_it_is_due(site: Site) -> None:
    """At this speed only the first moment is due; it comes at once, although nothing follows it."""
    request = b"GET /v1/replay?speed=0.000001 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall(request)
        got = b""
        while b"\x1f\x8b" not in got or not got.endswith(b"\r\n"):
            got += connection.recv(65_536)


def test_a_client_that_left_ends_it(site: Site) -> None:
    def taken() -> int:
        return int(site.get("/health-check").json()["streams"])

    request = b"GET /v1/replay?speed=0.000001 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall(request)
        connection.recv(65_536)
        assert taken() == 1
    asyncio.run(_until(lambda: taken() == 0))


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(done):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_client_that_takes_nothing_is_given_up(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookreel.replay.stream.LineStream.__anext__", _endless)
    with (
        serving(recorded, Settings(workers=1, limits=Limits(reader_s=0.05))) as running,
        socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection,
    ):
        connection.sendall(b"GET /v1/replay HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(64)
        asyncio.run(_until(lambda: running.get("/health-check").json()["streams"] == 0))


async def _endless(self: Any) -> bytes:
    return b'{"type":"nothing"}\n' * 50_000
