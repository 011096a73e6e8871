from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.venues.errors import BadSymbol, UnknownFeed, VenueError
from bookreel.venues.huobi.topics import FEEDS, check_symbol, make_topic, near_symbols, parse_topic
from bookreel.venues.message import Topic

SYMBOLS = st.from_regex(r"\A[a-z0-9]{1,32}\Z")


def test_every_public_feed_is_known() -> None:
    periods = ("1min", "5min", "15min", "30min", "60min", "4hour", "1day", "1mon", "1week", "1year")
    expected = {f"kline.{period}" for period in periods}
    expected |= {f"depth.step{n}" for n in range(6)} | {f"mbp.{n}" for n in (5, 20, 150, 400)}
    expected |= {f"mbp.refresh.{n}" for n in (5, 10, 20)} | {"bbo", "trade.detail", "detail", "ticker"}
    assert set(FEEDS) == expected


@pytest.mark.parametrize("name", FEEDS)
def test_coverage_path_and_req_of_each_feed(name: str) -> None:
    feed = FEEDS[name]
    incremental = name in {"mbp.5", "mbp.20", "mbp.150", "mbp.400"}
    assert feed.coverage == (
        "sequenced" if incremental else "id-only" if name == "trade.detail" else "unsequenced"
    )
    assert feed.path == ("/feed" if incremental else "/ws")
    assert feed.req == (not name.startswith("mbp.refresh") and name not in {"bbo", "ticker"})
    assert feed.about


@given(SYMBOLS, st.sampled_from(sorted(FEEDS)))
def test_a_topic_survives_its_text(symbol: str, feed: str) -> None:
    topic = make_topic(symbol, feed)
    assert topic.text == f"market.{symbol}.{feed}"
    assert parse_topic(topic.text) == topic


def test_trade_is_short_for_trade_detail() -> None:
    assert make_topic("btcusdt", "trade") == Topic(
        "market.btcusdt.trade.detail", "btcusdt", "trade.detail", "id-only"
    )
    assert parse_topic("market.btcusdt.trade") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "market",
        "market.btcusdt",
        "market.btcusdt.",
        "market.btcusdt.mbp.10",
        "market.btcusdt.mbp.150 ",
        "market.btcusdt.mbp.150\n",
        "market.BTCUSDT.mbp.150",
        "market.btc-usdt.bbo",
        "market.*.bbo",
        "market..bbo",
        "market.btc\u0663.bbo",
        "market." + "a" * 33 + ".bbo",
        "orders#btcusdt",
        "market.btcusdt.etp",
    ],
)
def test_what_is_no_known_topic(text: str) -> None:
    assert parse_topic(text) is None


@pytest.mark.parametrize(
    "symbol",
    ["", "BTCUSDT", "btc/usdt", "..", "../x", "btc usdt", "btcusdt\n", "\u0661", "a" * 33, "btc\x00", "*"],
)
def test_a_symbol_that_could_break_out_is_refused(symbol: str) -> None:
    with pytest.raises(BadSymbol) as caught:
        make_topic(symbol, "bbo")
    assert isinstance(caught.value, VenueError) and isinstance(caught.value, ValueError)
    assert caught.value.symbol == symbol


def test_a_symbol_in_another_form_is_pointed_to_the_right_one() -> None:
    with pytest.raises(BadSymbol, match="did you mean btcusdt"):
        check_symbol("BTC/USDT")
    assert check_symbol("btcusdt") == "btcusdt"


def test_an_unknown_feed_names_near_ones() -> None:
    with pytest.raises(UnknownFeed, match=r"mbp\.150"):
        make_topic("btcusdt", "mbp.15")
    with pytest.raises(UnknownFeed, match=r"kline\.1min"):
        make_topic("btcusdt", "kline.1m")
    with pytest.raises(UnknownFeed) as caught:
        make_topic("btcusdt", "zzzz")
    assert caught.value.near == []


def test_near_symbols_are_taken_from_the_listed_ones() -> None:
    assert near_symbols("BTCUSD", ["ethbtc", "btcusdt", "dogeusdt"])[0] == "btcusdt"
    assert near_symbols("x" * 10**6, ["btcusdt"]) == []
