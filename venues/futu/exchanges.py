"""A REST request and its answer as texts that say themselves what they are, so that a journal can hold them.

``{"rest": endpoint, "asked": fields}`` is a request. An answer repeats it, since the gateway's own words do not say
what they answer, and adds ``status`` and ``reply``: the body byte for byte where it is JSON, else ``reply_b64``. No
push begins like that.
"""

from __future__ import annotations

import binascii
from typing import Any, Final

import msgspec

from bookreel.book.model import Instrument
from bookreel.venues.errors import BadRequest, DecodeError, VenueError
from bookreel.venues.futu.codes import MARKETS
from bookreel.venues.futu.endpoints import ENDPOINTS
from bookreel.venues.futu.errors import GatewayError
from bookreel.venues.futu.feeds import FEED_OF, FEEDS, make_topic
from bookreel.venues.futu.model import Event, Notice
from bookreel.venues.futu.replies import Events, read
from bookreel.venues.futu.requests import Call, call
from bookreel.venues.futu.rows import rows
from bookreel.venues.futu.symbols import make_symbol
from bookreel.venues.message import Acks, Aside, Message, Refusal, Request, Rows, Topic

__all__ = [
    "PREFIX",
    "answered_text",
    "asked_text",
    "decode_exchange",
    "decode_instruments",
    "read_answer",
]

PREFIX: Final = b'{"rest":'
"""How such a text begins."""


class _Exchange(msgspec.Struct, frozen=True):
    rest: str
    asked: dict[str, Any] = {}
    status: int | None = None
    reply: msgspec.Raw = msgspec.Raw()
    reply_b64: bytes | None = None


def asked_text(request: Call) -> bytes:
    """A request. It holds no key: that is in a header."""
    return msgspec.json.encode({"rest": request.endpoint.name, "asked": request.fields})


def answered_text(request: Call, status: int, body: bytes) -> bytes:
    """The answer to a request."""
    facts = {"rest": request.endpoint.name, "asked": request.fields, "status": status}
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
        body.decode()
    except (msgspec.MsgspecError, ValueError):
        return msgspec.json.encode(facts | {"reply_b64": body})
    return msgspec.json.encode(facts | {"reply": msgspec.Raw(body)})


def decode_exchange(text: bytes) -> Message:
    """A request, or what an answer says: rows, acknowledgements, a refusal. Raises ``DecodeError``."""
    made, request = _parse(text)
    subscribing = request.endpoint.name in ("subscribe", "unsubscribe")
    kind = ("sub" if request.fields["is_sub_or_un_sub"] else "unsub") if subscribing else "req"
    if made.status is None:
        return Request(kind, None, made.rest, None)  # type: ignore[arg-type]
    try:
        reply = read(request, made.status, _body(made))
    except GatewayError as error:
        return Refusal(
            "server" if error.retryable else "permanent", type(error).__name__, str(error), None, None
        )
    if subscribing:
        return Acks("sub" if kind == "sub" else "unsub", _topics(request))
    topic = _topic(reply.events) if isinstance(reply, Events) else None
    if topic is None:
        return Aside("reply", made.rest)
    assert isinstance(reply, Events), "only those have a topic"
    return Rows(topic, None, rows(reply.events, asked=True), asked=True)


def read_answer(text: bytes) -> tuple[Call, int, bytes]:
    """The request of a text that is an answer, its status and its body as it came. Raises ``DecodeError``."""
    made, request = _parse(text)
    if made.status is None:
        raise DecodeError("it is a request, and no answer", text)
    return request, made.status, _body(made)


def decode_instruments(body: bytes) -> list[Instrument]:
    """The securities of an answer of ``static-info``. Raises ``DecodeError``."""
    made, _ = _parse(body)
    try:
        content = msgspec.json.decode(_body(made), type=dict[str, Any])
        content = content.get("s2c") or content
        listed = content.get("static_info_list") or content["staticInfoList"]
        return [_instrument(info) for info in listed]
    except (msgspec.MsgspecError, VenueError, KeyError, TypeError, AttributeError) as error:
        raise DecodeError(f"not a list of securities: {error!r}", body) from None


def _parse(text: bytes) -> tuple[_Exchange, Call]:
    try:
        made = msgspec.json.decode(text, type=_Exchange)
        if made.rest not in ENDPOINTS:
            raise BadRequest(f"there is no endpoint {made.rest!r}")
        return made, call(made.rest, **made.asked)
    except (msgspec.MsgspecError, ValueError, RecursionError, binascii.Error) as error:
        raise DecodeError(str(error), text) from None


def _body(made: _Exchange) -> bytes:
    return bytes(made.reply) or made.reply_b64 or b""


def _topics(request: Call) -> list[Topic]:
    feeds = [FEED_OF[kind].name for kind in request.fields["sub_types"] if kind in FEED_OF]
    return [make_topic(symbol, feed) for symbol in request.fields["symbols"] for feed in feeds]


def _topic(events: list[Event]) -> Topic | None:
    for event in events:
        if not isinstance(event, Notice) and event.feed in FEEDS:
            return make_topic(event.symbol, event.feed)
    return None


def _instrument(info: dict[str, Any]) -> Instrument:
    basic = info["basic"]
    symbol = make_symbol(basic["security"]["market"], basic["security"]["code"])
    market, _, code = symbol.partition(".")
    state = "delisted" if basic.get("delisting") else "online"
    raw = msgspec.json.encode(info).decode()
    return Instrument(symbol, code, MARKETS[market].currency or "", None, None, state, raw)
