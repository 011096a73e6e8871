from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bookreel.storage.digests import Digests
from bookreel.storage.errors import CorruptFile, QueryError
from bookreel.storage.query import Database, names_needed, open_views, tables_needed
from bookreel.storage.schema import TABLES
from bookreel.storage.tail import Tail

Record = Callable[[], Any]


def ask(
    recording: Any, query: str, params: Any = None, digests: Digests | None = None
) -> list[tuple[Any, ...]]:
    tail = Tail(recording.path)
    database = Database(recording.path, digests=digests)
    return database.run([tail.look(tables_needed(query))], query, params).fetchall()


@pytest.fixture(params=["tail", "sealed", "both"])
def holed(record: Record, request: pytest.FixtureRequest) -> Any:
    """A book from 3 s on with a hole from 6 s to 10 s, trades with a hole from 12 s to 15 s."""
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.connect(1, "market.btcusdt.bbo", "market.btcusdt.trade.detail", conn="ws-0")
    recording.delta(2, 10, 11, [[99, 1]], [[101, 1]])
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.delta(4, 11, 12, [[99, 0]])
    recording.delta(5, 12, 13)
    recording.delta(6, 13, 14, [[97.5, 2]])
    recording.bbo(6.5, 14, 98, 101)
    for number, at in enumerate((2, 7, 11), 1):
        recording.trade(at, number, 100.0 + number)
    if request.param == "both":
        recording.rotate()
    recording.delta(8, 20, 21, [[1, 1]])
    recording.snapshot(10, 21, [[50, 1]], [[60, 1]])
    recording.event("disconnect", 12, "ws-0", cause="disconnect", detail="")
    recording.connect(15, "market.btcusdt.bbo", "market.btcusdt.trade.detail", conn="ws-0")
    recording.trade(25, 4, 104.0)
    recording.flush()
    if request.param != "tail":
        if request.param == "sealed":
            recording.rotate()
        recording.seal()
    return recording


def test_the_names_a_statement_needs() -> None:
    assert tables_needed("select * from trades") == {"trades"}
    assert tables_needed("FROM Bars") == {"klines"}
    assert tables_needed("from book_at('x', 1)") == {"book_snapshots", "book_deltas", "gaps"}
    assert tables_needed("select 1") == set()
    assert tables_needed("from query_table('tra' || 'des')") == set(TABLES)
    assert "_coverage" in names_needed("from coverage('x')")


def test_every_table_is_there_in_an_empty_archive(record: Record) -> None:
    recording = record()
    recording.flush()
    for table, schema in TABLES.items():
        rows = ask(recording, f"describe {table}")
        assert [row[0] for row in rows] == schema.names
        assert ask(recording, f"select count(*) from {table} where symbol = 'btcusdt'") == [(0,)]
    for macro in (
        "book_at('x', now())",
        "top('x', 3)",
        "bbo_at('x', 1)",
        "ohlcv('x', '1 minute')",
        "coverage('x')",
        "bars",
    ):
        assert ask(recording, f"from {macro}") == []


def test_all_views_at_once(holed: Any) -> None:
    con = open_views(holed.path)
    assert con.execute("select count(*) from trades").fetchone() == (4,)
    assert con.execute("select count(*) > 0 from top('btcusdt', 3)").fetchone() == (True,)


@pytest.mark.parametrize(
    ("at", "seq", "valid", "bids", "asks"),
    [
        (3, 11, True, [(99, 1), (98, 5)], [(101, 1), (102, 5)]),
        (5.5, 12, True, [(98, 5)], [(101, 1), (102, 5)]),
        (6, 14, True, [(98, 5), (97.5, 2)], [(101, 1), (102, 5)]),
        (9, 14, False, [(98, 5), (97.5, 2)], [(101, 1), (102, 5)]),
        (10, 21, True, [(50, 1)], [(60, 1)]),
    ],
)
def test_book_at(holed: Any, at: float, seq: int, valid: bool, bids: Any, asks: Any) -> None:
    rows = ask(
        holed, "select side, price, size, seq, valid, level from book_at('btcusdt', ?)", [holed.at(at)]
    )
    assert [(price, size) for side, price, size, *_ in rows if side == "bid"] == bids
    assert [(price, size) for side, price, size, *_ in rows if side == "ask"] == asks
    assert {(seq_, valid_) for *_, seq_, valid_, _ in rows} == {(seq, valid)}
    assert [row[-1] for row in rows] == [*range(1, len(bids) + 1), *range(1, len(asks) + 1)]


def test_there_is_no_book_before_the_first_snapshot(holed: Any) -> None:
    assert ask(holed, "from book_at('btcusdt', ?)", [holed.at(2.5)]) == []


@pytest.mark.parametrize(
    "time",
    [
        "'2023-11-14 22:13:25'",
        "'2023-11-14T23:13:25+01:00'",
        "TIMESTAMP '2023-11-14 22:13:25'",
        "1700000005000000000",
    ],
)
def test_times_of_every_kind(holed: Any, time: str) -> None:
    assert ask(
        holed, f"select distinct seq from book_at('btcusdt', {time}, feed := 'mbp.150', depth := 1)"
    ) == [(12,)]


def test_top_is_the_newest_book(holed: Any) -> None:
    assert ask(holed, "select side, price, valid from top('btcusdt', 1)") == [
        ("bid", 50.0, True),
        ("ask", 60.0, True),
    ]


def test_bbo_at(holed: Any) -> None:
    query = "select seq, bid, ask, valid from bbo_at('btcusdt', ?)"
    assert ask(holed, query, [holed.at(6)]) == []
    assert ask(holed, query, [holed.at(6.5)]) == [(14, 98.0, 101.0, True)]
    # Nothing more came before the line was lost: that it was only quiet is not known.
    assert ask(holed, query, [holed.at(7)]) == [(14, 98.0, 101.0, False)]
    assert ask(holed, query, [holed.at(14)]) == [(14, 98.0, 101.0, False)]


def test_bars_of_trades_know_gaps_and_beginnings(holed: Any) -> None:
    query = "select epoch_ns(bucket), open, close, volume, count, valid from ohlcv('btcusdt', '5 seconds')"
    assert ask(holed, query) == [
        (holed.at(0), 101.0, 101.0, 1.0, 1, False),
        (holed.at(5), 102.0, 102.0, 1.0, 1, True),
        (holed.at(10), 103.0, 103.0, 1.0, 1, False),
        (holed.at(25), 104.0, 104.0, 1.0, 1, True),
    ]


def test_coverage_shows_runs_and_holes(holed: Any) -> None:
    rows = ask(
        holed,
        "select feed, epoch_ns(start), epoch_ns(\"end\"), state from coverage('btcusdt') where feed <> 'bbo'",
    )
    at = holed.at
    assert rows == [
        ("mbp.150", at(3), at(6), "covered"),
        ("mbp.150", at(6), at(10), "seq_gap"),
        ("mbp.150", at(10), None, "covered"),
        ("trade.detail", at(1), at(11), "covered"),
        ("trade.detail", at(11), at(15), "disconnect"),
        ("trade.detail", at(15), None, "covered"),
    ]


def test_bars_are_last_pushes(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.kline.1min", conn="ws-0")
    for at, open_time, close in ((2, 60, 3.0), (3, 60, 4.0), (4, 120, 5.0)):
        recording.kline(at, open_time, close)
    recording.flush()
    assert ask(recording, "select close from bars order by open_time") == [(4.0,), (5.0,)]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("select * from trade", "trades"),
        ("select simbol from trades", "symbol"),
        ("from book_att('x', 1)", "book_at"),
        ("selec", "syntax error"),
        ("select 1; select 2", "2 statements"),
        ("drop table trades", "only read"),
        ("copy trades to 'x.csv'", "only read"),
        ("set timezone = 'Asia/Tokyo'", "only read"),
        ("from '/etc/passwd'", "does not exist"),
        ("from read_csv('/etc/passwd')", "disabled"),
    ],
)
def test_refused_statements_say_why(record: Record, statement: str, told: str) -> None:
    recording = record()
    recording.flush()
    with pytest.raises(QueryError, match=told) as caught:
        ask(recording, statement)
    assert caught.value.exit_code == 2


def test_python_variables_are_out_of_reach(record: Record) -> None:
    recording = record()
    recording.flush()
    secret = duckdb.sql("select 42 as answer")
    assert secret is not None
    with pytest.raises(QueryError):
        ask(recording, "select * from secret")


def test_digests_are_checked_on_demand(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    recording.trade(2, 1, 100.0)
    recording.rotate()
    recording.seal()
    assert ask(recording, "select count(*) from trades", digests=Digests()) == [(1,)]
    (path,) = (recording.path / "parquet" / "trades").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        ask(recording, "select count(*) from trades", digests=Digests())
    assert caught.value.path.name == path.name


@pytest.mark.slow
def test_book_at_is_the_book_of_the_python_reader(captured: Path) -> None:
    from bookreel.replay import Archive

    draw = random.Random(7)
    with Archive(captured) as archive:
        span = archive.sql(
            "select epoch_ns(min(ts_recv)), epoch_ns(max(ts_recv)) from book_deltas"
        ).fetchall()[0]
        contents = archive._tail.look(["book_deltas", "book_snapshots", "gaps"])
        con = archive._database.view([contents], names_needed("book_at"))
        for _ in range(200):
            at = draw.randrange(span[0] + 1_000_000_000, span[1])
            book = archive.book("btcusdt", at)
            rows = con.execute(
                "select side, price, size, seq, valid from book_at('btcusdt', ?)", [at]
            ).fetchall()
            assert [(price, size) for side, price, size, *_ in rows if side == "bid"] == book.bids
            assert [(price, size) for side, price, size, *_ in rows if side == "ask"] == book.asks
            assert {row[3:] for row in rows} == {(book.seq, book.valid)}
