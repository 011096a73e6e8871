"""A route as data: what it answers to, what it takes and what it gives. The router and the OpenAPI document are both
made of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from bookreel.replay.server.parameters import Parameter, Values

__all__ = ["Handler", "Route"]

Handler: TypeAlias = Callable[[web.Request, Values], Awaitable[web.StreamResponse]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """``answers``: content type to the type of the body, None where it is not one JSON value. ``errors``: statuses
    that it has beside those of every route. ``stream``: it takes one of the places for streams while it answers.
    ``body``: content types of the request's body to its type. ``open``: needs no token.
    """

    method: str = "GET"
    path: str
    handler: Handler
    about: str
    answers: dict[str, Any]
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    body: dict[str, Any] = {}
    stream: bool = False
    open: bool = False
