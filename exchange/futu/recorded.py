"""What an archive has of one topic, as of the replay's clock: its newest message, or its trades, minutes and bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

from bookreel.venues.futu.feeds import FEEDS
from bookreel.venues.futu.proto import PUSHES, message_class
from bookreel.venues.message import Topic

__all__ = ["KEPT", "Latest", "Recorded", "Series", "make_recorded"]

KEPT: Final = 1000
"""Trades, minutes and bars of a topic that are kept: REST gives no more."""

_CACHED_TICKS: Final = 10
_CACHE: Final = 3
_UNTIMED: Final = (
    "svr_recv_time_bid",
    "svr_recv_time_bid_timestamp",
    "svr_recv_time_ask",
    "svr_recv_time_ask_timestamp",
)


class Recorded:
    """A topic. ``message`` is its newest one, None before the first; ``number`` counts what changed it."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.feed = FEEDS[topic.feed]
        self.message: Any = None
        self.number = 0
        self.text = ""
        """The newest push, as it came."""
        self.acked = False
        """The recorder's subscription was acknowledged, and nothing came since."""

    def take(self, message: Any) -> None:
        """The next message, pushed or answered."""
        self.message = message
        self.number += 1

    def echoes(self, text: str) -> bool:
        """Whether a push is only what the venue sent again after it acknowledged."""
        acked, self.acked = self.acked, False
        again, self.text = acked and text == self.text, text
        return again

    def shorter(self, asked: Mapping[str, Any]) -> bool:
        """Whether the answer to a question can say less than what is known."""
        sides = (getattr(self.message, name, ()) for name in ("order_book_bid_list", "order_book_ask_list"))
        return "depth" in asked and asked["depth"] < max(map(len, sides))

    def missed(self, message: Any) -> Any:
        """Of an answer, what was never pushed and should have been; None: nothing."""
        return None

    def content(self, count: int | None = None) -> Any:
        """What REST gives, of a list the newest ``count``; None: nothing is known."""
        return self.message

    def first(self) -> Any:
        """What is cached for those who subscribe now; None: nothing."""
        return self.content(1)


class Latest(Recorded):
    """A topic of which the newest message is all that counts."""

    def first(self) -> Any:
        """The newest message; a cached book has no times."""
        message = self.message
        if message is not None and self.topic.feed == "orderbook":
            message = message_class("UpdateOrderBook")()
            message.CopyFrom(self.message)
            for name in _UNTIMED:
                message.ClearField(name)
        return message


class _Shape(NamedTuple):
    """How a message lists things: the list's name, what a thing is known by, what things are sorted by."""

    items: str
    key: Callable[[Any], Any]
    order: Callable[[Any], Any]


_SHAPES: Final[dict[str, _Shape]] = {
    "UpdateTicker": _Shape("ticker_list", attrgetter("sequence"), attrgetter("time", "sequence")),
    "UpdateRT": _Shape("rt_list", attrgetter("time"), attrgetter("time")),
    "UpdateKL": _Shape("kl_list", attrgetter("time"), attrgetter("time")),
}


class Series(Recorded):
    """A topic of things of which each stays until it is told anew: trades, minutes of a day, bars."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic)
        self._shape = _SHAPES[PUSHES[self.feed.proto_id]]
        self._items: dict[Any, Any] = {}

    def take(self, message: Any) -> None:
        super().take(message)
        for item in getattr(message, self._shape.items):
            self._items[self._shape.key(item)] = item
        if len(self._items) > 2 * KEPT:
            self._items = {self._shape.key(item): item for item in self._newest(KEPT)}

    def missed(self, message: Any) -> Any:
        """Trades that reach the replay by an answer alone: at the venue they had been pushed."""
        if self.topic.feed != "ticker":
            return None
        new = [item for item in message.ticker_list if item.sequence not in self._items]
        return self._with(message, new) if new else None

    def content(self, count: int | None = None) -> Any:
        return None if self.message is None else self._with(self.message, self._newest(count or KEPT))

    def first(self) -> Any:
        """The newest bar or minute, or the newest trades, marked as cached."""
        if self.topic.feed != "ticker":
            return super().first()
        message = self.content(_CACHED_TICKS)
        for tick in message.ticker_list if message is not None else ():
            tick.push_data_type = _CACHE
        return message

    def _newest(self, count: int) -> list[Any]:
        items = sorted(self._items.values(), key=self._shape.order)
        if self.topic.feed == "rt":  # of the last day alone
            items = [item for item in items if item.time[:10] == items[-1].time[:10]]
        return items[-count:]

    def _with(self, message: Any, items: list[Any]) -> Any:
        """The same message with other things in its list."""
        made = type(message)()
        made.CopyFrom(message)
        made.ClearField(self._shape.items)
        getattr(made, self._shape.items).extend(items)
        return made


def make_recorded(topic: Topic) -> Recorded:
    """The state of a topic of which nothing is known yet."""
    return Series(topic) if PUSHES[FEEDS[topic.feed].proto_id] in _SHAPES else Latest(topic)
