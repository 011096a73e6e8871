"""What one frame says, in words that hold for every venue, and what a venue must be able to do.

A venue is pure: bytes in, messages out; no I/O, no asyncio, no clock. Session, sealer and replay know only these names.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

import msgspec

from bookreel.book.model import Event, Instrument

__all__ = [
    "Ack",
    "Coverage",
    "Data",
    "Heartbeat",
    "Message",
    "Refusal",
    "RefusalKind",
    "Reply",
    "Request",
    "RequestId",
    "Topic",
    "Unknown",
    "Venue",
]

RequestId: TypeAlias = str | int | None

Coverage: TypeAlias = Literal["sequenced", "id-only", "unsequenced"]
"""How completely a stream can prove itself: a checked chain; ids to dedupe by; nothing."""

RefusalKind: TypeAlias = Literal["permanent", "not_open", "busy", "ignore", "server"]
"""``permanent``: will not work until reference data changes. ``not_open``: retry slowly. ``busy``: rate limit, retry
after a pause. ``ignore``: harmless. ``server``: the venue's own trouble, retry or reconnect."""


class Topic(msgspec.Struct, frozen=True):
    """A stream's name, both ways: ``text`` as the venue writes it, ``symbol`` and ``feed`` as bookreel does."""

    text: str
    symbol: str
    feed: str
    coverage: Coverage


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """A ping or pong, either way; ``value`` is what must be echoed."""

    kind: Literal["ping", "pong"]
    value: int


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The venue accepted a sub or unsub."""

    kind: Literal["sub", "unsub"]
    topic: Topic
    request_id: RequestId
    ts_event: int | None


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """An error frame. It names the request, not always the topic."""

    reason: RefusalKind
    code: str
    text: str
    request_id: RequestId
    ts_event: int | None


class Data(msgspec.Struct, frozen=True, gc=False):
    """A push of a topic."""

    topic: Topic
    ts_event: int | None
    events: list[Event]


class Reply(msgspec.Struct, frozen=True, gc=False):
    """The answer to a ``req``. ``events`` is empty where the venue sent ``data: null``."""

    topic: Topic
    request_id: RequestId
    ts_event: int | None
    events: list[Event]


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a client sent."""

    kind: Literal["sub", "unsub", "req"]
    topic: Topic | None
    text: str
    request_id: RequestId


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """Well-formed, but not of a kind this version knows; the frame is kept."""

    reason: str
    topic_text: str | None
    ts_event: int | None


Message: TypeAlias = Heartbeat | Ack | Refusal | Data | Reply | Request | Unknown


class Venue(Protocol):
    """One exchange's words."""

    name: str

    def inflate(self, payload: bytes) -> bytes:
        """Undo the venue's frame compression; bounded output. Raises ``venues.errors.InflateError``."""
        ...

    def decode(self, text: bytes) -> Message:
        """One frame's text as a message. Raises ``venues.errors.DecodeError`` for text that cannot be read."""
        ...

    def salvage_topic(self, payload: bytes) -> Topic | None:
        """The topic of a frame that cannot be inflated or decoded, where its beginning still tells."""
        ...

    def unknown_fields(self, text: bytes) -> list[str]:
        """Keys of a readable frame that ``decode`` does not know, as ``topic kind: key``."""
        ...

    def topic(self, symbol: str, feed: str) -> Topic:
        """The topic of a symbol's feed. Raises ``venues.errors.UnknownFeed`` or ``BadSymbol`` (both name near ones)."""
        ...

    def decode_instruments(self, body: bytes) -> list[Instrument]:
        """The reference-data reply. Raises ``venues.errors.DecodeError``."""
        ...
