"""The gateway behind real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bookreel.exchange.errors import PortInUse, UnknownFault, UnknownSymbol
from bookreel.exchange.futu import GatewayConfig, GatewayServer, read_truth
from bookreel.exchange.futu.truth import TruthClose, TruthStart, TruthStop
from bookreel.venues.futu import decode
from bookreel.venues.futu.errors import Forbidden, Unauthorized
from bookreel.venues.futu.model import Push, Tick
from bookreel.venues.futu.replies import Reply, read
from bookreel.venues.futu.requests import Call, call, subscribe

KEYS = {"good": ("qot:read",), "poor": ("acc:none",)}
SYMBOLS = ("HK.00700", "US.AAPL")


class Visitor:
    """A client with a key, or without."""

    def __init__(self, server: GatewayServer, session: aiohttp.ClientSession, key: str | None = None) -> None:
        self.server = server
        self.session = session
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def ask(self, request: Call) -> Reply:
        url = f"{self.server.rest_url}{request.path}"
        async with self.session.request(
            request.method, url, data=request.body, headers=self.headers
        ) as reply:
            return read(request, reply.status, await reply.read())

    async def connect(self, query: str = "", **headers: str) -> aiohttp.ClientWebSocketResponse:
        return await self.session.ws_connect(f"{self.server.ws_url}{query}", headers=self.headers | headers)


def serve(
    work: Callable[[GatewayServer, Visitor], Awaitable[Any]], key: str | None = None, **settings: Any
) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        config = GatewayConfig(**({"symbols": SYMBOLS, "rate": 100.0} | settings))
        async with GatewayServer(config) as server, aiohttp.ClientSession() as session, asyncio.timeout(90):
            await work(server, Visitor(server, session, key))
        assert asyncio.all_tasks() == before

    asyncio.run(main())


async def receive(ws: aiohttp.ClientWebSocketResponse) -> Push:
    push = decode((await ws.receive_str()).encode())
    assert isinstance(push, Push)
    return push


def test_pushes_and_answers_on_one_port(tmp_path: Path) -> None:
    async def work(server: GatewayServer, visitor: Visitor) -> None:
        async with await visitor.connect() as ws:
            await visitor.ask(subscribe(SYMBOLS, ["ticker", "orderbook"]))
            pushes = [await receive(ws) for _ in range(50)]
            assert {push.topic.symbol for push in pushes if push.topic} == set(SYMBOLS)
            assert any(isinstance(event, Tick) for push in pushes for event in push.events)
            await ws.send_str("what a client says is not heard")
            await receive(ws)
        async with visitor.session.get(f"{server.rest_url}/health") as reply:
            assert (await reply.json())["version"] == server.config.version

    serve(work, truth=tmp_path / "truth")
    records = list(read_truth(tmp_path / "truth"))
    assert isinstance(records[0], TruthStart) and isinstance(records[-1], TruthStop)
    assert [r.note for r in records if isinstance(r, TruthClose)] == ["by the client (1000)"]


@pytest.mark.parametrize(
    ("key", "query", "headers", "status"),
    [
        ("good", "", {}, None),
        (None, "?token=good", {}, None),
        (None, "", {"Authorization": "bEaReR good"}, None),
        ("good", "", {"Origin": "http://localhost:3000"}, None),
        ("good", "", {"Origin": "https://example.com"}, 403),
        (None, "", {}, 401),
        ("wrong", "", {}, 401),
        (None, "?token=wrong", {}, 401),
        (None, "", {"Authorization": "good"}, 401),
        ("poor", "", {}, 403),
    ],
)
def test_who_may_listen(key: str | None, query: str, headers: dict[str, str], status: int | None) -> None:
    async def work(server: GatewayServer, visitor: Visitor) -> None:
        if status is None:
            await (await visitor.connect(query, **headers)).close()
            return
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await visitor.connect(query, **headers)
        assert caught.value.status == status

    serve(work, key, keys=KEYS)


@pytest.mark.parametrize(
    ("key", "error"), [(None, Unauthorized), ("wrong", Unauthorized), ("poor", Forbidden)]
)
def test_who_may_ask(key: str | None, error: type[Exception]) -> None:
    async def work(server: GatewayServer, visitor: Visitor) -> None:
        await visitor.ask(call("global-state"))
        with pytest.raises(error):
            await visitor.ask(call("used-quota"))

    serve(work, key, keys=KEYS)


def test_a_restart_is_felt_by_everybody() -> None:
    async def work(server: GatewayServer, visitor: Visitor) -> None:
        ws = await visitor.connect()
        await visitor.ask(subscribe(SYMBOLS, ["ticker"]))
        await receive(ws)
        server.gateway.inflict("restart")
        with pytest.raises((aiohttp.ClientError, aiohttp.WSMessageTypeError)):
            while True:
                await ws.receive_str()
        with pytest.raises(aiohttp.ClientError):
            await visitor.ask(call("global-state"))
        with pytest.raises(aiohttp.ClientError):
            await visitor.connect()
        while server.gateway.down:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        info: Any = await visitor.ask(call("sub-info"))
        assert info.total_used_quota == 0
        assert server.inflicted == {"restart": 1}

    serve(work, restart_s=0.3)


def test_a_client_that_does_not_read_loses_the_oldest(tmp_path: Path) -> None:
    async def work(server: GatewayServer, visitor: Visitor) -> None:
        await visitor.ask(subscribe(SYMBOLS, ["ticker"], first_push=False))
        while len(server.gateway.market.stocks["HK.00700"].ticks) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        async with await visitor.connect() as ws:
            await receive(ws)
            stock, pusher = server.gateway.market.stocks["HK.00700"], server.gateway.pusher
            first = pusher.n + 1
            for step in range(200):  # the loop is not given back: nobody can send meanwhile
                pusher.again(stock, server.gateway.now_ns() + step * 1_000_000)
            assert pusher.n == first + 199
            for _ in range(16):
                await receive(ws)

    serve(work, capacity=16, rate=20.0, truth=tmp_path / "truth")
    lost = [record for record in read_truth(tmp_path / "truth") if type(record).__name__ == "TruthLost"]
    assert len(lost) >= 184 - 1


def test_what_cannot_be_served_is_refused_before_anything_opens() -> None:
    with pytest.raises(UnknownSymbol):
        GatewayServer(GatewayConfig(symbols=("HK.12345",)))
    with pytest.raises(UnknownFault):
        GatewayServer(GatewayConfig(faults="lost_delta"))

    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(PortInUse):
                async with GatewayServer(GatewayConfig(port=taken.getsockname()[1])):
                    raise AssertionError("it opened")

    asyncio.run(main())
