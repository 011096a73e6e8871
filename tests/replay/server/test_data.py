"""What the paths under /v1 give is what the archive has, in every form, to the last row, and no more than asked."""

from __future__ import annotations

import io
import json
import re
import zlib
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from bookreel.replay import Archive
from bookreel.replay.asof import BOOKS
from bookreel.replay.kinds import MAKERS
from bookreel.replay.server.books import book_rows
from bookreel.replay.server.desk import Desk
from bookreel.replay.texts import json_rows
from bookreel.storage.schema import TABLES
from tests.replay.market import SYMBOLS
from tests.replay.server.serving import Reply, Site

SYMBOL = SYMBOLS[1]
ROW_TABLES = [table for table in MAKERS["huobi"] if table != "bbo"]


def table_of(reply: Reply) -> pa.Table:
    """An Arrow stream or a Parquet file."""
    if reply.headers["content-type"].endswith("parquet"):
        return pyarrow.parquet.read_table(io.BytesIO(reply.body))
    assert reply.status == 200, reply.body
    return pa.ipc.open_stream(reply.body).read_all()


def rows_of(recorded: Path, table: str, **choice: Any) -> pa.Table:
    with Archive(recorded) as archive:
        parts = [batch.rows[table] for batch in archive.batches(tables=table, **choice)]
    return pa.concat_tables([TABLES[table].empty_table(), *parts])


def as_lines(rows: pa.Table, table: str) -> list[Any]:
    """Rows as the records of NDJSON, levels as pairs, told by another way than the server's."""
    found = []
    for batch in rows.to_batches():
        for row in json_rows(batch):
            for side in {"bids", "asks"} & row.keys():
                if isinstance(row[side], list):
                    row[side] = [[level["price"], level["size"]] for level in row[side]]
            if isinstance(row.get("payload_bytes"), bytes):
                row["payload_bytes"] = b64encode(row["payload_bytes"]).decode()
            found.append({"type": table, **row})
    return found


@pytest.mark.parametrize("table", ROW_TABLES)
def test_every_form_has_every_row(site: Site, recorded: Path, table: str) -> None:
    expected = rows_of(recorded, table)
    assert expected.num_rows > 5
    *lines, end = site.get(f"/v1/{table}").lines()
    assert lines == as_lines(expected, table)
    assert (end["type"], end["reason"], end["rows"]) == ("end", "complete", expected.num_rows)
    for form in ("arrow", "parquet"):
        assert table_of(site.get(f"/v1/{table}", format=form)).equals(expected), form
    reply = site.get(f"/v1/{table}", format="csv")
    assert reply.headers["content-type"] == "text/csv"
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(io.BytesIO(reply.body), parse_options=options)
    assert found.num_rows == expected.num_rows
    assert found["pos"].to_pylist() == expected["pos"].to_pylist()
    assert found.column_names == expected.column_names


@pytest.mark.parametrize("table", ["trades", "book_deltas", "gaps", "frames"])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_joined_are_the_whole(site: Site, recorded: Path, table: str, limit: int) -> None:
    expected = as_lines(rows_of(recorded, table, symbols=SYMBOL), table)
    expected = expected[: limit * 12]
    found: list[Any] = []
    cursor = None
    while len(found) < len(expected):
        reply = site.get(f"/v1/{table}", symbol=SYMBOL, limit=limit, cursor=cursor)
        *lines, end = reply.lines()
        assert len(lines) <= limit
        found += lines
        cursor = end["cursor"]
        assert reply.headers.get("bookreel-cursor") == (cursor if end["reason"] == "limit" else None)
        if end["reason"] == "complete":
            break
    assert found[: len(expected)] == expected


def test_a_page_is_the_last_only_where_no_row_is_left(site: Site) -> None:
    rows = site.get("/v1/trades").lines()[-1]["rows"]
    for limit, reason in ((rows - 1, "limit"), (rows, "complete"), (rows + 1, "complete")):
        reply = site.get("/v1/trades", limit=limit)
        assert reply.lines()[-1]["reason"] == reason
        assert ("bookreel-cursor" in reply.headers) == (reason == "limit")


def test_a_range_of_time_is_kept(site: Site, recorded: Path) -> None:
    every = rows_of(recorded, "trades")
    times = every["ts_recv"].cast(pa.int64()).to_pylist()
    start, end = times[20], times[-20]
    found = table_of(site.get("/v1/trades", from_=start, to=end, format="arrow"))
    assert found.equals(rows_of(recorded, "trades", start=start, end=end))
    assert 0 < found.num_rows < every.num_rows


def test_several_symbols_and_feeds(site: Site, recorded: Path) -> None:
    two = [SYMBOLS[0], SYMBOLS[2]]
    found = table_of(site.get("/v1/gaps", symbol=",".join(two), feed="bbo,mbp.150", format="arrow"))
    assert found.equals(rows_of(recorded, "gaps", symbols=two, feeds=["bbo", "mbp.150"]))
    assert set(found["symbol"].to_pylist()) == set(two)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("form", ["ndjson", "csv", "arrow"])
def test_compressed_answers_are_the_same(site: Site, encoding: str, form: str) -> None:
    plain = site.get("/v1/book_deltas", format=form)
    packed = site.get("/v1/book_deltas", format=form, headers={"Accept-Encoding": f"br, {encoding}"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == encoding
    assert len(packed.body) < len(plain.body) / 3
    stream = pa.CompressedInputStream(pa.BufferReader(packed.body), encoding)  # type: ignore[arg-type]
    assert stream.read() == plain.body
    if encoding == "gzip":
        assert zlib.decompress(packed.body, wbits=31) == plain.body


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("text/csv", "text/csv"),
        ("text/html, application/vnd.apache.arrow.stream;q=0.9", "application/vnd.apache.arrow.stream"),
        ("text/csv;q=0.1, application/x-ndjson;q=0.2", "application/x-ndjson"),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("*/*", "application/x-ndjson"),
    ],
)
def test_accept_chooses_the_form(site: Site, accept: str, given: str) -> None:
    assert site.get("/v1/trades", headers={"Accept": accept}).headers["content-type"] == given


def test_no_form_that_is_accepted(site: Site) -> None:
    reply = site.get("/v1/trades", headers={"Accept": "image/png"})
    assert (reply.status, reply.json()["error"]) == (406, "not_acceptable")
    assert "text/csv" in reply.json()["allowed"]


def test_symbols_tables_and_coverage(site: Site, recorded: Path) -> None:
    assert site.get("/v1/symbols").json() == {"symbols": list(SYMBOLS)}
    tables = site.get("/v1/tables").json()
    assert [table["name"] for table in tables] == list(TABLES)
    assert tables[0]["columns"][0] == {
        "name": "ts_event", "type": "timestamp[ns]", "about": "venue's time of the event"
    }  # fmt: skip
    with Archive(recorded) as archive:
        expected = archive.coverage(SYMBOL)
    spans = site.get("/v1/coverage", symbol=SYMBOL).json()
    assert [span["state"] for span in spans] == expected["state"].to_pylist()
    assert [span["feed"] for span in spans] == expected["feed"].to_pylist()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", spans[0]["start"])


@pytest.mark.parametrize("table", MAKERS["huobi"])
def test_count_says_what_would_come(site: Site, recorded: Path, table: str) -> None:
    counted = site.get("/v1/count", table=table, symbol=SYMBOL).json()
    choice = {"symbol": SYMBOL} if table != "sessions" else {}
    reply = site.get(f"/v1/{table}", **choice)
    assert counted["rows"] == reply.lines()[-1]["rows"] > 0
    assert 0.5 < counted["bytes"]["ndjson"] / len(reply.body) < 2


def test_count_of_a_range(site: Site, recorded: Path) -> None:
    times = rows_of(recorded, "trades")["ts_recv"].cast(pa.int64()).to_pylist()
    choice = {"table": "trades", "from_": times[3], "to": times[-3]}
    expected = sum(times[3] <= ts < times[-3] for ts in times)
    assert site.get("/v1/count", **choice).json()["rows"] == expected


def instants(recorded: Path) -> tuple[int, int]:
    """When the book of the symbol is known, and one inside a gap."""
    with Archive(recorded) as archive:
        spans = archive.coverage(SYMBOL).to_pylist()
        rows = archive.coverage(SYMBOL)
        starts = rows["start"].cast(pa.int64()).to_pylist()
    of_book = [
        (start, span["state"]) for start, span in zip(starts, spans, strict=True) if span["feed"] == "mbp.150"
    ]
    covered = [start for start, state in of_book if state == "covered"]
    holes = [start for start, state in of_book if state != "covered"]
    with Archive(recorded) as archive:
        known = next(ts for ts in covered if archive.book(SYMBOL, ts).valid)
        unknown = next(ts + 1 for ts in holes if archive.book(SYMBOL, ts + 1).gap is not None)
    return known, unknown


def test_a_book(site: Site, recorded: Path) -> None:
    known, _ = instants(recorded)
    found = site.get("/v1/book", symbol=SYMBOL, at=known).json()
    with Archive(recorded) as archive:
        expected = archive.book(SYMBOL, known)
    assert list(found) == [
        "symbol", "feed", "seq", "epoch", "ts_event", "ts_recv", "valid", "gap", "bids", "asks", "age_ns"
    ]  # fmt: skip
    assert (found["bids"], found["asks"]) == (
        [list(level) for level in expected.bids],
        [list(level) for level in expected.asks],
    )
    assert (found["seq"], found["epoch"], found["valid"], found["gap"]) == (
        expected.seq, expected.epoch, True, None
    )  # fmt: skip
    assert len(site.get("/v1/book", symbol=SYMBOL, at=known, depth=1).json()["bids"]) == 1


def test_a_book_inside_a_gap_is_a_conflict(site: Site, recorded: Path) -> None:
    _, unknown = instants(recorded)
    reply = site.get("/v1/book", symbol=SYMBOL, at=unknown)
    body = reply.json()
    assert (reply.status, body["error"], body["parameter"]) == (409, "in_gap", "at")
    assert body["detail"]["gap"]["cause"]
    reply = site.get("/v1/book", symbol=SYMBOL, at=unknown, allow_gap=1)
    assert (reply.status, reply.json()["valid"]) == (200, False)
    assert reply.json()["gap"] == body["detail"]["gap"]


def test_before_the_beginning_is_a_conflict_too(site: Site) -> None:
    reply = site.get("/v1/book", symbol=SYMBOL, at="2001-01-01")
    assert (reply.status, reply.json()["error"]) == (409, "in_gap")
    assert "had not begun" in reply.json()["message"]


@pytest.mark.parametrize("every", [None, "10s"])
@pytest.mark.parametrize("limit", [None, 5])
def test_books_over_time(site: Site, recorded: Path, every: str | None, limit: int | None) -> None:
    with Archive(recorded) as archive:
        starts = archive.coverage(SYMBOL)["start"].cast(pa.int64()).to_pylist()
        expected = archive.books(SYMBOL, min(starts), max(starts) + 10**12, every, 3)
    parts, cursor = [], None
    while True:
        reply = site.get(
            "/v1/books", symbol=SYMBOL, every=every, depth=3, limit=limit, cursor=cursor, format="arrow"
        )
        parts.append(table_of(reply))
        cursor = reply.headers.get("bookreel-cursor")
        if cursor is None or len(parts) == 20:
            break
    found = pa.concat_tables(parts)
    assert found.num_rows > 50
    assert found.equals(expected.slice(0, found.num_rows))
    if limit is None and every is None:
        assert found.num_rows == expected.num_rows


def test_bbo_of_the_book(site: Site, recorded: Path) -> None:
    with Archive(recorded) as archive:
        expected = archive.bbo(SYMBOL, 0, 1 << 62)
    found = table_of(site.get("/v1/bbo", symbol=SYMBOL, source="book", format="arrow"))
    assert found.equals(expected)
    recorded_rows = rows_of(recorded, "bbo", symbols=SYMBOL)
    assert table_of(site.get("/v1/bbo", symbol=SYMBOL, format="parquet")).equals(recorded_rows)


def test_bars(site: Site, recorded: Path) -> None:
    with Archive(recorded) as archive:
        expected = archive.sql(
            "SELECT open_time, close, count FROM bars WHERE symbol = ? ORDER BY open_time", [SYMBOL]
        ).to_arrow_table()
    found = table_of(site.get("/v1/bars", symbol=SYMBOL, period="1min", format="arrow"))
    assert found.select(["open_time", "close", "count"]).equals(expected)
    assert table_of(site.get("/v1/bars", symbol=SYMBOL, period="5min", format="arrow")).num_rows == 0


@pytest.mark.parametrize(
    ("path", "query", "status", "parameter"),
    [
        ("/v1/trades", {"symbol": "nothere"}, 404, "symbol"),
        ("/v1/book", {"symbol": "btcusd"}, 404, "symbol"),
        ("/v1/coverage", {"symbol": "btcusd"}, 404, "symbol"),
        ("/v1/bars", {"symbol": "btcusd"}, 404, "symbol"),
        ("/v1/count", {"table": "trades", "symbol": "btcusd"}, 404, "symbol"),
        ("/v1/book", {"symbol": SYMBOL, "feed": "mbp.400"}, 404, "feed"),
        ("/v1/books", {"symbol": SYMBOL, "feed": "mbp.400"}, 404, "feed"),
        ("/v1/book", {}, 400, "symbol"),
        ("/v1/book", {"symbol": SYMBOL, "at": "yesterday"}, 400, "at"),
        ("/v1/book", {"symbol": SYMBOL, "at": "1e400"}, 400, "at"),
        ("/v1/book", {"symbol": SYMBOL, "at": "9" * 30}, 400, "at"),
        ("/v1/book", {"symbol": SYMBOL, "at": "2262-12-31"}, 400, "at"),
        ("/v1/book", {"symbol": SYMBOL, "depth": "0"}, 400, "depth"),
        ("/v1/book", {"symbol": SYMBOL, "depth": "1e400"}, 400, "depth"),
        ("/v1/book", {"symbol": SYMBOL, "allow_gap": "perhaps"}, 400, "allow_gap"),
        ("/v1/books", {"symbol": SYMBOL, "every": "0s"}, 400, "every"),
        ("/v1/count", {"table": "tradez"}, 400, "table"),
        ("/v1/count", {}, 400, "table"),
        ("/v1/trades", {"limit": "-1"}, 400, "limit"),
        ("/v1/trades", {"limit": "9" * 5000}, 400, "limit"),
        ("/v1/trades", {"format": "xml"}, 400, "format"),
        ("/v1/trades", {"symbol": "' OR 1=1 --"}, 400, "symbol"),
        ("/v1/trades", {"cursor": "' OR 1=1 --"}, 400, "cursor"),
        ("/v1/trades", {"cursor": "AAAA~0"}, 400, "cursor"),
        ("/v1/trades", {"cursor": "~0"}, 400, "cursor"),
        ("/v1/bars", {"symbol": SYMBOL, "cursor": "1;DROP TABLE klines~0"}, 400, "cursor"),
        ("/v1/trades", {"from": "2026-01-02", "to": "2026-01-01"}, 400, "to"),
        ("/v1/trades", {"from": "2020-01-02", "to": "2026-01-01"}, 400, "to"),
        ("/v1/trades", {"from": "2001-01-02"}, 400, "to"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    site: Site, path: str, query: dict[str, str], status: int, parameter: str
) -> None:
    reply = site.get(path, **query)
    body = reply.json()
    assert (reply.status, body["parameter"]) == (status, parameter), body
    assert body["message"] and list(body) == [
        "error", "message", "parameter", "allowed", "example", "detail"
    ]  # fmt: skip
    if status == 404:
        assert body["allowed"] or query["symbol"] == "nothere"


def test_a_cursor_of_another_choice_is_refused(site: Site) -> None:
    cursor = site.get("/v1/trades", symbol=SYMBOL, limit=1).lines()[-1]["cursor"]
    reply = site.get("/v1/trades", symbol=SYMBOLS[0], cursor=cursor)
    assert (reply.status, reply.json()["parameter"]) == (400, "cursor")


def test_the_nearest_names_are_given(site: Site) -> None:
    assert SYMBOL in site.get("/v1/book", symbol="btcusd").json()["allowed"]
    assert "/v1/trades" in site.get("/v1/trade").json()["message"]
    assert "did you mean symbol" in site.get("/v1/trades", symbl=1).json()["message"]


def test_json_is_strict(site: Site) -> None:
    for line in site.get("/v1/tickers").body.splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))


@pytest.mark.parametrize("every", [1, 1_000, 10**9])
def test_a_sampled_book_is_made_in_small_parts(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    class Enough(Exception):
        pass

    def books(archive: Archive, symbol: str, start: int, end: int, every: int, *_: Any) -> pa.Table:
        lengths.append(end - start)
        if len(lengths) == 30:
            raise Enough
        return BOOKS.empty_table()

    lengths: list[int] = []
    monkeypatch.setattr(Archive, "books", books)
    delivery = {"form": "ndjson", "encoding": None, "limit": None, "rows_max": 10}
    times = {"start": None, "end": 1 << 62, "cursor": None}
    with Archive(recorded) as archive, suppress(Enough):
        list(
            book_rows(
                Desk(archive),
                {"symbol": SYMBOL, "feed": None, "every": every, "depth": 1, **times, "delivery": delivery},
            )
        )
    assert lengths and max(lengths) <= 10_000 * every
