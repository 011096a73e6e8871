"""The routes under ``/v1`` that read an archive."""

from __future__ import annotations

import time as clock
from functools import partial
from typing import Any, Final

from aiohttp import web

from bookreel.replay.selection import REPLAY_TABLES
from bookreel.replay.server import relay
from bookreel.replay.server.answers import BookAnswer, CountAnswer, Span, SymbolsAnswer, TableAnswer
from bookreel.replay.server.delivery import GATHERED_ROWS
from bookreel.replay.server.forms import FORMS
from bookreel.replay.server.keys import SETTINGS
from bookreel.replay.server.negotiation import choose_encoding, choose_form
from bookreel.replay.server.parameters import (
    Parameter,
    Values,
    choice,
    flag,
    interval,
    name,
    names,
    text,
    time,
    whole,
)
from bookreel.replay.server.routes import Handler, Route
from bookreel.storage.schema import TABLES

__all__ = ["ROUTES", "delivery"]

_JSON: Final = "application/json"
_DEPTH_MOST: Final = 5_000
_LIMIT_MOST: Final = 1_000_000_000

_ANY_FORM: Final[dict[str, Any]] = dict.fromkeys(form.content_type for form in FORMS.values())

SYMBOL: Final = name("symbol", "The venue's symbol.", example="btcusdt", required=True)
_ONE_SYMBOL: Final = name("symbol", "The venue's symbol; by default every one.", example="btcusdt")
_SYMBOLS: Final = names("symbol", "Symbols, separated by commas; by default every one.", example="btcusdt")
_FEEDS: Final = names("feed", "Feeds, separated by commas; by default every one.", example="mbp.150")
_BOOK_FEED: Final = name(
    "feed", "The feed to take the book from; by default the deepest that is sequenced.", example="mbp.150"
)
FROM: Final = time("from", "Receive time, inclusive: ISO-8601 (UTC unless it says otherwise) or integer ns.")
TO: Final = time("to", "Receive time, exclusive.")
_LIMIT: Final = whole(
    "limit",
    f"At most so many rows. Up to {GATHERED_ROWS} the cursor of the next page is in a header too.",
    1,
    _LIMIT_MOST,
    example="1000",
)
_CURSOR: Final = text(
    "cursor",
    "Go on after an earlier page: its cursor, with the other parameters as they were. It stands above from.",
    256,
    example="AQ~0",
)
_FORMAT: Final = choice(
    "format", "The form of the rows; stands above Accept. By default ndjson.", tuple(FORMS)
)

_PAGE: Final = (FROM, TO, _LIMIT, _CURSOR, _FORMAT)


def delivery(request: web.Request, values: Values) -> dict[str, Any]:
    """How rows are wanted, by a request's parameters and headers. Raises NotAcceptable."""
    form = choose_form(request.headers.get("Accept"), values["format"])
    return {
        "form": form,
        "encoding": choose_encoding(request.headers.get("Accept-Encoding"), form),
        "limit": values.get("limit"),
        "rows_max": request.app[SETTINGS].limits.rows,
    }


def _range(request: web.Request, values: Values) -> dict[str, Any]:
    """The range of time and the place in it. Raises BadRequest."""
    start, end = values["from"], values["to"]
    limits = request.app[SETTINGS].limits
    limits.check_range(start, end)
    if start is not None and end is None:
        limits.check_range(min(start, clock.time_ns()), clock.time_ns() + 1)
    return {"start": start, "end": end, "cursor": values["cursor"], "delivery": delivery(request, values)}


def _short(job: str) -> Handler:
    return partial(_answer, job)


async def _answer(job: str, request: web.Request, values: Values) -> web.StreamResponse:
    return await relay.answer(request, job, values)


async def _count(request: web.Request, values: Values) -> web.StreamResponse:
    request.app[SETTINGS].limits.check_range(values["from"], values["to"])
    asked = {
        "table": values["table"],
        "symbol": values["symbol"],
        "start": values["from"],
        "end": values["to"],
    }
    return await relay.answer(request, "count", asked)


async def _table(table: str, request: web.Request, values: Values) -> web.StreamResponse:
    asked = {"table": table, "symbols": values["symbol"], "feeds": values["feed"]}
    return await relay.stream(request, "table", asked | _range(request, values))


async def _bbo(request: web.Request, values: Values) -> web.StreamResponse:
    if values["source"] == "recorded":
        symbols = None if values["symbol"] is None else [values["symbol"]]
        asked = {"table": "bbo", "symbols": symbols, "feeds": None}
        return await relay.stream(request, "table", asked | _range(request, values))
    return await _over_time("best", request, values)


async def _over_time(job: str, request: web.Request, values: Values) -> web.StreamResponse:
    asked = {
        "symbol": values["symbol"],
        "feed": values["feed"],
        "every": values.get("every"),
        "depth": values.get("depth", 1),
    }
    return await relay.stream(request, job, asked | _range(request, values))


async def _bars(request: web.Request, values: Values) -> web.StreamResponse:
    asked = {"symbol": values["symbol"], "period": values["period"]}
    return await relay.stream(request, "bars", asked | _range(request, values))


def _short_route(path: str, about: str, answers: Any, *parameters: Parameter, **more: Any) -> Route:
    job = path.rpartition("/")[2]
    fields: dict[str, Any] = {"handler": _short(job), "errors": (404,), **more}
    return Route(path=path, about=about, answers={_JSON: answers}, parameters=parameters, **fields)


def _long_route(path: str, about: str, handler: Handler, *parameters: Parameter) -> Route:
    return Route(
        path=path,
        about=about,
        handler=handler,
        answers=_ANY_FORM,
        parameters=parameters,
        errors=(404, 406, 429),
        stream=True,
    )


_TABLES: Final = tuple(table for table in TABLES if table in REPLAY_TABLES)
"""The tables whose rows can be asked for one by one; SQL sees all."""

ROUTES: Final = (
    _short_route("/v1/symbols", "Every symbol that was recorded.", SymbolsAnswer),
    _short_route("/v1/tables", "Every table, with its columns and their units.", list[TableAnswer]),
    _short_route(
        "/v1/coverage", "The life of each of a symbol's streams, with its gaps.", list[Span], SYMBOL
    ),
    _short_route(
        "/v1/count",
        "How many rows and about how many bytes a query would give.",
        CountAnswer,
        choice("table", "The table.", _TABLES, required=True),
        _ONE_SYMBOL,
        FROM,
        TO,
        handler=_count,
    ),
    _short_route(
        "/v1/book",
        "The book as it was known at an instant. Inside a gap that is an error, unless allow_gap is given.",
        BookAnswer,
        SYMBOL,
        time("at", "The instant; by default now."),
        whole("depth", "At most so many levels a side; by default all.", 1, _DEPTH_MOST, example="20"),
        _BOOK_FEED,
        flag("allow_gap", "Inside a gap give the last good book; valid is false then."),
        errors=(404, 409),
    ),
    _long_route(
        "/v1/books",
        "The book over time: one row for each change, or the book at each multiple of an interval.",
        partial(_over_time, "books"),
        SYMBOL,
        interval("every", "Sample so often; by default each change is a row."),
        whole("depth", "At most so many levels a side.", 1, _DEPTH_MOST, default=20, example="20"),
        _BOOK_FEED,
        *_PAGE,
    ),
    _long_route(
        "/v1/bbo",
        "Best bids and offers: as they were recorded, or of the book after each of its changes.",
        _bbo,
        SYMBOL,
        choice("source", "What they are taken from.", ("recorded", "book"), default="recorded"),
        _BOOK_FEED,
        *_PAGE,
    ),
    _long_route(
        "/v1/bars",
        "Each bar as it was last pushed. from and to are of the time at which it opens.",
        _bars,
        SYMBOL,
        name("period", "Such as 1min; by default every one.", example="1min"),
        *_PAGE,
    ),
    *(
        _long_route(
            f"/v1/{table}",
            f"Rows of the table {table}, in the order of the journal.",
            partial(_table, table),
            _SYMBOLS,
            _FEEDS,
            *_PAGE,
        )
        for table in _TABLES
        if table != "bbo"
    ),
)
