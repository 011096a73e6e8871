"""``/v1/replay``: an archive again, as a stream of lines or as a WebSocket with the controls of a player."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from bookreel.replay import LineStream, ReplayError
from bookreel.replay.server.choices import PARAMETERS, Choices, open_lines
from bookreel.replay.server.keys import ARCHIVE, SETTINGS
from bookreel.replay.server.negotiation import choose_encoding
from bookreel.replay.server.outlet import send_body
from bookreel.replay.server.parameters import Values
from bookreel.replay.server.player import Player
from bookreel.replay.server.routes import Route
from bookreel.storage.errors import StorageError

__all__ = ["NDJSON", "ROUTES", "let_go"]

NDJSON: Final = "application/x-ndjson"

_log = logging.getLogger(__name__)


async def _replay(request: web.Request, values: Values) -> web.StreamResponse:
    settings = request.app[SETTINGS]

    def start(choices: Choices) -> LineStream:
        return open_lines(request.app[ARCHIVE], choices, settings.limits)

    if request.headers.get("Upgrade", "").lower() == "websocket":
        choices = Choices.of(values) if request.query else None
        return await Player(request, start, settings.limits).play(choices)
    lines = await asyncio.to_thread(start, Choices.of(values))
    return await _send(request, lines, settings.limits.reader_s)


async def _send(request: web.Request, lines: LineStream, patience_s: float) -> web.StreamResponse:
    async def pieces() -> AsyncIterator[bytes | memoryview]:
        try:
            async for chunk in lines:
                yield chunk
        except (ReplayError, StorageError) as error:
            _log.warning("a replay ended: %s", error)  # the client was told so by the last line

    headers = {"Content-Type": NDJSON, "Cache-Control": "no-store"}
    encoding = choose_encoding(request.headers.get("Accept-Encoding"), "ndjson")
    try:
        return await send_body(request, pieces(), headers, encoding, patience_s)
    finally:
        await let_go(lines)


async def let_go(lines: LineStream) -> None:
    """Stop and close; what is being read right now is waited for beside the loop."""
    lines.stop()
    await asyncio.shield(asyncio.to_thread(lines.close))


ROUTES: Final = (
    Route(
        path="/v1/replay",
        handler=_replay,
        about=(
            "What was recorded, again: a JSON object a line, the last of type end, or error. As a WebSocket with "
            "controls."
        ),
        answers={NDJSON: None},
        parameters=PARAMETERS,
        errors=(400, 404),
        stream=True,
    ),
)
