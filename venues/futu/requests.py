"""What a client asks over REST: method, path and JSON body, checked before anything is sent.

The gateway refuses a field that it does not know, and one bad symbol fails its whole batch; what can be known to be
wrong is refused here, with the name that was likely meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from bookreel.venues.errors import BadRequest, UnknownFeed
from bookreel.venues.futu.endpoints import ENDPOINTS, FIELD_KINDS, MAX_SYMBOLS, Endpoint, FieldKind
from bookreel.venues.futu.feeds import ALIASES, FEEDS
from bookreel.venues.futu.symbols import check_symbol
from bookreel.venues.futu.times import local_ns

__all__ = ["Call", "batches", "call", "subscribe", "unsubscribe"]


class Call(msgspec.Struct, frozen=True):
    """One request. ``fields`` are those of the body; a GET has neither."""

    endpoint: Endpoint
    method: Literal["GET", "POST"]
    fields: Mapping[str, Any]

    @property
    def path(self) -> str:
        """Path on the REST host."""
        return self.endpoint.path

    @property
    def body(self) -> bytes | None:
        """The JSON body; None for a GET."""
        return None if self.method == "GET" else msgspec.json.encode(self.fields)


def call(name: str, **fields: Any) -> Call:
    """The request to an endpoint with these fields, in snake case. Raises ``BadRequest`` or ``BadSymbol``."""
    endpoint = ENDPOINTS.get(name)
    if endpoint is None:
        raise BadRequest(f"there is no endpoint {name!r}{_hint(name, ENDPOINTS)}")
    known = [*(one for choice in endpoint.required for one in choice.split("|")), *endpoint.optional]
    for field, value in fields.items():
        if field not in known:
            raise BadRequest(f"{name} takes no {field!r}{_hint(field, known)}")
        _check(field, FIELD_KINDS[field], value)
    for choice in endpoint.required:
        given = [field for field in choice.split("|") if field in fields]
        if len(given) != 1:
            raise BadRequest(f"{name} needs {choice.replace('|', ' or ')}")
    return Call(endpoint, "GET" if endpoint.get and not fields else "POST", fields)


def subscribe(
    symbols: Iterable[str],
    feeds: Iterable[str],
    *,
    first_push: bool = True,
    rehab_types: tuple[int, ...] | None = None,
) -> Call:
    """Subscribe to feeds and have them pushed; ``first_push`` asks for the present state first.

    ``rehab_types`` is for bars only (0: prices as traded; the gateway's own default is 1, forward adjusted).
    """
    fields: dict[str, Any] = {"is_reg_or_un_reg_push": True, "is_first_push": first_push}
    if rehab_types is not None:
        fields["reg_push_rehab_type_list"] = list(rehab_types)
    return call("subscribe", **_subscription(symbols, feeds), is_sub_or_un_sub=True, **fields)


def unsubscribe(symbols: Iterable[str], feeds: Iterable[str]) -> Call:
    """End subscriptions. The gateway refuses that within a minute of the subscription."""
    return call("unsubscribe", **_subscription(symbols, feeds), is_sub_or_un_sub=False)


def batches(symbols: Iterable[str], size: int = MAX_SYMBOLS) -> list[list[str]]:
    """The symbols in lists that one request may have."""
    every = list(symbols)
    return [every[at : at + size] for at in range(0, len(every), size)]


def _subscription(symbols: Iterable[str], feeds: Iterable[str]) -> dict[str, Any]:
    kinds = []
    for feed in feeds:
        known = FEEDS.get(ALIASES.get(feed, feed))
        if known is None:
            raise UnknownFeed(feed, difflib.get_close_matches(feed, FEEDS, n=3))
        kinds.append(known.sub_type)
    return {"symbols": list(symbols), "sub_types": kinds}


_TYPES: Final[dict[FieldKind, tuple[type, ...]]] = {
    "symbol": (str,),
    "symbols": (list, tuple),
    "int": (int,),
    "ints": (list, tuple),
    "bool": (bool,),
    "number": (int, float),
    "text": (str,),
    "time": (str,),
    "object": (dict,),
    "key": (str, list),
}


def _check(field: str, kind: FieldKind, value: Any) -> None:
    if not _is(kind, value):
        raise BadRequest(f"{field} = {value!r} is of the wrong type: {kind} is meant")
    if kind == "symbol":
        check_symbol(value)
    elif kind == "symbols":
        if not 1 <= len(value) <= MAX_SYMBOLS:
            raise BadRequest(f"{len(value)} symbols in one request: give 1 to {MAX_SYMBOLS}")
        for symbol in value:
            check_symbol(symbol)
    elif kind == "ints":
        if not value or not all(type(one) is int for one in value):
            raise BadRequest(f"{field} = {value!r} must be a list of numbers")
    elif kind == "time":
        try:
            local_ns(value, "UTC")
        except ValueError:
            raise BadRequest(f"{field} = {value!r} is not a date or an exchange's local time") from None


def _is(kind: FieldKind, value: object) -> bool:
    """A bool is an int to Python, and not to the gateway."""
    return isinstance(value, _TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""
