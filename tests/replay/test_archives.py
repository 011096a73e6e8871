"""Archives of two venues are asked together, and what they hold is not mixed up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.replay import Archive, Archives, QueryError, SameVenue
from tests.replay.gateway import Gateway

Record = Callable[[], Any]

TOTALS = "SELECT venue, symbol, count(*) FROM trades GROUP BY ALL ORDER BY ALL"
BESIDE = """
    SELECT s.symbol, s.price, c.price FROM trades s
    ASOF JOIN (FROM trades WHERE symbol = 'btcusdt') c ON s.ts_recv >= c.ts_recv
    WHERE s.venue = 'futu' ORDER BY s.pos
"""


@pytest.fixture(params=["sealed", "tail"])
def paths(record: Record, gateway: Gateway, request: pytest.FixtureRequest) -> list[Path]:
    """Trades of crypto at 2 and 6, of a stock at 4 and 8, and a book of each."""
    crypto = record()
    crypto.connect(1, "market.btcusdt.mbp.150")
    crypto.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    crypto.snapshot(2, 10, [[98, 5]], [[102, 5]])
    crypto.trade(2, 1, 100.0)
    crypto.trade(6, 2, 101.0)
    gateway.subscribe(1)
    gateway.book(3, [(300.2, 100, 2)], [(300.4, 200, 1)])
    gateway.ticks(4, 7)
    gateway.ticks(8, 8)
    for recording in (crypto, gateway):
        recording.flush()
        if request.param == "sealed":
            recording.rotate()
            recording.seal()
    return [crypto.path, gateway.path]


def test_one_query_joins_their_rows(paths: list[Path]) -> None:
    with Archives(paths) as both:
        assert both.sql(TOTALS).fetchall() == [("futu", "HK.00700", 2), ("huobi", "btcusdt", 2)]
        assert both.sql(BESIDE).fetchall() == [("HK.00700", 300.2, 100.0), ("HK.00700", 300.2, 101.0)]


def test_macros_find_a_symbol_wherever_it_is(paths: list[Path], gateway: Gateway) -> None:
    at = gateway.at(5)
    with Archives(paths) as both:
        for path, symbol in zip(paths, ("btcusdt", "HK.00700"), strict=True):
            for query in (
                "FROM book_at($symbol, $at)",
                "FROM coverage($symbol)",
                "FROM ohlcv($symbol, INTERVAL 1 MINUTE)",
            ):
                params = {"symbol": symbol} | ({"at": at} if "$at" in query else {})
                with Archive(path) as alone:
                    expected = alone.sql(query, params).fetchall()
                assert both.sql(query, params).fetchall() == expected != [], query


def test_the_class_is_the_venues(record: Record, gateway: Gateway) -> None:
    """`ticker` is trades at one venue, and a summary at the other."""
    crypto = record()
    crypto.connect(1, "market.btcusdt.ticker", conn="ws-0")
    gateway.subscribe(1, feeds=["ticker"])
    crypto.flush()
    gateway.flush()
    with Archives([crypto.path, gateway.path]) as both:
        rows = both.sql(
            "SELECT symbol, class, state FROM _coverage WHERE feed = 'ticker' ORDER BY ALL"
        ).fetchall()
    assert rows == [("HK.00700", "id-only", "covered"), ("btcusdt", "unsequenced", "connected")]


def test_what_is_recorded_now_is_in_the_answer(paths: list[Path], gateway: Gateway) -> None:
    with Archives(paths) as both:
        before = both.sql("SELECT count(*) FROM trades").fetchall()
        gateway.ticks(9, 9)
        gateway.flush()
        assert (before, both.sql("SELECT count(*) FROM trades").fetchall()) == ([(4,)], [(5,)])


def test_one_alone_is_an_archive(paths: list[Path]) -> None:
    with Archives(paths[:1]) as one:
        assert one.sql(TOTALS).fetchall() == [("huobi", "btcusdt", 2)]


def test_two_of_one_venue_are_refused(record: Record) -> None:
    with pytest.raises(SameVenue, match="both of huobi: ask one of each venue"):
        Archives([record().path, record().path])


def test_nothing_but_the_archives_can_be_read(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with Archives(paths) as both, pytest.raises(QueryError):
        both.sql(f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')").fetchall()


def test_a_damaged_file_of_either_is_named(paths: list[Path]) -> None:
    found = sorted(paths[1].rglob("parquet/trades/**/*.parquet"))
    if not found:
        pytest.skip("nothing is sealed")
    os.truncate(found[0], 100)
    with Archives(paths) as both, pytest.raises(Exception, match="trades"):
        both.sql(TOTALS).fetchall()
