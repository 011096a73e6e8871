"""Endpoints that the settings name, asked again and again; every answer is journaled, and rows where a table fits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bookreel.ingest.config import Poll
from bookreel.ingest.errors import ConfigError, FetchFailed, GatewayUnusable
from bookreel.ingest.futu.caller import Caller
from bookreel.ingest.tape import Tape
from bookreel.venues.errors import VenueError
from bookreel.venues.futu.errors import Forbidden, GatewayError, NoSuchEndpoint, Unauthorized
from bookreel.venues.futu.requests import Call, batches, call

__all__ = ["calls_of", "run_poll"]

_CHANGING = ("subscribe", "unsubscribe")

_log = logging.getLogger(__name__)


def calls_of(poll: Poll, symbols: Sequence[str]) -> list[Call]:
    """The requests of one round. Raises :class:`ConfigError` for what the gateway would refuse."""
    if poll.endpoint in _CHANGING:
        raise ConfigError(
            "poll", f"setting 'poll': {poll.endpoint} changes what is recorded; name it in `feeds`"
        )
    try:
        if poll.each:
            return [call(poll.endpoint, symbol=symbol, **poll.fields) for symbol in symbols]
        if poll.batch:
            return [call(poll.endpoint, symbols=batch, **poll.fields) for batch in batches(symbols)]
        return [call(poll.endpoint, **poll.fields)]
    except VenueError as error:
        raise ConfigError("poll", f"setting 'poll': {error}") from error


async def run_poll(poll: Poll, calls: Sequence[Call], caller: Caller, tape: Tape) -> None:
    """For ever, but for an endpoint that the key may not use or the gateway does not have. Raises
    :class:`GatewayUnusable` for a key that is refused.
    """
    clock = tape.clock
    due = clock.mono_ns()
    while True:
        for request in calls:
            try:
                await caller.ask(request, tape)
            except Unauthorized as error:
                raise GatewayUnusable(caller.url, str(error)) from error
            except (Forbidden, NoSuchEndpoint) as error:
                _log.error("not polled any more: %s", error)
                return
            except (GatewayError, FetchFailed) as error:
                _log.warning("poll failed: %s", error)
        due = max(due + round(poll.every_s * 1e9), clock.mono_ns())
        await clock.sleep((due - clock.mono_ns()) / 1e9)
