"""REST calls to the gateway, each journaled with its answer before anybody looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import ConfigError, FetchFailed
from bookreel.ingest.network import AioNetwork
from bookreel.ingest.tape import Tape
from bookreel.venues.futu.errors import Refused, TimedOut, Unavailable
from bookreel.venues.futu.exchanges import answered_text, asked_text
from bookreel.venues.futu.replies import Reply, read
from bookreel.venues.futu.requests import Call

__all__ = ["CONN", "Caller", "bisect", "is_refusal", "may_pass", "read_token"]

CONN: Final = "rest"
"""The line on which calls are journaled that are of no socket."""

_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 4
"""Calls under way at a time: the gateway hands them on to a backend that limits rates."""


def read_token(config: RecordConfig, environment: Mapping[str, str]) -> str | None:
    """The key that the settings name; None where they name none. Raises :class:`ConfigError`, without the key."""
    if config.token_env is not None:
        token = environment.get(config.token_env, "").strip()
        if not token:
            raise ConfigError(
                "token_env", f"the environment has no variable {config.token_env!r}, or it is empty"
            )
    elif config.token_file is not None:
        try:
            token = Path(config.token_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("token_file", f"cannot read the key's file: {error}") from error
        if not token:
            raise ConfigError("token_file", f"{config.token_file} is empty")
    else:
        return None
    if not token.isascii() or not token.isprintable():
        raise ConfigError("token_env", "the key holds characters that a header cannot have")
    return token


class Caller:
    """Asks the gateway. ``url`` is the REST root."""

    def __init__(self, url: str, network: AioNetwork) -> None:
        self.url = url.rstrip("/")
        self.calls = 0
        self._network = network
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, request: Call, tape: Tape | None = None, conn: str = CONN, epoch: int = 1) -> Reply:
        """The answer to a request; with a ``tape`` both are journaled as frames of (``conn``, ``epoch``).

        Raises a ``GatewayError``, or :class:`FetchFailed` where there was no answer.
        """
        async with self._room:
            self.calls += 1
            if tape is not None:
                tape.sent(asked_text(request), conn, epoch)
            url = f"{self.url}{request.path}"
            status, body = await self._network.ask(request.method, url, request.body, _TIMEOUT_S)
            if tape is not None:
                clock = tape.clock
                text = answered_text(request, status, body).decode()
                tape.received(text, clock.wall_ns(), clock.mono_ns(), conn, epoch)
            return read(request, status, body)

    async def raw(self, request: Call) -> tuple[int, bytes]:
        """Status and body of an answer, not journaled. Raises :class:`FetchFailed`."""
        return await self._network.ask(request.method, f"{self.url}{request.path}", request.body, _TIMEOUT_S)


def is_refusal(error: Exception) -> bool:
    """Whether the gateway refused a request for what it says: a part of it may be accepted."""
    return isinstance(error, Refused) and not isinstance(error, TimedOut)


def may_pass(error: Exception) -> bool:
    """Whether the same request may be answered later."""
    return isinstance(error, FetchFailed | Unavailable | TimedOut)


def bisect(symbols: Iterable[str]) -> tuple[list[str], list[str]]:
    """Two halves of a batch that was refused: one bad symbol fails all of it."""
    every = list(symbols)
    middle = (len(every) + 1) // 2
    return every[:middle], every[middle:]
