"""A real server on loopback, in a thread of the test's process, and the plainest client."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from bookreel.replay.server import ROUTES, Route, Server, Settings, make_app
from bookreel.replay.server.folder import folder_of

__all__ = ["Reply", "Site", "serving"]


class Reply(NamedTuple):
    """An answer. ``headers`` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        """NDJSON, decoded."""
        return [json.loads(line) for line in self.body.splitlines()]


class Site:
    """Where a server is, and how to ask it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, /, headers: Mapping[str, str] | None = None, **query: Any) -> Reply:
        """``from_`` is ``from``: a parameter's name without the underscore at its end."""
        named = {name.rstrip("_"): value for name, value in query.items() if value is not None}
        return self.ask("GET", f"{path}?{urlencode(named)}" if named else path, headers)

    def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            connection.request(method, target, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())
        finally:
            connection.close()


@contextmanager
def serving(
    archive: Path,
    settings: Settings | None = None,
    routes: Sequence[Route] = ROUTES,
    *,
    beside: Sequence[Path] = (),
) -> Iterator[Site]:
    """A server that answers while the context is open. ``beside``: further archives, for SQL."""
    chosen = settings or Settings(workers=1)
    ready = threading.Event()
    state: dict[str, Any] = {}

    async def run() -> None:
        state["loop"], state["stop"] = asyncio.get_running_loop(), asyncio.Event()
        try:
            with folder_of([archive, *beside]) as (folder, names):
                app = make_app(folder, chosen, routes, archives=names)
                async with Server([(app, 0)], chosen) as server:
                    state["port"] = server.ports[0]
                    ready.set()
                    await state["stop"].wait()
        except BaseException as error:
            state["error"] = error
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="server")
    thread.start()
    assert ready.wait(90), "the server did not start"
    if "error" in state:
        thread.join()
        raise state["error"]
    try:
        yield Site(state["port"])
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(90)
        assert not thread.is_alive(), "the server did not end"
