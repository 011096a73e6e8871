"""Requests by the ten thousand: right ones, hostile ones, and what becomes of both where some of it is changed.

They are made from the routes' own parameters, from the values, headers and statements that other tests know to be
awkward, and from what the archive has; bytes of every fourth are changed at random. They are asked by a client that
does no more than is needed to see what came back, leaves where an answer has no end, and waits for nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, Final
from urllib.parse import quote, urlencode

from bookreel.replay.server import ROUTES, Route
from bookreel.replay.server import sql as sql_routes
from tests.replay.server.test_hostile import BODY, COLUMNS, GARBAGE, HEADERS, MESSAGES, STATEMENTS, VALUES

__all__ = ["Corpus", "ask_all"]

ASKERS: Final = 6
ENOUGH_BYTES: Final = 1 << 16
"""Of an answer; who asked for more has left by then."""

PATIENCE_S: Final = 0.4
"""For the next bytes of an answer: some never come, or come as slowly as they were recorded."""

_ENDLESS: Final = ("RECURSIVE", "000000", "1e12")
"""In statements that take as long as they are allowed to, and nobody else has an answer meanwhile."""

_WORDS: Final = (
    *("trades", "gaps", "frames", "bars", "bbo", "book_deltas", "coverage('btcusdt')", "top('btcusdt', 3)"),
    *(
        "SELECT",
        "FROM",
        "WHERE",
        "LIMIT 3",
        "*",
        "count(*)",
        "ts_recv",
        "symbol",
        "(",
        ")",
        ",",
        "'",
        '"',
        ";",
        "--",
    ),
    *(
        "UNION ALL",
        "JOIN",
        "ORDER BY 1",
        "1",
        "NULL",
        "1e308",
        "::",
        "->",
        "[1]",
        "{'a': 1}",
        "read_text",
        "glob",
    ),
    *(
        "'/etc/passwd'",
        "'parquet/../archive.json'",
        "COPY",
        "ATTACH",
        "INSTALL",
        "LOAD",
        "SET",
        "PRAGMA",
        "CALL",
    ),
    *(
        "getenv('HOME')",
        "duckdb_settings()",
        "query('",
        "EXPLAIN",
        "DESCRIBE",
        "SUMMARIZE",
        "PIVOT",
        "LATERAL",
        "\0",
    ),
)


class Corpus:
    """Makes requests. ``known``: texts that the archive knows, such as tokens, cursors and times."""

    def __init__(self, rng: Random, known: Sequence[str]) -> None:
        self._rng = rng
        self._known = known
        self._routes = [*ROUTES, sql_routes.ROUTES[0]]
        self._statements = [
            text for text in (*STATEMENTS, *COLUMNS) if not any(word in text for word in _ENDLESS)
        ]

    def request(self) -> bytes:
        """The next one, as it is sent."""
        rng = self._rng
        kind = rng.choices(
            (self._query, self._headers, self._socket, self._statement, self._garbage), (68, 10, 8, 8, 6)
        )[0]
        made = kind()
        return self._changed(made) if rng.random() < 0.25 else made

    def _query(self) -> bytes:
        return self._get(self._target(), "")

    def _headers(self) -> bytes:
        return self._get(self._target(), f"{self._rng.choice(HEADERS)}\r\n")

    def _socket(self) -> bytes:
        """A WebSocket that says several things at once."""
        rng = self._rng
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n"
        )
        path = rng.choice(["/v1/replay", "/v1/replay?tables=trades", "/v1/replay?speed=1", self._target()])
        said = []
        for _ in range(rng.randrange(5)):
            ops = ({"op": rng.choice(["pause", "resume", "stop", "start"])}, {"op": "speed", "speed": "max"})
            text = rng.choice([rng.choice(MESSAGES), *map(json.dumps, ops), self._value()])
            data = text.encode("utf-8", "surrogatepass")[:60_000]
            head = bytes((0x81, 0x80 | len(data))) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2)
            said.append(head + b"\0\0\0\0" + data)
        return self._get(path, upgrade) + b"".join(said)

    def _statement(self) -> bytes:
        rng = self._rng
        statement = rng.choice(self._statements)
        if rng.random() < 0.7:
            words = statement.split(" ")
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(words) + 1)
                words[at : at + rng.randrange(2)] = rng.choices(_WORDS, k=rng.randrange(3))
            statement = " ".join(words)
        body = statement.encode("utf-8", "surrogatepass")
        form = rng.choice(["ndjson", "csv", "arrow", "parquet"])
        return b"POST /v1/sql?format=%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n%s\r\n%s" % (
            form.encode(), len(body), b"Content-Type: text/plain\r\nConnection: close\r\n", body
        )  # fmt: skip

    def _garbage(self) -> bytes:
        return self._rng.choice(GARBAGE)

    def _get(self, target: str, headers: str) -> bytes:
        host = "" if headers.startswith("Host") else "Host: localhost\r\n"
        end = "" if "onnection:" in headers else "Connection: close\r\n"
        return f"GET {target} HTTP/1.1\r\n{host}{headers}{end}\r\n".encode("latin-1", "replace")

    def _target(self) -> str:
        rng = self._rng
        route: Route = rng.choice(self._routes)
        given: dict[str, str] = {}
        for parameter in route.parameters:
            if parameter.required or rng.random() < 0.3:
                right = rng.random() < 0.6 and parameter.example is not None
                given[parameter.name] = str(parameter.example) if right else self._value()
        if any(parameter.name == "limit" for parameter in route.parameters) and rng.random() < 0.8:
            given["limit"] = rng.choice(["1", "7", "100"])
        if rng.random() < 0.03:
            given[self._value()[:40]] = self._value()
        path = route.path if rng.random() < 0.95 else quote(route.path + self._value()[:60])
        return f"{path}?{urlencode(given, errors='surrogatepass')}" if given else path

    def _value(self) -> str:
        rng = self._rng
        value = rng.choice(self._known if rng.random() < 0.4 else VALUES)
        if rng.random() < 0.2:
            at = rng.randrange(len(value) + 1)
            value = value[:at] + rng.choice(VALUES)[:20] + value[at + rng.randrange(3) :]
        return value

    def _changed(self, request: bytes) -> bytes:
        """With some bytes that are others, more, fewer, or elsewhere."""
        rng, made = self._rng, bytearray(request)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            at = rng.randrange(len(made) + 1)
            size = rng.choice((1, 1, 2, 8, 40))
            match rng.randrange(5):
                case 0:
                    made[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del made[at : at + size]
                case 2:
                    made[at:at] = rng.randbytes(size)
                case 3:
                    made[at:at] = made[at : at + size]
                case _:
                    made[at : at + size] = rng.choice((b"\r\n", b"\0", b"%00", b"%2e%2e/", b"&", b"=", b" "))
        return bytes(made)


async def ask_all(port: int, corpus: Corpus, count: int, secrets: Sequence[bytes]) -> Counter[str]:
    """Ask so often; what came back, by what it was. Raises AssertionError for an answer that is none of ours, is of
    5xx, or has one of ``secrets``.
    """
    found: Counter[str] = Counter()
    loop = asyncio.get_running_loop()

    async def ask() -> None:
        while found["requests"] < count:
            found["requests"] += 1
            request, begun = corpus.request(), loop.time()
            reply = await _asked(port, request)
            found["slowest ms"] = max(found["slowest ms"], round((loop.time() - begun) * 1000))
            found[_judged(request, reply, secrets)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(ASKERS):
            group.create_task(ask())
    return found


async def _asked(port: int, request: bytes) -> bytes:
    """What comes back, as far as it is worth to be waited for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reply = bytearray()
    try:
        writer.write(request)
        while len(reply) < ENOUGH_BYTES:
            # The first byte may take a while: a statement of SQL, or many others before.
            async with asyncio.timeout(PATIENCE_S if reply or not _is_whole(request) else 60):
                data = await reader.read(ENOUGH_BYTES)
            if not data:
                break
            reply += data
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return bytes(reply)


def _is_whole(request: bytes) -> bool:
    """Whether it can be answered without more of it. Who leaves before has a process for SQL killed in vain."""
    head, end, body = request.partition(b"\r\n\r\n")
    if not end or head.count(b"Connection: close") != 1 or b"Upgrade" in head:
        return False
    return request.startswith(b"GET ") or b"Content-Length: %d\r\n" % len(body) in head


def _judged(request: bytes, reply: bytes, secrets: Sequence[bytes]) -> str:
    what = (request[:400], reply[:600])
    assert not any(secret in reply for secret in (b"root:x:", b"Traceback", *secrets)), what
    if not reply:
        return "left without an answer"
    line, _, rest = reply.partition(b"\r\n")
    assert line.startswith(b"HTTP/"), what
    status = int(line.split(b" ")[1])
    assert status < 500, what
    if status >= 400 and not request.lstrip().startswith(b"HEAD"):
        head, _, body = rest.partition(b"\r\n\r\n")
        headers = dict(field.split(b": ", 1) for field in head.split(b"\r\n"))
        assert headers[b"Content-Type"].startswith(b"application/json"), what
        told: Any = json.loads(body[: int(headers[b"Content-Length"])])
        assert list(told) == BODY and told["message"], what
    return f"answers of {status}"
