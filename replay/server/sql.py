"""``/v1/sql``: only where it is enabled, and in a process of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from bookreel.replay.server import relay
from bookreel.replay.server.data import delivery
from bookreel.replay.server.errors import BadRequest
from bookreel.replay.server.forms import FORMS
from bookreel.replay.server.keys import SETTINGS, SQL_WORKERS
from bookreel.replay.server.parameters import Values, choice, text
from bookreel.replay.server.routes import Route

__all__ = ["ROUTES"]

_CHARS_MOST: Final = 8_000
_EXAMPLE: Final = "SELECT symbol, count(*) FROM trades GROUP BY ALL"
_FORMAT: Final = choice(
    "format", "The form of the rows; stands above Accept. By default ndjson.", tuple(FORMS)
)


async def _get(request: web.Request, values: Values) -> web.StreamResponse:
    return await _run(request, values, values["q"])


async def _post(request: web.Request, values: Values) -> web.StreamResponse:
    try:
        async with asyncio.timeout(request.app[SETTINGS].limits.body_s):
            statement = (await request.read()).decode("utf-8")
    except TimeoutError as error:
        raise BadRequest("the body did not come in time") from error
    except UnicodeDecodeError as error:
        raise BadRequest("the body is not UTF-8", example=_EXAMPLE) from error
    if not statement.strip() or "\0" in statement:
        raise BadRequest("the body must be one statement, without NUL", example=_EXAMPLE)
    return await _run(request, values, statement)


async def _run(request: web.Request, values: Values, statement: str) -> web.StreamResponse:
    settings = request.app[SETTINGS]
    wanted: dict[str, Any] = delivery(request, values) | {"rows_max": settings.sql_rows}
    question = {"q": statement, "delivery": wanted}
    async with request.app[SQL_WORKERS].ask("sql", question, settings.sql_seconds) as work:
        return await relay.pass_on(request, work)


_FIELDS: Final[dict[str, Any]] = {
    "path": "/v1/sql",
    "answers": {form.content_type: None for form in FORMS.values()},
    "stream": True,
}

ROUTES: Final = (
    Route(
        handler=_get,
        about="The rows of one reading statement of DuckDB's SQL over the tables, bars and the macros.",
        parameters=(text("q", "The statement.", _CHARS_MOST, example=_EXAMPLE, required=True), _FORMAT),
        errors=(406, 429),
        **_FIELDS,
    ),
    Route(
        method="POST",
        handler=_post,
        about="The same for a statement that is the body.",
        parameters=(_FORMAT,),
        body={"text/plain": str},
        errors=(406, 413, 429),
        **_FIELDS,
    ),
)
