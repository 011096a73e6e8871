"""The data types that tardis-machine computes: bars of trades, and books at intervals."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from bookreel.replay.server.errors import BadRequest

__all__ = ["PLAIN", "BarType", "BookType", "computed", "is_of_books", "is_of_trades"]

PLAIN: Final = ("trade", "book_change", "book_ticker")
"""Data types that are given as they are."""

_UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000}
_NUMBER: Final = r"([0-9]{1,9}(?:[.][0-9]{1,9})?)"
_BAR: Final = re.compile(rf"trade_bar_{_NUMBER}(ticks|ms|s|m|vol)")
_BOOK: Final = re.compile(rf"book_snapshot_([0-9]{{1,4}})_{_NUMBER}(ms|s|m)")
_QUOTE: Final = re.compile(rf"quote(?:_{_NUMBER}(ms|s|m))?")
_KNOWN: Final = (
    *PLAIN,
    "book_snapshot_{depth}_{interval}{ms|s|m}",
    "quote",
    "quote_{interval}{ms|s|m}",
    "trade_bar_{interval}{ms|s|m|ticks|vol}",
)


class BarType(NamedTuple):
    """Bars of trades: ``kind`` is ``time``, ``tick`` or ``volume``; ``interval`` in ms, or so many of these."""

    name: str
    kind: str
    interval: float


class BookType(NamedTuple):
    """The ``depth`` best levels of a side at intervals of so many ms, 0: whenever they change."""

    name: str
    depth: int
    interval: float


def is_of_trades(data_type: str) -> bool:
    return data_type == "trade" or data_type.startswith("trade_bar")


def is_of_books(data_type: str) -> bool:
    return data_type == "book_change" or data_type.startswith(("book_snapshot", "quote"))


def computed(data_type: str) -> BarType | BookType | None:
    """What a data type is; None: one of :data:`PLAIN`. Raises BadRequest."""
    if data_type in PLAIN:
        return None
    if match := _BAR.fullmatch(data_type):
        number, unit = float(match[1]), match[2]
        kind = {"ticks": "tick", "vol": "volume"}.get(unit, "time")
        interval = number * _UNITS_MS.get(unit, 1)
        if interval > 0:
            return BarType(data_type, kind, interval)
    elif match := _BOOK.fullmatch(data_type):
        depth, interval = int(match[1]), float(match[2]) * _UNITS_MS[match[3]]
        if depth > 0:
            return BookType(data_type, depth, interval)
    elif match := _QUOTE.fullmatch(data_type):
        interval = float(match[1]) * _UNITS_MS[match[2]] if match[1] else 0.0
        return BookType(data_type, 1, interval)
    raise BadRequest(
        f"{data_type[:64]!r} is not a data type of what is recorded here",
        parameter="dataTypes",
        allowed=_KNOWN,
    )
