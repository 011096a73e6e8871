from __future__ import annotations

import json

import pytest

from bookreel.venues.errors import BadRequest
from bookreel.venues.huobi import requests
from bookreel.venues.huobi.decode import decode
from bookreel.venues.huobi.topics import FEEDS, make_topic
from bookreel.venues.message import Heartbeat, Request

BTC_MBP = make_topic("btcusdt", "mbp.150")
BTC_KLINE = make_topic("btcusdt", "kline.1min")


def test_frames_are_those_of_the_documentation() -> None:
    assert requests.sub(BTC_MBP, "id1") == b'{"sub":"market.btcusdt.mbp.150","id":"id1"}'
    assert requests.unsub(BTC_MBP, 7) == b'{"unsub":"market.btcusdt.mbp.150","id":7}'
    assert requests.req(BTC_MBP, "r") == b'{"req":"market.btcusdt.mbp.150","id":"r"}'
    assert requests.sub(BTC_MBP) == b'{"sub":"market.btcusdt.mbp.150"}'
    assert requests.pong(1492420473027) == b'{"pong":1492420473027}'
    assert requests.ping(1) == b'{"ping":1}'


@pytest.mark.parametrize("kind", ["sub", "unsub", "req"])
@pytest.mark.parametrize("request_id", ['a"b\\\u00e9', 12, None])
def test_what_a_client_sends_is_read_back(kind: str, request_id: str | int | None) -> None:
    frame = getattr(requests, kind)(BTC_MBP, request_id)
    assert decode(frame) == Request(kind, BTC_MBP, BTC_MBP.text, request_id)  # type: ignore[arg-type]


def test_heartbeats_are_read_back() -> None:
    assert decode(requests.pong(5)) == Heartbeat("pong", 5)
    assert decode(requests.ping(2**62)) == Heartbeat("ping", 2**62)


def test_a_range_of_bars() -> None:
    frame = json.loads(requests.req(BTC_KLINE, "k", start_s=1618678020, end_s=1618678080))
    assert frame == {"req": BTC_KLINE.text, "id": "k", "from": 1618678020, "to": 1618678080}
    assert "to" not in json.loads(requests.req(BTC_KLINE, "k", start_s=1618678020))
    assert "from" not in json.loads(requests.req(BTC_KLINE, "k", end_s=1618678020))


@pytest.mark.parametrize(
    ("start_s", "end_s"),
    [(2, 1618678080), (1618678080, 1618678020), (1618678020, 2**40), (None, 5), (2**40, None)],
)
def test_a_range_the_venue_would_refuse(start_s: int | None, end_s: int | None) -> None:
    with pytest.raises(BadRequest, match="must rise"):
        requests.req(BTC_KLINE, "k", start_s=start_s, end_s=end_s)


def test_only_bars_have_a_range() -> None:
    with pytest.raises(BadRequest, match="no history"):
        requests.req(BTC_MBP, "k", start_s=1618678020)


@pytest.mark.parametrize("feed", [feed.name for feed in FEEDS.values() if not feed.req])
def test_a_feed_without_replies(feed: str) -> None:
    with pytest.raises(BadRequest, match="subscribed"):
        requests.req(make_topic("btcusdt", feed), "k")
