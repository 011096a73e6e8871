from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.exchange.feeds import Frame, parse_topic
from bookreel.exchange.listing import list_symbols
from bookreel.exchange.market import SymbolMarket
from bookreel.exchange.mbp import Image, MbpFeed

START_NS = 1_790_000_000 * 10**9


def open_feed(symbol: str, levels: int, seed: int) -> MbpFeed:
    topic = parse_topic(f"market.{symbol}.mbp.{levels}")
    assert topic is not None
    return MbpFeed(topic, SymbolMarket(list_symbols([symbol])[0], seed, 50.0, START_NS))


def apply(book: dict[str, dict[float, float]], tick: dict[str, Any]) -> None:
    for side in ("bids", "asks"):
        for price, size in tick.get(side, []):
            if size:
                book[side][price] = size
            else:
                book[side].pop(price, None)


def same(book: dict[str, dict[float, float]], image: Image) -> bool:
    true = json.loads(image.json())
    return book == {side: dict(map(tuple, true[side])) for side in ("bids", "asks")}


def go_on(feed: MbpFeed, rng: random.Random) -> Frame | None:
    event = feed.market.step()
    frame = feed.on_event(event, 1)
    return frame if feed.tick_by_tick or rng.random() < 0.5 else feed.on_slot(1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from(["btcusdt", "nesteth", "aidogeusdt", "xrpbtc"]),
    st.sampled_from([5, 20, 150, 400]),
)
def test_image_and_deltas_make_the_true_book(seed: int, symbol: str, levels: int) -> None:
    rng = random.Random(seed)
    feed = open_feed(symbol, levels, seed)
    start = json.loads(feed.images[-1].json())
    book = {side: dict(map(tuple, start[side])) for side in ("bids", "asks")}
    seq = start["seqNum"]
    sent = 0
    for _ in range(250):
        frame = go_on(feed, rng)
        if frame is None:
            continue
        tick = json.loads(frame.text)["tick"]
        assert tick["prevSeqNum"] == seq == frame.prev_seq
        assert tick["seqNum"] == frame.seq > seq
        seq = tick["seqNum"]
        apply(book, tick)
        assert same(book, feed.images[-1]), "levels that left the best N were not removed"
        assert feed.images[-1] == feed.present()
        assert max(len(book["bids"]), len(book["asks"])) <= levels
        sent += 1
    assert sent > 20


def test_an_image_inside_a_delta_joins_wrongly() -> None:
    rng = random.Random(1)
    feed = open_feed("btcusdt", 150, 1)
    frame = None
    while frame is None or frame.seq is None or frame.prev_seq is None or frame.seq - frame.prev_seq < 2:
        frame = go_on(feed, rng)
    image = feed.straddled(frame.seq, rng)
    assert image is not None
    assert frame.prev_seq < image.seq < frame.seq
    bad = json.loads(image.json())
    assert bad["bids"] == sorted(bad["bids"], reverse=True) and bad["bids"][0][0] < bad["asks"][0][0]
    book = {side: dict(map(tuple, bad[side])) for side in ("bids", "asks")}
    apply(book, json.loads(frame.text)["tick"])
    assert not same(book, feed.images[-1])
    assert feed.straddled(1, rng) is None


@pytest.mark.parametrize("levels", [20, 150])
def test_old_images_stay_for_some_seconds(levels: int) -> None:
    feed = open_feed("ethusdt", levels, 2)
    first = feed.oldest()
    rng = random.Random(2)
    while feed.market.last_ns < START_NS + 30 * 10**9:
        go_on(feed, rng)
    assert feed.oldest().seq > first.seq
    assert feed.oldest().seq < feed.images[-1].seq
