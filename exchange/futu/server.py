"""The gateway as a running server: REST and ``/ws`` on one port."""

from __future__ import annotations

import asyncio
import errno
import logging
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web

from bookreel.exchange.clock import Clock, SystemClock
from bookreel.exchange.errors import PortInUse
from bookreel.exchange.faults import parse_faults
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.faults import FAULT_KINDS
from bookreel.exchange.futu.gateway import Gateway
from bookreel.exchange.futu.listing import list_symbols
from bookreel.exchange.futu.lobby import Lobby

__all__ = ["GatewayServer"]

_BODY_BYTES: Final = 1 << 20
_SHUTDOWN_S: Final = 0.5
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_log = logging.getLogger(__name__)


class GatewayServer:
    """An asynchronous context manager: open from entering to leaving.

    Creating one raises ``UnknownSymbol``, ``UnknownFault`` or ``BadFaultSpec``; entering raises ``PortInUse``.
    A truth file that cannot be written is an ``OSError``.
    """

    def __init__(self, config: GatewayConfig | None = None, *, clock: Clock | None = None) -> None:
        self.config = config or GatewayConfig()
        self._clock = clock or SystemClock()
        if self.config.recording is None:
            list_symbols(self.config.symbols)
            parse_faults(self.config.faults, FAULT_KINDS)
        self.port = self.config.port

    @property
    def rest_url(self) -> str:
        """The REST endpoints' root."""
        return f"http://{self.config.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where pushes come from."""
        return f"ws://{self.config.host}:{self.port}/ws"

    @property
    def gateway(self) -> Gateway:
        """The gateway of a synthetic market, while it is open."""
        assert isinstance(self._gateway, Gateway), "an archive has no market"
        return self._gateway

    @property
    def inflicted(self) -> dict[str, int]:
        """Faults really inflicted so far, by kind."""
        return self._gateway.truth.inflicted

    @property
    def symbols(self) -> list[str]:
        """Securities with a market."""
        return self._gateway.symbols

    @property
    def frames(self) -> int:
        """Pushes so far, each counted once."""
        return self._gateway.pushes

    async def ended(self) -> None:
        """Wait for the end of the recording, until every client has had all of it. Raises what reading it raised."""
        await self._gateway.over.wait()
        if self._gateway.failure is not None:
            raise self._gateway.failure

    async def __aenter__(self) -> Self:
        config = self.config
        app = web.Application(client_max_size=_BODY_BYTES)
        app.router.add_get("/ws", self._push)
        app.router.add_get("/health", self._health)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._gateway = gateway = self._open()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, config.host, config.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            gateway.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(config.port, config.host) from None
            raise
        self.port = self._runner.addresses[0][1]
        gateway.start()
        return self

    def _open(self) -> Lobby:
        if self.config.recording is None:
            return Gateway(self.config, self._clock)
        from bookreel.exchange.futu.playback import (
            RecordedGateway,  # Arrow and SQL take longer to load than all else
        )

        return RecordedGateway(self.config, self._clock)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gateway.stop()
        await self._runner.cleanup()
        self._gateway.close()

    def _refuse_while_down(self, request: web.Request) -> None:
        """A gateway that restarts has nobody at its port; here its connections are cut."""
        if self._gateway.down:
            if request.transport is not None:
                request.transport.abort()
            raise web.HTTPServiceUnavailable(text="restarting")

    async def _health(self, request: web.Request) -> web.Response:
        self._refuse_while_down(request)
        return web.json_response({"status": "ok", "version": self.config.version})

    async def _answer(self, request: web.Request) -> web.Response:
        self._refuse_while_down(request)
        body = await request.read()
        status, content = self._gateway.answer(request.method, request.path, _key(request), body)
        return web.Response(status=status, body=content, content_type="application/json")

    async def _push(self, request: web.Request) -> web.StreamResponse:
        self._refuse_while_down(request)
        origin = request.headers.get("Origin")
        refusal = self._gateway.rest.allowed(_key(request), "qot:read")
        if refusal is None and origin is not None and urlsplit(origin).hostname not in _LOOPBACK:
            return web.json_response({"error": "forbidden"}, status=403)
        if refusal is not None:
            return web.Response(status=refusal.status, body=refusal.body, content_type="application/json")
        ws = web.WebSocketResponse(compress=False, max_msg_size=_BODY_BYTES, timeout=2.0)
        await ws.prepare(request)
        ended = asyncio.Event()

        def cut() -> None:
            ended.set()
            if request.transport is not None:
                request.transport.abort()

        client = self._gateway.join(cut)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work) for work in (self._write(ws, client), _listen(ws), ended.wait())
                ]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        except* ConnectionError:
            _log.debug("client %d went away", client.number)
        finally:
            self._gateway.leave(client, f"by the client ({ws.close_code})")
        return ws

    async def _write(self, ws: web.WebSocketResponse, client: Client) -> None:
        while (text := await client.next()) is not None:
            await ws.send_str(text)
        await ws.close(code=WSCloseCode.GOING_AWAY, message=(client.goodbye or "").encode())


async def _listen(ws: web.WebSocketResponse) -> None:
    """Until the client closes. What it says is not heard: ``/ws`` only pushes."""
    async for message in ws:
        if message.type in (WSMsgType.CLOSE, WSMsgType.ERROR):
            return


def _key(request: web.Request) -> str | None:
    """The key of a request: in its header, whatever the case of the scheme, or in its URL."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    return request.query.get("token")
