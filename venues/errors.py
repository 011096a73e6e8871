"""What can be wrong with a venue's bytes or with a name given for them."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadRequest",
    "BadSymbol",
    "DecodeError",
    "InflateError",
    "UnknownFeed",
    "UnknownVenue",
    "VenueError",
]


class VenueError(Exception):
    """Base of this package's errors. ``exit_code`` is what the command line ends with: 2, a wrong name."""

    exit_code: ClassVar[int] = 2


class InflateError(VenueError):
    """A frame's compression could not be undone, or its content is larger than allowed."""

    def __init__(self, reason: str, size: int) -> None:
        self.reason = reason
        self.size = size
        super().__init__(f"cannot inflate a frame of {size} bytes: {reason}; the frame is kept as received")


class DecodeError(VenueError):
    """A frame's text could not be read."""

    def __init__(self, reason: str, text: bytes) -> None:
        self.reason = reason
        self.text = text
        super().__init__(f"cannot decode a frame ({reason}): {text[:120]!r}; the frame is kept as received")


class UnknownFeed(VenueError, ValueError):
    """A feed that the venue does not have."""

    def __init__(self, feed: str, near: list[str]) -> None:
        self.feed = feed
        self.near = near
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"unknown feed {feed!r}{hint}")


class BadSymbol(VenueError, ValueError):
    """A symbol that is not of the venue's form, or that it does not list."""

    def __init__(self, symbol: str, near: list[str] | None = None) -> None:
        self.symbol = symbol
        self.near = near or []
        hint = f"; did you mean {', '.join(self.near)}?" if self.near else ""
        super().__init__(f"unknown symbol {symbol!r}{hint}")


class BadRequest(VenueError, ValueError):
    """A request that the venue does not know or would refuse."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class UnknownVenue(VenueError, ValueError):
    """A venue that bookreel does not speak."""

    def __init__(self, name: str, near: list[str], known: list[str]) -> None:
        self.name = name
        self.near = near
        self.known = known
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
        super().__init__(f"unknown venue {name!r}; {hint}")
