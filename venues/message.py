"""What one frame says, in words that hold for every venue, and what a venue must be able to do.

A venue is pure: bytes in, messages out; no I/O, no asyncio, no clock. Session, sealer and replay know only
these names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from bookreel.book.model import Event, Instrument

__all__ = [
    "Ack",
    "Acks",
    "Aside",
    "Coverage",
    "Data",
    "Dialect",
    "Heartbeat",
    "Message",
    "Refusal",
    "RefusalKind",
    "Reply",
    "Request",
    "RequestId",
    "Row",
    "Rows",
    "Topic",
    "Unknown",
    "Venue",
]

RequestId: TypeAlias = str | int | None

Coverage: TypeAlias = Literal["sequenced", "id-only", "unsequenced"]
"""How completely a stream can prove itself: a checked chain; ids to dedupe by; nothing."""

RefusalKind: TypeAlias = Literal["permanent", "not_open", "busy", "ignore", "server"]
"""``permanent``: will not work until reference data changes. ``not_open``: retry slowly. ``busy``: rate
limit, retry
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


class Acks(msgspec.Struct, frozen=True):
    """The venue accepted several at once."""

    kind: Literal["sub", "unsub"]
    topics: list[Topic]


class Row(msgspec.Struct, frozen=True):
    """A row as the venue's decoder made it: its table, and the values of the table's own columns by name. A column
    that is left out is null. ``key``: what a row that may come again is known by within its symbol.
    """

    table: str
    symbol: str
    ts_event: int | None
    values: dict[str, Any]
    key: int | None = None


class Rows(msgspec.Struct, frozen=True):
    """A push of a topic, or where ``asked`` an answer about it, of a venue whose decoder makes the rows itself: what
    its messages hold is not what ``bookreel.book.model`` has. Such a topic is never ``sequenced``.
    """

    topic: Topic
    ts_event: int | None
    rows: list[Row]
    asked: bool = False


class Aside(msgspec.Struct, frozen=True, gc=False):
    """Readable and known, and of no stream: news that the venue pushes, or an answer about anything else. ``text``
    names it.
    """

    kind: Literal["data", "reply"]
    text: str


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """Well-formed, but not of a kind this version knows; the frame is kept."""

    reason: str
    topic_text: str | None
    ts_event: int | None


Message: TypeAlias = Heartbeat | Ack | Acks | Refusal | Data | Reply | Rows | Request | Aside | Unknown


class Venue(Protocol):
    """One exchange's words, read: all that an archive of it needs."""

    name: str
    row_feeds: Mapping[str, str]
    """Table to the feed of all its rows, of the tables that have no column for that."""
    aliases: Mapping[str, str]
    """Short names that users may give feeds."""
    digits: bool
    """Whether numbers are written out in a frame; else they are doubles there too."""

    def inflate(self, payload: bytes) -> bytes:
        """Undo the venue's frame compression; bounded output. Raises ``venues.errors.InflateError``."""
        ...

    def decode(self, text: bytes) -> Message:
        """One frame's text as a message. Raises ``venues.errors.DecodeError`` for text that cannot be read."""
        ...

    def decode_known(self, text: bytes) -> tuple[Message, bool]:
        """As ``decode``, and whether ``unknown_fields`` of the text is known to have none."""
        ...

    def decoder(self, start: bytes) -> Callable[[bytes], Message]:
        """What decodes texts that begin with ``start`` as ``decode`` does, only sooner."""
        ...

    def salvage_topic(self, payload: bytes) -> Topic | None:
        """The topic of a frame that cannot be inflated or decoded, where its beginning still tells."""
        ...

    def unknown_fields(self, text: bytes) -> list[str]:
        """Keys of a readable frame that ``decode`` does not know, as ``topic kind: key``."""
        ...

    def topic(self, symbol: str, feed: str) -> Topic:
        """The topic of a symbol's feed. Raises ``venues.errors.UnknownFeed`` or ``BadSymbol`` (both name near
        ones).
        """
        ...

    def decode_instruments(self, body: bytes) -> list[Instrument]:
        """The reference-data reply. Raises ``venues.errors.DecodeError``."""
        ...

    def inexact_numbers(self, text: bytes) -> int:
        """How many numbers of a frame a float64 cannot give back."""
        ...

    def plain(self, payload: bytes) -> bytes:
        """The text of a frame that may or may not be compressed. Raises ``venues.errors.InflateError``."""
        ...

    def parse_topic(self, text: str) -> Topic | None:
        """The topic the venue writes as ``text``; None for an unknown one."""
        ...

    def feeds(self) -> dict[str, str]:
        """Every feed's name with a line about it."""
        ...

    def coverage(self, feed: str) -> Coverage:
        """How completely a feed's streams can prove themselves; of an unknown feed nothing is known."""
        ...

    def near_symbols(self, symbol: str, listed: Iterable[str]) -> list[str]:
        """The ``listed`` symbols that resemble ``symbol``, best first, at most three."""
        ...


class Dialect(Venue, Protocol):
    """A venue whose WebSocket takes requests: what is said to it there."""

    symbols_path: str
    """Path of the reference data on the REST host."""
    min_req_interval_ns: int
    """A request that follows another sooner than this on one connection is refused."""

    def path(self, topic: Topic) -> str:
        """The path on the venue's WebSocket host that serves the topic."""
        ...

    def req_supported(self, topic: Topic) -> bool:
        """Whether the venue answers a request for the topic."""
        ...

    def witness(self, topic: Topic) -> Literal["whole", "part"] | None:
        """Whether pushes of the topic carry numbers of the space that the symbol's incremental books use;
        ``whole``: nothing happens in a book that its pushes, or their absence, would not show.
        """
        ...

    def sub(self, topic: Topic, request_id: RequestId = None) -> bytes:
        """The text frame that subscribes to a topic."""
        ...

    def unsub(self, topic: Topic, request_id: RequestId = None) -> bytes:
        """The text frame that ends a subscription."""
        ...

    def req(
        self,
        topic: Topic,
        request_id: RequestId = None,
        *,
        start_s: int | None = None,
        end_s: int | None = None,
    ) -> bytes:
        """The text frame that asks once for a topic's state. Raises ``venues.errors.BadRequest``."""
        ...

    def ping(self, value: int) -> bytes:
        """The text frame that asks the venue for a pong."""
        ...

    def pong(self, value: int) -> bytes:
        """The text frame that answers the venue's ping."""
        ...
