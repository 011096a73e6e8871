"""tardis-machine's interface: its clients read what was recorded here as they read its own.

``/replay``, ``/replay-normalized`` and their WebSockets are those of tardis-machine; ``/v1/data-feeds/huobi`` is what
it, and the clients that do without it, fetch from tardis's own service. All of it comes as fast as the client reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Final
from weakref import WeakKeyDictionary

from aiohttp import web

from bookreel.replay import ReplayError
from bookreel.replay.server import parameters
from bookreel.replay.server.keys import ARCHIVE, SETTINGS
from bookreel.replay.server.negotiation import choose_encoding
from bookreel.replay.server.outlet import Beside, send_body
from bookreel.replay.server.parameters import Values
from bookreel.replay.server.routes import Route
from bookreel.replay.server.tardis_normal import normal_chunks
from bookreel.replay.server.tardis_options import (
    EXCHANGE,
    OPTIONS,
    Channel,
    RawOptions,
    Span,
    check_venue,
    decode,
    several,
    span,
)
from bookreel.replay.server.tardis_sockets import replay_normalised_socket, replay_socket
from bookreel.replay.server.tardis_tape import in_chunks, open_tape
from bookreel.storage.errors import StorageError

__all__ = ["JSON_STREAM", "ROUTES"]

JSON_STREAM: Final = "application/x-json-stream"
_PLAIN_TEXT: Final = "text/plain"

_MINUTE_NS: Final = 60_000_000_000
_MINUTES_MAX: Final = 600_000

_FEEDS: Final = 4
"""Answers of the data feed that are made at once. The others wait: its clients ask for sixty minutes at once, and for
a minute longer where they are told to come again.
"""

_feeds: Final[WeakKeyDictionary[web.Application, asyncio.Semaphore]] = WeakKeyDictionary()


async def _replay(request: web.Request, values: Values) -> web.StreamResponse:
    check_venue(request.app[ARCHIVE].venue.name)
    settings = request.app[SETTINGS]
    options: RawOptions = decode(values["options"], RawOptions)
    wanted = span(options.exchange, options.start, options.end, settings.limits)

    def read() -> Generator[bytes | memoryview, None, None]:
        disconnects = bool(options.with_disconnects)
        yield from in_chunks(
            *open_tape(
                request.app[ARCHIVE], "machine", options.filters or None, wanted, disconnects=disconnects
            )
        )

    return await _answer(request, read, JSON_STREAM)


async def _normalised(request: web.Request, values: Values) -> web.StreamResponse:
    check_venue(request.app[ARCHIVE].venue.name)
    wanted = several(values["options"], request.app[SETTINGS].limits)

    def read() -> Generator[bytes | memoryview, None, None]:
        yield from normal_chunks(request.app[ARCHIVE], wanted)

    return await _answer(request, read, JSON_STREAM)


async def _feed(request: web.Request, values: Values) -> web.StreamResponse:
    """Some minutes of tardis's own data feed."""
    check_venue(request.app[ARCHIVE].venue.name)
    settings = request.app[SETTINGS]
    size: int = values["sliceSize"]
    start = values["from"] + values["offset"] * _MINUTE_NS
    channels: list[Channel] | None = None
    if values["filters"] is not None:
        channels = decode(values["filters"], list[Channel])
    minutes = Span(start, start + size * _MINUTE_NS)
    settings.limits.check_range(minutes.start, minutes.end)

    def read() -> Generator[bytes | memoryview, None, None]:
        tape = open_tape(request.app[ARCHIVE], "feed", channels or None, minutes, disconnects=True)
        yield from in_chunks(*tape)

    headers = {"x-slice-size": str(size), "x-suggested-slice-size": str(size)}
    async with _feeds.setdefault(request.app, asyncio.Semaphore(_FEEDS)):
        return await _answer(request, read, _PLAIN_TEXT, headers, always_encoded=True)


async def _answer(
    request: web.Request,
    read: Callable[[], Generator[bytes | memoryview, None, None]],
    content_type: str,
    headers: dict[str, str] | None = None,
    *,
    always_encoded: bool = False,
) -> web.StreamResponse:
    """What is read, as it is made. What is wrong with it from the beginning has a status of its own; what fails later
    cuts the answer off, so that nobody takes it for the whole.
    """
    pieces = Beside(read())
    try:
        first = await anext(pieces, b"")
        encoding = choose_encoding(request.headers.get("Accept-Encoding"), "ndjson")
        if encoding is None and always_encoded:
            # These clients keep the body as it comes, under the name of a gzip file.
            encoding = "gzip"

        async def body() -> AsyncIterator[bytes | memoryview]:
            if first:
                yield first
            async for piece in pieces:
                yield piece

        all_headers = {"Content-Type": content_type, "Cache-Control": "no-store", **(headers or {})}
        patience_s = request.app[SETTINGS].limits.reader_s
        try:
            return await send_body(request, body(), all_headers, encoding, patience_s)
        except (ReplayError, StorageError):
            if request.transport is not None:
                request.transport.abort()
            raise
    finally:
        await pieces.aclose()


_FEED_PARAMETERS: Final = (
    parameters.time("from", "The beginning.", required=True),
    parameters.whole("offset", "Minutes after it.", 0, _MINUTES_MAX, default=0, example="0"),
    parameters.whole("sliceSize", "How many minutes.", 1, 1440, default=1, example="1"),
    parameters.text(
        "filters",
        "Channels and symbols as JSON.",
        8_000,
        example='[{"channel":"trade","symbols":["btcusdt"]}]',
    ),
)

_SOCKET_PARAMETERS: Final = (
    parameters.name("exchange", "Only huobi.", example=EXCHANGE, required=True),
    parameters.text("from", "Receive time, inclusive.", 64, example="2026-11-20", required=True),
    parameters.text("to", "Receive time, exclusive.", 64, example="2026-11-21", required=True),
    parameters.text("session", "Connections of one session are merged in one order.", 128, example="mine"),
)

ROUTES: Final = (
    Route(
        path="/replay",
        handler=_replay,
        about="As tardis-machine: frames as they were received; an empty line is a disconnect.",
        answers={JSON_STREAM: None},
        parameters=(OPTIONS,),
        errors=(400, 404),
        stream=True,
    ),
    Route(
        path="/replay-normalized",
        handler=_normalised,
        about="As tardis-machine: trades, book changes and what is computed from them.",
        answers={JSON_STREAM: None},
        parameters=(OPTIONS,),
        errors=(400, 404),
        stream=True,
    ),
    Route(
        path=f"/v1/data-feeds/{EXCHANGE}",
        handler=_feed,
        about="As tardis's own service: minutes of frames, always compressed.",
        answers={_PLAIN_TEXT: None},
        parameters=_FEED_PARAMETERS,
        errors=(400, 404),
    ),
    Route(
        path="/ws-replay",
        handler=replay_socket,
        about="As tardis-machine, a WebSocket: the venue's own messages after its own subscribe messages.",
        answers={},
        parameters=_SOCKET_PARAMETERS,
        errors=(400,),
        stream=True,
    ),
    Route(
        path="/ws-replay-normalized",
        handler=replay_normalised_socket,
        about="As tardis-machine, a WebSocket: the messages of /replay-normalized.",
        answers={},
        parameters=(OPTIONS,),
        errors=(400,),
        stream=True,
    ),
)
