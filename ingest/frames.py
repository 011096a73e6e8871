"""Reading frames only as far as needed.

Incremental books, answers and heartbeats are decoded. Of any other push it is enough to know whose it is: its
part up to the first comma names its topic and is always the same, so it is learned once and then looked up.
"""

from __future__ import annotations

from typing import Final

from bookreel.book.model import Event
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Data, Heartbeat, Message, Venue

__all__ = ["FrameReader"]

_PREFIX_BYTES: Final = 128
_HEARTBEAT_BYTES: Final = 128
"""A compressed heartbeat has about 42 bytes."""


class FrameReader:
    """Reads the frames of one connection. All methods but :meth:`ping_value` raise ``VenueError``."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._topics: dict[bytes, str] = {}

    def read(self, frame: bytes | str) -> tuple[bytes, str | Message]:
        """The frame's text, and the topic of a push whose kind was learned, or the message."""
        text = frame.encode() if isinstance(frame, str) else self._venue.inflate(frame)
        topic = self._topics.get(text[: text.find(b",", 0, _PREFIX_BYTES)])
        return text, self._venue.decode(text) if topic is None else topic

    def learn(self, text: bytes, topic: str) -> None:
        """Pushes of ``topic`` that begin as ``text`` does need not be decoded."""
        prefix = text[: text.find(b",", 0, _PREFIX_BYTES)]
        # The topic must be part of what is looked up; and so there are no more entries than topics.
        if topic.encode() in prefix:
            self._topics[prefix] = topic

    def events(self, payload: bytes | None) -> list[Event]:
        """What a push that was kept as received says; nothing where there is none."""
        if not payload:
            return []
        message = self._venue.decode(self._venue.plain(payload))
        return message.events if isinstance(message, Data) else []

    def ping_value(self, frame: bytes | str) -> int | None:
        """The value of a ping; None for anything else, readable or not."""
        if len(frame) > _HEARTBEAT_BYTES:
            return None
        try:
            message = self._venue.decode(
                self._venue.plain(frame.encode() if isinstance(frame, str) else frame)
            )
        except VenueError:
            return None
        return message.value if isinstance(message, Heartbeat) and message.kind == "ping" else None
