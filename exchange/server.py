"""The exchange as a running server: sockets on ``/ws`` and ``/feed``, REST beside them, one task that moves
the market on."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import ssl
import uuid
from collections.abc import Coroutine
from types import TracebackType
from typing import Final, Self

from aiohttp import WSMsgType, web

from bookreel.exchange.client import Client
from bookreel.exchange.clock import Clock, SteadyTime, SystemClock
from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.desk import Desk
from bookreel.exchange.errors import PortInUse
from bookreel.exchange.faults import FAULT_KINDS, FaultSchedule, parse_faults
from bookreel.exchange.hub import Hub
from bookreel.exchange.listing import list_symbols
from bookreel.exchange.market import Market
from bookreel.exchange.rest import Rest
from bookreel.exchange.saboteur import Saboteur
from bookreel.exchange.truth import TruthWriter

__all__ = ["Exchange"]

_CLIENT_FRAME_BYTES: Final = 64 << 10
_FAULTS_NS: Final = 50_000_000
_SHUTDOWN_S: Final = 0.5
_GOING_AWAY: Final = 1001

_log = logging.getLogger(__name__)


class Exchange:
    """An asynchronous context manager: open from entering to leaving.

    Creating one raises ``UnknownSymbol``, ``UnknownFault`` or ``BadFaultSpec``; entering raises ``PortInUse``.
    A truth file that cannot be written is an ``OSError``.
    """

    def __init__(self, config: ExchangeConfig | None = None, *, clock: Clock | None = None) -> None:
        self.config = config or ExchangeConfig()
        self._clock = clock or SystemClock()
        self._listings = list_symbols(self.config.symbols)
        self._rates = parse_faults(self.config.faults)
        self._clients: dict[int, Client] = {}
        self._connected = 0
        self._sessions = random.Random(f"sessions:{self.config.seed}")
        self._tasks: set[asyncio.Task[None]] = set()
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
        return self._truth.inflicted

    @property
    def frames(self) -> int:
        """Frames of topics made so far."""
        return self._hub.frames

    @property
    def connections(self) -> int:
        """Sockets open now."""
        return len(self._clients)

    def inflict(self, kind: str, topic: str | None = None) -> None:
        """Let one fault of ``kind`` hit the next client (of ``topic``, if given) that it fits."""
        assert kind in FAULT_KINDS, f"no fault is called {kind!r}"
        self._saboteur.arm(kind, topic)

    async def __aenter__(self) -> Self:
        config = self.config
        time = SteadyTime(self._clock)
        self._now_ns = time.now_ns
        start_ns = time.now_ns()
        self._truth = TruthWriter(config.truth, time.now_ns)
        market = Market(self._listings, config.seed, config.rate, start_ns)
        schedule = FaultSchedule(self._rates, config.seed, start_ns)
        self._saboteur = Saboteur(config, schedule, self._truth, self._clients.values(), self._goodbye)
        self._hub = Hub(market, self._truth, self._saboteur)
        self._desk = Desk(self._hub, self._saboteur, time.now_ns, config.request_gap_s)
        app = web.Application()
        app.router.add_get("/ws", self._serve)
        app.router.add_get("/feed", self._serve)
        Rest(market, self._listings, time.now_ns).add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, config.host, config.port, reuse_address=True, ssl_context=self._tls()
        )
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            self._truth.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(config.port, config.host) from None
            raise
        self.port = self._runner.addresses[0][1]
        self._truth.start(config.seed, [listing.symbol for listing in self._listings])
        self._spawn(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in tuple(self._clients.values()):
            client.cut("the exchange closed")
        await self._runner.cleanup()
        self._truth.close()

    def _tls(self) -> ssl.SSLContext | None:
        if self.config.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.config.tls_cert, self.config.tls_key)
        return context

    async def _run(self) -> None:
        faults_ns = 0
        while True:
            now_ns = self._now_ns()
            self._hub.tick(now_ns)
            if now_ns - faults_ns >= _FAULTS_NS:
                faults_ns = now_ns
                self._saboteur.tick(now_ns)
            await asyncio.sleep(self.config.pace_s)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the exchange on port %d failed", self.port, exc_info=error)

    def _goodbye(self, client: Client) -> None:
        self._spawn(client.close(_GOING_AWAY, "fault: going away"))

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(
            compress=False, autoping=False, autoclose=False, max_msg_size=_CLIENT_FRAME_BYTES, timeout=2.0
        )
        await ws.prepare(request)
        self._connected += 1
        number = self._connected
        session = str(uuid.UUID(int=self._sessions.getrandbits(128), version=4))
        client = Client(number, request.path, session, ws, request, self.config)
        client.opened_ns = self._now_ns()
        self._clients[number] = client
        self._truth.line("connect", number, client.path)
        tasks = [self._spawn(client.write()), self._spawn(client.beat(self._now_ns))]
        try:
            await self._listen(client, ws)
        finally:
            client.closed = True
            del self._clients[number]
            self._hub.leave(client)
            for task in tasks:
                task.cancel()
            note = client.close_note or f"by the client ({ws.close_code})"
            self._truth.line("close", number, client.path, note=note)
        return ws

    async def _listen(self, client: Client, ws: web.WebSocketResponse) -> None:
        async for message in ws:
            if client.frozen:
                continue
            if message.type is WSMsgType.TEXT:
                self._desk.take(client, message.data)
            elif message.type is WSMsgType.BINARY:
                self._desk.take(client, message.data.decode(errors="replace"))
            elif message.type is WSMsgType.PING:
                await ws.pong(message.data)
        if client.frozen:  # half open: not even a goodbye is heard
            await client.down.wait()
        elif not client.gone:
            await ws.close()
