"""Which values the rows of each venue's tables become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from bookreel.replay import events, stocks
from bookreel.replay.book_lines import BOOK_LINES
from bookreel.replay.events import Maker

__all__ = ["LINES", "MAKERS", "NUMBERS", "Recorded"]

Recorded: TypeAlias = (
    events.RecordedDelta
    | events.RecordedSnapshot
    | events.RecordedBbo
    | events.RecordedTrade
    | events.RecordedKline
    | events.RecordedTicker
    | events.RecordedInstrument
    | events.RecordedGap
    | events.RecordedFrame
    | events.Session
    | stocks.RecordedQuote
    | stocks.RecordedQueue
    | stocks.RecordedMinute
)
"""Anything that was recorded."""

MAKERS: Final[Mapping[str, Mapping[str, Maker]]] = {
    "huobi": events.PLAIN | events.CRYPTO,
    "futu": events.PLAIN | stocks.STOCKS,
}
"""By venue, of each of its tables. Tables that a venue has not are not replayed unless they are named."""

LINES: Final[Mapping[str, Mapping[str, Maker]]] = {"huobi": BOOK_LINES, "futu": {}}
"""By venue, what makes lines of the tables that are of whole books or levels; the others' are made of values."""

NUMBERS: Final[Mapping[type[Any], tuple[str, ...]]] = events.NUMBERS | stocks.NUMBERS
"""The fields of each kind of event that are prices and sizes."""
