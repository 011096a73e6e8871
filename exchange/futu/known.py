"""All that an archive of a gateway says, as of the replay's clock: its topics, and what was answered over REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from google.protobuf.json_format import ParseError

from bookreel.exchange.futu.recorded import Recorded, make_recorded
from bookreel.venues.errors import VenueError
from bookreel.venues.futu.codes import PERIOD_OF
from bookreel.venues.futu.decode import decode, read_message
from bookreel.venues.futu.exchanges import read_answer
from bookreel.venues.futu.feeds import FEED_OF
from bookreel.venues.futu.model import Notice, Push
from bookreel.venues.futu.proto import message_class
from bookreel.venues.futu.replies import PUSHED, content_of, message_of
from bookreel.venues.futu.requests import Call
from bookreel.venues.futu.symbols import make_symbol
from bookreel.venues.message import Topic

__all__ = ["OF_SECURITIES", "Known"]

OF_SECURITIES: Final = {
    "snapshot": ("snapshot_list", "basic"),
    "market-state": ("market_info_list", None),
    "static-info": ("static_info_list", "basic"),
}
"""Endpoints that answer of each security by itself: the list, and where in its entries the security is."""

_NOTICE: Final = "notice"
_STATES: Final = ("global-state", "ping")
_AS_TRADED: Final = 0


class Known:
    """What is known of ``symbols`` (None: of all)."""

    def __init__(self, symbols: frozenset[str] | None) -> None:
        self._symbols = symbols
        self._topics: dict[str, Recorded] = {}
        self._streams: dict[tuple[str, str], Recorded] = {}
        self.logined = True
        """Whether the gateway was logged in for quotes, as far as it said."""
        self.entries: dict[str, dict[str, Any]] = {name: {} for name in OF_SECURITIES}
        """By endpoint of :data:`OF_SECURITIES` and symbol, what was answered."""
        self._answers: dict[tuple[str, bytes], Any] = {}

    def wants(self, symbol: str) -> bool:
        """Whether a security is one of those that are offered."""
        return self._symbols is None or symbol in self._symbols

    def add(self, topic: Topic) -> None:
        """A topic that was recorded."""
        state = make_recorded(topic)
        self._topics[topic.text] = self._streams[topic.symbol, topic.feed] = state

    def topics(self) -> list[Topic]:
        """Those that were recorded."""
        return [state.topic for state in self._topics.values()]

    def has(self, symbol: str) -> bool:
        """Whether anything of a security was recorded."""
        return any(symbol == known for known, _ in self._streams)

    def topic(self, symbol: str, feed: str) -> Recorded | None:
        """What is known of a security's feed; None: it was not recorded."""
        return self._streams.get((symbol, feed))

    def find(self, text: str) -> Recorded | None:
        """What is known of a topic."""
        return self._topics.get(text)

    def answer(self, name: str, fields: dict[str, Any]) -> Any:
        """The newest answer to the same question; None: there was none."""
        return self._answers.get((name, _key(fields)))

    def listed(self, symbol: str, info: dict[str, Any]) -> None:
        """An entry of the reference data."""
        self.entries["static-info"][symbol] = info

    def pushed(self, text: bytes) -> bool:
        """Note a push; False: it is of bars that are not offered, with adjusted prices."""
        try:
            _, message = read_message(text)
        except VenueError:
            return True
        if message is None:
            return True
        if getattr(message, "rehab_type", _AS_TRADED) != _AS_TRADED:
            return False
        for state, part in self._parts(message):
            state.take(part)
        return True

    def noticed(self, topic: str, text: bytes) -> bool:
        """Whether a push that is of no topic is news of the gateway, which is noted."""
        if topic != _NOTICE:
            return False
        push = decode(text)
        for event in push.events if isinstance(push, Push) else ():
            if isinstance(event, Notice) and event.qot_logined is not None:
                self.logined = event.qot_logined
        return True

    def acked(self, text: bytes) -> None:
        """The recorder subscribed."""
        request, _, _ = read_answer(text)
        self.logined = True
        for symbol in request.fields["symbols"] if request.fields["is_sub_or_un_sub"] else ():
            for sub_type in request.fields["sub_types"]:
                state = self.topic(symbol, FEED_OF[sub_type].name) if sub_type in FEED_OF else None
                if state is not None:
                    state.acked = True

    def answered(self, text: bytes) -> list[tuple[Recorded, Any]]:
        """Note an answer that the recorder got; what is in it that should have been pushed."""
        try:
            request, status, body = read_answer(text)
            content = content_of(request, status, body)
        except VenueError:
            return []
        name = request.endpoint.name
        if name in PUSHED:
            return self._told(request, content)
        if name in OF_SECURITIES:
            items, place = OF_SECURITIES[name]
            for entry in content.get(items, ()):
                symbol = _symbol(entry if place is None else entry.get(place, {}))
                if symbol is not None:
                    self.entries[name][symbol] = entry
            return []
        if name in _STATES:
            name, self.logined = _STATES[0], bool(content.get("qot_logined", self.logined))
        told = msgspec.json.decode(body)
        self._answers[name, _key(dict(request.fields))] = told.get("s2c", told)
        return []

    def _told(self, request: Call, content: dict[str, Any]) -> list[tuple[Recorded, Any]]:
        """An answer that says what pushes say."""
        try:
            message = message_of(request, content)
        except (ValueError, ParseError):
            return []
        if getattr(message, "rehab_type", _AS_TRADED) != _AS_TRADED:
            return []
        missed = []
        for state, part in self._parts(message):
            if state.shorter(request.fields):
                continue
            new = state.missed(part)
            state.take(part)
            if new is not None:
                missed.append((state, new))
        return missed

    def _parts(self, message: Any) -> Iterator[tuple[Recorded, Any]]:
        """The topics that a message is of, and what it says of each."""
        name = message.DESCRIPTOR.name
        if name == "UpdateBasicQot":
            for quote in message.basic_qot_list:
                state = self._of(quote.security, "quote")
                if state is not None:
                    yield state, message_class(name)(basic_qot_list=[quote])
        elif name in _FEEDS:
            state = self._of(message.security, _FEEDS[name](message))
            if state is not None:
                yield state, message

    def _of(self, security: Any, feed: str | None) -> Recorded | None:
        symbol = _symbol({"security": {"market": security.market, "code": security.code}})
        return None if symbol is None or feed is None else self._streams.get((symbol, feed))


_FEEDS: Final[dict[str, Callable[[Any], str | None]]] = {
    "UpdateKL": lambda message: f"kline.{PERIOD_OF.get(message.kl_type)}",
    "UpdateRT": lambda message: "rt",
    "UpdateTicker": lambda message: "ticker",
    "UpdateOrderBook": lambda message: None if message.order_book_type else "orderbook",  # no odd lots
    "UpdateBroker": lambda message: "broker",
}
"""The feed that a message is of."""


def _symbol(entry: dict[str, Any]) -> str | None:
    """The symbol of what has a security."""
    security = entry.get("security", {})
    try:
        return make_symbol(security["market"], security["code"])
    except (KeyError, TypeError, VenueError):
        return None


def _key(fields: dict[str, Any]) -> bytes:
    return msgspec.json.encode(fields, order="sorted")
