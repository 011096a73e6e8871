from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.exchange.listing import CATALOG, list_symbols
from bookreel.exchange.market import Market, MarketEvent, SymbolMarket

START_NS = 1_790_000_000 * 10**9
SECOND_NS = 10**9


def open_market(symbols: list[str], seed: int, rate: float = 50.0) -> Market:
    return Market(list_symbols(symbols), seed, rate, START_NS)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(sorted(CATALOG)))
def test_every_event_leaves_a_book_that_can_be(seed: int, symbol: str) -> None:
    market = SymbolMarket(CATALOG[symbol], seed, 20.0, START_NS)
    seq, ts_ns, trade_seq = market.seq, START_NS, 0
    for _ in range(400):
        before = market.quote
        bids, asks = market.bids.image(1000), market.asks.image(1000)
        event = market.step()
        market._check()
        assert event.seq > seq and event.ts_ns > ts_ns
        assert market.quote.bid < market.quote.ask
        assert event.quote == (market.quote != before)
        if not event.book:
            assert (market.bids.image(1000), market.asks.image(1000)) == (bids, asks)
        for trade in event.trades:
            assert trade.trade_seq > trade_seq
            assert str(trade.trade_id).startswith(str(event.seq)) and len(str(trade.trade_id)) in {24, 27}
            assert trade.price <= before.bid if trade.side == "sell" else trade.price >= before.ask
            trade_seq = trade.trade_seq
        seq, ts_ns = event.seq, event.ts_ns


def replay(seed: int, steps_ms: list[int]) -> list[tuple[MarketEvent, tuple[float, ...]]]:
    market = open_market(["btcusdt", "nesteth"], seed)
    seen = []
    now_ns = START_NS
    for step in steps_ms:
        now_ns += step * 1_000_000
        seen += [(event, symbol.quote[2:]) for symbol, event in market.advance(now_ns)]
    return seen


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 900), min_size=1, max_size=10))
def test_the_same_seed_is_the_same_market_in_whatever_steps(seed: int, steps_ms: list[int]) -> None:
    assert replay(seed, steps_ms) == replay(seed, [sum(steps_ms)])


def test_another_seed_is_another_market() -> None:
    assert replay(1, [3000]) != replay(2, [3000])


def test_symbols_do_not_depend_on_each_other() -> None:
    alone = [e for _, e in open_market(["zeneth"], 5).advance(START_NS + 5 * SECOND_NS)]
    among = [e for m, e in open_market(["btcusdt", "zeneth"], 5).advance(START_NS + 5 * SECOND_NS)]
    assert [e for e in among if e.symbol == "zeneth"] == alone


def test_events_come_in_order_at_the_rate_asked_for() -> None:
    market = open_market(["btcusdt", "ethusdt", "xrpusdt"], 9, rate=40.0)
    events = [event for _, event in market.advance(START_NS + 120 * SECOND_NS)]
    assert [e.ts_ns for e in events] == sorted(e.ts_ns for e in events)
    assert len(events) / 3 / 120 == pytest.approx(40.0, rel=0.2)
    steps = [b.seq - a.seq for a, b in itertools.pairwise(events) if a.symbol == b.symbol]
    assert min(steps) == 1 and max(steps) > 6
    assert any(len(e.trades) > 1 for e in events)
    assert any(not e.book for e in events)


def test_bars_are_the_trades() -> None:
    market = open_market(["ethusdt"], 4, rate=200.0)
    symbol = market.symbols["ethusdt"]
    trades = [(e.ts_ns, t) for _, e in market.advance(START_NS + 150 * SECOND_NS) for t in e.trades]
    minutes = {b.id: b for b in symbol.bars.between("1min", START_NS // SECOND_NS, 2**40, 10)}
    for start, bar in minutes.items():
        inside = [t for ts_ns, t in trades if start <= ts_ns // SECOND_NS < start + 60]
        assert bar.count == len(inside) > 0
        assert bar.open == inside[0].price and bar.close == inside[-1].price
        assert bar.high == max(t.price for t in inside) and bar.low == min(t.price for t in inside)
        assert bar.amount == pytest.approx(sum(t.size for t in inside))
        assert bar.vol == pytest.approx(sum(t.size * t.price for t in inside))
    assert symbol.bars.current("1day").close == trades[-1][1].price == symbol.bars.day().close


def test_profiles_differ() -> None:
    market = open_market(["btcusdt", "nesteth", "aidogeusdt"], 1, rate=100.0)
    for _ in market.advance(START_NS + 60 * SECOND_NS):
        pass
    assert len(market.symbols["btcusdt"].bids) > 400
    assert 5 <= len(market.symbols["nesteth"].asks) < 25
    assert market.symbols["aidogeusdt"].quote.ask < 2e-10
