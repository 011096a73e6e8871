"""Who may ask: the token, the name by which the server is called, and web pages of other origins.

A web page that somebody visits can send requests to this machine's loopback, and can give its own name this
machine's address (DNS rebinding). So the ``Host`` must be a name of this server, and an ``Origin`` must be allowed
unless it is the server's own.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bookreel.replay.server.errors import BadListen, Forbidden, Unauthorized

__all__ = ["LOOPBACK", "Guard", "read_token"]

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_SHORTEST: Final = 16
_LONGEST: Final = 1024


class Guard:
    """``hosts``: names by which the server may be called (None: any); ``origins``: of the pages that may read its
    answers, ``*`` is every one.
    """

    def __init__(
        self, token: str | None, hosts: Collection[str] | None, origins: Collection[str] = ()
    ) -> None:
        self._token = None if token is None else token.encode()
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origins)

    @property
    def needs_token(self) -> bool:
        """Whether every request must bring it."""
        return self._token is not None

    def check_host(self, host: str | None) -> None:
        """Raise Forbidden where the ``Host`` header is not a name of this server."""
        if self._hosts is not None and _name(host or "") not in self._hosts:
            raise Forbidden(
                f"this server is not called {(host or '')[:100]!r}; add it with --allow-host",
                allowed=sorted(self._hosts),
            )

    def check_origin(self, origin: str | None, host: str | None) -> str | None:
        """The origin to allow in the answer's CORS header, None where none is needed. Raises Forbidden."""
        if origin is None:
            return None
        if "*" in self._origins or origin in self._origins:
            return origin
        if host is not None and _authority(origin) == host.lower():
            return None
        raise Forbidden(
            f"pages of {origin[:100]!r} may not read this server; add it with --allow-origin",
            allowed=sorted(self._origins),
        )

    def check_token(self, authorization: str | None) -> None:
        """Raise Unauthorized unless the ``Authorization`` header brings the token; takes as long whatever it is."""
        if self._token is None:
            return
        scheme, _, given = (authorization or "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
        if scheme.lower() != "bearer" or not right:
            raise Unauthorized(
                "the token is missing or wrong", example="Authorization: Bearer <the server's token>"
            )


def read_token(
    variable: str | None, file: Path | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """The token from an environment variable or a file. Raises BadListen; the token is in no message."""
    if variable is not None and file is not None:
        raise BadListen("give --token-env or --token-file, not both")
    if variable is not None:
        where, token = f"the environment variable {variable}", environment.get(variable)
        if token is None:
            raise BadListen(f"{where} is not set; set it to the token, such as $(openssl rand -hex 32)")
    elif file is not None:
        where = str(file)
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadListen(f"{where} cannot be read as a token: {error}") from error
    else:
        return None
    token = token.strip()
    if (
        not _SHORTEST <= len(token) <= _LONGEST
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise BadListen(
            f"the token in {where} is not one: it must have {_SHORTEST} to {_LONGEST} printable characters of ASCII "
            "without spaces; make one with openssl rand -hex 32"
        )
    return token


def _name(host: str) -> str:
    """A Host header without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
