"""A running server: where it listens, how long it waits for a client, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from bookreel.replay.server.errors import BadListen, BadRequest, Internal, Unavailable, problem
from bookreel.replay.server.settings import Settings

__all__ = ["Server"]

_LINGER_S: Final = 1.0
_KEPT_CHARS: Final = 200


class Server:
    """An asynchronous context manager: answers from entering to leaving. ``apps``: each with its port, 0 is any free
    one; ``ports`` says which they got.

    Entering raises BadListen where a port is in use or the host has no address.
    """

    def __init__(
        self, apps: Sequence[tuple[web.Application, int]], settings: Settings, *, access_log: bool = False
    ) -> None:
        self._apps = apps
        self._settings = settings
        self._access_log = logging.getLogger("bookreel.access") if access_log else None
        self._runners: list[web.AppRunner] = []
        self.ports: list[int] = []

    @property
    def url(self) -> str:
        """Where the first application is."""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.ports[0]}"

    async def __aenter__(self) -> Self:
        try:
            for app, port in self._apps:
                await self._listen(app, port)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _listen(self, app: web.Application, port: int) -> None:
        host, limits = self._settings.host, self._settings.limits
        runner = _Runner(
            app,
            access_log=self._access_log,
            handler_cancellation=True,
            shutdown_timeout=limits.shutdown_s,
            # In aiohttp this also bounds the time from a connection's first byte to the end of the request's head.
            keepalive_timeout=limits.header_s,
            lingering_time=_LINGER_S,
            max_line_size=limits.line_bytes,
            max_field_size=limits.line_bytes,
            max_headers=limits.headers,
        )
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, host, port, reuse_address=True)
        try:
            await site.start()
        except socket.gaierror as error:
            raise BadListen(f"--host {host}: {error.strerror}; 127.0.0.1 is this machine") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BadListen(
                    f"port {port} on {host} is in use: choose another one, or 0 for any"
                ) from None
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise BadListen(f"cannot listen on {host} port {port}: {reason}") from error
        self.ports.append(runner.addresses[0][1])

    async def _close(self) -> None:
        while self._runners:
            await self._runners.pop().cleanup()


class _Runner(web.AppRunner):
    """Answers requests that no application sees, since they are no HTTP, as JSON too."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Listener(
            made.request_handler,
            request_factory=made.request_factory,
            loop=asyncio.get_running_loop(),
            **self._kwargs,
        )


class _Listener(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):  # nobody is there any more
            response = problem(Unavailable("the connection ended"))
        elif status >= 500:
            self.log_exception("a request failed outside of its handler", exc_info=exc)
            response = problem(Internal("the server failed at this; its log says how"))
        else:
            reason = " ".join((message or "").split())[:_KEPT_CHARS]
            response = problem(BadRequest(f"this is not HTTP as it should be: {reason}"))
        response.set_status(status)
        response.force_close()
        return response
