"""What a server answers where a request cannot be served: a status, and a JSON body that says what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final

import msgspec
from aiohttp import web

from bookreel.replay.errors import (
    BadInterval,
    BadSpeed,
    BadTime,
    BadToken,
    NoSuchFeed,
    NoSuchSymbol,
    NoSuchTable,
)
from bookreel.storage.errors import QueryError, StorageError, Unsettled

__all__ = [
    "BadListen",
    "BadRequest",
    "Busy",
    "Conflict",
    "ErrorBody",
    "Forbidden",
    "Internal",
    "NotAcceptable",
    "NotAllowed",
    "NotFound",
    "OverLimit",
    "ServeError",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreadable",
    "nearest",
    "problem",
    "translate",
]


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer from 400 on. ``allowed``: values that would be right; ``example``: one of them, or
    a whole request; ``detail``: further facts.
    """

    error: str
    message: str
    parameter: str | None = None
    allowed: list[str] | None = None
    example: str | None = None
    detail: dict[str, Any] | None = None


class ServeError(Exception):
    """Base of this package's errors. ``status``: of the answer; ``name``: ``error`` in its body."""

    status: ClassVar[int] = 500
    name: ClassVar[str] = "internal"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        message: str,
        *,
        parameter: str | None = None,
        allowed: Iterable[str] | None = None,
        example: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        self.body = ErrorBody(
            error=self.name,
            message=message,
            parameter=parameter,
            allowed=None if allowed is None else list(allowed),
            example=example,
            detail=detail,
        )
        super().__init__(message)


class BadRequest(ServeError):
    """A value that cannot be right."""

    status = 400
    name = "bad_request"


class Unauthorized(ServeError):
    """The token is missing or wrong."""

    status = 401
    name = "unauthorized"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="bookreel"'}


class Forbidden(ServeError):
    """The request comes from a web page, or by a name, that is not allowed."""

    status = 403
    name = "forbidden"


class NotFound(ServeError):
    """There is no such path, symbol, feed or table."""

    status = 404
    name = "not_found"


class NotAllowed(ServeError):
    """The path has no such method."""

    status = 405
    name = "method_not_allowed"


class NotAcceptable(ServeError):
    """None of the forms that the client accepts can be given."""

    status = 406
    name = "not_acceptable"


class Conflict(ServeError):
    """Nothing was recorded at that instant: it lies in a gap, or before the beginning or after the end."""

    status = 409
    name = "in_gap"


class TooLarge(ServeError):
    """A request's body is beyond the limit."""

    status = 413
    name = "too_large"


class Busy(ServeError):
    """As many streams as are allowed are open."""

    status = 429
    name = "busy"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class OverLimit(ServeError):
    """It took more time or memory than is allowed."""

    status = 400
    name = "over_limit"


class Internal(ServeError):
    """A bug; it was logged."""

    status = 500
    name = "internal"


class Unreadable(ServeError):
    """A stored file is damaged."""

    status = 500
    name = "unreadable"


class Unavailable(ServeError):
    """It works again in a moment."""

    status = 503
    name = "unavailable"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class BadListen(ServeError):
    """The server cannot be started like this; never an answer. ``exit_code``: 2."""

    exit_code: ClassVar[int] = 2
    name = "bad_listen"


TIME_EXAMPLE: Final = "2026-11-20T12:00:00Z"


def _bad(parameter: str | None, example: str | None) -> Callable[[Exception], ServeError]:
    return lambda error: BadRequest(str(error), parameter=parameter, example=example)


def _no_symbol(error: Any) -> ServeError:
    return NotFound(
        str(error), parameter="symbol", allowed=error.near or None, example="/v1/symbols lists them"
    )


def _no_feed(error: Any) -> ServeError:
    return NotFound(str(error), parameter="feed", allowed=error.known)


def _no_table(error: Any) -> ServeError:
    return NotFound(str(error), parameter="table", allowed=error.known)


def _no_file(error: Any) -> ServeError:
    return Unreadable(f"a file of the archive cannot be read: {error.strerror or type(error).__name__}")


_TRANSLATIONS: Final[dict[type[Exception], Callable[[Exception], ServeError]]] = {
    NoSuchSymbol: _no_symbol,
    NoSuchFeed: _no_feed,
    NoSuchTable: _no_table,
    BadTime: _bad(None, TIME_EXAMPLE),
    BadInterval: _bad("every", "100ms"),
    BadSpeed: _bad("speed", "10"),
    BadToken: _bad("cursor", None),
    QueryError: _bad("q", "SELECT count(*) FROM trades"),
    Unsettled: lambda error: Unavailable(str(error)),
    StorageError: lambda error: Unreadable(str(error)),
    OSError: _no_file,
}
"""What errors of reading mean to a client; the first that fits counts."""


def translate(error: Exception) -> ServeError:
    """An error of reading as an answer; one that is not known is a bug, whose sentence stays here."""
    if isinstance(error, ServeError):
        return error
    for kind, make in _TRANSLATIONS.items():
        if isinstance(error, kind):
            return make(error)
    return Internal("the server failed at this; its log says how")


def problem(error: ServeError) -> web.Response:
    """The answer that an error is."""
    return web.Response(
        status=error.status,
        body=msgspec.json.encode(error.body) + b"\n",
        content_type="application/json",
        headers=dict(error.headers),
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """A question for the end of a sentence, empty where nothing is near."""
    near = difflib.get_close_matches(word.lower(), list(known), n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
