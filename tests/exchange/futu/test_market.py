from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from bookreel.exchange.errors import UnknownSymbol
from bookreel.exchange.futu.bars import label_of
from bookreel.exchange.futu.hours import session
from bookreel.exchange.futu.listing import CATALOG, list_symbols
from bookreel.exchange.futu.market import LEVELS, Market, MarketEvent

START_NS = 1_767_317_400 * 10**9
SECOND = 10**9


def market(
    *symbols: str, seed: int = 1, rate: float = 20.0, always: bool = True, start: int = START_NS
) -> Market:
    return Market(list_symbols(symbols or ("HK.00700", "US.AAPL")), seed, rate, start, always=always)


def test_the_same_seed_is_the_same_market_in_whatever_steps() -> None:
    first, second, other = market(), market(), market(seed=2)
    whole = list(first.advance(START_NS + 30 * SECOND))
    parts: list[MarketEvent] = []
    for step in range(1, 301):
        parts += second.advance(START_NS + step * SECOND // 10)
    assert whole == parts and len(whole) > 800
    assert whole != list(other.advance(START_NS + 30 * SECOND))
    assert [event.ts_ns for event in whole] == sorted(event.ts_ns for event in whole)


def test_the_book_is_always_right() -> None:
    one = market("HK.00005")
    stock = one.stocks["HK.00005"]
    before = 0
    for event in one.advance(START_NS + 120 * SECOND):
        bids, asks = stock.bids, stock.asks
        assert len(bids) == len(asks) == LEVELS
        assert [b.price for b in bids] == sorted((b.price for b in bids), reverse=True)
        assert [a.price for a in asks] == sorted(a.price for a in asks)
        assert bids[0].price < asks[0].price
        assert all(x.volume > 0 and x.volume % 400 == 0 and x.orders > 0 for x in (*bids, *asks))
        assert event.ts_ns % 1000 == 0
        for tick in event.ticks:
            assert tick.sequence > max(before, 2**53)
            before = tick.sequence
            assert tick.volume > 0 and event.book


def test_figures_are_the_sums_of_the_ticks() -> None:
    one = market("HK.00700")
    stock = one.stocks["HK.00700"]
    ticks = [tick for event in one.advance(START_NS + 60 * SECOND) for tick in event.ticks]
    assert list(stock.ticks) == ticks
    assert stock.volume == sum(tick.volume for tick in ticks)
    assert stock.turnover == pytest.approx(sum(tick.price * tick.volume for tick in ticks))
    assert (stock.open, stock.last) == (ticks[0].price, ticks[-1].price)
    assert (stock.high, stock.low) == (max(t.price for t in ticks), min(t.price for t in ticks))
    assert sum(volume for _, _, volume, _ in stock.minutes.values()) == stock.volume
    (minute, day) = stock.bars.newest("1min", 1), stock.bars.newest("1day", 1)
    assert f"{minute[0].label}" == "2026-01-02 09:31:00" and f"{day[0].label}" == "2026-01-02 00:00:00"
    assert minute[0].volume == day[0].volume == stock.volume
    assert (minute[0].open, minute[0].close) == (stock.open, stock.last)


def test_nothing_happens_in_the_lunch_break_and_at_night() -> None:
    lunch = START_NS + int(2.5 * 3600) * SECOND
    one = market(always=False, start=lunch - 60 * SECOND, rate=2.0)
    hong_kong = [e for e in one.advance(lunch + 90 * 60 * SECOND) if e.symbol == "HK.00700"]
    before = [e for e in hong_kong if e.ts_ns < lunch]
    after = [e for e in hong_kong if e.ts_ns >= lunch]
    assert len(before) > 60 and len(after) > 1000
    assert after[0].ts_ns >= lunch + 3600 * SECOND
    for event in hong_kong:
        assert session(CATALOG[event.symbol].market, event.ts_ns).trading
    # Hong Kong closes, New York opens: their hours do not meet
    day = market(always=False, rate=0.05)
    trading = {symbol: [0, 0] for symbol in day.stocks}
    for event in day.advance(START_NS + 86_400 * SECOND):
        hour = (event.ts_ns // SECOND % 86_400) / 3600
        low, high = trading[event.symbol] or [99, 0]
        trading[event.symbol] = [min(low or 99, hour), max(high, hour)]
    assert trading["HK.00700"][0] >= 1.5 and trading["HK.00700"][1] < 8
    assert trading["US.AAPL"][0] >= 14.5 and trading["US.AAPL"][1] < 21


def test_a_new_day_begins_its_figures_anew() -> None:
    one = market("US.AAPL", rate=0.2)
    stock = one.stocks["US.AAPL"]
    midnight = START_NS + (3 * 3600 + 1800) * SECOND  # 05:00 UTC in New York
    before = [tick for event in one.advance(midnight) for tick in event.ticks]
    after = [tick for event in one.advance(midnight + 3600 * SECOND) for tick in event.ticks]
    assert before and after and stock.last_close == before[-1].price
    assert stock.volume == sum(tick.volume for tick in after) and stock.open == after[0].price
    yesterday, today = stock.bars.newest("1day", 2)
    assert yesterday.volume == sum(tick.volume for tick in before) and today.volume == stock.volume
    assert today.last_close == before[-1].price and f"{today.label:%m-%d}" == "01-02"


@pytest.mark.parametrize(
    ("period", "label"),
    [
        ("1min", "2026-05-13 10:18:00"),
        ("5min", "2026-05-13 10:20:00"),
        ("60min", "2026-05-13 11:00:00"),
        ("4hour", "2026-05-13 12:00:00"),
        ("1day", "2026-05-13 00:00:00"),
        ("1week", "2026-05-11 00:00:00"),
        ("1mon", "2026-05-01 00:00:00"),
        ("1quarter", "2026-04-01 00:00:00"),
        ("1year", "2026-01-01 00:00:00"),
    ],
)
def test_labels_of_bars(period: str, label: str) -> None:
    assert f"{label_of(period, datetime(2026, 5, 13, 10, 17, 59, 999))}" == label


def test_the_past_of_bars_is_in_order() -> None:
    stock = market("HK.00700").stocks["HK.00700"]
    for period in ("1min", "3hour", "1day", "1week", "1mon", "1quarter", "1year"):
        labels: list[Any] = [bar.label for bar in stock.bars.newest(period, 400)]
        assert len(labels) == 60 and labels == sorted(set(labels))
        for bar in stock.bars.newest(period, 400):
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


def test_an_unknown_security_is_named_with_near_ones() -> None:
    with pytest.raises(UnknownSymbol, match=r"HK\.00700"):
        list_symbols(["HK.0700"])
    assert len(CATALOG) >= 20 and all(listing.number > 2**32 for listing in CATALOG.values())
