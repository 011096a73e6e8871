from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from bookreel.ingest.frames import FrameReader
from bookreel.venues.errors import DecodeError, InflateError
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Ack, Data, Heartbeat


def bbo(seq: int, symbol: str = "btcusdt") -> bytes:
    tick = {
        "seqId": seq,
        "ask": 10.0,
        "askSize": 1.0,
        "bid": 9.0,
        "bidSize": 1.0,
        "quoteTime": 1,
        "symbol": symbol,
    }
    frame = {"ch": f"market.{symbol}.bbo", "ts": seq, "tick": tick}
    return gzip.compress(json.dumps(frame, separators=(",", ":")).encode())


def test_a_learned_push_is_known_by_its_beginning() -> None:
    reader = FrameReader(Huobi())
    text, read = reader.read(bbo(1))
    assert isinstance(read, Data)
    reader.learn(text, "market.btcusdt.bbo")
    text, read = reader.read(bbo(2))
    assert read == "market.btcusdt.bbo"
    assert b'"seqId":2' in text
    assert isinstance(reader.read(bbo(3, "btcusd"))[1], Data), "another topic"
    ack = {"id": "1", "status": "ok", "subbed": "market.btcusdt.bbo", "ts": 1}
    assert isinstance(reader.read(json.dumps(ack))[1], Ack)


def test_a_beginning_without_the_topic_is_not_learned() -> None:
    reader = FrameReader(Huobi())
    reader.learn(b'{"ts":1,"ch":"market.btcusdt.bbo"', "market.btcusdt.bbo")
    with pytest.raises(DecodeError):
        reader.read('{"ts":1,')


def test_what_cannot_be_read() -> None:
    reader = FrameReader(Huobi())
    with pytest.raises(InflateError):
        reader.read(b"garbage")
    with pytest.raises(DecodeError):
        reader.read("{")


def test_pings_alone() -> None:
    reader = FrameReader(Huobi())
    assert reader.ping_value(gzip.compress(b'{"ping":0}')) == 0
    assert reader.ping_value('{"ping":7}') == 7
    for other in (gzip.compress(b'{"pong":1}'), b"garbage", "{", bbo(1), bytes(4096)):
        assert reader.ping_value(other) is None


def test_events_of_a_kept_push() -> None:
    reader = FrameReader(Huobi())
    (event,) = reader.events(bbo(5))
    assert event.symbol == "btcusdt"
    assert reader.events(b"") == reader.events(None) == reader.events(b'{"ping":1}') == []


def test_a_real_capture_reads_the_same_learned_or_not(shared_data: Path) -> None:
    import base64

    reader = FrameReader(Huobi())
    learned = 0
    for line in gzip.decompress((shared_data / "huobi_ws_20210417.ndjson.gz").read_bytes()).splitlines():
        frame = base64.b64decode(json.loads(line)["gz_b64"])
        text, read = reader.read(frame)
        message = Huobi().decode(text)
        if isinstance(read, str):
            learned += 1
            assert isinstance(message, Data)
            assert message.topic.text == read
        elif isinstance(read, Data):
            reader.learn(text, read.topic.text)
        else:
            assert isinstance(read, Ack | Heartbeat)
    assert learned > 300


def test_what_is_written_in_ever_new_ways_is_not_learned() -> None:
    reader = FrameReader(Huobi())
    for spaces in range(200, 300):
        text = b'{"ch":"market.btcusdt.bbo"' + b" " * spaces + b',"ts":1}'
        reader.learn(text, "market.btcusdt.bbo")
    assert not reader._readers


def test_half_a_surrogate_pair_is_unreadable() -> None:
    with pytest.raises(DecodeError):
        FrameReader(Huobi()).read('{"ping":1,"x":"\ud800"}')


def test_a_kept_push_that_cannot_be_read_says_nothing() -> None:
    reader = FrameReader(Huobi())
    assert reader.events(b'{"ch":"market.btcusdt.bbo","ts":1,"tick":{"seqId":1e400}}') == []
    assert reader.events(b"\x1f\x8bno") == []
    assert reader.text(b"\x1f\x8bno") is None
    assert reader.text(b"{}") == b"{}"
