"""The application: every route of the tables, behind one guard and one translation of errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from aiohttp import HttpVersion11, web

from bookreel.replay.server import data, replay, sql, status, tardis
from bookreel.replay.server.auth import LOOPBACK, Guard
from bookreel.replay.server.delivery import CURSOR
from bookreel.replay.server.errors import (
    BadRequest,
    Internal,
    NotAllowed,
    NotFound,
    ServeError,
    TooLarge,
    nearest,
    problem,
    translate,
)
from bookreel.replay.server.forking import Stem
from bookreel.replay.server.jobs import READING
from bookreel.replay.server.keys import ARCHIVE, SETTINGS, SQL_WORKERS, STOPPING, STREAMS, WORKERS
from bookreel.replay.server.limits import Slots
from bookreel.replay.server.openapi import openapi_route
from bookreel.replay.server.parameters import parse
from bookreel.replay.server.routes import Route
from bookreel.replay.server.settings import Settings
from bookreel.replay.server.stem import Setup
from bookreel.replay.server.worker import Orders
from bookreel.replay.server.workers import Workers
from bookreel.storage.shared_tail import SharedTail

__all__ = ["ROUTES", "make_app"]

_Next: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROUTES: Final[tuple[Route, ...]] = (*status.ROUTES, *data.ROUTES, *replay.ROUTES, *tardis.ROUTES)
"""Everything that is answered on the first port, but for SQL and the document about it."""

_ORIGIN: Final[Any] = web.RequestKey("ORIGIN", str)
"""The origin whose pages may read the answer."""

_STARTED: Final[Any] = web.RequestKey("STARTED", bool)
"""The answer's head was sent."""

_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "600",
}

_log = logging.getLogger(__name__)


def make_app(
    folder: Path, settings: Settings, routes: Sequence[Route] = ROUTES, *, archives: Sequence[str] = ("",)
) -> web.Application:
    """An application that answers ``routes`` from the first of the archives, and where it is enabled ``/v1/sql`` from
    all of them; nothing is opened before it starts. ``archives``: their names in the folder, which is one itself
    unless they are given: answers call files as they are called from there.
    """
    routes = [*routes, *(sql.ROUTES if settings.sql else ())]
    routes.append(openapi_route(routes, token=settings.token is not None))
    hosts: frozenset[str] | None = frozenset({settings.host, *settings.allow_hosts})
    if settings.host in LOOPBACK:
        hosts = LOOPBACK | frozenset(settings.allow_hosts)
    elif not settings.allow_hosts:
        hosts = None  # there the token keeps strange pages out
    guard = Guard(settings.token, hosts, settings.allow_origins)
    app = web.Application(middlewares=[_answers(guard, routes)], client_max_size=settings.limits.body_bytes)
    app[SETTINGS] = settings
    app[STREAMS] = Slots(settings.limits.streams, "streams")
    app[STOPPING] = asyncio.Event()
    app.cleanup_ctx.append(partial(_with_archive, folder / archives[0]))
    app.cleanup_ctx.append(partial(_with_workers, folder, tuple(archives)))
    app.on_shutdown.append(_stop)
    app.on_response_prepare.append(_add_headers)
    for route in routes:
        app.router.add_route(route.method, route.path, _served(route), expect_handler=_expect)
    app.router.add_route("*", "/{path:.*}", _elsewhere(routes), expect_handler=_expect)
    return app


async def _with_archive(archive: Path, app: web.Application) -> AsyncIterator[None]:
    with await asyncio.to_thread(SharedTail, archive) as tail:
        app[ARCHIVE] = tail
        yield


async def _with_workers(folder: Path, archives: tuple[str, ...], app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    reading = Orders(jobs=tuple(READING), verify=settings.verify)
    sql_only = Orders(jobs=("sql",), verify=settings.verify, several=True, bytes_max=settings.sql_bytes)
    setup = Setup(
        folder=str(folder), archives=archives, niceness=settings.niceness, orders=(reading, sql_only)
    )
    async with AsyncExitStack() as running:
        enter = running.enter_async_context
        # Its tail is decoded beside theirs: nobody waits for it once the server says where it is.
        ready = asyncio.ensure_future(asyncio.to_thread(app[ARCHIVE].advance))
        stem = await enter(Stem(setup))
        app[WORKERS] = await enter(Workers(stem, setup.orders.index(reading), settings.workers))
        if settings.sql:
            statements = Workers(stem, setup.orders.index(sql_only), settings.sql_processes, exclusive=True)
            app[SQL_WORKERS] = await enter(statements)
        await ready
        yield


async def _stop(app: web.Application) -> None:
    app[STOPPING].set()


def _served(route: Route) -> _Next:
    async def serve(request: web.Request) -> web.StreamResponse:
        values = parse(route.parameters, request.query)
        with request.app[STREAMS].take() if route.stream else nullcontext():
            return await route.handler(request, values)

    return serve


def _elsewhere(routes: Iterable[Route]) -> _Next:
    """Whatever no route is for, so that it is answered as everything is."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        methods.setdefault(route.path, set()).add(route.method)

    async def refuse(request: web.Request) -> web.StreamResponse:
        if allowed := methods.get(request.path):
            raise web.HTTPMethodNotAllowed(request.method, allowed)
        raise web.HTTPNotFound

    return refuse


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """What a client waits for before it sends the body."""
    expected = request.headers["Expect"]
    if request.version < HttpVersion11:
        return None
    if expected.lower() != "100-continue":
        return problem(BadRequest(f"nothing but 100-continue can be expected, not {expected[:64]!r}"))
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer has not begun
    return None


def _answers(guard: Guard, routes: Iterable[Route]) -> Any:
    """The middleware: who may ask, and every failure as JSON."""
    paths = sorted({route.path for route in routes})
    unguarded = {route.path for route in routes if route.open}

    @web.middleware
    async def answer(request: web.Request, handler: _Next) -> web.StreamResponse:
        try:
            host, origin = request.headers.get("Host"), request.headers.get("Origin")
            guard.check_host(host)
            request[_ORIGIN] = guard.check_origin(origin, host)
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                return web.Response(status=204, headers=_PREFLIGHT)
            if request.path not in unguarded:
                guard.check_token(request.headers.get("Authorization"))
            return await handler(request)
        except web.HTTPException as error:
            return _converted(error, request, paths)
        except ConnectionError:
            raise
        except Exception as error:
            if _STARTED in request:  # too late for another answer: the client sees that it was cut off
                _tell(request, translate(error), "failed on the way")
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("cut off after a failure") from error
            known = translate(error)
            if isinstance(known, Internal):
                _tell(request, known, "failed")
            return problem(known)

    return answer


def _tell(request: web.Request, error: ServeError, how: str) -> None:
    """Log what the client can only see as an end: a bug with where it was, else what was wrong."""
    if isinstance(error, Internal):
        _log.exception("%s %s %s", request.method, request.path, how)
    else:
        _log.warning("%s %s %s: %s", request.method, request.path, how, error.body.message)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    request[_STARTED] = True
    response.headers["Server"] = "bookreel"
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
    if (origin := request.get(_ORIGIN)) is not None:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = CURSOR
        response.headers["Vary"] = "Origin"


def _converted(error: web.HTTPException, request: web.Request, paths: list[str]) -> web.Response:
    """One of aiohttp's own answers as one of ours."""
    if isinstance(error, web.HTTPNotFound):
        near = nearest(request.path[:64], paths)
        return problem(NotFound(f"there is nothing at {request.path[:100]!r}{near}", allowed=paths))
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = sorted(error.allowed_methods)
        known = NotAllowed(f"{error.method[:20]!r} is not possible at {request.path}", allowed=allowed)
        response = problem(known)
        response.headers["Allow"] = ", ".join(allowed)
        return response
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem(TooLarge("the request's body is too large"))
    failed: ServeError = BadRequest(error.reason) if error.status < 500 else Internal(error.reason)
    response = problem(failed)
    response.set_status(error.status)
    return response
