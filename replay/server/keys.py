"""What handlers find in the application, by typed keys."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from bookreel.replay.server.limits import Slots
from bookreel.replay.server.settings import Settings
from bookreel.replay.server.workers import Workers
from bookreel.storage.shared_tail import SharedTail

__all__ = ["ARCHIVE", "SETTINGS", "SQL_WORKERS", "STOPPING", "STREAMS", "WORKERS"]

ARCHIVE: Final = web.AppKey("ARCHIVE", SharedTail)
"""The archive, with the one tail of all that is read in this process; there while the server runs."""

SETTINGS: Final = web.AppKey("SETTINGS", Settings)
STREAMS: Final = web.AppKey("STREAMS", Slots)
"""The places for streams; a route of ``stream=True`` has one while it answers, a WebSocket takes its own."""

WORKERS: Final = web.AppKey("WORKERS", Workers)
"""The processes that read; there while the server runs."""

SQL_WORKERS: Final = web.AppKey("SQL_WORKERS", Workers)
"""The processes for SQL, one statement at a time; there where it is enabled."""

STOPPING: Final = web.AppKey("STOPPING", asyncio.Event)
"""Set when the server begins to end: long answers then end with a record that says so."""
