"""SQL over HTTP reads the archive and nothing else, and ends where it takes too much."""

from __future__ import annotations

import http.client
import os
from pathlib import Path

import pyarrow as pa
import pytest

from bookreel.replay.server import Settings
from tests.replay.server.serving import Reply, Site, serving

SECRET = "a-secret-of-the-server-0123456789"


def ask(site: Site, statement: str, form: str = "ndjson") -> Reply:
    return site.ask("POST", f"/v1/sql?format={form}", {"Content-Type": "text/plain"}, statement.encode())


def test_rows_in_either_way(site: Site) -> None:
    statement = "SELECT count(*) AS n, min(ts_recv) AS first FROM trades"
    posted, got = ask(site, statement), site.get("/v1/sql", q=statement)
    assert posted.body == got.body
    row, end = posted.lines()
    assert row["n"] == site.get("/v1/count", table="trades").json()["rows"]
    assert end == {"type": "end", "reason": "complete", "rows": 1}
    assert pa.ipc.open_stream(ask(site, statement, "arrow").body).read_all()["n"].to_pylist() == [row["n"]]


def test_it_is_not_there_unless_enabled(recorded: Path) -> None:
    with serving(recorded) as site:
        assert site.get("/v1/sql", q="SELECT 1").status == 404
        assert "/v1/sql" not in site.get("/v1/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY trades TO '/tmp/bookreel-escape.csv'",
        "COPY (SELECT 1) TO '/dev/stdout'",
        "ATTACH '/tmp/bookreel-escape.db' AS x",
        "EXPORT DATABASE '/tmp/bookreel-escape'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET allowed_directories",
        "PRAGMA enable_profiling",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE trades",
        "INSERT INTO trades SELECT * FROM trades",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY trades TO '/tmp/bookreel-escape.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM read_json('http://127.0.0.1:1/x')",
        "SELECT * FROM read_parquet('s3://x/y')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
        "SELECT * FROM query_table('/etc/passwd')",
        "EXPLAIN ANALYZE COPY trades TO '/tmp/bookreel-escape.csv'",
        "EXPLAIN ANALYZE INSERT INTO trades SELECT * FROM trades",
        "WITH x AS (DELETE FROM trades RETURNING *) SELECT * FROM x",
        "SELECT getenv('PATH')",
        "SELECT * FROM os",
        "SELECT * FROM archive",
        "FROM sniff_csv('/etc/passwd')",
        "FROM duckdb_settings()",
        "FROM system.main.DuckDB_Settings()",
        "FROM pg_catalog.pg_settings",
        "SELECT current_setting('allowed_directories')",
        "SELECT 'allowed_directories'.\"current_setting\"()",
        "FROM query('FROM duckdb_' || 'settings()')",
        "FROM query_table('pg_' || 'settings')",
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM duckdb_' || 'settings()'))",
        "SELECT json_serialize_plan('FROM duckdb_' || 'settings()')",
        "SELECT * FROM read_text('parquet/../archive.json')",
        "SELECT * FROM glob('parquet/../*')",
        "SELECT * FROM read_text('/proc/self/cwd/archive.json')",
        "FROM pandas_scan(94000000::UBIGINT::POINTER)",
        "FROM enable_logging()",
        "SELECT",
        "\u0000",
        " ",
    ],
)
def test_no_way_out(site: Site, statement: str) -> None:
    reply = ask(site, statement)
    assert reply.status == 400, reply.body
    assert reply.json()["error"] == "bad_request"
    assert b"root:" not in reply.body
    assert not Path("/tmp/bookreel-escape.csv").exists()


def test_no_way_up_from_the_archive(site: Site, recorded: Path) -> None:
    (recorded.parent / "beside.csv").write_text("a,b\n1,2\n")
    for path in (
        f"{recorded}/parquet/../../beside.csv",
        f"{recorded}/../beside.csv",
        f"{recorded}/meta.json",
    ):
        reply = ask(site, f"SELECT * FROM read_text('{path}')")
        assert reply.status == 400, path


def test_nothing_says_where_the_archive_is(site: Site, recorded: Path) -> None:
    """Every function without an argument and every view that DuckDB has, plans, names of files, and complaints."""
    listed = "SELECT DISTINCT function_name AS name, function_type AS type FROM duckdb_functions()"
    functions = [row for row in ask(site, listed).lines() if row["type"] != "end"]
    views = ask(
        site, "SELECT database_name || '.' || schema_name || '.' || view_name AS name FROM duckdb_views()"
    )
    statements = [f"FROM {row['name']}" for row in views.lines() if row["type"] == "row"]
    tables = [row["name"] for row in functions if row["type"] in ("table", "table_macro")]
    statements += [f"FROM {name}()" for name in tables]
    statements += [
        "EXPLAIN ANALYZE SELECT * FROM trades",
        "SELECT sql FROM duckdb_views()",
        "SELECT DISTINCT filename FROM read_parquet('parquet/**/*.parquet', filename = true, union_by_name = true)",
        "SELECT * FROM read_parquet('nothing.parquet')",
        "SELECT * FROM read_csv('parquet')",
    ]
    assert len(statements) > 100
    seen = b"".join(ask(site, statement).body for statement in statements)
    assert b"parquet/trades/venue=huobi/" in seen
    assert str(recorded).encode() not in seen
    assert str(Path.home()).encode() + b"/" not in seen


@pytest.mark.parametrize("form", ["csv", "arrow", "parquet"])
def test_a_form_that_cannot_say_how_it_ended_is_refused_above_the_limit(
    recorded: Path, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(workers=1, sql=True, sql_rows=100_000)
    with serving(recorded, settings) as site:
        assert ask(site, "FROM range(100000)", form).status == 200
        reply = ask(site, "FROM range(100001)", form)
        assert (reply.status, reply.json()["error"]) == (400, "over_limit")
        assert "100,000 rows" in reply.json()["message"]
        assert not caplog.records
        # More than is held back: it is cut off, and the log says why in one line.
        with pytest.raises(http.client.IncompleteRead):
            ask(site, "SELECT repeat('x', 5000) AS x FROM range(100001)", form)
    (line,) = caplog.records
    assert "which is the limit" in line.getMessage() and line.exc_info is None


def test_the_token_is_not_in_the_process(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKREEL_TOKEN_TEST", SECRET)
    with serving(recorded, Settings(workers=1, sql=True)):
        children = Path(f"/proc/{os.getpid()}/task")
        if not children.exists():
            pytest.skip("the environment of a process is told by /proc")
        found = [
            Path(f"/proc/{pid}/environ").read_bytes()
            for task in children.iterdir()
            for pid in (task / "children").read_text().split()
        ]
        assert found and not any(SECRET.encode() in environment for environment in found)


def test_too_long_too_large_and_too_many(recorded: Path) -> None:
    settings = Settings(workers=1, sql=True, sql_seconds=0.5, sql_bytes=64 << 20, sql_rows=100)
    with serving(recorded, settings) as site:
        reply = ask(site, "SELECT count(*) FROM range(100000000000) a, range(1000000) b")
        assert (reply.status, reply.json()["error"]) == (400, "over_limit")
        reply = ask(site, "SELECT 1 AS n")  # another process answers
        assert reply.lines()[0]["n"] == 1
        reply = ask(site, "SELECT list(range::VARCHAR) FROM range(20000000)")
        assert reply.status == 400
        *lines, end = ask(site, "FROM range(1000)").lines()
        assert (len(lines), end["reason"]) == (100, "limit")
        assert ask(site, "SELECT 1 AS n").lines()[0]["n"] == 1


def test_a_body_that_is_too_large(site: Site) -> None:
    reply = ask(site, "SELECT 1 --" + "x" * 70_000)
    assert (reply.status, reply.json()["error"]) == (413, "too_large")
