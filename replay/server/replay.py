"""``/v1/replay``: an archive again, as a stream of lines or as a WebSocket with the controls of a player."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiohttp import web

from bookreel.replay import LineStream, ReplayError
from bookreel.replay.server.choices import PARAMETERS, Choices, open_lines
from bookreel.replay.server.keys import ARCHIVE, SETTINGS
from bookreel.replay.server.outlet import SlowReader, encoder_for, patiently
from bookreel.replay.server.parameters import Values
from bookreel.replay.server.player import Player
from bookreel.replay.server.routes import Route
from bookreel.storage.errors import StorageError

__all__ = ["NDJSON", "ROUTES", "let_go", "send_lines"]

NDJSON: Final = "application/x-ndjson"

_OFFLOAD_BYTES: Final = 65_536
"""What is compressed in a thread: below it the way there and back takes longer."""

_log = logging.getLogger(__name__)


async def _replay(request: web.Request, values: Values) -> web.StreamResponse:
    settings = request.app[SETTINGS]

    def start(choices: Choices) -> LineStream:
        return open_lines(request.app[ARCHIVE], choices, settings.limits)

    if request.headers.get("Upgrade", "").lower() == "websocket":
        choices = Choices.of(values) if request.query else None
        return await Player(request, start, settings.limits).play(choices)
    lines = await asyncio.to_thread(start, Choices.of(values))
    return await send_lines(request, lines, settings.limits.reader_s)


async def send_lines(request: web.Request, lines: LineStream, patience_s: float) -> web.StreamResponse:
    """Answer with all of the lines, under the encoding that the client takes, at the pace at which it reads."""
    encoder = encoder_for(request)
    response = web.StreamResponse(headers={"Content-Type": NDJSON, "Cache-Control": "no-store"})
    if encoder is not None:
        response.headers["Content-Encoding"] = encoder.name
        response.headers["Vary"] = "Accept-Encoding"
    try:
        await response.prepare(request)
        try:
            async for chunk in lines:
                if encoder is None:
                    piece: bytes | memoryview = chunk
                elif len(chunk) < _OFFLOAD_BYTES:
                    piece = encoder.encode(chunk)
                else:
                    piece = await asyncio.to_thread(encoder.encode, chunk)
                await patiently(response.write(piece), request.transport, patience_s)
        except (ReplayError, StorageError) as error:
            _log.warning("a replay ended: %s", error)  # the client was told so by the last line
        if encoder is not None:
            await patiently(response.write(encoder.finish()), request.transport, patience_s)
        await response.write_eof()
    except SlowReader:
        _log.warning("%s takes nothing, and is disconnected", request.remote)
        if request.transport is not None:
            request.transport.abort()
    finally:
        await let_go(lines)
    return response


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
