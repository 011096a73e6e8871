from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from bookreel.exchange.bars import PERIODS
from bookreel.exchange.feeds import Feed, make_feed, parse_topic
from bookreel.exchange.listing import list_symbols
from bookreel.exchange.market import SymbolMarket
from bookreel.exchange.mbp import MbpFeed

START_NS = 1_790_000_000 * 10**9
FEEDS = [
    *(f"kline.{p}" for p in PERIODS),
    *(f"depth.step{n}" for n in range(6)),
    *(f"mbp.{n}" for n in (5, 20, 150, 400)),
    *(f"mbp.refresh.{n}" for n in (5, 10, 20)),
    "bbo",
    "trade.detail",
    "detail",
    "ticker",
]


def open_feed(feed: str, symbol: str = "btcusdt", rate: float = 50.0) -> Feed:
    topic = parse_topic(f"market.{symbol}.{feed}")
    assert topic is not None and topic.feed == feed
    market = SymbolMarket(list_symbols([symbol])[0], 3, rate, START_NS)
    return MbpFeed(topic, market) if topic.kind == "mbp" else make_feed(topic, market)


def run(feed: Feed, events: int, slot_every: int = 5) -> list[dict[str, Any]]:
    """What a feed sends while its market goes on."""
    frames = []
    for i in range(events):
        event = feed.market.step()
        now_ms = event.ts_ns // 1_000_000
        found = [feed.on_event(event, now_ms)]
        if i % slot_every == 0:
            found.append(feed.on_slot(now_ms))
        frames += [json.loads(f.text) for f in found if f is not None]
    return frames


@pytest.mark.parametrize("feed", FEEDS)
def test_every_topic_sends(feed: str) -> None:
    frames = run(open_feed(feed), 400)
    assert len(frames) > 5
    assert all(list(f) == ["ch", "ts", "tick"] and f["ch"] == f"market.btcusdt.{feed}" for f in frames)


@pytest.mark.parametrize("feed", FEEDS)
def test_paths(feed: str) -> None:
    topic = parse_topic(f"market.btcusdt.{feed}")
    assert topic is not None
    incremental = feed in {"mbp.5", "mbp.20", "mbp.150", "mbp.400"}
    assert topic.path == ("/feed" if incremental else "/ws")


@pytest.mark.parametrize(
    "text",
    [
        "market.btcusdt.mbp.30",
        "market.btcusdt.mbp.10",
        "market.btcusdt.mbp.refresh.150",
        "market.btcusdt.depth.step6",
        "market.btcusdt.kline.2min",
        "market.*.bbo",
        "market.btcusdt.bbo.x",
        "market.BTCUSDT.bbo",
        "btcusdt.bbo",
        "",
    ],
)
def test_what_is_no_topic(text: str) -> None:
    assert parse_topic(text) is None


def is_push(frame: dict[str, Any], feed: str) -> bool:
    return "status" not in frame and frame.get("ch", "").split(".", 2)[2:] == [feed]


def keys(value: Any) -> Any:
    """A frame's shape: the keys at every depth, in order; levels and numbers as their kinds."""
    if isinstance(value, dict):
        return {key: keys(v) for key, v in value.items()}
    if isinstance(value, list):
        return [keys(value[0])] if value else []
    return type(value).__name__


@pytest.mark.parametrize(
    "feed",
    ["bbo", "trade.detail", "kline.1min", "detail", "ticker", "mbp.refresh.20", "depth.step0", "depth.step1"],
)
def test_shapes_are_those_of_real_frames(
    feed: str, real_frames: list[tuple[str, dict[str, Any], str]]
) -> None:
    # the modern form: some samples are from before tradeId and seqId
    real = [f for _, f, _ in real_frames if is_push(f, feed) and f["ts"] > 1_600_000_000_000]
    assert real
    ours = run(open_feed(feed), 300)[-1]
    for frame in real:
        assert keys(ours) == keys(frame)
        assert list(ours["tick"]) == list(frame["tick"])


def test_shapes_of_incremental_frames(real_frames: list[tuple[str, dict[str, Any], str]]) -> None:
    real = [f for _, f, _ in real_frames if ".mbp.20" in f.get("ch", "") or ".mbp.150" in f.get("ch", "")]
    assert {tuple(f["tick"]) for f in real} == {
        ("seqNum", "prevSeqNum", "bids", "asks"),
        ("seqNum", "prevSeqNum", "asks"),
        ("seqNum", "prevSeqNum", "bids"),
    }
    ticks = [f["tick"] for f in run(open_feed("mbp.20"), 400)]
    assert {tuple(t) for t in ticks} == {tuple(f["tick"]) for f in real}
    diffs = [f["tick"] for f in run(open_feed("mbp.150"), 900, slot_every=2)]
    assert {tuple(t) for t in diffs} == {("seqNum", "prevSeqNum", "bids", "asks")}
    assert any(not t["bids"] and not t["asks"] for t in diffs), "both sides empty, the chain moves on"
    assert any(len(f["tick"]["bids"]) + len(f["tick"]["asks"]) > 3 for f in run(open_feed("mbp.150"), 300))


def test_trades_sometimes_come_together_and_newest_first() -> None:
    frames = [f["tick"]["data"] for f in run(open_feed("trade.detail", rate=100.0), 3000)]
    many = [[t["tradeId"] for t in data] for data in frames if len(data) > 1]
    assert any(ids == sorted(ids) for ids in many)
    assert any(ids == sorted(ids, reverse=True) for ids in many)
    assert all(len({t["ts"] for t in data}) == 1 for data in frames)


def test_numbers_are_java_doubles_in_exponent_form_too() -> None:
    feed = open_feed("depth.step0", "aidogeusdt")
    frame = feed.cached(1)
    assert frame is not None and "E-11," in frame.text and "E11]" in frame.text
    assert "e-" not in frame.text
    assert gzip.decompress(frame.payload).decode() == frame.text
    assert frame.payload is frame.payload, "compressed once"


def test_nothing_is_sent_again_when_nothing_changed() -> None:
    for name in ("depth.step0", "mbp.refresh.5", "detail", "ticker", "mbp.150", "mbp.20"):
        feed = open_feed(name)
        run(feed, 100, slot_every=1)
        assert feed.on_slot(5) is None, name


@pytest.mark.parametrize("name", ["depth.step0", "mbp.refresh.5", "detail", "ticker"])
def test_a_request_takes_no_push_away(name: str) -> None:
    feed = open_feed(name)
    run(feed, 100, slot_every=1)
    trade = next(event for event in iter(feed.market.step, None) if event.trades)
    assert feed.reply(0, 2**32) is not None
    assert feed.on_slot(trade.ts_ns // 1_000_000) is not None


def test_cached_messages_are_the_last_ones() -> None:
    feed = open_feed("bbo")
    last = run(feed, 200)[-1]
    cached = feed.cached(1)
    assert cached is not None and json.loads(cached.text) == last
    fresh = make_feed(feed.topic, feed.market).cached(77)
    assert fresh is not None and json.loads(fresh.text)["tick"] == last["tick"]
    trades = open_feed("trade.detail")
    assert trades.cached(1) is None, "no trade yet"
    event = next(e for e in iter(trades.market.step, None) if e.trades)
    for _ in range(50):
        trades.market.step()
    old = make_feed(trades.topic, trades.market).cached(10**15)
    newest = trades.market.events[-1]
    assert newest.ts_ns >= event.ts_ns
    assert old is not None and json.loads(old.text)["ts"] == newest.ts_ns // 1_000_000 + 2, (
        "as old as the trade"
    )
    assert open_feed("mbp.150").cached(1) is None


def test_topics_agree_with_each_other() -> None:
    feed = open_feed("bbo")
    run(feed, 500)
    market = feed.market

    def tick(name: str) -> Any:
        topic = parse_topic(f"market.btcusdt.{name}")
        assert topic is not None
        frame = make_feed(topic, market).cached(1)
        assert frame is not None
        return json.loads(frame.text)["tick"]

    bbo, depth, refresh = tick("bbo"), tick("depth.step0"), tick("mbp.refresh.20")
    assert [bbo["bid"], bbo["bidSize"]] == depth["bids"][0] == refresh["bids"][0]
    assert [bbo["ask"], bbo["askSize"]] == depth["asks"][0] == refresh["asks"][0]
    assert depth["version"] == refresh["seqNum"] == market.seq >= bbo["seqId"]
    assert depth["bids"][:20] == refresh["bids"]
    last = tick("trade.detail")["data"]
    price = max(last, key=lambda t: t["tradeId"])["price"]
    assert tick("kline.1min")["close"] == tick("kline.1year")["close"] == price
    assert tick("detail")["close"] == tick("ticker")["lastPrice"] == price


def test_replies() -> None:
    feed = open_feed("trade.detail", rate=500.0)
    for _ in range(20_000):
        feed.market.step()
    trades = json.loads(feed.reply(0, 0) or "")
    ids = [t["tradeId"] for t in trades]
    assert len(ids) == 300 and ids == list(range(ids[0], ids[0] + 300))
    bars = json.loads(make_feed(_topic("kline.1min"), feed.market).reply(0, 2**40) or "")
    assert len(bars) == 300 and [b["id"] for b in bars] == list(
        range(bars[0]["id"], bars[0]["id"] + 300 * 60, 60)
    )
    some = json.loads(make_feed(_topic("kline.1min"), feed.market).reply(bars[3]["id"], bars[5]["id"]) or "")
    assert some == bars[3:6]
    assert make_feed(_topic("bbo"), feed.market).reply(0, 0) is None


def _topic(name: str) -> Any:
    return parse_topic(f"market.btcusdt.{name}")
