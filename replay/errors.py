"""What can be wrong with a question to an archive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

__all__ = [
    "BadInterval",
    "BadSpeed",
    "BadTime",
    "BadToken",
    "NoSuchFeed",
    "NoSuchSymbol",
    "NoSuchTable",
    "ReplayError",
    "SameVenue",
]


class ReplayError(Exception):
    """Base of this package's errors. ``exit_code``: 2 for wrong use."""

    exit_code: ClassVar[int] = 2


class BadTime(ReplayError, ValueError):
    """A time that is none, or that does not say where on Earth it is meant."""

    def __init__(self, value: object, reason: str) -> None:
        self.value = value
        self.reason = reason
        super().__init__(
            f"{value!r} is not a time: {reason}; give ISO-8601 such as 2026-11-20T12:00:00.5Z, integer ns since "
            "the epoch, or a datetime with a time zone"
        )


class BadInterval(ReplayError, ValueError):
    """A sampling interval that is none."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(
            f"{value!r} is not an interval; give for example 100ms, 1s, 5m or integer ns above 0"
        )


class BadSpeed(ReplayError, ValueError):
    """A speed at which nothing can be replayed."""

    def __init__(self, value: object) -> None:
        self.value = value
        super().__init__(f"{value!r} is not a speed; give a number above 0, or None for as fast as possible")


class BadToken(ReplayError, ValueError):
    """A resume token that does not lead anywhere in this replay."""

    def __init__(self, token: str, reason: str) -> None:
        self.token = token
        self.reason = reason
        super().__init__(
            f"{token[:64]!r} is not a resume token of this replay: {reason}; give one that the same archive, "
            "tables, symbols and feeds gave, or begin anew without one"
        )


class NoSuchSymbol(ReplayError, LookupError):
    """The archive has nothing of this symbol."""

    def __init__(self, symbol: str, near: Sequence[str]) -> None:
        self.symbol = symbol
        self.near = list(near)
        super().__init__(f"the archive has no symbol {symbol!r}{_hint(near)}")


class NoSuchFeed(ReplayError, LookupError):
    """The archive has no book of this feed for the symbol. ``known``: the feeds that it has a book of."""

    def __init__(self, symbol: str, feed: str | None, known: Sequence[str]) -> None:
        self.symbol = symbol
        self.feed = feed
        self.known = list(known)
        what = "no book" if feed is None else f"no book of feed {feed!r}"
        has = (
            f"it has {', '.join(known)}" if known else "record one such as mbp.150, depth.step0 or orderbook"
        )
        super().__init__(f"the archive has {what} for {symbol!r}; {has}")


class SameVenue(ReplayError, ValueError):
    """Two archives of one venue were to be asked together."""

    def __init__(self, venue: str, first: Path, second: Path) -> None:
        self.venue = venue
        self.first = first
        self.second = second
        super().__init__(
            f"{first} and {second} are both of {venue}: ask one of each venue; bookreel merge makes one archive of "
            "two that recorded the same feed"
        )


class NoSuchTable(ReplayError, LookupError):
    """A table that has no events, or none at all."""

    def __init__(self, table: str, known: Iterable[str]) -> None:
        self.table = table
        self.known = sorted(known)
        super().__init__(f"{table!r} is not a table of events; there are {', '.join(self.known)}")


def _hint(near: Sequence[str]) -> str:
    return f"; did you mean {', '.join(near)}?" if near else ""
