"""The OpenAPI 3.1 document, made of the routes' own tables: what is parsed is what is described."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, Final

import msgspec
from aiohttp import web

from bookreel.replay.server.errors import ErrorBody
from bookreel.replay.server.parameters import Parameter, Values
from bookreel.replay.server.routes import Route

__all__ = ["describe", "openapi_route"]

_PATH: Final = "/v1/openapi.json"
_REF: Final = "#/components/schemas/{name}"

_EVERY: Final = (400, 403, 500, 503)
"""Statuses that any answer can have."""

_STATUSES: Final = {
    400: "A value cannot be right, or a limit was met.",
    401: "The token is missing or wrong.",
    403: "The server is not called by that name, or the page's origin is not allowed.",
    404: "There is no such symbol, feed or table.",
    406: "None of the accepted forms can be given.",
    409: "The instant lies in a gap, or outside of what was recorded.",
    413: "The body is too large.",
    429: "As many as are allowed are under way.",
    500: "A stored file is damaged, or the server has a bug.",
    503: "The server is being stopped, or replaces a process; it works again in a moment.",
}

_DESCRIPTION: Final = """\
Books, tables and replays of one archive. Times are ISO-8601 (UTC unless they say otherwise) or integer ns; `from` is
inclusive and `to` exclusive. The last line of NDJSON is of type `end` or `error`: if it is neither, the answer was
cut off. Other forms have their own end, and CSV the last chunk of HTTP.
"""


def describe(routes: Sequence[Route], *, token: bool) -> dict[str, Any]:
    """The document for these routes; ``token``: whether clients must bring one."""
    types = [type_ for route in routes for type_ in (*route.answers.values(), *route.body.values()) if type_]
    found, components = msgspec.json.schema_components([ErrorBody, *types], ref_template=_REF)
    schemas = dict(zip(map(repr, [ErrorBody, *types]), found, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, token)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "bookreel", "version": version("bookreel"), "description": _DESCRIPTION},
        "paths": paths,
        "components": {"schemas": components},
    }
    if token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document


def openapi_route(routes: Sequence[Route], *, token: bool) -> Route:
    """The route that gives the document of these, and of itself."""
    route = Route(
        path=_PATH,
        handler=_nothing,
        about="This document.",
        answers={"application/json": dict[str, Any]},
        open=True,
    )
    document = describe([*routes, route], token=token)
    body = msgspec.json.encode(document)
    return msgspec.structs.replace(route, handler=partial(_document, body))


async def _nothing(request: web.Request, values: Values) -> web.StreamResponse:
    raise AssertionError("only the route with the document is served")


async def _document(body: bytes, request: web.Request, values: Values) -> web.StreamResponse:
    return web.Response(body=body, content_type="application/json")


def _operation(route: Route, schemas: dict[str, Any], token: bool) -> dict[str, Any]:
    def content(types: dict[str, Any]) -> dict[str, Any]:
        return {
            kind: {"schema": {"type": "string"} if type_ in (None, str) else schemas[repr(type_)]}
            for kind, type_ in types.items()
        }

    failed = content({"application/json": ErrorBody})
    guarded = token and not route.open
    statuses = sorted(
        {*_EVERY, *route.errors, *((401,) if guarded else ()), *((429,) if route.stream else ())}
    )
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{route.path.replace('/', '_').replace('-', '_')}",
        "summary": route.about,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {
            "200": {"description": "The answer.", "content": content(route.answers)},
            **{str(status): {"description": _STATUSES[status], "content": failed} for status in statuses},
        },
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": content(route.body)}
    if guarded:
        operation["security"] = [{"token": []}]
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "required": parameter.required,
        "schema": parameter.schema,
        "example": _as_value(parameter),
    }


def _as_value(parameter: Parameter) -> Any:
    numeric = parameter.schema.get("type") in ("integer", "number")
    return msgspec.json.decode(parameter.example) if numeric else parameter.example
