"""What every request meets: the guard, errors as JSON, methods, and the ends of connections."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from bookreel.replay.server import Limits, Settings
from bookreel.replay.server.errors import BadListen
from tests.replay.server.serving import Site, serving

TOKEN = "0123456789abcdef-token"


def raw(site: Site, request: bytes) -> bytes:
    """Whatever the server says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=20) as connection:
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
