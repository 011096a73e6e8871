"""What handlers find in the application and in a request, by typed keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from bookreel.replay.server.limits import Slots
from bookreel.replay.server.settings import Settings

__all__ = ["ARCHIVE", "SETTINGS", "STREAMS"]

ARCHIVE: Final = web.AppKey("ARCHIVE", Path)
SETTINGS: Final = web.AppKey("SETTINGS", Settings)
STREAMS: Final = web.AppKey("STREAMS", Slots)
"""The places for streams; a route of ``stream=True`` has one while it answers, a WebSocket takes its own."""
