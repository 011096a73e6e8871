"""Answers that a process makes, passed on to the client as fast as it takes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from bookreel.replay.server.errors import ServeError, Unavailable
from bookreel.replay.server.forms import FORMS
from bookreel.replay.server.keys import SETTINGS, STOPPING, WORKERS
from bookreel.replay.server.lines import encode_line
from bookreel.replay.server.workers import Work

__all__ = ["answer", "pass_on", "stream"]

_NDJSON: Final = FORMS["ndjson"].content_type

_log = logging.getLogger(__name__)


async def answer(request: web.Request, job: str, values: Mapping[str, Any]) -> web.StreamResponse:
    """A short answer, whole."""
    async with request.app[WORKERS].ask(job, values) as work:
        head = await work.head()
        body = b"".join([chunk async for chunk in work])
    return web.Response(body=body, headers=head)


async def stream(request: web.Request, job: str, values: Mapping[str, Any]) -> web.StreamResponse:
    """A long answer, in chunks."""
    async with request.app[WORKERS].ask(job, values) as work:
        return await pass_on(request, work)


async def pass_on(request: web.Request, work: Work) -> web.StreamResponse:
    """Send an answer while it is made. What fails on the way is the last record of NDJSON; any other form is cut off,
    and so is a client that does not read.
    """
    response = web.StreamResponse(headers=await work.head())
    told = response.headers["Content-Type"] == _NDJSON and "Content-Encoding" not in response.headers
    seconds = request.app[SETTINGS].limits.reader_s
    stopping = request.app[STOPPING]
    try:
        async with asyncio.timeout(seconds):
            await response.prepare(request)
        try:
            async for chunk in work:
                async with asyncio.timeout(seconds):
                    await response.write(chunk)
                if stopping.is_set():
                    raise Unavailable("the server is being stopped; go on after the last row later")
        except ServeError as error:
            if not told:
                raise
            line = {"type": "error", "error": error.name, "message": error.body.message}
            async with asyncio.timeout(seconds):
                await response.write(encode_line(line))
        async with asyncio.timeout(seconds):
            await response.write_eof()
    except TimeoutError:
        _log.warning("a client did not read for %g s and was disconnected", seconds)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client did not read") from None
    return response
