"""A network in memory between the recorder and the exchange's engine, with seeded delays and faults of its own.

Messages keep their order in each direction, as TCP keeps it; what differs from a network is only that nothing else
happens. Times are those of the event loop, in seconds.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import msgspec

from bookreel.exchange.client import Client
from bookreel.exchange.engine import Engine
from bookreel.ingest.errors import ConnectFailed, Disconnected, FetchFailed

__all__ = ["OUTAGES", "Link", "OutageKind", "SimNetwork"]

DELAY_S: Final = (0.004, 0.03)
"""Shortest and longest way of a message."""

_RESOLUTION_S: Final = 1e-9
"""The event loop calls what is due so much later already now."""

OutageKind: TypeAlias = Literal["refused", "dns", "unavailable", "too_many"]


class Outage(msgspec.Struct, frozen=True):
    """Why nobody can connect. ``retry_after``: what the venue says, shortest and longest, s."""

    reason: str
    status: int | None = None
    retry_after: tuple[float, float] | None = None


OUTAGES: Final[dict[OutageKind, Outage]] = {
    "refused": Outage("connection refused"),
    "dns": Outage("the name cannot be resolved"),
    "unavailable": Outage("HTTP status 503", 503, (0.5, 4.0)),
    "too_many": Outage("HTTP status 429", 429, (0.5, 4.0)),
}


class SimNetwork:
    """A :class:`bookreel.ingest.network.Network` to one engine. Belongs to one process of the recorder: :meth:`die`
    is its end.
    """

    def __init__(self, engine: Engine, rng: random.Random) -> None:
        self._engine = engine
        self._rng = rng
        self.links: list[Link] = []
        """Connections that are open at the recorder's end."""
        self.refused = 0
        """Connects and fetches that failed."""
        self._outage: Outage | None = None
        self._outage_until = 0.0
        self._dead = False

    def fail(self, kind: OutageKind, seconds: float) -> None:
        """Nobody can connect for so long; open connections stay."""
        self._outage = OUTAGES[kind]
        self._outage_until = asyncio.get_running_loop().time() + seconds

    def die(self, *, silent: bool) -> None:
        """The recorder's process is gone. ``silent``: and its machine with it, so that nobody tells the exchange."""
        self._dead = True
        for link in tuple(self.links):
            if silent:
                link.darken()
            link.abandon()

    def _failing(self) -> Outage | None:
        if self._outage is not None and asyncio.get_running_loop().time() >= self._outage_until:
            self._outage = None
        if self._outage is not None:
            self.refused += 1
        return self._outage

    async def connect(self, url: str) -> Link:
        """Open a connection at the URL's path."""
        rng = self._rng
        await asyncio.sleep(3 * rng.uniform(*DELAY_S))
        outage = self._failing()
        if outage is not None or self._dead:
            outage = outage or OUTAGES["refused"]
            wait = None if outage.retry_after is None else round(rng.uniform(*outage.retry_after), 1)
            raise ConnectFailed(url, outage.reason, status=outage.status, retry_after=wait)
        link = Link(self._engine, urlsplit(url).path, random.Random(rng.getrandbits(64)), self.links)
        self.links.append(link)
        return link

    async def get(self, url: str) -> bytes:
        """The body of a page of the exchange's REST side."""
        await asyncio.sleep(3 * self._rng.uniform(*DELAY_S))
        outage = self._failing()
        if outage is not None:
            raise FetchFailed(url, outage.reason, status=outage.status)
        parts = urlsplit(url)
        if parts.path not in self._engine.rest.paths:
            raise FetchFailed(url, "HTTP status 404", status=404)
        return self._engine.rest.answer(parts.path, dict(parse_qsl(parts.query))).encode()

    async def close(self) -> None:
        """Nothing is held."""


class Link:
    """One connection: the recorder's :class:`~bookreel.ingest.network.Socket`; the exchange has a :class:`_Far` of
    it.
    """

    def __init__(self, engine: Engine, path: str, rng: random.Random, links: list[Link]) -> None:
        self._engine = engine
        self._rng = rng
        self._links = links
        self._loop = asyncio.get_running_loop()
        self._arriving: deque[tuple[float, bytes | Disconnected]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._sent_at = -1.0
        self._down_at = 0.0
        self._up_at = 0.0
        self._leaving: deque[bytes] = deque()
        self._slow_s = 0.0
        self._slow_until = 0.0
        self._dark = False
        self._closed = False  # at the recorder's end
        self._left = False  # at the exchange's end
        self.queued = 0
        self.path = path
        self.client: Client = engine.join(path, _Far(self))

    # The recorder's end

    async def receive(self) -> bytes:
        """The next message once it has arrived."""
        arriving, loop = self._arriving, self._loop
        while not arriving or arriving[0][0] > loop.time() + _RESOLUTION_S:
            if self._closed:
                raise Disconnected(None, "closed by us")
            self._waiter = loop.create_future()
            if arriving:
                loop.call_at(arriving[0][0], self._wake)
            await self._waiter
        message = arriving.popleft()[1]
        if isinstance(message, bytes):
            self.queued -= len(message)
            return message
        self._closed = True
        raise message

    async def send(self, text: bytes) -> None:
        """Send a text message; into the void, if the way is dark."""
        if self._closed:
            raise Disconnected(None, "cannot send: the connection is closed")
        if not self._dark:
            self._up_at = max(self._up_at, self._loop.time() + self._rng.uniform(*DELAY_S))
            # What arrives at the same instant is heard in its order, which timers do not keep.
            self._leaving.append(text)
            self._loop.call_at(self._up_at, self._heard)

    async def close(self) -> None:
        """Close; the exchange hears of it later, or never."""
        self.abandon()

    def abandon(self) -> None:
        """The recorder's end is gone."""
        self._closed = True
        if self in self._links:
            self._links.remove(self)
        self._wake()
        if not self._dark and not self.client.frozen:
            self._loop.call_at(
                max(self._up_at, self._loop.time() + DELAY_S[1]), self._leave, "by the client (1000)"
            )

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _heard(self) -> None:
        text = self._leaving.popleft()
        if not self._left and not self._dark:
            self._engine.take(self.client, text.decode())

    def _leave(self, note: str) -> None:
        if not self._left:
            self._left = True
            self._engine.leave(self.client, note)

    # The exchange's end

    def push(self, message: bytes | Disconnected) -> None:
        """Put a message on its way."""
        if self._dark:
            return
        now = self._loop.time()
        if now != self._sent_at:
            # What is sent at once arrives at once.
            self._sent_at = now
            way_s = self._rng.uniform(*DELAY_S)
            if now < self._slow_until:
                way_s += self._slow_s
            self._down_at = max(self._down_at, now + way_s)
        self._arriving.append((self._down_at, message))
        if isinstance(message, bytes):
            self.queued += len(message)
        if self._waiter is not None and len(self._arriving) == 1:
            self._loop.call_at(self._down_at, self._wake)

    def end(self, goodbye: Disconnected, *, lossy: bool) -> None:
        """The exchange ended it; ``lossy``: what is on its way may be lost."""
        if lossy and self._rng.random() < 0.5:
            self._lose()
        self.push(goodbye)
        self._loop.call_soon(self._leave, "")

    # Faults

    def reset(self) -> None:
        """Both ends find the connection gone, and what was on its way is lost."""
        self._lose()
        self.push(Disconnected(None, "connection reset by peer"))
        self._loop.call_soon(self._leave, "reset on the way")

    def darken(self) -> None:
        """Nothing arrives any more, neither way, and nobody is told."""
        self._dark = True
        self._lose()
        self.client.freeze(self._engine.now_ns())

    def slow(self, extra_s: float, seconds: float) -> None:
        """What the exchange sends in the next ``seconds`` needs so much longer."""
        self._slow_s = extra_s
        self._slow_until = self._loop.time() + seconds

    def _lose(self) -> None:
        self._arriving.clear()
        self.queued = 0


class _Far:
    """The exchange's end of a link, a :class:`~bookreel.exchange.client.Peer`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.send = link.push

    @property
    def queued(self) -> int:
        return self._link.queued

    def drop(self) -> None:
        """What is on its way arrives all the same."""

    def cut(self) -> None:
        self._link.end(Disconnected(None, "the connection was cut"), lossy=True)

    def close(self, code: int, reason: str) -> None:
        self._link.end(Disconnected(code, reason), lossy=False)
