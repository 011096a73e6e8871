"""Each exchange's words: topics and requests, bytes to the values of ``bookreel.book.model``, its sequence rule."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from bookreel.venues.errors import UnknownVenue
from bookreel.venues.message import Dialect, Venue

__all__ = ["Dialect", "UnknownVenue", "Venue", "dialect", "get", "names"]

_V = TypeVar("_V")


def _huobi() -> Dialect:
    from bookreel.venues.huobi import Huobi  # only the venue that is used gets loaded

    return Huobi()


def _futu() -> Venue:
    from bookreel.venues.futu import Futu

    return Futu()


_DIALECTS: Final[dict[str, Callable[[], Dialect]]] = {"huobi": _huobi}

_VENUES: Final[dict[str, Callable[[], Venue]]] = {"futu": _futu, **_DIALECTS}


def get(name: str) -> Venue:
    """The venue of this name. Raises ``UnknownVenue``, which names near ones."""
    return _find(name, _VENUES)


def dialect(name: str) -> Dialect:
    """The same of a venue whose WebSocket takes requests. Raises ``UnknownVenue`` for any other."""
    return _find(name, _DIALECTS)


def names() -> list[str]:
    """Every venue's name."""
    return sorted(_VENUES)


def _find(name: str, known: Mapping[str, Callable[[], _V]]) -> _V:
    make = known.get(name)
    if make is None:
        raise UnknownVenue(name, difflib.get_close_matches(name.lower(), known), sorted(known))
    return make()
