"""The gateway as a :class:`bookreel.venues.message.Venue`: what a journal of it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bookreel.venues.futu import exchanges, feeds, symbols
from bookreel.venues.futu.decode import decode, salvage_topic
from bookreel.venues.futu.model import Notice
from bookreel.venues.futu.rows import rows
from bookreel.venues.message import Aside, Coverage, Message, Rows, Topic, Unknown

__all__ = ["Futu"]


class Futu:
    """It has no state: one is as good as another. Nothing of it is compressed, and numbers are the wire's doubles."""

    name: str = "futu"
    row_feeds: Mapping[str, str] = {
        "trades": "ticker",
        "quotes": "quote",
        "broker_queue": "broker",
        "timeshare": "rt",
    }
    aliases: Mapping[str, str] = feeds.ALIASES
    digits: bool = False

    decode_instruments = staticmethod(exchanges.decode_instruments)
    topic = staticmethod(feeds.make_topic)
    parse_topic = staticmethod(feeds.parse_topic)
    near_symbols = staticmethod(symbols.near_symbols)

    def decode(self, text: bytes) -> Message:
        """A push, a REST request or its answer. Raises ``DecodeError``."""
        if text.startswith(exchanges.PREFIX):
            return exchanges.decode_exchange(text)
        push = decode(text)
        if isinstance(push, Unknown):
            return push
        if push.topic is None:
            news = bool(push.events) and isinstance(push.events[0], Notice)
            return Aside("data", "notice" if news else f"push {push.proto_id}")
        made = rows(push.events)
        return Rows(push.topic, made[0].ts_event if made else None, made)

    def decode_known(self, text: bytes) -> tuple[Message, bool]:
        """What is added to a body is never told of."""
        return self.decode(text), True

    def decoder(self, start: bytes) -> Callable[[bytes], Message]:
        """Nothing is known sooner of texts that begin alike."""
        return self.decode

    def salvage_topic(self, payload: bytes) -> Topic | None:
        """The topic of a push whose body cannot be read, where its envelope still tells."""
        return salvage_topic(payload)

    def inflate(self, payload: bytes) -> bytes:
        """The payload itself."""
        return payload

    def plain(self, payload: bytes) -> bytes:
        """The payload itself."""
        return payload

    def unknown_fields(self, text: bytes) -> list[str]:
        """None: a body is kept whole, and what a later version adds to it is passed over."""
        return []

    def inexact_numbers(self, text: bytes) -> int:
        """None: prices are doubles on the wire."""
        return 0

    def feeds(self) -> dict[str, str]:
        """Every feed's name with a line about it."""
        return {feed.name: feed.about for feed in feeds.FEEDS.values()}

    def coverage(self, feed: str) -> Coverage:
        """How completely a feed's streams can prove themselves; of an unknown feed nothing is known."""
        known = feeds.FEEDS.get(feed)
        return "unsequenced" if known is None else known.coverage
