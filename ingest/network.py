"""Bytes in and out. Knows WebSocket and HTTP, but no venue.

:class:`Network` is what the recorder is given; a simulated one needs nothing but these four methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Coroutine, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol, cast

import aiohttp

from bookreel.ingest.errors import ConnectFailed, Disconnected, FetchFailed

__all__ = ["AioNetwork", "Network", "Socket"]

_KEEPALIVE = (
    ("TCP_KEEPIDLE", 5),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    # Unacknowledged data (our pongs) ends a dead connection even before the keepalive does. In ms.
    ("TCP_USER_TIMEOUT", 10_000),
)
_USER_AGENT = "bookreel"
_MAX_BODY = 64 << 20
_CLOSE_S = 1.0

# Each frame needs them: to look one up in its class takes long (Python 3.11).
_BINARY = aiohttp.WSMsgType.BINARY
_TEXT = aiohttp.WSMsgType.TEXT


class Socket(Protocol):
    """One open WebSocket. ``receive`` has one caller at a time, ``send`` may have several."""

    async def receive(self) -> bytes | str:
        """The next whole message, binary or text. Raises :class:`Disconnected`."""
        ...

    async def send(self, text: bytes) -> None:
        """Send a text message, given as UTF-8. Raises :class:`Disconnected`."""
        ...

    async def close(self) -> None:
        """Close, within about a second whatever the peer does; never raises."""
        ...


class Network(Protocol):
    """Makes connections."""

    async def connect(self, url: str) -> Socket:
        """Open a WebSocket. Raises :class:`ConnectFailed`."""
        ...

    async def get(self, url: str) -> bytes:
        """The body of a page answered with status 200. Raises :class:`FetchFailed`."""
        ...

    async def close(self) -> None:
        """Free what is held; never raises."""
        ...


class _Response(aiohttp.ClientWebSocketResponse[Literal[True]]):
    """Lets its messages be taken without it."""

    def __init__(self, queue: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(queue, *args, **kwargs)
        self.queue = queue


class AioSocket:
    """A :class:`Socket` on aiohttp. The reader's buffer is bounded: when we do not read, TCP holds the peer
    back.
    """

    __slots__ = ("_arrived", "_put_back", "_take", "_ws")

    def __init__(self, ws: _Response) -> None:
        self._ws = ws
        self._take, self._put_back = ws.queue.read, ws.queue.feed_data
        # Not of aiohttp's documented interface: a version without it is read the slower way.
        self._arrived: deque[Any] = getattr(ws.queue, "_buffer", deque())

    async def receive(self) -> bytes | str:
        # A message that is there already is taken from where `ws` has it, in a third of the time.
        if self._arrived:
            message = await self._take()
            kind = message.type
            if kind is _BINARY or kind is _TEXT:
                arrived: bytes | str = message.data
                return arrived
            # For `ws` to answer or to end by: the next again.
            self._put_back(message, 0)
            self._arrived.rotate(1)
        while True:
            message = await self._ws.receive()
            kind = message.type
            if kind is _BINARY or kind is _TEXT:
                data: bytes | str = message.data
                return data
            if kind is aiohttp.WSMsgType.PING:
                await self._guard(self._ws.pong(message.data))
            elif kind is aiohttp.WSMsgType.CLOSE:
                raise Disconnected(message.data, str(message.extra or "closed by the venue"))
            elif kind is aiohttp.WSMsgType.ERROR:
                raise Disconnected(self._ws.close_code, str(message.data))
            elif kind is not aiohttp.WSMsgType.PONG:
                raise Disconnected(None, "the connection was cut")

    async def send(self, text: bytes) -> None:
        await self._guard(self._ws.send_frame(text, aiohttp.WSMsgType.TEXT))

    async def close(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            # A peer that goes on sending does not hold us.
            async with asyncio.timeout(_CLOSE_S):
                await self._ws.close()

    async def _guard(self, sending: Coroutine[None, None, None]) -> None:
        try:
            await sending
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise Disconnected(None, f"cannot send: {error}") from error


class AioNetwork:
    """A :class:`Network` on aiohttp.

    ``max_frame_bytes`` bounds a message as it comes over the wire (the venue's own compression is bounded
    where it is undone). permessage-deflate is never offered: the venue compresses its frames itself. Pings of
    the WebSocket kind are answered, but no venue here relies on them, and none are sent. ``headers`` go with every
    request, and are told to nobody else: redirections are not followed.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        max_frame_bytes: int = 8 << 20,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._headers = {"User-Agent": _USER_AGENT, **(headers or {})}
        self._connect_timeout_s = connect_timeout_s
        self._max_frame_bytes = max_frame_bytes
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        # A session belongs to a running loop, so it cannot be made in the constructor.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
                headers=self._headers,
                auto_decompress=True,
                ws_response_class=_Response,
            )
        return self._session

    async def connect(self, url: str) -> Socket:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                ws = await self._client().ws_connect(
                    url,
                    timeout=aiohttp.ClientWSTimeout(ws_close=0.5),  # pyright: ignore[reportCallIssue]
                    autoping=False,
                    compress=0,
                    max_msg_size=self._max_frame_bytes,
                )
        except aiohttp.WSServerHandshakeError as error:
            headers: Mapping[str, str] = error.headers or {}
            wait = _seconds(headers.get("Retry-After"), headers.get("Date"))
            raise ConnectFailed(
                url, f"HTTP status {error.status}", status=error.status, retry_after=wait
            ) from error
        except TimeoutError as error:
            raise ConnectFailed(url, f"no answer within {self._connect_timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise ConnectFailed(url, str(error) or type(error).__name__) from error
        raw = ws.get_extra_info("socket")
        if raw is not None:
            _keep_alive(raw)
        return AioSocket(cast(_Response, ws))

    async def get(self, url: str) -> bytes:
        try:
            timeout = aiohttp.ClientTimeout(total=30.0, connect=self._connect_timeout_s)
            async with self._client().get(url, timeout=timeout) as reply:
                if reply.status != 200:
                    raise FetchFailed(url, f"HTTP status {reply.status}", status=reply.status)
                return await _read(reply, url)
        except TimeoutError as error:
            raise FetchFailed(url, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(url, str(error) or type(error).__name__) from error

    async def ask(self, method: str, url: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        """Status and body of the answer to a request with a JSON body, or none. Raises :class:`FetchFailed` where
        there is no answer.
        """
        headers = {} if body is None else {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=self._connect_timeout_s)
        try:
            async with self._client().request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as reply:
                return reply.status, await _read(reply, url)
        except TimeoutError as error:
            raise FetchFailed(url, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(url, str(error) or type(error).__name__) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(reply: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in reply.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > _MAX_BODY:
            raise FetchFailed(url, f"more than {_MAX_BODY} bytes")
    return bytes(body)


def _keep_alive(raw: socket.socket) -> None:
    """Let the kernel find a dead peer also where nothing is sent."""
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            option = getattr(socket, name, None)
            if option is not None:
                raw.setsockopt(socket.IPPROTO_TCP, option, value)


def _seconds(text: str | None, date: str | None) -> float | None:
    """A Retry-After header: seconds, or a date, which counts from the server's own ``date``."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        pass
    try:
        until, now = parsedate_to_datetime(text or ""), parsedate_to_datetime(date or "")
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return None
