"""A recording of the gateway of stocks comes again as what it was, and what is not known is None."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from bookreel import venues
from bookreel.replay import (
    REPLAY_TABLES,
    Archive,
    QueuedBroker,
    RecordedMinute,
    RecordedQueue,
    RecordedQuote,
    StockKline,
    StockSnapshot,
    StockTrade,
)
from bookreel.replay.kinds import MAKERS, NUMBERS
from bookreel.replay.ndjson import LineForm
from tests.replay.gateway import Gateway

OTHER = "US.AAPL"
ID = 4611686018427387907


@pytest.fixture(params=["sealed", "half", "tail"])
def archive(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Archive]:
    gateway.subscribe(1, "HK.00700", OTHER)
    gateway.book(2, [(300.2, 100, 2), (300.0, 300, 4)], [(300.4, 200, 1)])
    gateway.ticks(3, ID, ID + 1, push_data_type=1)
    gateway.ticks(3.1, 7, side=3, symbol=OTHER)
    gateway.quote(4, 300.2)
    gateway.queue(5, [1005, 1000], [1007])
    if request.param == "half":
        gateway.rotate()
        gateway.seal()
    gateway.queue(6, [], [1003])
    gateway.minute(7, 300.4)
    gateway.bar(8, 300.0)
    gateway.book(9, [(300.0, 100, 1)], [], symbol=OTHER)
    if request.param == "sealed":
        gateway.rotate()
        gateway.seal()
    gateway.flush()
    with Archive(gateway.path) as opened:
        yield opened


def by_kind(archive: Archive, **choice: Any) -> Counter[str]:
    return Counter(str(type(event).__struct_config__.tag) for event in archive.events(**choice))


def test_each_venue_has_its_values() -> None:
    assert sorted(MAKERS) == venues.names()
    for name in venues.names():
        assert set(venues.get(name).row_feeds) <= set(MAKERS[name]) <= set(REPLAY_TABLES)


def test_all_that_was_pushed_comes_again(archive: Archive) -> None:
    found = by_kind(archive)
    assert found.pop("session") >= 2
    assert found == {
         "book_snapshot": 2, "trade": 3, "quote": 1, "broker_queue": 2, "timeshare": 1, "kline": 1
    }  # fmt: skip
    positions = [event.pos or 0 for event in archive.events(tables=REPLAY_TABLES)]
    assert positions == sorted(positions)


def test_what_the_gateway_does_not_tell_is_none(archive: Archive) -> None:
    first, _, other = archive.events(tables="trades")
    assert isinstance(first, StockTrade) and isinstance(other, StockTrade)
    assert (first.feed, first.trade_seq, first.side, first.ts_event) == ("ticker", ID, "buy", None)
    assert (other.symbol, other.side) == (OTHER, None)
    assert (first.turnover, first.origin, first.ts_gateway) == (30020.0, "live", None)
    [bar] = archive.events(tables="klines")
    assert isinstance(bar, StockKline)
    assert (bar.feed, bar.count, bar.ts_event, bar.close) == ("kline.1min", None, None, 300.0)
    book = next(archive.events(tables="book_snapshots"))
    assert isinstance(book, StockSnapshot)
    assert (book.source, book.seq, book.bids, book.ts_event) == (
        "push", None, [(300.2, 100.0), (300.0, 300.0)], None
    )  # fmt: skip
    assert (book.bid_orders, book.ask_orders) == ([2, 4], [1])


def test_kinds_of_its_own(archive: Archive) -> None:
    [quote] = archive.events(tables="quotes")
    assert isinstance(quote, RecordedQuote)
    assert (quote.feed, quote.price, quote.suspended, quote.extended) == ("quote", 300.2, False, None)
    first, second = archive.events(tables="broker_queue")
    assert isinstance(first, RecordedQueue) and isinstance(second, RecordedQueue)
    assert [broker.broker_id for broker in first.bids] == [1005, 1000]
    assert first.asks == [QueuedBroker(1, 1007, "b1007", None, None)]
    assert (second.bids, [broker.broker_id for broker in second.asks]) == ([], [1003])
    [minute] = archive.events(tables="timeshare")
    assert isinstance(minute, RecordedMinute)
    assert (minute.minute, minute.minute_time, minute.ts_event) == (571, 1_700_000_040_000_000_000, None)


@pytest.mark.parametrize(
    ("feeds", "kinds"),
    [
        ("trade", {"trade"}),
        (["ticker"], {"trade"}),
        (["quote", "rt"], {"quote", "timeshare"}),
        (["broker", "kline.1min"], {"broker_queue", "kline"}),
        ("orderbook", {"book_snapshot"}),
        ("trade.detail", set()),
    ],
)
def test_feeds(archive: Archive, feeds: Any, kinds: set[str]) -> None:
    assert by_kind(archive, feeds=feeds).keys() - {"session"} == kinds
    frames = list(archive.events(feeds=feeds, tables="frames"))
    assert bool(frames) == bool(kinds)


def test_every_token_resumes(archive: Archive) -> None:
    whole = list(archive.events(tables=REPLAY_TABLES))
    events = archive.events(tables=REPLAY_TABLES)
    for at, _ in enumerate(events, 1):
        assert list(archive.events(tables=REPLAY_TABLES, after=events.token)) == whole[at:]


def test_lines_say_the_same(archive: Archive) -> None:
    source = archive.source(None, None, None, None, None)
    pages = source.pages(archive._scanner, archive._tail, LineForm("float"), source.place(None), follow=False)
    lines = []
    while (page := pages.read()) is not None:
        lines += [json.loads(line) for line in page.items.array(0, len(page.order)).to_pylist()]
    assert Counter(line["type"] for line in lines) == by_kind(archive)
    trade = next(line for line in lines if line["type"] == "trade")
    assert (trade["trade_seq"], trade["ts_event"]) == (ID, None)


def test_decimals_are_the_shortest_of_the_wires_doubles(archive: Archive) -> None:
    for event in archive.events(numbers="decimal"):
        for name in NUMBERS.get(type(event), ()):
            value = getattr(event, name)
            numbers = [number for level in value for number in level] if isinstance(value, list) else [value]
            for number in numbers:
                assert number is None or number == Decimal(repr(float(number))), (event, name)
    book = next(archive.events(tables="book_snapshots", numbers="decimal"))
    assert isinstance(book, StockSnapshot)
    assert str(book.bids[0][0]) == "300.2"


def test_a_filter_of_symbols(archive: Archive) -> None:
    found = list(archive.events(symbols=OTHER, tables=REPLAY_TABLES[4:]))
    assert {event.symbol for event in found} == {OTHER} and len(found) == 2  # type: ignore[union-attr]


def test_an_asked_book_comes_as_such(gateway: Gateway) -> None:
    gateway.subscribe(1)
    gateway.book(2, [(1.0, 1, 1)], [(2.0, 1, 1)])
    gateway.asked_book(3, [(1.0, 2, 1)], [(2.0, 1, 1)])
    gateway.flush()
    with Archive(gateway.path) as archive:
        sources = [event.source for event in archive.events(tables="book_snapshots")]  # type: ignore[union-attr]
        assert sources == ["push", "refresh"]
        assert len(list(archive.events(tables="book_snapshots", numbers="decimal"))) == 2
