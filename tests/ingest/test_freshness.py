from __future__ import annotations

import msgspec

from bookreel.book.l2 import L2Book
from bookreel.book.model import Bbo, Delta, Event, Kline, Snapshot, Ticker, Trade
from bookreel.ingest.freshness import newer, newer_book


def bbo(seq: int | None, ts: int, bid: float) -> Bbo:
    return Bbo("x", "bbo", ts, seq, bid, 1.0, bid + 1, 1.0)


def depth(seq: int | None, ts: int, bid: float) -> Snapshot:
    return Snapshot("x", "depth.step0", ts, seq, [(bid, 1.0)], [], "push")


def trade(seq: int | None, ts: int) -> Trade:
    return Trade("x", "trade.detail", ts, str(seq), seq, "buy", 1.0, 1.0)


def kline(ts: int, open_time: int, count: int) -> Kline:
    return Kline("x", "kline.1min", ts, "1min", open_time, 1, 1, 1, 1, 1, 1, count)


def ticker(ts: int, count: int) -> Ticker:
    return Ticker("x", "detail", ts, 1, 1, 1, 1, 1, 1, count)


def delta(seq: int) -> Delta:
    return Delta("x", "mbp.150", 0, seq, seq - 1, [], [])


def check(old: list[Event], same: list[Event], new: list[Event]) -> None:
    assert newer(new, old, 0)
    assert not newer(old, new, 0), "an older answer tells nothing"
    assert not newer(same, old, 0), "sent later, but it says the same"
    assert not newer(old, old, 0)


def test_each_kind_by_its_own_order() -> None:
    check([bbo(5, 1, 9.0)], [bbo(6, 2, 9.0)], [bbo(6, 2, 9.1)])
    check([bbo(None, 1, 9.0)], [bbo(None, 2, 9.0)], [bbo(None, 2, 9.1)])
    check([depth(5, 1, 9.0)], [depth(6, 2, 9.0)], [depth(6, 2, 9.1)])
    check([depth(None, 1, 9.0)], [depth(None, 2, 9.0)], [depth(None, 2, 9.1)])
    check([trade(5, 1)], [trade(4, 1), trade(5, 1)], [trade(6, 2), trade(5, 1)])
    check([trade(None, 1)], [trade(None, 1)], [trade(None, 2)])
    check([kline(1, 60, 3)], [kline(2, 60, 3)], [kline(2, 0, 9), kline(2, 60, 4)])
    check([ticker(1, 3)], [ticker(2, 3)], [ticker(2, 4)])
    check([delta(5)], [delta(5)], [delta(6)])


def test_where_nothing_was_pushed_the_subscriptions_time_decides() -> None:
    assert newer([trade(1, 200)], [], 100)
    assert not newer([trade(1, 50)], [], 100)
    assert not newer([], [], 100)
    assert not newer([], [trade(1, 50)], 100)


def test_a_book_is_behind_only_if_its_content_differs() -> None:
    book = L2Book()
    book.load([(9.0, 1.0)], [(10.0, 2.0)])

    def answer(seq: int | None, bid: float) -> Snapshot:
        return Snapshot("x", "mbp.150", 0, seq, [(bid, 1.0)], [(10.0, 2.0)], "refresh")

    assert newer_book(answer(8, 9.5), book, 7)
    assert not newer_book(answer(8, 9.0), book, 7), "the number rises with other feeds too"
    assert not newer_book(answer(6, 9.5), book, 7)
    assert not newer_book(answer(None, 9.5), book, 7)


def test_a_ticker_whose_quote_moved_is_newer() -> None:
    quoted = msgspec.structs.replace(ticker(2, 5), bid=9.0, ask=9.5)
    moved = msgspec.structs.replace(quoted, ts_event=3, bid=9.1)
    assert newer([moved], [quoted], 0)
    assert not newer([msgspec.structs.replace(quoted, ts_event=3)], [quoted], 0)


def test_what_is_sent_again_as_it_was_cannot_be_later_and_known() -> None:
    assert not newer([bbo(7, 2, 9.0)], [bbo(5, 1, 9.0)], 0)
    assert newer([bbo(7, 2, 9.0)], [bbo(5, 1, 9.0)], 0, verbatim=True), "there and back again"
    assert not newer([bbo(5, 1, 9.0)], [bbo(5, 1, 9.0)], 0, verbatim=True)
