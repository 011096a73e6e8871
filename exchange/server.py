"""The exchange as a running server: sockets on ``/ws`` and ``/feed``, REST beside them."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from collections import deque
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import WSMsgType, web

from bookreel.exchange.client import Client
from bookreel.exchange.clock import Clock, SystemClock
from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.engine import Engine
from bookreel.exchange.errors import PortInUse
from bookreel.exchange.faults import parse_faults
from bookreel.exchange.listing import list_symbols

__all__ = ["Exchange"]

_CLIENT_FRAME_BYTES: Final = 64 << 10
_SHUTDOWN_S: Final = 0.5
_GOODBYE_S: Final = 2.0
_LONG_GOODBYE_S: Final = 60.0
"""A client answers a goodbye when it has read what was sent before: at the end of a recording that can be much."""

_log = logging.getLogger(__name__)


class Exchange:
    """An asynchronous context manager: open from entering to leaving.

    Creating one raises ``UnknownSymbol``, ``UnknownFault`` or ``BadFaultSpec``; entering raises ``PortInUse``.
    A truth file that cannot be written is an ``OSError``.
    """

    def __init__(self, config: ExchangeConfig | None = None, *, clock: Clock | None = None) -> None:
        self.config = config or ExchangeConfig()
        self._clock = clock or SystemClock()
        # The engine would say so too, but only on entering.
        list_symbols(self.config.symbols)
        parse_faults(self.config.faults)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = self.config.port

    @property
    def ws_url(self) -> str:
        """Where every topic except the incremental books is."""
        return self._url("ws", "/ws")

    @property
    def feed_url(self) -> str:
        """Where the incremental books are."""
        return self._url("ws", "/feed")

    @property
    def rest_url(self) -> str:
        """The REST endpoints' root."""
        return self._url("http", "")

    def _url(self, scheme: str, path: str) -> str:
        secure = "s" if self.config.tls_cert else ""
        return f"{scheme}{secure}://{self.config.host}:{self.port}{path}"

    @property
    def inflicted(self) -> dict[str, int]:
        """Faults really inflicted so far, by kind."""
        return self._engine.truth.inflicted

    @property
    def frames(self) -> int:
        """Frames of topics made so far."""
        return self._engine.hub.frames

    @property
    def connections(self) -> int:
        """Sockets open now."""
        return len(self._engine.clients)

    @property
    def symbols(self) -> list[str]:
        """Those with a market."""
        return list(self._engine.source.symbols)

    @property
    def notes(self) -> list[str]:
        """What the recording that is played lacks."""
        return self._engine.source.notes

    async def ended(self) -> None:
        """Wait for the end of the recording, until every client has had all of it. Raises what reading it raised."""
        await self._engine.over.wait()
        if self._engine.failure is not None:
            raise self._engine.failure

    def inflict(self, kind: str, topic: str | None = None) -> None:
        """Let one fault of ``kind`` hit the next client (of ``topic``, if given) that it fits."""
        self._engine.inflict(kind, topic)

    async def __aenter__(self) -> Self:
        config = self.config
        app = web.Application()
        app.router.add_get("/ws", self._serve)
        app.router.add_get("/feed", self._serve)
        self._engine = engine = Engine(config, self._clock)
        for path in engine.rest.paths:
            app.router.add_get(path, self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, config.host, config.port, reuse_address=True, ssl_context=self._tls()
        )
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            engine.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(config.port, config.host) from None
            raise
        self.port = self._runner.addresses[0][1]
        engine.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._engine.stop()
        await self._runner.cleanup()
        self._engine.close()

    def _tls(self) -> ssl.SSLContext | None:
        if self.config.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.config.tls_cert, self.config.tls_key)
        return context

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the exchange on port %d failed", self.port, exc_info=error)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.can_read_body:
            return web.Response(status=403, text="Forbidden")
        text = self._engine.rest.answer(request.path, request.query)
        return web.Response(text=text, content_type="application/json")

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(
            compress=False,
            autoping=False,
            autoclose=False,
            max_msg_size=_CLIENT_FRAME_BYTES,
            timeout=_GOODBYE_S if self.config.recording is None else _LONG_GOODBYE_S,
        )
        await ws.prepare(request)
        peer = _WebPeer(ws, request)
        client = self._engine.join(request.path, peer)
        tasks = [
            self._spawn(work) for work in (peer.write(), peer.leaving.wait(), self._listen(client, peer, ws))
        ]
        try:
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
            if peer.goodbye is not None:
                # Only who reads can wait for the answer, which comes when the peer has had all that was sent before.
                await _cancel(tasks[2])
                code, reason = peer.goodbye
                await ws.close(code=code, message=reason.encode())
        finally:
            for task in tasks:
                task.cancel()
            self._engine.leave(client, f"by the client ({ws.close_code})")
        return ws

    async def _listen(self, client: Client, peer: _WebPeer, ws: web.WebSocketResponse) -> None:
        take = self._engine.take
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                take(client, message.data)
            elif message.type is WSMsgType.BINARY:
                take(client, message.data.decode(errors="replace"))
            elif message.type is WSMsgType.PING and not client.frozen:
                await ws.pong(message.data)
        if client.frozen:  # half open: not even a goodbye is heard
            await peer.down.wait()
        elif not peer.gone:
            await ws.close()


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


class _WebPeer:
    """A WebSocket with a send queue and its writer, so that nobody waits for a client."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        request: web.Request,
    ) -> None:
        self._ws = ws
        self._request = request
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self.queued = 0
        self.leaving = asyncio.Event()
        self.goodbye: tuple[int, str] | None = None
        """Code and reason with which the connection is closed, after ``leaving``."""
        self.down = asyncio.Event()
        """The connection was ended from this side."""

    @property
    def gone(self) -> bool:
        """Whether the transport is down."""
        return self._request.transport is None or self._request.transport.is_closing()

    def send(self, payload: bytes) -> None:
        self._queue.append(payload)
        self.queued += len(payload)
        self._wake.set()

    def drop(self) -> None:
        self._queue.clear()
        self.queued = 0

    def cut(self) -> None:
        self._end()
        self.down.set()
        if self._request.transport is not None:
            self._request.transport.abort()

    def close(self, code: int, reason: str) -> None:
        self._end()
        self.goodbye = code, reason
        self.leaving.set()

    def _end(self) -> None:
        self._ended = True
        self._wake.set()

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        ws, queue = self._ws, self._queue
        while not self._ended:
            await self._wake.wait()
            self._wake.clear()
            while queue and not self._ended:
                payload = queue.popleft()
                self.queued -= len(payload)
                try:
                    await ws.send_bytes(payload)
                except ConnectionError:
                    return
