"""SQL over the archives of two venues; every other path answers from the first one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bookreel.cli.main import cli
from bookreel.replay import SameVenue
from bookreel.replay.server import ServeError, Settings
from bookreel.replay.server.folder import folder_of
from tests.replay.gateway import Gateway
from tests.replay.server.serving import Site, serving

Record = Callable[[], Any]

TOTALS = "SELECT venue, symbol, count(*) AS n FROM trades GROUP BY ALL ORDER BY ALL"


class Two:
    """Two archives, partly sealed, and a server of both."""

    def __init__(self, site: Site, crypto: Any, stocks: Gateway) -> None:
        self.site = site
        self.crypto = crypto
        self.stocks = stocks

    def rows(self, statement: str) -> list[dict[str, Any]]:
        *lines, end = self.site.get("/v1/sql", q=statement).lines()
        assert end["reason"] == "complete", end
        return [{key: value for key, value in line.items() if key != "type"} for line in lines]


@pytest.fixture
def two(record: Record, gateway: Gateway) -> Iterator[Two]:
    crypto = record()
    crypto.connect(1, "market.btcusdt.mbp.150")
    crypto.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    crypto.snapshot(2, 10, [[98, 5]], [[102, 5]])
    crypto.trade(2, 1, 100.0)
    gateway.subscribe(1)
    gateway.book(3, [(300.2, 100, 2)], [(300.4, 200, 1)])
    gateway.ticks(4, 7)
    for recording in (crypto, gateway):
        recording.rotate()
        recording.seal()
    crypto.trade(6, 2, 101.0)
    gateway.ticks(8, 8)
    for recording in (crypto, gateway):
        recording.flush()
    settings = Settings(workers=1, sql=True)
    with serving(crypto.path, settings, beside=[gateway.path]) as site:
        yield Two(site, crypto, gateway)


def test_one_statement_has_the_rows_of_both(two: Two) -> None:
    expected = [
        {"venue": "futu", "symbol": "HK.00700", "n": 2},
        {"venue": "huobi", "symbol": "btcusdt", "n": 2},
    ]
    assert two.rows(TOTALS) == expected
    (book,) = two.rows(
        f"SELECT DISTINCT valid FROM book_at('HK.00700', make_timestamp_ns({two.stocks.at(5)}))"
    )
    assert book == {"valid": True}
    two.stocks.ticks(9, 9)
    two.stocks.flush()
    assert [row["n"] for row in two.rows(TOTALS)] == [3, 2]


def test_every_other_path_answers_from_the_first(two: Two) -> None:
    site = two.site
    assert site.get("/v1/symbols").json() == {"symbols": ["btcusdt"]}
    assert {row["venue"] for row in site.get("/v1/trades").lines()[:-1]} == {"huobi"}
    assert site.get("/v1/book", symbol="HK.00700").status == 404
    assert len(site.get("/v1/replay", tables="trades").lines()) == 3


def test_nothing_says_where_either_is(two: Two, tmp_path: Path) -> None:
    statements = [
        "EXPLAIN ANALYZE FROM trades",
        "EXPLAIN ANALYZE FROM sessions",
        "SELECT sql FROM duckdb_views()",
        "SELECT DISTINCT filename FROM read_parquet('futu/parquet/trades/**/*.parquet', filename = true)",
        "FROM read_parquet('huobi/parquet/trades/nothing.parquet')",
        f"FROM read_parquet('{two.crypto.path}/parquet/trades/**/*.parquet')",
        "FROM read_text('huobi/archive.json')",
        "FROM glob('*')",
        "FROM glob('huobi/*')",
        "FROM duckdb_databases()",
    ]
    seen = [two.site.get("/v1/sql", q=statement).body.decode() for statement in statements]
    assert "futu/parquet/trades/venue=futu/" in seen[3]
    places = (str(two.crypto.path), str(two.stocks.path), "bookreel-serve-")
    for statement, body in zip(statements, seen, strict=True):
        told = body.replace(statement, "")
        assert not [place for place in places if place in told and place not in statement], body


def test_a_damaged_file_of_the_second_is_named(two: Two) -> None:
    (found,) = sorted(two.stocks.path.rglob("parquet/trades/**/*.parquet"))
    found.write_bytes(found.read_bytes()[:50])
    reply = two.site.get("/v1/sql", q=TOTALS)
    assert (reply.status, reply.json()["error"]) == (500, "unreadable")
    assert "sealed file futu/parquet/trades/" in reply.json()["message"]


def test_two_of_one_venue_are_refused(record: Record) -> None:
    with pytest.raises(SameVenue), folder_of([record().path, record().path]):
        pass


def test_no_room_for_their_names(
    record: Record, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "full"))
    with (
        pytest.raises(ServeError, match="set TMPDIR to another folder"),
        folder_of([record().path, gateway.path]),
    ):
        pass
    with folder_of([gateway.path]) as (folder, names):  # one needs none
        assert (folder, names) == (gateway.path, ("",))


def test_several_are_only_for_sql(record: Record, gateway: Gateway) -> None:
    words = ["serve", "--archive", str(record().path), "--archive", str(gateway.path)]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "--enable-sql" in result.output
