"""How a server is set up, all of it decided before it starts."""

from __future__ import annotations

import msgspec

from bookreel.replay.server.auth import LOOPBACK
from bookreel.replay.server.errors import BadListen
from bookreel.replay.server.limits import DEFAULT, Limits

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """``host`` and ``port``: where to listen, 0 is any free port. ``token``: what clients must bring; without it only
    loopback is possible (raises BadListen). ``allow_hosts``: further names by which the server may be called,
    ``allow_origins``: of web pages that may read its answers. ``sql``: whether ``/v1/sql`` is there, in
    ``sql_processes``, with ``sql_seconds``, ``sql_bytes`` of memory and ``sql_rows`` for one statement. ``workers``:
    processes that read. ``verify``: check each sealed file's digest before its first use. ``niceness``: added to that
    of this process, and once more to that of those that read.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    limits: Limits = DEFAULT
    sql: bool = False
    sql_processes: int = 1
    sql_seconds: float = 30.0
    sql_bytes: int = 1 << 30
    sql_rows: int = 1_000_000
    workers: int = 2
    verify: bool = False
    niceness: int = 10

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and self.token is None:
            raise BadListen(
                f"{self.host} can be reached from other machines, and no token is set: give --token-env NAME or "
                "--token-file FILE, or leave --host at 127.0.0.1"
            )
