"""The spot venue's topics: their text both ways, and what is known of each feed.

A topic is ``market.<symbol>.<feed>``; ``feed`` is bookreel's name too. Wildcards are not accepted by the venue.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from bookreel.venues.errors import BadSymbol, UnknownFeed
from bookreel.venues.message import Coverage, Topic

__all__ = [
    "ALIASES",
    "FEEDS",
    "PERIODS",
    "Family",
    "Feed",
    "Path",
    "check_symbol",
    "make_topic",
    "near_symbols",
    "parse_topic",
]

Family: TypeAlias = Literal["mbp", "mbp.refresh", "depth", "bbo", "trade.detail", "kline", "detail", "ticker"]
"""Feeds of one shape of frame."""

Path: TypeAlias = Literal["/ws", "/feed"]
"""Where on the venue's host a feed is served. Only the incremental book is on ``/feed``."""

PERIODS: Final = ("1min", "5min", "15min", "30min", "60min", "4hour", "1day", "1week", "1mon", "1year")


class Feed(msgspec.Struct, frozen=True):
    """What is known of one feed. ``req``: the venue also answers a request for it."""

    name: str
    family: Family
    coverage: Coverage
    path: Path
    req: bool
    about: str


def _known_feeds() -> Iterable[Feed]:
    for levels, pace in ((5, "tick by tick"), (20, "tick by tick"), (150, "100 ms"), (400, "100 ms")):
        about = f"changes of the best {levels} levels, {pace}"
        yield Feed(f"mbp.{levels}", "mbp", "sequenced", "/feed", True, about)
    for levels in (5, 10, 20):
        about = f"the best {levels} levels in full, about 100 ms"
        yield Feed(f"mbp.refresh.{levels}", "mbp.refresh", "unsequenced", "/ws", False, about)
    for step in range(6):
        about = (
            f"up to 20 levels in full, prices merged to {10**step} steps, 1 s"
            if step
            else "up to 150 levels in full, 1 s"
        )
        yield Feed(f"depth.step{step}", "depth", "unsequenced", "/ws", True, about)
    yield Feed("bbo", "bbo", "unsequenced", "/ws", False, "best bid and offer, on change")
    yield Feed("trade.detail", "trade.detail", "id-only", "/ws", True, "trades")
    for period in PERIODS:
        yield Feed(f"kline.{period}", "kline", "unsequenced", "/ws", True, f"{period} bars, on change")
    yield Feed("detail", "detail", "unsequenced", "/ws", True, "24 h summary")
    yield Feed(
        "ticker", "ticker", "unsequenced", "/ws", False, "24 h summary with quote and last trade, 100 ms"
    )


FEEDS: Final[dict[str, Feed]] = {feed.name: feed for feed in _known_feeds()}
"""Every public feed, by name."""

ALIASES: Final[dict[str, str]] = {"trade": "trade.detail"}
"""Short names that users may give."""

_SYMBOL: Final = re.compile(r"[a-z0-9]{1,32}")
_TOPIC: Final = re.compile(r"market\.([a-z0-9]{1,32})\.([a-zA-Z0-9.]{1,32})")


def parse_topic(text: str) -> Topic | None:
    """The topic written as ``text``; None for one that is not a known public feed of a well-formed symbol."""
    match = _TOPIC.fullmatch(text)
    feed = FEEDS.get(match[2]) if match else None
    if match is None or feed is None:
        return None
    return Topic(text=text, symbol=match[1], feed=feed.name, coverage=feed.coverage)


def make_topic(symbol: str, feed: str) -> Topic:
    """The topic of a symbol's feed; ``trade`` is ``trade.detail``. Raises ``UnknownFeed`` or ``BadSymbol``."""
    check_symbol(symbol)
    known = FEEDS.get(ALIASES.get(feed, feed))
    if known is None:
        raise UnknownFeed(feed, difflib.get_close_matches(feed.lower(), [*FEEDS, *ALIASES], n=3))
    return Topic(
        text=f"market.{symbol}.{known.name}", symbol=symbol, feed=known.name, coverage=known.coverage
    )


def check_symbol(symbol: str) -> str:
    """``symbol`` itself where it is lower-case letters and digits, 1 to 32 of them; else raises ``BadSymbol``.

    Nothing else may become part of a topic or of a file's name.
    """
    if _SYMBOL.fullmatch(symbol):
        return symbol
    folded = re.sub(r"[^a-z0-9]", "", symbol[:64].lower())
    raise BadSymbol(symbol, [folded] if _SYMBOL.fullmatch(folded) else [])


def near_symbols(symbol: str, listed: Iterable[str]) -> list[str]:
    """Up to three of the ``listed`` symbols that resemble ``symbol``, best first."""
    return difflib.get_close_matches(symbol[:64].lower(), list(listed), n=3)
