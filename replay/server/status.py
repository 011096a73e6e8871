"""``/health-check``: whether the server is alive."""

from __future__ import annotations

import resource
import sys
import time
from typing import Final

import msgspec
from aiohttp import web

from bookreel.replay.server.keys import STREAMS
from bookreel.replay.server.parameters import Values
from bookreel.replay.server.routes import Route

__all__ = ["ROUTES", "Health"]

_BEGAN: Final = time.monotonic()
_RSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As tardis-machine's, so that its clients can read it. ``memory_info`` is in bytes."""

    status: str
    uptime_hours: float
    timestamp_ms: int
    memory_info: dict[str, int]
    streams: int


async def _health(request: web.Request, values: Values) -> web.StreamResponse:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    health = Health(
        status="Healthy",
        uptime_hours=round((time.monotonic() - _BEGAN) / 3600, 4),
        timestamp_ms=time.time_ns() // 1_000_000,
        memory_info={"rss": usage.ru_maxrss * _RSS_UNIT},
        streams=request.app[STREAMS].taken,
    )
    return web.json_response(body=msgspec.json.encode(health))


ROUTES: Final = (
    Route(
        path="/health-check",
        handler=_health,
        about="Whether the server is alive; needs no token.",
        answers={"application/json": Health},
        open=True,
    ),
)
