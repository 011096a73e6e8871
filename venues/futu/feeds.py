"""The gateway's feeds, and topics made of them.

A feed is one kind of subscription. The gateway has no word for a topic: bookreel writes ``1_00700/2``, the
``sec_key`` and the subscription's kind, which are what its pushes carry.
"""

from __future__ import annotations

import difflib
import re
from typing import Final

import msgspec

from bookreel.venues.errors import UnknownFeed
from bookreel.venues.futu.codes import SUB_TYPES, SubType
from bookreel.venues.futu.symbols import check_symbol, parse_sec_key, sec_key
from bookreel.venues.message import Coverage, Topic

__all__ = ["ALIASES", "FEEDS", "FEED_OF", "Feed", "make_topic", "parse_topic"]


class Feed(msgspec.Struct, frozen=True):
    """What is known of one feed. ``proto_id`` is the number of its pushes."""

    name: str
    sub_type: SubType
    proto_id: int
    coverage: Coverage
    about: str


_SINGLE: Final[dict[str, tuple[int, Coverage, str]]] = {
    "orderbook": (3013, "unsequenced", "the best levels in full with their order counts, on change"),
    "ticker": (3011, "id-only", "trades, each with a number of its own"),
    "quote": (3005, "unsequenced", "last price and the day's figures, on change"),
    "broker": (3015, "unsequenced", "the brokers queueing at the best prices, HK only, on change"),
    "rt": (3009, "unsequenced", "price and volume by the minute, on change"),
}


def _known_feeds() -> dict[str, Feed]:
    feeds = {
        name: Feed(name, SUB_TYPES[name], proto_id, coverage, about)
        for name, (proto_id, coverage, about) in _SINGLE.items()
    }
    for name, sub_type in SUB_TYPES.items():
        if name.startswith("kline."):
            about = f"{name.removeprefix('kline.')} bars, on change"
            feeds[name] = Feed(name, sub_type, 3007, "unsequenced", about)
    return feeds


FEEDS: Final[dict[str, Feed]] = _known_feeds()
"""Every feed, by name."""

FEED_OF: Final[dict[int, Feed]] = {feed.sub_type: feed for feed in FEEDS.values()}
"""Every feed, by the kind of its subscription."""

ALIASES: Final[dict[str, str]] = {"trade": "ticker"}
"""Names that users may give as well."""

_TOPIC: Final = re.compile(r"([0-9]{1,3}_.{1,48})/([0-9]{1,2})", re.DOTALL)


def make_topic(symbol: str, feed: str) -> Topic:
    """The topic of a symbol's feed. Raises ``UnknownFeed`` or ``BadSymbol``; both name near ones."""
    check_symbol(symbol)
    known = FEEDS.get(ALIASES.get(feed, feed))
    if known is None:
        raise UnknownFeed(feed, difflib.get_close_matches(feed.lower(), [*FEEDS, *ALIASES], n=3))
    return Topic(f"{sec_key(symbol)}/{known.sub_type}", symbol, known.name, known.coverage)


def parse_topic(text: str) -> Topic | None:
    """The topic written as ``text``; None for one that is not of a known feed and a well-formed symbol."""
    match = _TOPIC.fullmatch(text)
    symbol = parse_sec_key(match[1]) if match else None
    feed = FEED_OF.get(int(match[2])) if match else None
    if symbol is None or feed is None:
        return None
    topic = make_topic(symbol, feed.name)
    return topic if topic.text == text else None
