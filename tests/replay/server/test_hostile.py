"""Whatever a client sends, it is answered in time, by what the document says, never with 5xx; and the next client is
answered as if nothing had been.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import io
import json
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import pytest

from bookreel.replay.server import ROUTES, Limits, Route, Settings
from bookreel.replay.server import sql as sql_routes
from bookreel.replay.server.parameters import Parameter
from tests.replay.server.serving import Reply, Site, serving

BODY: Final = ["error", "message", "parameter", "allowed", "example", "detail"]
PATIENCE_S: Final = 60
HEADER_S: Final = 1.0
SQL_S: Final = 1.0

TEXTS: Final = (
    "", " ", ".", "..", "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "btcusdt/../ethusdt",
    "..\\..\\windows", "file:///etc/passwd", "http://127.0.0.1:1/", "btcusdt\0", "\0", "btcusdt\r\nX-Injected: 1",
    "' OR '1'='1", "btcusdt; DROP TABLE trades", "*", "%", "_", "btc%usdt", "$(id)", "`id`", "{{7*7}}", "%s%n",
    "<script>alert(1)</script>", "\u202ebtcusdt", "ｂｔｃｕｓｄｔ", "é", "İ", "\U0001f4a9", "a" * 64, "a" * 65,
    "a" * 2_000, ",", ",,,", "btcusdt,", "btcusdt,btcusdt", ",".join(["a"] * 1_500), "BTCUSDT", "trades", "frames",
    "null", "None", "true", "[]", "{}", "[" * 2_000, '{"a":' * 1_200, '"', "AAAA~0", "~", "~9999999999999", "AQ~-1",
)  # fmt: skip
NUMBERS: Final = (
    "0", "-0", "-1", "1", "+5", "5.0", " 5", "5 ", "1e9", "1e400", "-1e400", "NaN", "nan", "inf", "-inf",
    "Infinity",
    "0x10", "1_000", "٣", "１", "9" * 20, "9" * 2_000, "18446744073709551616", "9223372036854775807",
    "-9223372036854775808", "-9223372036854775809", "1e-320", "0.0000000000000001",
)  # fmt: skip
TIMES: Final = (
    "now", "yesterday", "1677-01-01", "1677-09-21T00:12:43.145224193Z", "2262-04-11T23:47:16.854775807Z",
    "2262-04-12",
    "0000-00-00", "9999-12-31", "-0001-01-01", "2026-13-01", "2026-02-30", "2026-11-20T25:00:00Z",
    "2026-11-20T23:59:60Z", "2026-11-20T12:00:00+99:99", "2026-11-20T12:00:00.1234567890Z", "2026-W47-5",
    "20261120",
    "12:00", "2026-11-20T12:00:00Z[Europe/Berlin]", "2026-11-20 12:00:00", "٢٠٢٦-١١-٢٠", "1ns", "0s", "1d",
    "999999999d", "100ms",
)  # fmt: skip
VALUES: Final = (*TEXTS, *NUMBERS, *TIMES)

ASKED: Final = tuple(
    route
    for route in (*ROUTES, sql_routes.ROUTES[0])
    if not route.path.startswith("/ws-")
    and route.path not in ("/v1/book_deltas", "/v1/klines", "/v1/tickers")
    if route.path not in ("/v1/frames", "/v1/book_snapshots", "/v1/sessions", "/v1/instruments")
)
"""Every route that a plain request is for; of the tables, which are one route, two."""

SHORT: Final = {"tables": "sessions", "limit": "2"}
"""What makes answers short."""

ONE_IN: Final = 5

UNENDING: Final = {"follow": {"true", "1"}, "speed": set(NUMBERS)}
"""Values that are right, and the answer to which takes as long as the recording did."""


@pytest.fixture(scope="module")
def target(recorded: Path) -> Iterator[Site]:
    """A server that is quick to lose its patience."""
    limits = Limits(header_s=HEADER_S, body_s=1.0, reader_s=2.0)
    with serving(
        recorded, Settings(workers=1, sql=True, sql_seconds=SQL_S, sql_bytes=96 << 20, limits=limits)
    ) as site:
        yield site
        assert site.get("/v1/trades", limit=3).lines()[-1]["rows"] == 3
        # In one second, which a busy machine may need several tries for.
        while (reply := ask(site, "SELECT 1 AS n", "ndjson")).status != 200:
            assert b"took more than" in reply.body
        assert reply.lines()[0]["n"] == 1
        assert site.get("/health-check").json()["streams"] == 0


def check(status: int, headers: Any, body: bytes, what: object) -> None:
    """An answer is one of those that are documented."""
    assert 200 <= status < 500, (what, status, body[:300])
    assert b"root:" not in body, what
    assert b"Traceback" not in body, what
    assert "X-Injected" not in headers, what
    if status >= 400:
        assert headers["Content-Type"].startswith("application/json"), (what, headers)
        found = json.loads(body)
        assert list(found) == BODY, (what, found)
        assert found["message"] and len(body) < 20_000, (what, found)


def query(route: Route, name: str, value: str) -> str:
    """A request whose answer is short, whatever else it is."""
    known = {parameter.name: parameter for parameter in route.parameters}
    given = {key: parameter.example for key, parameter in known.items() if parameter.required}
    given |= {key: word for key, word in SHORT.items() if key in known}
    return f"{route.path}?{urlencode(given | {name: value})}"


@pytest.mark.parametrize("route", ASKED, ids=lambda route: route.path)
def test_values_of_parameters(site: Site, route: Route) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE_S)
    found: Counter[int] = Counter()
    for parameter, value in chosen(route):
        asked = query(route, parameter.name, value)
        connection.request("GET", asked)
        reply = connection.getresponse()
        check(reply.status, reply.headers, reply.read(), asked)
        found[reply.status] += 1
    connection.close()
    if route.parameters:
        assert found[400] > len(route.parameters) * 5, found


def chosen(route: Route) -> Iterator[tuple[Parameter, str]]:
    """Every value for some parameter, and for each parameter one in so many."""
    begin = ASKED.index(route)
    for number, parameter in enumerate(route.parameters, begin):
        for value in VALUES[number % ONE_IN :: ONE_IN]:
            if value not in UNENDING.get(parameter.name, ()):
                yield parameter, value


@pytest.mark.parametrize("route", ASKED, ids=lambda route: route.path)
def test_queries(target: Site, route: Route) -> None:
    """Parameters that are not there, twice, not UTF-8, too many and too long."""
    one = route.parameters[0].name if route.parameters else "x"
    queries = (
        "?", "&&&", "=", "=&=", f"{one}", f"{one}=a&{one}=b", "x", "%", "%zz", "%00=%00", "%ff=%fe", f"{one}=%ff%fe",
        f"{one}=%C0%AE%C0%AE", f"{one}=%ED%A0%80", f"{one}[]=1", f"{one}[a]=1", "__proto__=1", "a=1&" * 1_000,
        "&".join(f"x{number}=1" for number in range(900)), f"{one}=a;{one}=b", f"{one.upper()}=1", "x=" + "y" * 7_900,
        "x=" + "y" * 1_000_000,
    )  # fmt: skip
    for given in queries:
        reply = spoken(target, f"GET {route.path}?{given} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        check(reply.status, reply.headers, reply.body, given[:80])
        assert reply.status in (200, 400, 404), (given[:80], reply)


PATHS: Final = (
    "", "*", "//", "///v1//symbols", "/v1//symbols", "/v1/symbols/", "/v1/symbols/..", "/v1/../v1/symbols",
    "/v1/%2e%2e/%2e%2e/etc/passwd", "/v1/trades%2f..%2fsymbols", "/v1/../../../../etc/passwd", "/v1/symbols;x=1",
    "/v1/symbols%00", "/v1/symbols%0d%0aX-Injected:%201", "/v1/%ff", "/v1/%zz", "/%", "/v1/\xe9", "/V1/SYMBOLS",
    "/v1/ｓymbols", "/v1/symbols#x", "/" + "a" * 8_000, "/" + "a/" * 4_000, "/" + "%2f" * 2_000,
    "http://evil.example/v1/symbols", "http://localhost/v1/symbols", "http://[::1", "//evil.example/v1", "evil:443",
    "/v1/data-feeds/..", "/v1/data-feeds/binance", "/v1/sql/../symbols", "\\v1\\symbols", "/.git/config", "/.env",
    "/v1/trades.json", "/proc/self/environ", "/static/../app.py",
)  # fmt: skip
METHODS: Final = (
    "GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "get", "G" * 1_000,
    "GÉT", "G\0T", "PRI",
)  # fmt: skip


def test_paths(target: Site) -> None:
    for path in PATHS:
        reply = spoken(target, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
        check(reply.status, reply.headers, reply.body, path[:80])


def test_methods(target: Site) -> None:
    for method, path in product(
        METHODS, ("/v1/symbols", "/v1/sql", "/v1/replay", "/ws-replay", "/nothing", "*")
    ):
        reply = spoken(target, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        if method != "HEAD":
            check(reply.status, reply.headers, reply.body, (method[:20], path))
        assert reply.status < 500, (method[:20], path, reply)
        if method not in ("GET", "OPTIONS"):
            assert reply.status >= 400, (method[:20], path, reply)


HEADERS: Final = (
    "Host:", "Host: localhost\r\nHost: evil.example", "Host: localhost:99999999", "Host: [::1",
    "Host: localhost@evil",
    "Host: \xff", "Host: evil.example", "Host: 127.0.0.1.evil.example", "Host: localhost/../", "X: a\0b", "X",
    ": x", " X: folded", "X: a\r\n b", "X\t: y", "X: " + "y" * 9_000, "X: y\r\n" * 500,
    "Cookie: " + "a=b; " * 1_600,
    "Accept: ", "Accept: */*;q=nan", "Accept: */*;q=1e400", "Accept: text/csv;q=-1", "Accept: ;;;,,,=",
    "Accept: a" * 900,
    "Accept-Encoding: gzip;q=nan", "Accept-Encoding: gzip;q=inf, zstd;q=-inf", "Accept-Encoding: *;q=0",
    "Accept-Encoding: \xff", "Accept-Encoding: gzip;q=", "Accept-Encoding: " + "gzip," * 1_500,
    "Accept-Charset: utf-99",
    "Authorization: ", "Authorization: Bearer " + "x" * 8_000, "Authorization: Bearer \xff\xfe", "Range: bytes=0-0",
    "Range: bytes=9-1,-5,a", "If-None-Match: *", "If-Modified-Since: never", "Expect: 100-continue",
    "Expect: miracles",
    "Connection: close, keep-alive, upgrade", "Connection: \xff", "Upgrade: h2c", "Upgrade: websocket",
    "Upgrade: websocket\r\nConnection: upgrade", "Origin: null", "Origin: http://[", "Origin: \xff",
    "Origin: http://evil.example", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n"
    "Sec-WebSocket-Version: 99", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \xff\r\nSec-WebSocket-Version: 13",
    "Content-Length: -1", "Content-Length: 1e3", "Content-Length: " + "9" * 30,
    "Content-Length: 99999999999999999999",
    "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 0x5", "Content-Length: +0",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5", "Transfer-Encoding: chunked, identity",
    "X-HTTP-Method-Override: DELETE", "X-Forwarded-For: ' OR 1=1", "X-Forwarded-Host: evil.example",
)  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/v1/trades?limit=2", "/v1/replay?tables=trades", "/v1/book?symbol=btcusdt", "/nothing"]
)
def test_headers(target: Site, path: str) -> None:
    for header in HEADERS:
        host = "" if header.startswith("Host") else "Host: localhost\r\n"
        reply = spoken(
            target, f"GET {path} HTTP/1.1\r\n{host}".encode() + header.encode("latin-1") + b"\r\n\r\n"
        )
        check(reply.status, reply.headers, reply.body, header[:80])


GARBAGE: Final = (
    b"\0" * 1_000, b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\n\n",
    b"GET / HTTP/1.0\r\n\r\n", b"GET  /  HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1 \r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\xff" * 20_000,
    b"SSH-2.0-OpenSSH_9.9\r\n", b"{}\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"\0\r\n\r\n",
    b"<policy-file-request/>\0", b"\r\n" * 5_000, b"A" * 100_000, bytes(range(256)) * 40,
)  # fmt: skip


def test_what_is_no_http(target: Site) -> None:
    for garbage in GARBAGE:
        answer = heard(target, garbage)
        if answer:  # what is no beginning of a request is waited for, and then let go
            reply = parsed(answer)
            check(reply.status, reply.headers, reply.body, garbage[:60])
            assert reply.status >= 400, garbage[:60]


def sql(headers: str, body: bytes) -> bytes:
    return (
        f"POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n\r\n".encode() + body
    )


CHUNKED: Final = "Transfer-Encoding: chunked"
BODIES: Final = (
    sql("Content-Length: 10", b"SELECT 1"), sql("Content-Length: 0", b""), sql("X: y", b""),
    sql("Content-Length: 70000", b"x" * 70_000), sql("Content-Length: 4", b"\xff\xfe\xfd\xfc"),
    sql("Content-Length: 9999999999", b"SELECT"), sql("Content-Length: 1\r\nContent-Encoding: gzip", b"x"),
    sql("Content-Length: 3\r\nContent-Encoding: br", b"xyz"), sql("Content-Length: 3\r\nContent-Encoding: no",
    b"xyz"),
    sql("Content-Length: 8\r\nContent-Type: application/json; charset=\xff", b"SELECT 1"),
    sql("Content-Length: 8\r\nContent-Type: text/plain; charset=utf-16", b"SELECT 1"),
    sql("Content-Length: 8\r\nContent-Type: multipart/form-data; boundary=x", b"SELECT 1"),
    sql("Content-Length: 8\r\nExpect: 100-continue", b"SELECT 1"),
    sql(CHUNKED, b"zz\r\nSELECT 1\r\n0\r\n\r\n"), sql(CHUNKED, b"ffffffffffffffff\r\nx"),
    sql(CHUNKED, b"-1\r\nx\r\n0\r\n\r\n"), sql(CHUNKED, b"8;" + b"x" * 20_000 + b"\r\nSELECT 1\r\n0\r\n\r\n"),
    sql(CHUNKED, b"8\r\nSELECT 1\r\n0\r\n" + b"T: x\r\n" * 200 + b"\r\n"), sql(CHUNKED, b"1\r\nS\r\n" * 66_000),
    sql(CHUNKED, b"8\r\nSELECT 1"),
)  # fmt: skip


def test_bodies(target: Site) -> None:
    for request in BODIES:
        answer = heard(target, request)
        assert answer, request[:200]
        reply = parsed(answer)
        check(reply.status, reply.headers, reply.body, request[:200])


def test_a_body_that_unpacks_to_much_is_too_large(target: Site) -> None:
    bomb = gzip.compress(b"\0" * 30_000_000)
    reply = parsed(heard(target, sql(f"Content-Length: {len(bomb)}\r\nContent-Encoding: gzip", bomb)))
    check(reply.status, reply.headers, reply.body, "a bomb")
    assert reply.status == 413


def test_a_request_in_parts_and_then_nothing(target: Site) -> None:
    """Cut off after each byte, the client gone or waiting."""
    request = b"POST /v1/sql?format=csv HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nSELECT 1"
    with ExitStack() as waiting:
        for end in range(1, len(request), 3):
            for leaves in (True, False):
                connection = socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S)
                connection.sendall(request[:end])
                if leaves:
                    connection.close()
                else:
                    waiting.enter_context(connection)
        assert target.get("/v1/symbols").status == 200
        for _ in range(10):
            drain(waiting.enter_context(socket.create_connection(("127.0.0.1", target.port), PATIENCE_S)))


def test_many_connections_that_say_nothing(target: Site) -> None:
    with ExitStack() as open_ones:
        connections = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", target.port), PATIENCE_S))
            for _ in range(200)
        ]
        for connection in connections[::2]:
            connection.sendall(b"GET /v1/symbols HTTP/1.1\r\nHost: localhost\r\nX: ")
        assert target.get("/v1/symbols").status == 200
        for connection in connections:
            drain(connection)  # returns: each is let go


def test_clients_that_do_not_read_or_leave_on_the_way(target: Site) -> None:
    request = b"GET /v1/%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for path in (
        b"frames",
        b"book_deltas?format=csv",
        b"replay?tables=frames",
        b"sql?q=FROM%20frames",
        b"books?symbol=btcusdt",
    ):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S) as connection:
                connection.sendall(request % path)
                connection.recv(100)
            assert target.get("/v1/symbols").status == 200
    free(target)


STATEMENTS: Final = (
    "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT count(*) FROM x",
    "SELECT repeat('x', 2000000000)", "SELECT string_agg(range::VARCHAR) FROM range(300000000)",
    "SELECT list(range) FROM range(1000000000)", "SELECT count(*) FROM range(100000000000) a, range(1000000) b",
    "SELECT " + "(" * 3_000 + "1" + ")" * 3_000, "SELECT " + "+".join(["1"] * 20_000),
    "SELECT " + "-" * 3_000 + "1",
    "SELECT " + "[" * 2_000 + "1" + "]" * 2_000, "SELECT sleep_ms(100000)", "UPDATE EXTENSIONS", "CHECKPOINT",
    "VACUUM",
    "BEGIN", "COMMIT", "PREPARE x AS SELECT 1", "EXECUTE x", "SELECT $1", "SELECT ?", "DETACH memory", "USE memory",
    "CREATE SECRET x (TYPE s3)", "FORCE INSTALL httpfs", "COPY frames TO '/tmp/bookreel-escape.csv'", "/*",
    "SELECT '",
    "ATTACH '/tmp/bookreel-escape.db'", "FROM read_csv('/etc/passwd')", "FROM '/dev/zero'", "FROM '/dev/stdin'",
    "FROM parquet_metadata('/etc/passwd')", "PRAGMA threads=64", "SET memory_limit='1TB'", "SET VARIABLE a = 1",
    "SELECT error('x')", "SELECT 1 FROM trades WHERE CASE WHEN pos > 50 THEN error('late') ELSE true END",
    "FROM duckdb_secrets()", "SELECT nextval('x')", "DROP VIEW trades", "COMMENT ON TABLE trades IS 'x'",
    "SELECT file_exists('/etc/passwd')", "FROM read_blob('/proc/self/environ')", "SELECT 'x'::GEOMETRY", ";", "--",
    "SELECT 1; DROP TABLE trades", "IMPORT DATABASE '/tmp'",
    "EXPLAIN ANALYZE SELECT count(*) FROM range(1e12::BIGINT)",
)  # fmt: skip


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement[:40])
def test_statements_that_are_refused(target: Site, statement: str) -> None:
    reply = ask(target, statement, "csv")
    assert reply.status == 400, reply
    check(reply.status, {"Content-Type": reply.headers["content-type"]}, reply.body, statement[:80])
    assert not list(Path("/tmp").glob("bookreel-escape*"))


COLUMNS: Final = (
    "FROM test_all_types()", "SELECT INTERVAL 3 MONTH", "SELECT union_value(k := 1)", "SELECT MAP {[1]: {'x': 2}}",
    "SELECT 170141183460469231731687303715884105727::HUGEINT", "SELECT '290309-12-22'::DATE",
    "SELECT 'nan'::DOUBLE",
    "SELECT [{'a': 'infinity'::TIMESTAMP}]", "SELECT '12:00:00+01'::TIMETZ", "SELECT '101'::BIT", "SELECT chr(0)",
    "SELECT 1::VARIANT", "SELECT [INTERVAL 1 DAY]", "SELECT 1 AS a, 2 AS a, 3 AS a_2",
    'SELECT 1 AS """", 2 AS "é\n"',
    "SELECT repeat('x', 100000)", "SELECT ''::BLOB", "FROM range(5000)", "FROM trades LIMIT 0", "SUMMARIZE trades",
    "DESCRIBE trades", "SHOW TABLES", "EXPLAIN SELECT 1", "VALUES (1)", "SELECT 1;;;",
)  # fmt: skip


@pytest.mark.parametrize("form", ["ndjson", "csv", "arrow", "parquet"])
def test_columns_of_every_type(site: Site, form: str) -> None:
    for statement in COLUMNS:
        reply = ask(site, statement, form)
        assert reply.status in (200, 406), (statement, reply)
        assert reply.status == 200 or form == "parquet", (statement, reply)


def ask(site: Site, statement: str, form: str) -> Reply:
    """The process for SQL answers one statement at a time, and is replaced after one that was too much."""
    while True:
        reply = site.ask("POST", f"/v1/sql?format={form}", {"Content-Type": "text/plain"}, statement.encode())
        if reply.status != 429:
            return reply


MESSAGES: Final = (
    "", "null", "[]", "{}", '"', "[" * 60_000, '{"op":' * 10_000, '{"op":"start"}',
    '{"op":"stop","id":' + "9" * 5_000 + "}",
    '{"op":"seek","to":1e400}', '{"op":"seek","to":"' + "9" * 30_000 + '"}',
    '{"op":"seek","to":-9223372036854775809}',
    '{"op":"seek","to":9223372036854775807}', '{"op":"seek","to":"2262-04-12"}', '{"op":"seek","token":""}',
    '{"op":"seek","token":"AAAA"}', '{"op":"seek","token":"\\u0000"}', '{"op":"seek","to":0,"token":"x"}',
    '{"op":"speed","speed":1e400}', '{"op":"speed","speed":-1}', '{"op":"speed","speed":1e-320}',
    '{"op":"speed","speed":NaN}', '{"op":"speed","speed":null}', '{"op":"pause","id":"' + "x" * 60_000 + '"}',
    '{"op":"pause","id":1.5}', '{"op":"\\ud800"}', '{"op":"pause","id":' + "[" * 500 + "]" * 500 + "}",
)  # fmt: skip


@pytest.mark.parametrize("first", [True, False], ids=["instead of a start", "on the way"])
def test_messages_of_a_websocket(target: Site, first: bool) -> None:
    async def say(message: str | bytes) -> None:
        query = "" if first else "?tables=trades&speed=0.000001"
        url = f"http://127.0.0.1:{target.port}/v1/replay{query}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
            if isinstance(message, bytes):
                await connection.send_bytes(message)
            else:
                await connection.send_str(message)
            await connection.send_str('{"op":"stop","id":"last"}')
            texts = "".join([text.data async for text in connection])
            for line in texts.splitlines():
                assert json.loads(line)["type"]
            assert connection.close_code in (1000, 1002, 1007, 1008), (message[:60], texts[-300:])

    async def main() -> None:
        async with asyncio.timeout(60):
            for message in (*MESSAGES, b"\xff\xfe", b"", b"\0" * 60_000):
                await say(message)

    asyncio.run(main())
    free(target)


FRAMES: Final = {
    "not masked": b"\x81\x02{}",
    "reserved bits": b"\xf1\x80\0\0\0\0",
    "reserved opcode": b"\x83\x80\0\0\0\0",
    "a long ping": b"\x89\xfe\x01\x00\0\0\0\0" + b"x" * 256,
    "a fragmented ping": b"\x09\x80\0\0\0\0",
    "a continuation of nothing": b"\x80\x80\0\0\0\0",
    "no UTF-8": b"\x81\x82\0\0\0\0\xff\xfe",
    "a length without an end": b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "more than is taken": b"\x82\xff\0\0\0\0\0\x10\0\0\0\0\0\0" + b"x" * 0x100000,
    "a close without a code": b"\x88\x81\0\0\0\0x",
    "a close of a wrong code": b"\x88\x82\0\0\0\0\0\x01",
    "no close": b"",
}


@pytest.mark.parametrize("path", ["/v1/replay?tables=trades", "/v1/replay?speed=0.000001", "/v1/replay"])
@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_a_websocket(target: Site, path: str, name: str) -> None:
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", target.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 101"
        with suppress(OSError):
            connection.sendall(FRAMES[name])
            connection.shutdown(socket.SHUT_WR)
        drain(connection)
    free(target)


def test_the_venues_words_on_tardis_machines_websocket(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookreel.replay.server.tardis_sockets.START_DELAY_S", 0.1)
    words = (
        "{}", "[]", '{"sub":1}', '{"sub":""}', '{"sub":"market"}', '{"sub":"market.."}', '{"sub":"market.*.trade"}',
        '{"sub":"market.../etc/passwd.trade"}', '{"sub":"' + "market." * 5_000 + '"}', "[" * 60_000,
        '{"a":' * 10_000, "\0",
    )  # fmt: skip

    async def main() -> None:
        for word in words:
            url = f"http://127.0.0.1:{target.port}/ws-replay?exchange=huobi&from=2000-01-01&to=2000-01-02"
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
                await connection.send_str(word)
                async with asyncio.timeout(PATIENCE_S):
                    async for _ in connection:
                        pass
                assert connection.close_code in (1000, 1011), word[:40]

    asyncio.run(main())
    free(target)


def free(site: Site) -> None:
    """Wait until no stream is left open."""

    async def wait() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await asyncio.to_thread(site.get, "/health-check")).json()["streams"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(wait())


def drain(connection: socket.socket) -> bytes:
    """All that comes until the server closes. A connection that is reset is closed too."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def heard(site: Site, request: bytes) -> bytes:
    """What the server says to these bytes, until it closes."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_S) as connection:
        with suppress(OSError):  # it may have enough of this before the end
            connection.sendall(request)
        return drain(connection)


def spoken(site: Site, request: bytes) -> Reply:
    """The answer to one request, asked to be the last of its connection."""
    head, rest = request.split(b"\r\n\r\n", 1)
    answer = heard(site, head + b"\r\nConnection: close\r\n\r\n" + rest)
    return parsed(answer, request.split(b" ", 1)[0].decode("latin-1"))


def parsed(answer: bytes, method: str = "GET") -> Reply:
    """The first answer of what was heard."""
    assert answer, "the connection was closed without an answer"
    answer = re.sub(rb"\AHTTP/1.1 100 [^\r]*\r\n\r\n", b"", answer)
    reader = _Heard(answer)
    response = http.client.HTTPResponse(reader, method=method)  # type: ignore[arg-type]
    response.begin()
    return Reply(response.status, response.headers, response.read())  # type: ignore[arg-type]


class _Heard:
    """Bytes, for the parser of http.client."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> Any:
        return io.BytesIO(self._content)
