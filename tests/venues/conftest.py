from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bookreel.venues.huobi import Huobi

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def _lines(name: str) -> list[dict[str, Any]]:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the real frames are not here: {path}")
    body = path.read_bytes()
    text = gzip.decompress(body) if name.endswith(".gz") else body
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="session")
def huobi() -> Huobi:
    return Huobi()


@pytest.fixture(scope="session")
def samples() -> list[dict[str, Any]]:
    """Single real frames of every kind, each with its source."""
    return _lines("huobi_frame_samples.ndjson")


@pytest.fixture(scope="session")
def capture() -> list[tuple[bytes, bytes]]:
    """30 s of one real connection: (text, frame as received)."""
    rows = _lines("huobi_ws_20210417.ndjson.gz")
    return [(row["raw"].encode(), base64.b64decode(row["gz_b64"])) for row in rows]


@pytest.fixture(scope="session")
def client_frames() -> list[bytes]:
    """What the client sent on that connection."""
    return [
        row["raw"].encode() for row in _lines("huobi_ws_20210417_client.ndjson") if row["event"] == "send"
    ]


@pytest.fixture(scope="session")
def mbp150() -> list[bytes]:
    return [row["raw"].encode() for row in _lines("mbp150_btcusdt_20240808.ndjson.gz")]


@pytest.fixture(scope="session")
def mbp20() -> list[bytes]:
    return [row["raw"].encode() for row in _lines("mbp20_spot_20240808.ndjson.gz")]


@pytest.fixture(scope="session")
def symbols_body() -> bytes:
    path = SHARED / "huobi_symbols_20210417.json.gz"
    if not path.exists():
        pytest.skip(f"the real reference data is not here: {path}")
    return gzip.decompress(path.read_bytes())
