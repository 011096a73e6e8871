"""What is pushed is the market, read back by the venue's own decoder."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bookreel.exchange.futu.truth import TruthBook, TruthKept, TruthPush, TruthTick
from bookreel.venues.futu.model import Bar, BrokerQueue, Notice, OrderBook, Quote, Tick, TimePoint
from bookreel.venues.futu.requests import call

Make = Callable[..., Any]
FEEDS = ["orderbook", "ticker", "quote", "broker", "rt", "kline.1min", "kline.1day"]


def test_every_push_is_whole_and_of_the_feed_that_was_subscribed(desk: Make) -> None:
    one = desk()
    client = one.join()
    one.subscribe(FEEDS)
    one.run(20)
    pushes = one.pushes(client)
    assert all(push.whole and push.oddities == () for push in pushes)
    counts = Counter((push.topic.symbol, push.topic.feed) for push in pushes)
    expected = {(s, f) for s in one.config.symbols for f in FEEDS} - {("US.AAPL", "broker")}
    # a broker queue is Hong Kong's only; elsewhere the first push is all there is
    assert set(counts) - {("US.AAPL", "broker")} == expected
    kinds = {type(event) for push in pushes for event in push.events}
    assert kinds == {OrderBook, Tick, Quote, BrokerQueue, TimePoint, Bar}


def test_ticks_are_the_truth_and_books_are_at_each_push(desk: Make) -> None:
    one = desk()
    client = one.join()
    one.subscribe(["orderbook", "ticker"], first_push=False)
    one.run(20)
    pushes = one.pushes(client)
    truth = one.truth()
    ticks = [event for push in pushes for event in push.events if isinstance(event, Tick)]
    real = [record for record in truth if isinstance(record, TruthTick)]
    assert len(real) > 100
    told = [(t.symbol, t.sequence, t.ts_event, t.price, t.volume, t.side, t.origin) for t in ticks]
    sides = {1: "buy", 2: "sell", 3: None}
    assert told == [(r.symbol, r.sequence, r.ts, r.price, r.volume, sides[r.dir], "live") for r in real]
    books = [event for push in pushes for event in push.events if isinstance(event, OrderBook)]
    right = [record for record in truth if isinstance(record, TruthBook)]
    assert [(b.symbol, b.bids, b.asks, b.ts_event) for b in books] == [
        (r.symbol, r.bids, r.asks, r.ts) for r in right
    ]
    assert all((b.ts_event is None) == (b.symbol == "US.AAPL") for b in books)


def test_the_truth_tells_the_bytes_of_each_push(desk: Make) -> None:
    one = desk()
    client = one.join()
    one.subscribe(FEEDS)
    one.run(5)
    bodies = [b64decode(json.loads(text)["body_b64"]) for text in one.frames(client)]
    pushes = [record for record in one.truth() if isinstance(record, TruthPush)]
    assert [zlib.crc32(body) for body in bodies] == [record.crc for record in pushes]
    assert [record.n for record in pushes] == list(range(1, len(pushes) + 1))


def test_without_registration_nothing_is_pushed(desk: Make) -> None:
    one = desk()
    client = one.join()
    one.post("/api/subscribe", symbols=["HK.00700"], sub_types=[4], is_sub_or_un_sub=True)
    one.run(10)
    assert one.frames(client) == []
    assert one.ask(call("ticker", symbol="HK.00700", count=5)).events
    one.post(
        "/api/subscribe",
        symbols=["HK.00700"],
        sub_types=[4],
        is_sub_or_un_sub=True,
        is_reg_or_un_reg_push=True,
    )
    assert one.frames(client) != []


def test_the_first_push_is_cached_and_its_book_has_no_time(desk: Make) -> None:
    one = desk()
    one.run(10)
    client = one.join()
    one.subscribe(["orderbook", "ticker"], ["HK.00700"])
    book, ticks = (push.events for push in one.pushes(client))
    assert book[0].ts_event is None and book[0].bids
    assert len(ticks) == 10 and {tick.origin for tick in ticks} == {"cache"}
    one.run(5)
    later = [event for push in one.pushes(client) for event in push.events]
    assert all(event.ts_event is not None for event in later)
    known = {tick.sequence for tick in ticks}
    assert not known & {event.sequence for event in later if isinstance(event, Tick)}


def test_the_first_push_can_be_declined(desk: Make) -> None:
    one = desk()
    one.run(5)
    client = one.join()
    one.subscribe(["orderbook", "ticker"], first_push=False)
    assert one.frames(client) == []


def test_the_same_bytes_within_five_seconds_go_out_once(desk: Make) -> None:
    """A book that goes from A to B and back to A: the second A is not sent."""
    one = desk(rate=0.1, symbols=("US.AAPL",))  # New York tells no times, so equal books are equal bytes
    client = one.join()
    one.subscribe(["orderbook"], first_push=False)
    stock, pusher = one.gateway.market.stocks["US.AAPL"], one.gateway.pusher
    sizes = list(stock._bids)

    def show(volume: int) -> list[Any]:
        stock._bids[0] = (volume, 1)
        pusher._push(stock, 2, one.gateway.now_ns())
        return [push.events[0].bids[0][1] for push in one.pushes(client)]

    assert (show(100), show(200), show(100)) == ([100], [200], [])
    one.clock.ns += 4_900_000_000
    assert show(100) == []
    one.clock.ns += 200_000_000
    assert show(100) == [100]
    assert sizes
    kept = [record for record in one.truth() if isinstance(record, TruthKept)]
    assert [record.why for record in kept] == ["duplicate", "duplicate"]


def test_bars_are_of_both_numberings(desk: Make) -> None:
    one = desk()
    client = one.join()
    one.subscribe(["kline.1min", "kline.1day", "kline.5min"], ["HK.00700"], rehab_types=(0,))
    one.run(5)
    for text in one.frames(client):
        envelope = json.loads(text)
        assert (
            envelope["rehab_type"] == 0
            and envelope["sub_type"] in (11, 6, 7)
            and envelope["proto_id"] == 3007
        )
    one.subscribe(["kline.1min"], ["US.AAPL"])
    one.run(5)
    told = {(e.symbol, e.period, e.rehab) for p in one.pushes(client) for e in p.events}
    assert told == {("HK.00700", "1min", "none"), ("HK.00700", "1day", "none"), ("HK.00700", "5min", "none"),
                    ("US.AAPL", "1min", "forward")}  # fmt: skip


def test_two_clients_get_the_same(desk: Make) -> None:
    one = desk()
    first, second = one.join(), one.join()
    one.subscribe(FEEDS)
    one.run(3)
    frames = one.frames(first)
    assert frames == one.frames(second) and len(frames) > 50


def test_a_slow_reader_loses_the_oldest_without_a_word(desk: Make) -> None:
    one = desk(capacity=16)
    slow, quick = one.join(), one.join()
    one.subscribe(FEEDS)
    every: list[str] = []
    for _ in range(100):
        one.run(0.1)
        every += one.frames(quick)
    assert one.frames(slow) == every[-16:]
    lost = [record for record in one.truth() if type(record).__name__ == "TruthLost"]
    quick_lost = [record for record in lost if record.conn == quick.number]
    assert len([r for r in lost if r.conn == slow.number]) == len(every) + len(quick_lost) - 16
    assert {record.why for record in lost} == {"slow"}


@pytest.mark.parametrize("logined", [True, False])
def test_notices(desk: Make, logined: bool) -> None:
    one = desk()
    client = one.join()
    one.gateway.pusher.notice(logined=logined, now_ns=one.clock.ns)
    (text,) = one.frames(client)
    assert json.loads(text)["type"] == "notify" and "sec_key" not in json.loads(text)
    one.gateway.pusher.notice(logined=logined, now_ns=one.clock.ns)
    (push,) = one.pushes(client)
    assert push.events == [Notice(3, qot_logined=logined, trd_logined=False)]
