from __future__ import annotations

import json
from pathlib import Path

import pytest

from bookreel.exchange.feeds import Topic, parse_topic
from bookreel.exchange.listing import list_symbols
from bookreel.exchange.market import Market
from bookreel.exchange.mbp import MbpFeed
from bookreel.exchange.synthetic import Synthetic
from bookreel.exchange.truth import TruthTrade, TruthWriter, read_truth

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
SYMBOLS = ("btcusdt", "aidogeusdt")


def make(truth: Path | None = None, rate: float = 60.0) -> Synthetic:
    listings = list_symbols(SYMBOLS)
    return Synthetic(
        Market(listings, 5, rate, START), listings, TruthWriter(truth, lambda: START), lambda: START
    )


def topic(text: str) -> Topic:
    found = parse_topic(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("market.btcusdt.mbp.20", None),
        ("market.aidogeusdt.mbp.20", "invalid mbp.20.symbol aidogeusdt"),
        ("market.aidogeusdt.mbp.150", None),
        ("market.ethusdt.bbo", "invalid symbol ethusdt"),
        ("market.veneth.bbo", "invalid symbol veneth"),
        ("market.tonjpy.bbo", "symbol:tonjpy trade not open now "),
        ("market.newtusdt.bbo", "The coin pair does not currently offer subscription services."),
    ],
)
def test_what_is_refused(text: str, why: str | None) -> None:
    assert make().refusal(topic(text)) == why


def test_frames_of_events_come_with_them_and_go_to_their_symbol() -> None:
    source = make()
    names = [f"market.{symbol}.trade.detail" for symbol in SYMBOLS]
    for name in names:
        source.open(topic(name), START)
    found: dict[str, list[int]] = {name: [] for name in names}
    for name, frame in source.advance(START + 5 * SECOND):
        assert frame is not None
        tick = json.loads(frame.text)["tick"]
        assert json.loads(frame.text)["ch"] == name
        found[name].append(tick["id"])
    for ids in found.values():
        assert len(ids) > 5 and ids == sorted(ids)


def test_a_slot_that_was_missed_is_not_made_up_for() -> None:
    source = make()
    source.open(topic("market.btcusdt.depth.step0"), START)
    assert len(list(source.advance(START + 10 * SECOND))) == 1
    now = START + 10 * SECOND
    pushed = 0
    for _ in range(100):
        now += SECOND // 10
        pushed += len(list(source.advance(now)))
    assert pushed == 10, "and the pace is kept"


def test_topics_of_one_pace_are_spread_over_it() -> None:
    source = make()
    for step in range(6):
        source.open(topic(f"market.btcusdt.depth.step{step}"), START)
    at = []
    for tenth in range(1, 11):
        at += [tenth] * len(list(source.advance(START + tenth * SECOND // 10)))
    assert len(at) == 6 and len(set(at)) >= 4


def test_a_closed_topic_has_no_slot_any_more() -> None:
    source = make()
    name = topic("market.btcusdt.depth.step0")
    source.open(name, START)
    source.close(name)
    source.open(name, START)
    assert len(list(source.advance(START + SECOND + 1))) == 1, "only the newer subscription's"
    source.close(name)
    assert not list(source.advance(START + 5 * SECOND))


def test_what_is_next_is_an_event_or_a_slot() -> None:
    source = make(rate=0.1)
    event = source.next_ns
    source.open(topic("market.btcusdt.mbp.refresh.20"), START)
    assert START < source.next_ns < START + SECOND // 10 < event


def test_a_request_needs_no_subscription() -> None:
    source = make()
    feed = source.feed(topic("market.btcusdt.mbp.150"))
    assert isinstance(feed, MbpFeed)
    assert json.loads(source.feed(topic("market.btcusdt.detail")).reply(0, 1) or "")["close"] > 0
    assert not list(source.advance(START + SECOND)), "and opens none"


def test_trades_are_the_truth_whoever_is_told(tmp_path: Path) -> None:
    path = tmp_path / "truth.ndjson"
    truth = TruthWriter(path, lambda: START)
    listings = list_symbols(SYMBOLS)
    source = Synthetic(Market(listings, 5, 60.0, START), listings, truth, lambda: START)
    assert not list(source.advance(START + 5 * SECOND))
    truth.close()
    told = [record for record in read_truth(path) if isinstance(record, TruthTrade)]
    page = source.symbols["btcusdt"]
    rest = [trade["trade-id"] for tick in page.trades(500) for trade in json.loads(tick)["data"]]
    assert len(rest) > 5
    assert sorted(rest) == [trade.trade_seq for trade in told if trade.symbol == "btcusdt"]


def test_rest_pages_are_of_the_same_market() -> None:
    source = make()
    list(source.advance(START + 20 * SECOND))
    page = source.symbols["btcusdt"]
    best = page.best()
    depth = json.loads(page.depth(0, 10))
    assert (depth["bids"][0], depth["asks"][0]) == ([best[0], best[1]], [best[2], best[3]])
    assert len(depth["bids"]) == 10
    seq, day = page.day()
    assert seq == depth["version"] and day["low"] <= day["close"] <= day["high"]  # type: ignore[operator]
    newest = json.loads(page.trades(1)[0])["data"][-1]
    assert json.loads(page.bars("1min", 0, 2**40, 1)[0])["close"] == newest["price"]


def test_reference_data_names_what_is_not_traded_too() -> None:
    source = make()
    entries = {entry["symbol"]: entry for entry in map(json.loads, source.reference())}
    assert entries["btcusdt"]["state"] == "online" and entries["veneth"]["state"] == "offline"
    coins = source.currencies()
    assert {"btc", "usdt", "aidoge", "ven"} <= coins.keys()
    assert coins["usdt"]["chains"][0]["chain"] == "usdterc20"  # type: ignore[index]
