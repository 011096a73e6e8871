"""A pushed book is what was pushed last, says how old that is, and is never valid inside or right after a gap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from bookreel.replay import Archive, Book, NoSuchFeed
from tests.replay.gateway import Gateway

HK = "HK.00700"
SECOND = 1_000_000_000

Made = tuple[Gateway, Archive]


def ints(rows: pa.Table, name: str) -> list[Any]:
    return rows[name].cast(pa.int64()).to_pylist()


@pytest.fixture(params=["tail", "sealed"])
def made(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Made]:
    """Subscribed from 1 to 10 and, after a lost connection, from 12; a push at 2, 4, 15 and 16. The gap is
    from 4, the last sign of the book, to 12.
    """
    gateway.asked_book(0.5, [(8, 1, 1)], [(9, 1, 1)])
    gateway.subscribe(1)
    gateway.book(2, [(300.2, 100, 2), (300.0, 300, 4)], [(300.4, 200, 1), (300.6, 0, 0)])
    gateway.asked_book(3, [(1, 1, 1)], [(2, 1, 1)])
    gateway.book(4, [(300.4, 500, 1)], [(300.4, 100, 1)])
    gateway.ticks(10, 1)
    gateway.lose(10)
    gateway.subscribe(12)
    gateway.asked_book(13, [(3, 1, 1)], [(4, 1, 1)])
    gateway.book(15, [(301.0, 700, 3)], [])
    gateway.book(16, [(301.2, 800, 1)], [(301.4, 1, 1)])
    gateway.flush()
    if request.param == "sealed":
        gateway.rotate()
        gateway.seal()
    with Archive(gateway.path) as archive:
        yield gateway, archive


def test_the_newest_push_and_its_age(made: Made) -> None:
    gateway, archive = made
    book = archive.book(HK, gateway.at(3.5))
    assert (book.feed, book.seq, book.valid, book.age_ns) == ("orderbook", None, True, 1.5 * SECOND)
    assert book.bids == [(300.2, 100.0), (300.0, 300.0)]
    assert book.asks == [(300.4, 200.0), (300.6, 0.0)], "as it was pushed"
    assert archive.book(HK, gateway.at(3.5), depth=1).bids == [(300.2, 100.0)]
    at = archive.book(HK, gateway.at(4))
    assert (at.age_ns, at.bids, at.asks) == (0, [(300.4, 500.0)], [(300.4, 100.0)]), (
        "crossed, as in an auction"
    )


def test_where_nothing_is_known(made: Made) -> None:
    gateway, archive = made
    found = {at: archive.book(HK, gateway.at(at)) for at in (0.2, 0.7, 1.5, 3.9, 4, 10.5, 12, 14.9, 15, 17)}
    assert [at for at, book in found.items() if book.valid] == [3.9, 4, 15, 17]
    assert found[0.2] == Book(HK, "orderbook", None, None, None, None, [], [], False, None)
    assert found[1.5].bids == [(8.0, 1.0)], "it was asked for before anything was pushed"
    gap = found[10.5].gap
    assert gap is not None and gap.cause == "disconnect"
    for at in (10.5, 12, 14.9):
        assert (found[at].bids, found[at].age_ns) == ([(300.4, 500.0)], round((at - 4) * SECOND))
    assert found[14.9].gap is None, "the gap has ended, but its book is not known yet"
    assert found[15].epoch != found[4].epoch


def test_books_over_time(made: Made) -> None:
    gateway, archive = made
    at = gateway.at
    rows = archive.books(HK, at(1), at(30))
    assert ints(rows, "ts") == [at(2), at(4), at(15), at(16)]
    assert set(rows["valid"].to_pylist()) == {True}
    rows = archive.books(HK, at(1), at(30), every="1s")
    valid = dict(zip(ints(rows, "ts"), rows["valid"].to_pylist(), strict=True))
    for ts, row in valid.items():
        assert row == archive.book(HK, ts).valid, (ts - at(0)) / SECOND
    assert not any(valid[at(second)] for second in (11, 12, 13, 14))
    quotes = archive.bbo(HK, at(1), at(30))
    assert quotes["bid"].to_pylist() == [300.2, 300.4, 301.0, 301.2]
    assert quotes["ask"].to_pylist() == [300.4, 300.4, None, 301.4]


def test_sql_gives_the_same_book(made: Made) -> None:
    gateway, archive = made
    for tenth in range(5, 175, 5):
        at = gateway.at(tenth / 10)
        book = archive.book(HK, at)
        rows = archive.sql(
            "SELECT side, price, size, valid, age_ns, epoch_ns(ts_recv) FROM book_at(?, ?)", [HK, at]
        ).fetchall()
        for side, levels in (("bid", book.bids), ("ask", book.asks)):
            assert [row[1:3] for row in rows if row[0] == side] == [level for level in levels if level[1]]
        assert {row[3:] for row in rows} == ({(book.valid, book.age_ns, book.ts_recv)} if rows else set()), (
            tenth
        )


def test_a_clock_that_was_set_back(gateway: Gateway) -> None:
    append, monos = gateway.journal.append, iter(range(1, 1_000))
    gateway.journal.append = lambda wall, mono, *rest: append(wall, next(monos), *rest)  # type: ignore
    gateway.subscribe(1)
    gateway.book(20, [(1, 1, 1)], [(2, 1, 1)])
    gateway.ticks(30, 1)
    gateway.ticks(5, 2)
    gateway.book(8, [(3, 1, 1)], [(4, 1, 1)])
    gateway.flush()
    with Archive(gateway.path) as archive:
        found = {at: archive.book(HK, gateway.at(at)) for at in (3, 6, 9, 31)}
        assert [found[at].bids[0][0] if found[at].bids else None for at in found] == [None, 1.0, 3.0, 3.0]
        assert [found[at].age_ns for at in found] == [None, None, SECOND, 23 * SECOND]
        assert [at for at in found if found[at].valid] == [31], "the others were twice, or before a book"
        for at, book in found.items():
            rows = archive.sql("SELECT DISTINCT valid, age_ns FROM book_at(?, ?)", [HK, gateway.at(at)])
            assert rows.fetchall() == ([(book.valid, book.age_ns)] if book.bids else []), at


def test_against_all_rows(gateway: Gateway) -> None:
    """At any instant: the last push before it, valid unless a gap began or ended since."""
    rng = Random(7)
    gateway.subscribe(1)
    pushes: list[tuple[int, float]] = []
    holes: list[tuple[int, int]] = []
    now, last = 1.0, 1.0
    for number in range(120):
        now += rng.choice((0.1, 0.5, 2.0))
        if rng.random() < 0.1:
            gateway.lose(now)
            back = now + rng.choice((0.1, 3.0))
            gateway.subscribe(back)
            holes.append((gateway.at(last), gateway.at(back)))
            now = last = back
        else:
            gateway.book(now, [(number + 1.0, 1, 1)], [(number + 2.0, 1, 1)])
            pushes.append((gateway.at(now), number + 1.0))
            last = now
        if rng.random() < 0.1:
            gateway.rotate()
            gateway.seal()
    gateway.flush()
    with Archive(gateway.path) as archive:
        for _ in range(150):
            at = gateway.at(rng.uniform(1, now))
            known = [push for push in pushes if push[0] <= at]
            book = archive.book(HK, at)
            if not known:
                assert not book.valid
                continue
            ts, price = known[-1]
            assert (book.ts_recv, book.bids[0][0], book.age_ns) == (ts, price, at - ts)
            inside = any(start < at < end for start, end in holes)
            since = any(ts < end <= at for _, end in holes)
            assert book.valid == (not inside and not since)
            assert archive.sql("SELECT DISTINCT valid FROM book_at(?, ?)", [HK, at]).fetchall() == [
                (book.valid,)
            ]


def test_a_pushed_feed_of_the_other_venue(record: Callable[[], Any]) -> None:
    recording = record()
    topic = "market.btcusdt.depth.step0"

    def push(at: float, price: float, version: int) -> None:
        tick = {"version": version, "ts": 1, "bids": [[price, 1]], "asks": [[price + 1, 1]]}
        recording.frame(at, {"ch": topic, "ts": 1, "tick": tick}, "ws-0")

    recording.connect(1, topic, conn="ws-0")
    push(2, 5, 7)
    recording.event("disconnect", 3, "ws-0", cause="disconnect", detail="")
    recording.connect(4, topic, conn="ws-0")
    push(6, 7, 9)
    recording.flush()
    with Archive(recording.path) as archive:
        valid = [archive.book("btcusdt", recording.at(at), feed="depth.step0").valid for at in (2, 2.5, 5, 6)]
        assert valid == [True, False, False, True]
        book = archive.book("btcusdt", recording.at(7))
        assert (book.seq, book.age_ns) == (9, SECOND)


def test_a_stock_without_books(gateway: Gateway) -> None:
    gateway.subscribe(1, feeds=["ticker"])
    gateway.flush()
    with Archive(gateway.path) as archive, pytest.raises(NoSuchFeed, match="orderbook"):
        archive.book(HK, gateway.at(2))


def test_coverage_says_what_it_is_worth(made: Made) -> None:
    _, archive = made
    rows = archive.coverage(HK).to_pylist()
    states: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        states.setdefault((row["feed"], row["class"]), set()).add(row["state"])
    assert states[("orderbook", "unsequenced")] == {"connected", "disconnect"}
    assert states[("ticker", "id-only")] == {"covered", "disconnect"}
    assert not any(row["state"] == "covered" for row in rows if row["class"] == "unsequenced")
