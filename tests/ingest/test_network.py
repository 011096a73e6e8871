from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from bookreel.ingest.errors import ConnectFailed, Disconnected, FetchFailed
from bookreel.ingest.network import AioNetwork


def serve(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], talk: Callable[[str], Awaitable[None]]
) -> None:
    """Run ``talk`` with the address of a server whose every path is ``handler``."""

    async def main() -> None:
        app = web.Application()
        app.router.add_get("/{path}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with asyncio.timeout(60):
                await talk(f"127.0.0.1:{runner.addresses[0][1]}")
        finally:
            await runner.cleanup()

    asyncio.run(main())


def test_messages_both_ways_and_the_goodbye() -> None:
    heard = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=True)
        await ws.prepare(request)
        assert "permessage-deflate" not in request.headers.get("Sec-WebSocket-Extensions", "")
        await ws.send_bytes(b"\x1f\x8b")
        await ws.send_str("text")
        await ws.ping(b"still there?")
        heard.append((await ws.receive()).data)
        await ws.close(code=1003, message=b"ping check expired")
        return ws

    async def talk(address: str) -> None:
        network = AioNetwork()
        socket = await network.connect(f"ws://{address}/ws")
        assert await socket.receive() == b"\x1f\x8b"
        assert await socket.receive() == "text"
        await socket.send(b'{"sub":"\xc3\xa9"}')
        with pytest.raises(Disconnected) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason) == (1003, "ping check expired")
        await socket.close()
        with pytest.raises(Disconnected):
            await socket.send(b"{}")
        await network.close()

    serve(handler, talk)
    assert heard == ['{"sub":"é"}']


def test_what_waits_is_taken_in_order_and_pings_between_are_answered() -> None:
    answered = asyncio.Event()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        for number in range(300):
            await ws.send_bytes(b"%d" % number)
            if number % 100 == 50:
                await ws.ping(b"%d" % number)
        await ws.close(code=1001, message=b"moving")
        return ws

    async def heard(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        await ws.ping(b"still there?")
        await ws.send_str("first")
        assert (await ws.receive()).type is aiohttp.WSMsgType.PONG
        answered.set()
        await ws.receive()
        return ws

    async def talk(address: str) -> None:
        network = AioNetwork()
        socket = await network.connect(f"ws://{address}/ws")
        # Everything has come before the first is asked for.
        await asyncio.sleep(0.05)
        for number in range(300):
            assert await socket.receive() == b"%d" % number
        with pytest.raises(Disconnected) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason) == (1001, "moving")
        await socket.close()
        socket = await network.connect(f"ws://{address}/heard")
        await asyncio.sleep(0.05)
        assert await socket.receive() == "first"
        await answered.wait()
        await socket.close()
        await network.close()

    async def either(request: web.Request) -> web.WebSocketResponse:
        return await (heard if request.path == "/heard" else handler)(request)

    serve(either, talk)


def test_a_peer_that_goes_on_sending_does_not_hold_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookreel.ingest.network._CLOSE_S", 0.05)
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoclose=False)
        await ws.prepare(request)
        try:
            while True:
                await ws.send_bytes(b"more")
                await asyncio.sleep(0.001)
        except ConnectionError:
            gone.set()
        return ws

    async def talk(address: str) -> None:
        network = AioNetwork()
        socket = await network.connect(f"ws://{address}/ws")
        assert await socket.receive() == b"more"
        await socket.close()
        await gone.wait()
        await network.close()

    serve(handler, talk)


def test_a_cut_and_a_frame_too_large_are_disconnects() -> None:
    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        if request.path == "/large":
            await ws.send_bytes(bytes(100_000))
            await ws.receive()
        assert request.transport is not None
        request.transport.abort()
        return ws

    async def talk(address: str) -> None:
        network = AioNetwork(max_frame_bytes=65_536)
        for path in ("cut", "large"):
            socket = await network.connect(f"ws://{address}/{path}")
            with pytest.raises(Disconnected):
                await socket.receive()
            await socket.close()
        await network.close()

    serve(handler, talk)


def test_refused_connections_tell_status_and_pause() -> None:
    async def handler(request: web.Request) -> web.Response:
        date = "Wed, 21 Oct 2026 07:27:30 GMT"
        return web.Response(status=429, headers={"Retry-After": request.query["wait"], "Date": date})

    async def talk(address: str) -> None:
        network = AioNetwork()
        for wait, told in (("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 30.0), ("soon", None)):
            with pytest.raises(ConnectFailed) as caught:
                await network.connect(f"ws://{address}/ws?wait={wait}")
            assert (caught.value.status, caught.value.retry_after) == (429, told)
        with pytest.raises(FetchFailed) as fetch:
            await network.get(f"http://{address}/page?wait=1")
        assert fetch.value.status == 429
        await network.close()

    serve(handler, talk)


def test_nobody_there() -> None:
    async def main() -> None:
        network = AioNetwork(connect_timeout_s=5)
        with pytest.raises(ConnectFailed):
            await network.connect("ws://127.0.0.1:9/ws")
        with pytest.raises(ConnectFailed):
            await network.connect("ws://nowhere.invalid/ws")
        with pytest.raises(FetchFailed):
            await network.get("http://127.0.0.1:9/page")
        await network.close()

    asyncio.run(main())


def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    async def main() -> None:
        stuck = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await stuck.wait()
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        network = AioNetwork(connect_timeout_s=0.2)
        with pytest.raises(ConnectFailed, match=r"0\.2 s"):
            await network.connect(f"ws://127.0.0.1:{port}/ws")
        stuck.set()
        await network.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_pages() -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/huge":
            return web.Response(body=bytes((64 << 20) + 1))
        response = web.Response(body=b"[1]" * 1000)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async def talk(address: str) -> None:
        network = AioNetwork()
        assert await network.get(f"http://{address}/page") == b"[1]" * 1000
        with pytest.raises(FetchFailed, match="more than"):
            await network.get(f"http://{address}/huge")
        await network.close()

    serve(handler, talk)


def test_a_dead_peer_is_found_by_the_kernel_too() -> None:
    seen = []

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        return ws

    async def talk(address: str) -> None:
        network = AioNetwork()
        socket = await network.connect(f"ws://{address}/ws")
        import socket as system

        inner: aiohttp.ClientWebSocketResponse[bool] = socket._ws  # type: ignore[attr-defined]
        raw = inner.get_extra_info("socket")
        seen.append(raw.getsockopt(system.SOL_SOCKET, system.SO_KEEPALIVE))
        seen.append(raw.getsockopt(system.IPPROTO_TCP, system.TCP_KEEPIDLE))
        await socket.close()
        await network.close()

    serve(handler, talk)
    assert seen == [1, 5]
