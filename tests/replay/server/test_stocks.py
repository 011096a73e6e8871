"""A server over an archive of stocks: the same paths, what is not known is null, and no answer is silently empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bookreel.replay import Archive
from bookreel.replay.kinds import MAKERS
from bookreel.replay.server import Settings
from tests.replay.gateway import Gateway
from tests.replay.server.serving import Site, serving

HK = "HK.00700"
TABLES = ("book_snapshots", "trades", "quotes", "broker_queue", "timeshare", "klines")
RANGE = {"from": "2023-11-14", "to": "2023-11-16"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gateway = Gateway(tmp_path_factory.mktemp("stocks") / "archive")
    gateway.subscribe(1)
    gateway.book(2, [(300.2, 100, 2)], [(300.4, 200, 1)])
    gateway.ticks(3, 1, 2)
    gateway.quote(4, 300.2)
    gateway.queue(5, [1005], [1007])
    gateway.rotate()
    gateway.seal()
    gateway.minute(6, 300.4)
    gateway.bar(7, 300.0)
    gateway.book(8, [(300.0, 100, 1)], [])
    gateway.lose(9)
    gateway.subscribe(11)
    gateway.book(13, [(299.8, 1, 1)], [(300.0, 1, 1)])
    gateway.journal.close()
    return gateway.path


@pytest.fixture(scope="module")
def stocks(path: Path) -> Iterator[Site]:
    with serving(path, Settings(workers=1, sql=True)) as running:
        yield running


def at(seconds: float) -> int:
    return Gateway.t0 + round(seconds * 1e9)


def test_the_book_and_its_age(stocks: Site, path: Path) -> None:
    book = stocks.get("/v1/book", symbol=HK, at=at(4.5)).json()
    assert (book["valid"], book["age_ns"], book["bids"]) == (True, 2_500_000_000, [[300.2, 100.0]])
    assert stocks.get("/v1/book", symbol=HK, at=at(13), feed="orderbook").json()["age_ns"] == 0


@pytest.mark.parametrize(("seconds", "told"), [(10, "inside a gap (disconnect)"), (12, "since a gap")])
def test_no_book_in_a_gap_or_right_after_it(stocks: Site, seconds: float, told: str) -> None:
    refused = stocks.get("/v1/book", symbol=HK, at=at(seconds))
    assert refused.status == 409 and told in refused.json()["message"]
    book = stocks.get("/v1/book", symbol=HK, at=at(seconds), allow_gap="1").json()
    assert (book["valid"], book["bids"]) == (False, [[300.0, 100.0]])


def test_coverage_claims_no_more_than_is_known(stocks: Site, path: Path) -> None:
    spans = stocks.get("/v1/coverage", symbol=HK).json()
    with Archive(path) as archive:
        expected = archive.coverage(HK).select(["feed", "state", "class"]).to_pylist()
    assert [{name: span[name] for name in ("feed", "state", "class")} for span in spans] == expected
    assert {span["class"] for span in spans if span["state"] == "covered"} == {"id-only"}
    assert {span["state"] for span in spans if span["class"] == "unsequenced"} == {"connected", "disconnect"}


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_each_table(stocks: Site, path: Path, table: str) -> None:
    *rows, end = stocks.get(f"/v1/{table}", symbol=HK).lines()
    with Archive(path) as archive:
        [(count,)] = archive.sql(f"SELECT count(*) FROM {table}").fetchall()
    assert (len(rows), end["reason"], end["type"]) == (count, "complete", "end")
    assert {row["type"] for row in rows} == {table} and count
    for form in ("csv", "arrow", "parquet"):
        assert stocks.get(f"/v1/{table}", format=form).status == 200
    assert stocks.get("/v1/count", table=table).json()["rows"] == count


def test_feeds_have_the_venues_short_names(stocks: Site) -> None:
    assert len(stocks.get("/v1/trades", feed="trade").lines()) == len(stocks.get("/v1/trades").lines())
    assert len(stocks.get("/v1/trades", feed="trade.detail").lines()) == 1


def test_a_replay_is_that_of_python(stocks: Site, path: Path) -> None:
    *lines, _ = stocks.get("/v1/replay").lines()
    with Archive(path) as archive:
        expected = [type(event).__struct_config__.tag for event in archive.events()]
    assert [line["type"] for line in lines] == expected
    assert {"quote", "broker_queue", "timeshare"} <= set(expected)
    decimals = stocks.get("/v1/replay", numbers="decimal", tables=",".join(TABLES))
    assert len(decimals.lines()) > len(TABLES)


@pytest.mark.parametrize(
    ("target", "query"),
    [
        ("/v1/books", {"symbol": HK, "every": "1s"}),
        ("/v1/bbo", {"symbol": HK, "source": "book"}),
        ("/v1/bars", {"symbol": HK}),
        ("/v1/sql", {"q": "SELECT venue, count(*) FROM quotes GROUP BY ALL"}),
    ],
)
def test_other_rows(stocks: Site, target: str, query: dict[str, Any]) -> None:
    *rows, end = stocks.ask("GET", target + "?" + _query(query)).lines()
    assert rows and end["reason"] == "complete"


@pytest.mark.parametrize("exchange", ["huobi", "futu"])
@pytest.mark.parametrize("target", ["/replay", "/replay-normalized"])
def test_tardis_knows_no_such_venue(stocks: Site, target: str, exchange: str) -> None:
    options = {"exchange": exchange, **RANGE, "dataTypes": ["trade"], "filters": [{"channel": "trade"}]}
    refused = stocks.get(target, options=json.dumps(options))
    assert refused.status == 400 and "/v1/replay" in refused.json()["message"]


def test_nor_do_its_data_feed_and_sockets(stocks: Site) -> None:
    feed = stocks.ask("GET", "/v1/data-feeds/huobi?from=2023-11-14T00:00:00Z")
    socket = stocks.ask("GET", "/ws-replay?exchange=huobi&from=2023-11-14&to=2023-11-15")
    assert (feed.status, socket.status) == (400, 400)


def test_every_table_of_the_venue_is_asked_for_here() -> None:
    assert set(TABLES) < set(MAKERS["futu"])


def _query(values: dict[str, Any]) -> str:
    from urllib.parse import urlencode

    return urlencode(values)
