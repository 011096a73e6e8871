"""A frame of ``/ws`` to a :class:`~bookreel.venues.futu.model.Push`.

A frame is a JSON object whose ``body_b64`` is a protobuf message in base64. Whether that is the whole response or
its inner message is not documented, so both are read: a response is one that says 0 (success) and holds a complete
message. No push has an inner message that could be taken for that.
"""

from __future__ import annotations

import binascii
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError as ProtobufError

from bookreel.venues.futu.errors import PushError, Stage
from bookreel.venues.futu.events import READERS
from bookreel.venues.futu.feeds import FEED_OF, FEEDS, make_topic
from bookreel.venues.futu.model import Event, Notice, Push
from bookreel.venues.futu.proto import PUSHES, message_class
from bookreel.venues.futu.symbols import parse_sec_key
from bookreel.venues.message import Topic, Unknown

__all__ = ["MAX_TEXT_BYTES", "Envelope", "decode", "read_message", "salvage_topic"]

MAX_TEXT_BYTES: Final = 16 << 20
"""A book of 1000 levels is below 100 kB."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The frame's own keys. All but the number and the body may be missing or null; others are ignored."""

    proto_id: int
    body_b64: str
    type: str | None = None
    sec_key: str | None = None
    sub_type: int | None = None
    rehab_type: int | None = None
    acc_id: str | int | None = None


_envelope: Final = msgspec.json.Decoder(Envelope).decode


def decode(text: bytes) -> Push | Unknown:
    """One frame's text. ``Unknown`` for pushes that are not market data, and of numbers this version does not know.

    Raises ``PushError``, which says where reading failed and what of the envelope is known; keep the frame.
    """
    envelope, message, whole = _open(text)
    if message is None:
        return Unknown(f"a push of number {envelope.proto_id}", envelope.sec_key, None)
    try:
        events = READERS[envelope.proto_id](message)
    except ValueError as error:  # UnicodeDecodeError and BadSymbol are such
        raise _error("value", str(error), text, envelope) from None
    return _push(envelope, events, whole)


def read_message(text: bytes) -> tuple[Envelope, Any]:
    """One frame's envelope and the message in its body, as it is on the wire; None for a message of a number that
    this version does not know. Raises ``PushError``.
    """
    return _open(text)[:2]


def salvage_topic(text: bytes) -> Topic | None:
    """The topic of a frame whose body cannot be read, where its envelope still tells."""
    try:
        envelope = _envelope(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    feed = FEED_OF.get(envelope.sub_type or 0)
    symbol = parse_sec_key(envelope.sec_key or "")
    return make_topic(symbol, feed.name) if feed and symbol else None


def _open(text: bytes) -> tuple[Envelope, Any, bool]:
    """Envelope, message (None: of an unknown number), and whether it was inside a response."""
    if len(text) > MAX_TEXT_BYTES:
        raise PushError("json", f"it is larger than {MAX_TEXT_BYTES} bytes", text)
    try:
        envelope = _envelope(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PushError("json", str(error), text) from None
    if envelope.proto_id not in PUSHES:
        return envelope, None, False
    try:
        body = binascii.a2b_base64(envelope.body_b64, strict_mode=True)
    except ValueError as error:
        raise _error("base64", str(error), text, envelope) from None
    return envelope, *_parse(body, text, envelope)


def _parse(body: bytes, text: bytes, envelope: Envelope) -> tuple[Any, bool]:
    """The inner message, and whether it was inside a response."""
    name = PUSHES[envelope.proto_id]
    response = inner = None
    reason = "empty"
    try:
        response = message_class(f"{name}Response").FromString(body)
    except (ProtobufError, ValueError) as error:
        reason = str(error)
    if response is not None:
        if response.ret_type == 0 and response.HasField("s2c") and response.IsInitialized():
            return response.s2c, True
        if response.HasField("ret_type") and response.ret_type < 0:
            reason = f"ret_type {response.ret_type}: {response.ret_msg}"
            raise _error("refused", reason, text, envelope)
    try:
        inner = message_class(name).FromString(body)
    except (ProtobufError, ValueError) as error:
        reason = str(error)
    if inner is not None and body and inner.IsInitialized() and inner.ListFields():
        return inner, False
    nearest = response if response is not None and response.HasField("s2c") else inner
    if nearest is None or not body:
        raise _error("protobuf", reason, text, envelope)
    missing = tuple(nearest.FindInitializationErrors()) or ("s2c",)
    raise _error("missing", f"required but not there: {', '.join(missing)}", text, envelope, missing)


def _push(envelope: Envelope, events: list[Event], whole: bool) -> Push:
    oddities: tuple[str, ...] = () if whole else ("bare message",)
    symbol = parse_sec_key(envelope.sec_key or "")
    feed = FEED_OF.get(envelope.sub_type or 0)
    feed_name = feed.name if feed else None
    first = events[0] if events else None
    if first is not None and not isinstance(first, Notice):
        if envelope.sec_key is not None and all(
            e.symbol != symbol for e in events if not isinstance(e, Notice)
        ):
            oddities += (f"sec_key {envelope.sec_key}, body {first.symbol}",)
        if envelope.sub_type is not None and first.feed in FEEDS and first.feed != feed_name:
            oddities += (f"sub_type {envelope.sub_type}, body {first.feed}",)
        symbol, feed_name = first.symbol, first.feed
    topic = make_topic(symbol, feed_name) if symbol and feed_name in FEEDS else None
    return Push(topic, envelope.proto_id, events, whole, oddities)


def _error(
    stage: Stage, reason: str, text: bytes, envelope: Envelope, missing: tuple[str, ...] = ()
) -> PushError:
    return PushError(
        stage, reason, text, proto_id=envelope.proto_id, sec_key=envelope.sec_key, missing=missing
    )
