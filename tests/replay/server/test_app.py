"""What every request meets: the guard, errors as JSON, methods, and the ends of connections."""

from __future__ import annotations

import json
import socket
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest

from bookreel.replay.server import Limits, Settings
from bookreel.replay.server.errors import BadListen
from tests.replay.server.serving import Site, serving

TOKEN = "0123456789abcdef-token"


def raw(site: Site, request: bytes) -> bytes:
    """Whatever the server says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def test_health(site: Site) -> None:
    reply = site.get("/health-check")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("application/json")
    found = reply.json()
    assert found["status"] == "Healthy"
    assert {"uptimeHours", "timestampMs", "memoryInfo", "streams"} <= found.keys()


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v2/trades", "/health-check/", "/health-check/.."]
)
def test_nothing_there(site: Site, path: str) -> None:
    reply = site.ask("GET", path)
    assert reply.status == 404
    body = reply.json()
    assert body["error"] == "not_found"
    assert "/health-check" in body["allowed"]


@pytest.mark.parametrize("method", ["GET", "POST", "BREW"])
@pytest.mark.parametrize("path", ["/v1/trades", "/nothing", "/v1/trades/"])
def test_what_cannot_be_expected_is_told_everywhere(site: Site, method: str, path: str) -> None:
    reply = site.ask(method, path, {"Expect": "miracles"})
    assert (reply.status, reply.json()["error"]) == (400, "bad_request") or reply.status == 405
    assert reply.headers["content-type"].startswith("application/json")


def test_the_nearest_path_is_named(site: Site) -> None:
    assert "/health-check" in site.get("/health-chek").json()["message"]


def test_an_unknown_parameter_is_refused(site: Site) -> None:
    reply = site.get("/health-check", verbose=1)
    assert (reply.status, reply.json()["error"]) == (400, "bad_request")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods(site: Site, method: str) -> None:
    reply = site.ask(method, "/health-check")
    assert reply.status == 405
    assert reply.headers["allow"] == "GET"
    assert reply.json()["error"] == "method_not_allowed"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health-check HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET /health-check HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health-check HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"GET /health-check HTTP/1.1\r\nHost : localhost\r\n\r\n",
    ],
    ids=["tls", "long header", "many headers", "long path", "negative length", "bad header"],
)
def test_what_is_no_http_is_told_so(site: Site, request_: bytes) -> None:
    head, _, body = raw(site, request_).partition(b"\r\n\r\n")
    assert head.splitlines()[0].split()[1] == b"400", head
    assert b"application/json" in head
    assert json.loads(body)["error"] == "bad_request"


def test_a_name_that_is_not_the_servers_is_refused(site: Site) -> None:
    reply = site.get("/health-check", headers={"Host": "evil.example:8000"})
    assert (reply.status, reply.json()["error"]) == (403, "forbidden")
    for host in ("localhost", "127.0.0.1:1", "[::1]:8000", "LOCALHOST"):
        assert site.get("/health-check", headers={"Host": host}).status == 200


def test_pages_of_other_origins_are_refused(site: Site) -> None:
    assert site.get("/health-check", headers={"Origin": "http://evil.example"}).status == 403
    assert site.get("/health-check", headers={"Origin": "null"}).status == 403
    own = {"Host": f"127.0.0.1:{site.port}", "Origin": f"http://127.0.0.1:{site.port}"}
    assert site.get("/health-check", headers=own).status == 200


def test_an_allowed_origin_may_read(recorded: Path) -> None:
    settings = Settings(workers=1, allow_origins=("http://page.example",))
    with serving(recorded, settings) as site:
        page = {"Origin": "http://page.example"}
        reply = site.get("/health-check", headers=page)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, page["Origin"])
        reply = site.get("/nothing", headers=page)
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (404, page["Origin"])
        reply = site.ask("OPTIONS", "/health-check", page | {"Access-Control-Request-Method": "GET"})
        assert (reply.status, reply.body) == (204, b"")
        assert reply.headers["access-control-allow-origin"] == page["Origin"]
        assert site.get("/health-check", headers={"Origin": "http://page.example.evil"}).status == 403


def test_the_token_is_needed_but_for_the_health(recorded: Path) -> None:
    with serving(recorded, Settings(workers=1, token=TOKEN)) as site:
        assert site.get("/health-check").status == 200
        for given in (
            None,
            "Bearer",
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}x",
            f"Basic {TOKEN}",
            "Bearer \u00e9",
        ):
            reply = site.get("/v1/symbols", headers={} if given is None else {"Authorization": given})
            assert reply.status == 401, given
            assert "Bearer" in reply.headers["www-authenticate"]
            assert TOKEN not in reply.body.decode()
        assert site.get("/v1/symbols", headers={"Authorization": f"Bearer {TOKEN}"}).status != 401


def test_as_many_streams_as_are_allowed(recorded: Path) -> None:
    request = b"GET /v1/replay?speed=0.000001 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with (
        serving(recorded, Settings(workers=1, limits=Limits(streams=1))) as site,
        socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection,
    ):
        connection.sendall(request)
        connection.recv(65_536)
        reply = site.get("/v1/trades")
        assert (reply.status, reply.json()["error"], reply.headers["retry-after"]) == (429, "busy", "1")
        assert site.get("/v1/symbols").status == 200, "short answers need no place"


def test_without_a_token_only_loopback_is_possible() -> None:
    with pytest.raises(BadListen, match="no token is set"):
        Settings(host="0.0.0.0")
    Settings(host="0.0.0.0", token=TOKEN)


def test_a_port_in_use_is_named(site: Site, recorded: Path) -> None:
    from bookreel.replay.server import Server, make_app

    async def start() -> None:
        settings = Settings(workers=1)
        async with Server([(make_app(recorded, settings), site.port)], settings):
            raise AssertionError("it listens twice")

    import asyncio

    with pytest.raises(BadListen, match=f"port {site.port} on 127.0.0.1 is in use"):
        asyncio.run(start())


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"GET /health-check HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"GET /health-check HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["nothing", "half a head", "an answer before"],
)
def test_a_client_that_says_nothing_more_is_left(recorded: Path, beginning: bytes) -> None:
    with serving(recorded, Settings(workers=1, limits=Limits(header_s=0.2))) as site:
        raw(site, beginning)  # returns: the server has closed it


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
SOCKETS = [
    "/v1/replay?tables=gaps",
    "/ws-replay?exchange=huobi&from=2000-01-01&to=2000-01-02",
    "/ws-replay-normalized?options="
    + quote('{"exchange":"huobi","from":"2000-01-01","to":"2000-01-02","dataTypes":["trade"]}'),
]


def handshake(site: Site, path: str, **headers: str) -> int:
    """The status of a WebSocket's handshake; the connection is left then."""
    lines = "".join(
        f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **UPGRADE, **headers}.items()
    )
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        return int(connection.recv(12).split()[1])


@pytest.mark.parametrize("path", SOCKETS, ids=lambda path: path.partition("?")[0])
def test_a_websocket_is_guarded_as_any_request(recorded: Path, path: str) -> None:
    settings = Settings(workers=1, token=TOKEN, allow_origins=("http://page.example",))
    with serving(recorded, settings) as site:
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert handshake(site, path) == 401
        assert handshake(site, path, Authorization="Bearer 0123456789abcdef-toke") == 401
        assert handshake(site, f"{path}&token={TOKEN}") == 401, "a token in an address ends up in logs"
        assert handshake(site, path, **right) == 101
        assert handshake(site, path, **right, Origin="http://page.example") == 101
        assert handshake(site, path, **right, Origin="http://localhost") == 101
        assert handshake(site, path, **right, Origin="http://evil.example") == 403
        assert handshake(site, path, **right, Origin="null") == 403
        assert handshake(site, path, **right, Host="evil.example") == 403


def test_a_page_that_is_not_allowed_gets_no_header_that_lets_it_read(recorded: Path) -> None:
    with serving(recorded, Settings(workers=1, token=TOKEN, allow_origins=("http://page.example",))) as site:
        asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
        for method, origin in product(
            ("GET", "OPTIONS"), ("http://evil.example", "http://page.example:81", "null")
        ):
            reply = site.ask(method, "/v1/symbols", asked | {"Origin": origin})
            assert reply.status == 403
            assert not [name for name in reply.headers if name.startswith("access-control")]
        reply = site.ask("OPTIONS", "/v1/symbols", asked | {"Origin": "http://page.example"})
        assert reply.status == 204, "a browser asks this without the token"
        assert "Authorization" in reply.headers["access-control-allow-headers"]
        reply = site.get("/v1/symbols", headers={"Origin": "http://page.example"})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (401, "http://page.example")
        assert reply.headers["access-control-expose-headers"] == "Bookreel-Cursor"
        assert reply.headers["vary"] == "Origin"
