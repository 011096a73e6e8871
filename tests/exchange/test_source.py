"""What every source of an exchange must do, whoever makes its market."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from bookreel.exchange.config import Recording
from bookreel.exchange.feeds import Topic, parse_topic
from bookreel.exchange.listing import list_symbols
from bookreel.exchange.market import Market
from bookreel.exchange.playback import Playback
from bookreel.exchange.source import Source
from bookreel.exchange.synthetic import Synthetic
from bookreel.exchange.truth import TruthWriter

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND


class Time:
    """The test's."""

    now = START

    def __call__(self) -> int:
        return self.now


Make: TypeAlias = Callable[[Time], Source]


def synthetic(time: Time) -> Source:
    listings = list_symbols(["btcusdt"])
    return Synthetic(Market(listings, 5, 60.0, time.now), listings, TruthWriter(None, time), time)


@pytest.fixture(params=["synthetic", "recorded"])
def time_and_source(request: pytest.FixtureRequest, recorded: Path) -> Iterator[tuple[Time, Source]]:
    time = Time()
    source = synthetic(time) if request.param == "synthetic" else Playback(Recording(archive=recorded), time)
    yield time, source
    source.stop()


def topic(text: str) -> Topic:
    found = parse_topic(text)
    assert found is not None
    return found


BBO, TRADES = topic("market.btcusdt.bbo"), topic("market.btcusdt.trade.detail")


def seconds(time: Time, source: Source, count: float) -> list[str]:
    """The topics of what is pushed in that time."""
    seen = []
    for _ in range(round(count * 100)):
        seen += [name for name, _ in source.advance(time.now)]
        time.now += SECOND // 100
    return seen


def test_only_what_is_open_is_pushed(time_and_source: tuple[Time, Source]) -> None:
    time, source = time_and_source
    assert not seconds(time, source, 0.5)
    assert source.open(BBO, time.now).topic == BBO
    assert set(seconds(time, source, 1)) == {BBO.text}
    source.open(TRADES, time.now)
    assert set(seconds(time, source, 1.5)) == {BBO.text, TRADES.text}
    source.close(BBO)
    assert set(seconds(time, source, 1.5)) == {TRADES.text}


def test_an_open_feed_is_the_one_that_is_asked(time_and_source: tuple[Time, Source]) -> None:
    time, source = time_and_source
    feed = source.open(TRADES, time.now)
    seconds(time, source, 2)
    assert source.feed(TRADES) is feed
    assert feed.cached(0) is feed.last is not None
    assert json.loads(source.feed(TRADES).reply(0, 2**40) or "")[-1]["price"] > 0


def test_what_is_not_offered_is_refused_in_words(time_and_source: tuple[Time, Source]) -> None:
    _, source = time_and_source
    assert source.refusal(BBO) is None
    assert source.refusal(topic("market.nosuch.bbo")) == "invalid symbol nosuch"


def test_time_goes_on_and_what_is_due_next_is_not_past(time_and_source: tuple[Time, Source]) -> None:
    time, source = time_and_source
    source.open(BBO, time.now)
    seconds(time, source, 0.2)
    before = source.venue_ns()
    list(source.advance(time.now))
    assert source.next_ns > time.now and not source.ended
    time.now += SECOND
    assert source.venue_ns() == before + SECOND


def test_symbols_have_pages_and_reference_data(time_and_source: tuple[Time, Source]) -> None:
    time, source = time_and_source
    source.open(TRADES, time.now)
    seconds(time, source, 2)
    page = source.symbols["btcusdt"]
    assert page.symbol == "btcusdt"
    bid, _, ask, _ = page.best() or pytest.fail("the best prices are known")
    assert 0 < bid < ask
    assert json.loads(page.depth(0, 5) or "")["bids"][0][0] == bid
    assert page.bars("1min", 0, 2**40, 1) and page.trades(1)
    listed = {entry["symbol"]: entry for entry in map(json.loads, source.reference())}
    assert listed["btcusdt"]["price-precision"] == 2
    assert {"btc", "usdt"} <= source.currencies().keys()


def test_it_waits_for_slow_clients_only_without_a_pace(
    time_and_source: tuple[Time, Source], recorded: Path
) -> None:
    time, source = time_and_source
    assert not source.patient
    unpaced = Playback(Recording(archive=recorded, speed=None), time)
    assert unpaced.patient
    unpaced.stop()
