from __future__ import annotations

import pytest

from bookreel.venues.errors import BadSymbol, UnknownFeed
from bookreel.venues.futu import FEEDS, check_symbol, make_topic, near_symbols, parse_topic
from bookreel.venues.futu.codes import KL_TYPES, MARKETS, PERIOD_OF, SUB_TYPES
from bookreel.venues.futu.feeds import FEED_OF
from bookreel.venues.futu.symbols import make_symbol, market_of, parse_sec_key, sec_key, split_symbol

GOOD = {
    "HK.00700": ("1_00700", 1, "00700"),
    "HK.HSImain": ("1_HSImain", 1, "HSImain"),
    "HK.TCH240130C300000": ("1_TCH240130C300000", 1, "TCH240130C300000"),
    "US.AAPL": ("11_AAPL", 11, "AAPL"),
    "US.BRK.B": ("11_BRK.B", 11, "BRK.B"),
    "US..SPX": ("11_.SPX", 11, ".SPX"),
    "SH.600519": ("21_600519", 21, "600519"),
    "CC.BTCUSDT": ("91_BTCUSDT", 91, "BTCUSDT"),
    "HK_FUTURE.999010": ("2_999010", 2, "999010"),
}


@pytest.mark.parametrize("symbol", GOOD)
def test_the_three_names_of_a_security(symbol: str) -> None:
    key, number, code = GOOD[symbol]
    market, found = split_symbol(symbol)
    assert (sec_key(symbol), market.number, found) == (key, number, code)
    assert parse_sec_key(key) == make_symbol(number, code) == check_symbol(symbol) == symbol
    assert market_of(symbol) is market


@pytest.mark.parametrize(
    "symbol",
    ["", "HK", "HK.", ".00700", "XX.00700", "HK.../etc", "HK.a/b", "HK.a\\b", "HK.a\0", "HK.a b", "US.AAPL\n",
     "US.-x", "US.x.", "US...SPX", "HK." + "0" * 49, "HK.00700" * 40, "hk.00700", "HK.\uff10\uff10"],
)  # fmt: skip
def test_what_must_not_become_a_path_is_refused(symbol: str) -> None:
    with pytest.raises(BadSymbol):
        check_symbol(symbol)
    with pytest.raises(BadSymbol):
        make_topic(symbol, "ticker")


@pytest.mark.parametrize(
    ("symbol", "meant"),
    [("hk.00700", "HK.00700"), ("700", "HK.00700"), ("aapl", "US.AAPL"), ("us.AAPL", "US.AAPL")],
)
def test_a_near_symbol_is_named(symbol: str, meant: str) -> None:
    with pytest.raises(BadSymbol, match=f"did you mean {meant}"):
        check_symbol(symbol)


@pytest.mark.parametrize(
    "text", ["", "1", "_", "1_", "x_00700", "9_00700", "1_a/b", "1_00700\n", "0001_00700"]
)
def test_a_sec_key_that_is_none(text: str) -> None:
    assert parse_sec_key(text) is None


def test_listed_symbols_that_resemble() -> None:
    assert near_symbols("hk.0070", ["HK.00700", "HK.00005", "US.AAPL"])[0] == "HK.00700"


@pytest.mark.parametrize("feed", FEEDS)
def test_a_topic_leads_back(feed: str) -> None:
    for symbol in GOOD:
        topic = make_topic(symbol, feed)
        assert parse_topic(topic.text) == topic
        assert (topic.symbol, topic.feed, topic.coverage) == (symbol, feed, FEEDS[feed].coverage)


@pytest.mark.parametrize(
    "text", ["", "1_00700", "1_00700/3", "1_00700/02", "1_00700/2 ", "9_1/2", "01_00700/2"]
)
def test_a_topic_that_is_none(text: str) -> None:
    assert parse_topic(text) is None


def test_only_ticks_can_tell_duplicates_and_nothing_tells_a_loss() -> None:
    assert {feed.name for feed in FEEDS.values() if feed.coverage == "id-only"} == {"ticker"}
    assert not [feed for feed in FEEDS.values() if feed.coverage == "sequenced"]
    assert make_topic("HK.00700", "trade").feed == "ticker"


def test_a_near_feed_is_named() -> None:
    with pytest.raises(UnknownFeed, match=r"did you mean kline\.15min"):
        make_topic("HK.00700", "kline.15m")


def test_the_numberings_are_those_of_the_protocol() -> None:
    """As the protocol's own enums have them: changing one number here mislabels every bar."""
    assert len(SUB_TYPES) == len(FEEDS) == len(FEED_OF) == 20
    assert len(KL_TYPES) == len(PERIOD_OF) == 15
    assert {f"kline.{period}" for period in KL_TYPES} == {
        name for name in SUB_TYPES if name.startswith("kline.")
    }
    same = [p for p, number in KL_TYPES.items() if SUB_TYPES[f"kline.{p}"] == number]
    assert same == []  # so that a mix-up always shows
    assert [KL_TYPES[p] for p in ("1min", "1day", "5min", "60min", "3min", "4hour")] == [1, 2, 6, 9, 10, 15]
    assert [SUB_TYPES[f"kline.{p}"] for p in ("1min", "1day", "5min", "60min", "3min", "4hour")] == [
        11,
        6,
        7,
        10,
        17,
        21,
    ]
    assert [MARKETS[name].number for name in ("HK", "US", "SH", "SZ", "CC")] == [1, 11, 21, 22, 91]
