"""What is known of one topic, message by message, without a clock or an archive."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bookreel import venues
from bookreel.exchange.client import Chain, Client, Peer, Stream
from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.feeds import MAX_REPLY, Frame, Topic, parse_topic
from bookreel.exchange.hub import Channel
from bookreel.exchange.recorded import (
    BookImage,
    RecordedBars,
    RecordedBook,
    RecordedFeed,
    RecordedTrades,
    level_texts,
    make_recorded,
)
from tests.exchange.tape import T0, bar, delta, image, ns, push, trade


def topic(feed: str) -> Topic:
    found = parse_topic(f"market.btcusdt.{feed}")
    assert found is not None
    return found


def made(feed: str) -> RecordedFeed:
    return make_recorded(topic(feed), venues.get("huobi"))


def take(feed: RecordedFeed, *frames: tuple[float, str]) -> None:
    for pos, (at, text) in enumerate(frames):
        if '"rep"' in text:
            feed.take_reply(text, pos, ns(at))
        else:
            feed.take(Frame(text), pos, ns(at))


def asked(feed: RecordedFeed, first: int = 0, last: int = 2**40) -> Any:
    text = feed.reply(first, last)
    return None if text is None else json.loads(text)


@pytest.mark.parametrize(
    ("feed", "kind"),
    [
        ("mbp.150", RecordedBook),
        ("kline.1min", RecordedBars),
        ("trade.detail", RecordedTrades),
        ("mbp.refresh.20", RecordedFeed),
        ("bbo", RecordedFeed),
    ],
)
def test_a_topic_is_kept_as_its_kind_needs(feed: str, kind: type[RecordedFeed]) -> None:
    assert type(made(feed)) is kind


# Messages that stand for themselves


def test_the_last_message_is_what_a_subscriber_and_a_request_get() -> None:
    feed = made("detail")
    assert feed.tick() is None and asked(feed) is None and feed.cached(0) is None
    take(feed, push("btcusdt", "detail", 1, {"id": 1}), push("btcusdt", "detail", 2, {"id": 2}))
    assert asked(feed) == {"id": 2}
    assert feed.cached(0) is feed.last and feed.last is not None and '"id":2' in feed.last.text


def test_only_the_first_message_after_an_ack_can_be_an_echo() -> None:
    feed = made("bbo")
    (_, first), (_, other) = push("btcusdt", "bbo", 1, {"n": 1}), push("btcusdt", "bbo", 2, {"n": 2})
    feed.acked()
    assert not feed.echoes(first), "nothing was known that it could repeat"
    feed.take(Frame(first), 0, ns(1))
    assert not feed.echoes(first), "no ack came before it: the venue pushed it twice"
    feed.acked()
    assert not feed.echoes(other)
    assert not feed.echoes(first), "another message was the first after that ack"
    feed.acked()
    assert feed.echoes(first)


# Bars


def test_a_bar_is_its_last_push_and_the_newest_are_given() -> None:
    feed = made("kline.1min")
    take(feed, *(bar(i, 60 * i, 100.0 + i) for i in range(MAX_REPLY + 5)))
    take(feed, bar(400, 60, 1.5))
    bars = asked(feed)
    assert [b["id"] for b in bars] == [60 * i for i in range(5, MAX_REPLY + 5)]
    assert [(b["id"], b["close"]) for b in asked(feed, 60, 120)] == [(60, 1.5), (120, 102.0)]


def test_the_oldest_bars_are_forgotten() -> None:
    feed = made("kline.1min")
    assert isinstance(feed, RecordedBars)
    for start in range(2_001):
        feed.add(start, f'{{"id":{start}}}')
    assert len(feed.between(0, 2**40, 10_000)) == 2_000
    assert feed.between(0, 1, 5) == ['{"id":1}']


def test_bars_are_values_that_can_be_joined() -> None:
    feed = made("kline.1min")
    assert isinstance(feed, RecordedBars)
    take(feed, bar(2, 120, 101.0), bar(3, 60, 100.5))
    parts = list(feed.parts())
    assert [part.id for part in parts] == [60, 120]
    assert (parts[0].open, parts[0].close, parts[0].high, parts[0].low) == (100.0, 100.5, 102.0, 99.0)
    assert (parts[0].amount, parts[0].vol, parts[0].count) == (2.0, 200.0, 3)


# Trades


def numbers(feed: RecordedFeed) -> list[int]:
    return [trade["tradeId"] for trade in asked(feed)]


def answer(*many: int) -> tuple[float, str]:
    """Trades as the venue answers a request for them, oldest first."""
    data = [json.loads(trade(n, n)[1])["tick"]["data"][0] for n in many]
    frame = {"id": "x", "rep": "market.btcusdt.trade.detail", "status": "ok", "ts": T0 * 1000, "data": data}
    return max(many), json.dumps(frame)


def test_trades_are_the_newest_ones_oldest_first() -> None:
    feed = made("trade.detail")
    take(feed, *(trade(n, n) for n in range(MAX_REPLY + 5)))
    assert numbers(feed) == list(range(5, MAX_REPLY + 5))


def test_a_tick_that_is_sent_again_is_one() -> None:
    feed = made("trade.detail")
    assert isinstance(feed, RecordedTrades)
    take(feed, trade(1, 1), trade(1, 1), trade(2, 2))
    assert numbers(feed) == [1, 2]
    assert [json.loads(tick)["id"] for tick in feed.newest(5)] == [2, 1]
    assert len(feed.newest(1)) == 1


def test_trades_of_one_tick_are_given_in_their_order() -> None:
    feed = made("trade.detail")
    items = [json.loads(trade(1, n)[1])["tick"]["data"][0] for n in (3, 1, 2)]
    take(feed, push("btcusdt", "trade.detail", 1, {"id": 3, "ts": 1, "data": items}))
    assert numbers(feed) == [1, 2, 3]


def test_trades_that_were_asked_for_after_a_hole_take_their_place() -> None:
    feed = made("trade.detail")
    take(feed, trade(1, 1), trade(6, 6), answer(1, 2, 3, 6))
    assert numbers(feed) == [1, 2, 3, 6]
    take(feed, trade(7, 7), answer(2, 3, 6, 7))
    assert numbers(feed) == [1, 2, 3, 6, 7], "none twice"
    taken = json.loads(trade(2, 2)[1])["tick"]["data"][0]
    assert asked(feed)[1] == taken, "word for word"


def test_trades_that_did_not_reach_the_recorder_are_pushed_when_it_learns_of_them() -> None:
    feed = made("trade.detail")
    take(feed, trade(1, 1), trade(6, 6))
    last = feed.last
    at, text = answer(1, 2, 3, 6)
    frame = feed.take_reply(text, 9, ns(at))
    assert frame is not None
    message = json.loads(frame.text)
    assert (message["ch"], message["ts"]) == ("market.btcusdt.trade.detail", T0 * 1000)
    assert [t["tradeId"] for t in message["tick"]["data"]] == [2, 3]
    assert feed.take_reply(text, 10, ns(at)) is None, "there is nothing new in it"
    assert feed.last is last, "a subscriber gets what was pushed last in its time"


def test_trades_without_a_number_are_left_where_they_came() -> None:
    feed = made("trade.detail")
    old = [
        push("btcusdt", "trade.detail", at, {"id": at, "ts": at, "data": [{"id": at, "price": 1.0}]})
        for at in (1, 2)
    ]
    take(feed, *old, (3, '{"rep":"market.btcusdt.trade.detail","ts":1,"data":[{"id":9,"price":1.0}]}'))
    assert [t["id"] for t in asked(feed)] == [1, 2]


# Books

BIDS, ASKS = [[99.5, 1.0], [99.0, 2.0]], [[101.5, 1.0]]


class Silent(Peer):
    """A connection over which nothing has to go."""

    queued = 0

    def send(self, payload: bytes) -> None: ...
    def drop(self) -> None: ...
    def cut(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...


def book() -> RecordedBook:
    feed = made("mbp.150")
    assert isinstance(feed, RecordedBook)
    return feed


def stream(feed: RecordedBook, need_seq: int) -> Stream:
    client = Client(1, "/feed", "s", Silent(), ExchangeConfig(), 0)
    return Stream(client, Channel(feed), Chain(need_seq))


def given(feed: RecordedBook, asker: Stream | None = None) -> list[BookImage]:
    images: list[BookImage] = []
    feed.ask(1, asker, images.append)
    return images


def test_a_book_is_known_from_its_image_on_and_unknown_inside_a_hole() -> None:
    feed = book()
    take(feed, delta(0, 99, 100, [[98.0, 1.0]]))
    assert (feed.book(), feed.seq) == (None, 100)
    take(feed, image(0.1, 100, BIDS, ASKS), delta(1, 100, 105, [[99.5, 0.0]]))
    assert feed.book() == (105, [(99.0, 2.0)], [(101.5, 1.0)])
    assert feed.ts_ms == (T0 + 1) * 1000
    take(feed, delta(2, 109, 110, [[98.0, 4.0]]))
    assert (feed.book(), feed.seq) == (None, 110)


def test_an_ack_brings_no_image() -> None:
    feed = made("mbp.150")
    take(feed, delta(0, 99, 100, BIDS), image(0.1, 100, BIDS, ASKS))
    assert feed.cached(0) is None


def test_a_book_that_was_known_before_is_gone_on_with() -> None:
    feed = book()
    feed.load(100, [(99.5, 1.0)], [(101.5, 1.0)])
    assert feed.seq == 100
    take(feed, delta(1, 100, 105, [[99.0, 2.0]]))
    assert feed.book() == (105, [(99.5, 1.0), (99.0, 2.0)], [(101.5, 1.0)])


def test_a_question_inside_a_hole_is_answered_after_it() -> None:
    feed = book()
    waiting = given(feed)
    again = given(feed)
    take(feed, delta(0, 99, 100, BIDS))
    assert not waiting and not again
    take(feed, image(0.1, 100, BIDS, ASKS))
    assert not waiting, "the later question stands for the earlier one"
    assert [found.seq for found in again] == [100]


def test_who_can_join_the_recorders_own_image_gets_that_once() -> None:
    feed = book()
    take(feed, delta(0, 99, 100, BIDS), image(0.1, 100, BIDS, ASKS), delta(1, 100, 105, [[99.0, 3.0]]))
    asker = stream(feed, need_seq=100)
    [first] = given(feed, asker)
    assert (first.seq, first.ts_ms) == (100, T0 * 1000 + 100)
    [second] = given(feed, asker)
    assert (second.seq, second.ts_ms) == (105, None), "once a run: then it wants the present"
    assert json.loads(second.data)["bids"] == [[99.5, 1.0], [99.0, 3.0]]
    take(feed, delta(2, 109, 110, []), image(2.1, 110, BIDS, ASKS), delta(3, 110, 111, []))
    assert [found.seq for found in given(feed, asker)] == [110], "a new run, a new image"


def test_who_came_too_late_for_that_image_gets_the_present_one() -> None:
    feed = book()
    take(feed, delta(0, 99, 100, BIDS), image(0.1, 100, BIDS, ASKS), delta(1, 100, 105, []))
    assert [found.seq for found in given(feed, stream(feed, need_seq=105))] == [105]
    assert [found.seq for found in given(feed)] == [105], "as does who is not subscribed"


def test_an_image_that_is_too_far_back_to_be_joined_is_not_given() -> None:
    feed = book()
    take(feed, delta(0, 99, 100, BIDS), image(0.1, 100, BIDS, ASKS))
    take(feed, *(delta(1, seq, seq + 1, []) for seq in range(100, 1_124)))
    assert [found.seq for found in given(feed, stream(feed, 100))] == [100]
    take(feed, delta(1, 1_124, 1_125, []))
    assert [found.seq for found in given(feed, stream(feed, 100))] == [1_125]


def test_levels_are_written_as_the_venue_writes_doubles() -> None:
    assert level_texts([(1e-10, 2.0), (50_000_000.0, 0.5)]) == "[[1.0E-10,2.0],[5.0E7,0.5]]"
    assert level_texts([]) == "[]"


def test_it_is_awaited_that_who_was_told_of_a_break_asks() -> None:
    feed = book()
    take(feed, image(0.1, 100, BIDS, ASKS))
    assert not feed.awaited, "nobody was told of anything"
    take(feed, delta(1, 100, 105, []), delta(2, 109, 110, []))
    assert not feed.awaited, "the book is not known yet"
    take(feed, image(2.1, 110, BIDS, ASKS))
    assert feed.awaited
    assert given(feed) and not feed.awaited
    take(feed, delta(3, 119, 120, []))
    waiting = given(feed)
    take(feed, image(3.1, 120, BIDS, ASKS))
    assert waiting and not feed.awaited, "it asked before"
