"""What the gateway answers over REST, as typed values.

Names are read in snake case and in camel case: versions of the gateway differ. Integers are exact, also where they
are written as strings. Every reply is an envelope ``{ret_type, ret_msg, err_code, s2c}``, and a status of 200 does
not mean that it succeeded.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
from google.protobuf import json_format

from bookreel.venues.futu import derivatives, events, figures, listed, status
from bookreel.venues.futu.errors import (
    BadReply,
    Forbidden,
    NoSuchEndpoint,
    Refused,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from bookreel.venues.futu.item import Item
from bookreel.venues.futu.model import Event
from bookreel.venues.futu.proto import message_class
from bookreel.venues.futu.requests import Call

__all__ = ["PUSHED", "Done", "Events", "Reply", "content_of", "message_of", "read"]


class Events(msgspec.Struct, frozen=True):
    """Market data, the same values that pushes give. ``next_req_key``: there are more bars, ask with it."""

    events: list[Event]
    next_req_key: str | list[int] | None = None


class Done(msgspec.Struct, frozen=True):
    """It was done; there is nothing to tell."""


Reply: TypeAlias = Events | Item | Done

_TIMEOUTS: Final = (-100, -200)
_WORDS_MAX: Final = 500


def read(request: Call, status_code: int, body: bytes) -> Reply:
    """The reply to a request. Raises a ``GatewayError``: its class says what went wrong, and if it is retryable."""
    content = content_of(request, status_code, body)
    try:
        return _READERS[request.endpoint.name](content, request)
    except (msgspec.MsgspecError, json_format.ParseError, ValueError, TypeError) as error:
        raise BadReply(request.path, str(error)[:_WORDS_MAX], body) from None


def content_of(request: Call, status_code: int, body: bytes) -> dict[str, Any]:
    """What is inside of the reply's envelope, every name in snake case, without nulls. Raises a ``GatewayError``."""
    path = request.path
    content = _content(body)
    if status_code != 200:
        words = str(content.get("error") or content.get("ret_msg") or "no reason given")[:_WORDS_MAX]
        if status_code == 401:
            raise Unauthorized(path, words)
        if status_code == 403:
            raise Forbidden(path, words, request.endpoint.scope)
        if status_code == 404:
            raise NoSuchEndpoint(path)
        if status_code == 429 or status_code >= 500:
            raise Unavailable(path, status_code, words)
    ret_type = content.get("ret_type", 0)
    if not isinstance(ret_type, int) or (status_code != 200 and not ret_type):
        raise BadReply(path, f"status {status_code}, ret_type {ret_type!r}", body)
    if ret_type != 0:
        code = content.get("err_code")
        kind = TimedOut if ret_type in _TIMEOUTS else Refused
        words = str(content.get("ret_msg") or "")[:_WORDS_MAX]
        raise kind(path, ret_type, words, code if isinstance(code, int) else None)
    if "ret_type" in content or "s2c" in content:
        content = content.get("s2c") or {}
    elif not content:
        raise BadReply(path, "not a JSON object, or an empty one", body)
    if not isinstance(content, dict):
        raise BadReply(path, "s2c is not an object", body)
    return content


PUSHED: Final[dict[str, str]] = {
    "quote": "UpdateBasicQot",
    "kline": "UpdateKL",
    "history-kline": "UpdateKL",
    "rt": "UpdateRT",
    "ticker": "UpdateTicker",
    "orderbook": "UpdateOrderBook",
    "broker": "UpdateBroker",
}
"""Endpoints whose content is that of a push, and its message."""


def message_of(request: Call, content: dict[str, Any]) -> Any:
    """The content of a reply of one of :data:`PUSHED` as the message that a push has. Raises ``ValueError`` or
    protobuf's ``ParseError``.
    """
    name = PUSHED[request.endpoint.name]
    if name == "UpdateKL":  # the reply does not say of which bars, the request did
        content = content | {kind: request.fields[kind] for kind in ("kl_type", "rehab_type")}
    message = json_format.ParseDict(content, message_class(name)(), ignore_unknown_fields=True)
    if missing := message.FindInitializationErrors():
        raise ValueError(f"required but not there: {', '.join(missing)}")
    return message


def _content(body: bytes) -> dict[str, Any]:
    """The reply's object with every name in snake case and without nulls; empty where it is no object."""
    try:
        content = _snaked(msgspec.json.decode(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _snaked(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake(name): _snaked(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_snaked(one) for one in value]
    return value


_CAPITALS: Final = re.compile(r"([A-Z]+)([A-Z][a-z])")
_HUMP: Final = re.compile(r"([a-z0-9])([A-Z])")


@functools.lru_cache(maxsize=4096)
def _snake(name: str) -> str:
    """``isHKFuture`` to ``is_hk_future``; snake case stays as it is."""
    return _HUMP.sub(r"\1_\2", _CAPITALS.sub(r"\1_\2", name)).lower()


_Reader: TypeAlias = Callable[[dict[str, Any], Call], Reply]


def _pushed(reader: Callable[[Any], list[Event]]) -> _Reader:
    """Content that the gateway also pushes, read by the same reader."""
    return lambda content, request: Events(reader(message_of(request, content)))


def _bars(content: dict[str, Any], request: Call) -> Events:
    """Bars, and where the next page begins."""
    message = message_of(request, content)
    return Events(
        events.bars(message, message.kl_type, message.rehab_type), content.get("next_req_key") or None
    )


def _typed(kind: type[Item]) -> _Reader:
    """Reference data, by name. Numbers written as strings are numbers."""
    return lambda content, request: msgspec.convert(content, type=kind, strict=False)


_READERS: Final[dict[str, _Reader]] = {
    "global-state": _typed(status.GlobalState),
    "ping": _typed(status.GlobalState),
    "user-info": _typed(status.UserInfo),
    "delay-statistics": _typed(status.DelayStatistics),
    "push-subscriber-info": _typed(status.PushHealth),
    "subscribe": lambda content, request: Done(),
    "unsubscribe": lambda content, request: Done(),
    "query-subscription": _typed(status.SubscriptionInfo),
    "sub-info": _typed(status.SubscriptionInfo),
    "used-quota": _typed(status.UsedQuota),
    "quote": _pushed(events.quotes),
    "kline": _bars,
    "rt": _pushed(events.time_points),
    "ticker": _pushed(events.ticks),
    "orderbook": _pushed(events.order_book),
    "broker": _pushed(events.broker_queue),
    "history-kline": _bars,
    "history-kl-quota": _typed(status.HistoryQuota),
    "snapshot": _typed(figures.Snapshots),
    "market-state": _typed(figures.MarketStates),
    "capital-flow": _typed(figures.CapitalFlows),
    "capital-distribution": _typed(figures.CapitalDistribution),
    "ticker-statistic": lambda content, request: figures.TickerStatistic(content),
    "risk-free-rate": _typed(figures.RiskFreeRate),
    "spread-table": _typed(figures.SpreadTables),
    "static-info": _typed(listed.StaticInfos),
    "plate-set": _typed(listed.Plates),
    "list-plates": _typed(listed.Plates),
    "plate-security": _typed(listed.StaticInfos),
    "owner-plate": _typed(listed.OwnerPlates),
    "stock-filter": _typed(figures.FilteredStocks),
    "trading-days": _typed(listed.TradeDates),
    "suspend": _typed(listed.AllSuspensions),
    "code-change": _typed(listed.CodeChanges),
    "ipo-list": _typed(listed.Ipos),
    "rehab": _typed(listed.Rehabs),
    "user-security": _typed(listed.StaticInfos),
    "price-reminder": _typed(figures.PriceReminders),
    "reference": _typed(listed.StaticInfos),
    "get-reference": _typed(listed.StaticInfos),
    "warrant": _typed(derivatives.Warrants),
    "option-chain": _typed(derivatives.OptionChain),
    "option-expiration-date": _typed(derivatives.OptionExpirations),
    "future-info": _typed(derivatives.FutureContracts),
}
