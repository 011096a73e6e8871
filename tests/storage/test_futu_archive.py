"""What the gateway tells, through the whole of an archive: journal, Parquet, queries, lines of JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bookreel.replay import Archive
from bookreel.replay.ndjson import encode_line
from bookreel.storage.manifest import Manifest
from bookreel.storage.schema import ADDED
from bookreel.venues.futu.requests import call
from tests.replay.gateway import Gateway

LONG = 4_611_686_018_427_387_907
"""A trade's number that no double can hold."""

RECEIVED = 1_700_000_001_250_000_000


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Streams that have begun."""
    made = Gateway(tmp_path / "archive")
    made.subscribe(1)
    return made


def seal(gateway: Gateway) -> Path:
    gateway.rotate()
    gateway.seal()
    gateway.journal.close()
    return gateway.path


def rows(archive: Path, query: str) -> list[Any]:
    with Archive(archive) as opened:
        return opened.sql(query).fetchall()


def test_a_long_number_survives_parquet_queries_and_json(gateway: Gateway) -> None:
    gateway.ticks(2, LONG)
    archive = seal(gateway)
    [entry] = Manifest.load(archive).files("trades")
    assert pq.read_table(archive / entry.path, partitioning=None)["trade_seq"].to_pylist() == [LONG]
    assert rows(archive, "SELECT trade_seq, trade_id FROM trades") == [(LONG, str(LONG))]
    assert rows(archive, f"SELECT price FROM trades WHERE trade_seq = {LONG}") == [(300.2,)]
    with Archive(archive) as opened:
        [trade] = opened.events(tables="trades")
        assert json.loads(encode_line(trade))["trade_seq"] == LONG


def test_a_trade_that_is_sent_late_or_again_is_stored_once(gateway: Gateway) -> None:
    gateway.ticks(2, 1, push_data_type=1)
    gateway.ticks(3, 1, 2, push_data_type=3)
    gateway.ticks(4, 2, 3, push_data_type=2)
    gateway.ticks(5, 3, 4, push_data_type=1)
    told = {"security": {"market": 1, "code": "00700"}}
    tick = {"time": "", "dir": 1, "price": 300.2, "volume": 100, "turnover": 30020.0}
    told |= {"ticker_list": [tick | {"sequence": sequence} for sequence in (3, 4, 5)]}
    gateway.asked(6, call("ticker", symbol="HK.00700", count=1000), {"ret_type": 0, "s2c": told})
    found = rows(seal(gateway), "SELECT trade_seq, origin FROM trades ORDER BY pos, trade_seq")
    assert found == [(1, "live"), (2, "cache"), (3, "backfill"), (4, "live"), (5, None)]


def broken(gateway: Gateway, how: str) -> str:
    """The frame of a push whose body is spoiled."""
    whole = gateway.ticks(9, 7)
    assert whole
    body = b"\x08\x00\x22\x49\x0a\x09\x08\x01\x12\x0500700\x12\x39"
    text = base64.b64encode(body).decode() if how == "truncated" else "!!" + base64.b64encode(body).decode()
    return json.dumps(
        {"type": "quote", "proto_id": 3011, "sec_key": "1_00700", "sub_type": 4, "body_b64": text}
    )


@pytest.mark.parametrize("how", ["bad_base64", "truncated"])
def test_a_push_that_cannot_be_read_is_kept_and_counted_and_the_next_is_read(
    gateway: Gateway, how: str
) -> None:
    gateway.ticks(2, 1)
    frame = broken(gateway, how)
    gateway.frame(10, frame, "push-0")
    gateway.ticks(11, 8)
    archive = seal(gateway)
    assert rows(archive, "SELECT payload FROM frames WHERE kind = 'undecodable'") == [(frame,)]
    assert rows(archive, "SELECT trade_seq FROM trades ORDER BY pos") == [(1,), (7,), (8,)]
    assert rows(archive, "SELECT feed, cause FROM gaps") == [("ticker", "decode_error")]
    counts = [entry.counts.get("decode_errors") for entry in Manifest.load(archive).segments]
    assert sum(filter(None, counts)) == 1


def test_the_tail_has_the_columns_of_what_is_sealed(gateway: Gateway) -> None:
    gateway.ticks(2, 1, type=7, type_sign=80, push_data_type=1, recv_time=RECEIVED / 1e9)
    gateway.ticks(3, 2)
    gateway.book(4, [(300.2, 100, 2), (300.0, 300, 4)], [])
    gateway.bar(5, 300.0)
    gateway.flush()
    queries = [f"SELECT {', '.join(names)} FROM {table} ORDER BY pos" for table, names in ADDED.items()]
    with Archive(gateway.path) as opened:
        before = [opened.sql(query).fetchall() for query in queries]
    archive = seal(gateway)
    assert [rows(archive, query) for query in queries] == before
    books, trades, bars = before
    assert books == [([2, 4], [])]
    assert [row[:4] for row in trades] == [(30020.0, 7, 80, "live"), (30020.0, None, None, None)]
    assert rows(archive, "SELECT epoch_ns(ts_gateway) FROM trades ORDER BY pos") == [
        (RECEIVED,),
        (None,),
    ]
    assert bars == [("none", None)]
