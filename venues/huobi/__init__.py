"""Huobi/HTX spot: its words, both ways. Hosts are the caller's business; everything here is pure. What the venue
promises, and what was found, is told in docs/venues.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bookreel.venues.huobi import compression, leftovers, reference, refusals, requests, topics
from bookreel.venues.huobi.decode import decode, decode_known, decoder
from bookreel.venues.huobi.topics import FEEDS, Path
from bookreel.venues.message import Coverage, Topic

__all__ = ["Huobi"]


class Huobi:
    """The :class:`bookreel.venues.message.Venue` of Huobi/HTX spot. It has no state: one is as good as another."""

    name: str = "huobi"
    row_feeds: Mapping[str, str] = {"trades": "trade.detail", "bbo": "bbo"}
    aliases: Mapping[str, str] = topics.ALIASES
    digits: bool = True
    symbols_path: str = reference.SYMBOLS_PATH
    min_req_interval_ns: int = requests.MIN_REQ_INTERVAL_NS
    klines_per_reply: int = requests.KLINES_PER_REPLY

    inflate = staticmethod(compression.inflate)
    plain = staticmethod(compression.plain)
    decode = staticmethod(decode)
    decode_known = staticmethod(decode_known)
    decoder = staticmethod(decoder)
    salvage_topic = staticmethod(compression.salvage_topic)
    unknown_fields = staticmethod(leftovers.unknown_fields)
    inexact_numbers = staticmethod(leftovers.inexact_numbers)
    decode_instruments = staticmethod(reference.decode_instruments)
    classify = staticmethod(refusals.classify)

    topic = staticmethod(topics.make_topic)
    parse_topic = staticmethod(topics.parse_topic)
    check_symbol = staticmethod(topics.check_symbol)
    near_symbols = staticmethod(topics.near_symbols)

    sub = staticmethod(requests.sub)
    unsub = staticmethod(requests.unsub)
    req = staticmethod(requests.req)
    ping = staticmethod(requests.ping)
    pong = staticmethod(requests.pong)

    def path(self, topic: Topic) -> Path:
        """Where the topic is served: the incremental book on ``/feed``, all else on ``/ws``."""
        return FEEDS[topic.feed].path

    def req_supported(self, topic: Topic) -> bool:
        """Whether the venue answers a ``req`` for the topic."""
        return FEEDS[topic.feed].req

    def witness(self, topic: Topic) -> Literal["whole", "part"] | None:
        """Quotes and images share the numbers of the incremental books; ``depth.step0`` shows every change."""
        if topic.feed == "depth.step0":
            return "whole"
        return "part" if FEEDS[topic.feed].family in ("bbo", "depth", "mbp.refresh") else None

    def feeds(self) -> dict[str, str]:
        """Every feed's name with a line about it."""
        return {feed.name: feed.about for feed in FEEDS.values()}

    def coverage(self, feed: str) -> Coverage:
        """How completely a feed's streams can prove themselves; of an unknown feed nothing is known."""
        known = FEEDS.get(feed)
        return "unsequenced" if known is None else known.coverage
