"""A WebSocket to one client, at the pace at which the client reads, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from bookreel.replay.server.errors import BadRequest
from bookreel.replay.server.outlet import held, patiently

__all__ = ["CLOSE_S", "Socket"]

CLOSE_S: Final = 2.0
"""For a client to take what was sent, and to answer the close; then it is cut off."""

_MESSAGE_BYTES: Final = 65_536
_REASON_BYTES: Final = 120
_SLOW: Final = "nothing was read for too long"

_log = logging.getLogger(__name__)


class Socket:
    """Messages to and from the client of ``request``, which is given up where it takes nothing for ``patience_s``."""

    def __init__(self, request: web.Request, patience_s: float) -> None:
        self.response = web.WebSocketResponse(max_msg_size=_MESSAGE_BYTES, compress=False, timeout=CLOSE_S)
        self._request = request
        self._patience_s = patience_s
        self._sent = 0

    async def open(self) -> None:
        """Answer the request. Raises BadRequest."""
        try:
            await self.response.prepare(self._request)
        except ValueError as error:
            # aiohttp's way to refuse a key that is not even ASCII.
            raise BadRequest(f"this is no handshake of a WebSocket: {error}") from error

    async def receive(self, timeout_s: float) -> str | bytes:
        """The next message. Raises TimeoutError, and ConnectionResetError where the client is gone."""
        message = await self.response.receive(timeout=timeout_s)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise ConnectionResetError
        found: str | bytes = message.data
        return found

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """Messages until the client is gone."""
        async for message in self.response:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                yield message.data

    async def send(self, texts: Iterable[bytes]) -> None:
        """Send each as a message. Raises SlowReader, and ConnectionError where the client is gone."""

        async def each() -> None:
            for text in texts:
                await self.response.send_frame(text, WSMsgType.TEXT)
                self._sent += 1

        transport = self._request.transport
        await patiently(each(), lambda: (self._sent, held(transport)), self._patience_s)

    async def give_up(self) -> None:
        """Close it as one that is not read."""
        _log.warning("%s takes nothing, and is disconnected", self._request.remote)
        await self.close(WSCloseCode.TRY_AGAIN_LATER, _SLOW)

    async def close(self, code: int, reason: str) -> None:
        """Close it, if it is open; a client that takes not even that is cut off."""
        transport = self._request.transport
        try:
            async with asyncio.timeout(CLOSE_S):
                # Not drained: where a send was given up aiohttp takes a drain for cancelled.
                await self.response.close(code=code, message=reason.encode()[:_REASON_BYTES], drain=False)
        except (TimeoutError, ConnectionError):
            pass
        if transport is not None and held(transport):
            transport.abort()
