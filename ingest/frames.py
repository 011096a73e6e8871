"""Reading frames only as far as needed.

A push's part up to the first comma names its topic and is always the same, so what reads it is learned once and
then looked up: for incremental books a decoder that knows whose push it is; of any other push it is enough to know
just that. Answers and heartbeats are decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bookreel.book.model import Event
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Data, Heartbeat, Message, Venue

__all__ = ["HEARTBEAT_BYTES", "FrameReader"]

_PREFIX_BYTES: Final = 128
HEARTBEAT_BYTES: Final = 64
"""A frame that is larger is no heartbeat: a compressed one has about 42 bytes."""
_LEARNED_MAX: Final = 65_536


class FrameReader:
    """Reads the frames of one connection. :meth:`read` raises ``VenueError``."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._decode = venue.decode
        self._inflate = venue.inflate
        # By a push's beginning: what decodes it, or its topic where that is enough.
        self._readers: dict[bytes, Callable[[bytes], Message] | str] = {}

    def read(self, frame: bytes | str) -> tuple[bytes, str | Message]:
        """The frame's text, and the topic of a push whose kind was learned, or the message."""
        # As it is journaled: half a surrogate pair is for the decoder to refuse.
        text = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else self._inflate(frame)
        end = text.find(b",", 0, _PREFIX_BYTES)
        read = self._readers.get(text[:end]) if end > 0 else None
        if read is None:
            message = self._decode(text)
            if isinstance(message, Data):
                self._remember(text, message.topic.text, self._venue.decoder)
            return text, message
        return text, read if isinstance(read, str) else read(text)

    def learn(self, text: bytes, topic: str) -> None:
        """Pushes of ``topic`` that begin as ``text`` does need not be decoded."""
        self._remember(text, topic, lambda _: topic)

    def _remember(
        self, text: bytes, topic: str, reader: Callable[[bytes], Callable[[bytes], Message] | str]
    ) -> None:
        """Texts of ``topic`` that begin as ``text`` does are read by what ``reader`` makes of that beginning."""
        end = text.find(b",", 0, _PREFIX_BYTES)
        prefix = text[:end]
        # The topic must be part of what is looked up. A venue that writes it in ever new ways is decoded each time.
        room = prefix in self._readers or len(self._readers) < _LEARNED_MAX
        if end > 0 and room and topic.encode() in prefix:
            self._readers[prefix] = reader(prefix)

    def events(self, payload: bytes | None) -> list[Event]:
        """What a push that was kept as received says; nothing where there is none, or where it cannot be read: of a
        push whose kind was learned that is found out only here.
        """
        push = self.push(payload)
        return [] if push is None else push.events

    def push(self, payload: bytes | None) -> Data | None:
        """The same as a message; None where there is none."""
        if not payload:
            return None
        try:
            message = self._venue.decode(self._venue.plain(payload))
        except VenueError:
            return None
        return message if isinstance(message, Data) else None

    def text(self, payload: bytes) -> bytes | None:
        """The text of a push that was kept as received; None where it cannot be had."""
        try:
            return self._venue.plain(payload)
        except VenueError:
            return None

    def ping_value(self, frame: bytes | str) -> int | None:
        """The value of a ping; None for anything else, readable or not."""
        if len(frame) > HEARTBEAT_BYTES:
            return None
        try:
            payload = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
            message = self._venue.decode(self._venue.plain(payload))
        except VenueError:
            return None
        return message.value if isinstance(message, Heartbeat) and message.kind == "ping" else None
