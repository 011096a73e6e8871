"""Each exchange's words: topics and requests, bytes to the values of ``bookreel.book.model``, its sequence rule."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Final

from bookreel.venues.errors import UnknownVenue
from bookreel.venues.message import Venue

__all__ = ["UnknownVenue", "Venue", "get", "names"]


def _huobi() -> Venue:
    from bookreel.venues.huobi import Huobi  # only the venue that is used gets loaded

    return Huobi()


_VENUES: Final[dict[str, Callable[[], Venue]]] = {"huobi": _huobi}


def get(name: str) -> Venue:
    """The venue of this name. Raises ``UnknownVenue``, which names near ones."""
    make = _VENUES.get(name)
    if make is None:
        raise UnknownVenue(name, difflib.get_close_matches(name.lower(), _VENUES), names())
    return make()


def names() -> list[str]:
    """Every venue's name."""
    return sorted(_VENUES)
