"""Which values the rows of each venue's tables become."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from bookreel.replay import events, stocks
from bookreel.replay.events import Maker

__all__ = ["MAKERS", "NUMBERS", "WRITTEN", "Recorded"]

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

WRITTEN: Final[Mapping[str, Mapping[str, Maker]]] = {
    **MAKERS,
    "huobi": {**MAKERS["huobi"], "book_deltas": events.deltas(events.delta_texts)},
}
"""As MAKERS, of events that are only written as JSON."""

NUMBERS: Final[Mapping[type[Any], tuple[str, ...]]] = events.NUMBERS | stocks.NUMBERS
"""The fields of each kind of event that are prices and sizes."""
