"""The engine: books, the sequence rule, gaps. Pure: no I/O, no asyncio, no clock, no logging.

It is the same code live, in sealing, in replay and in tests.
"""

from bookreel.book.errors import BookError, InvariantBroken
from bookreel.book.l2 import L2Book
from bookreel.book.model import (
    CAUSES,
    Bbo,
    Cause,
    Delta,
    Event,
    Gap,
    Instrument,
    Kline,
    Levels,
    Snapshot,
    Ticker,
    Trade,
)
from bookreel.book.sync import BookSync, OpenGap, Outcome, State, SyncState

__all__ = [
    "CAUSES",
    "Bbo",
    "BookError",
    "BookSync",
    "Cause",
    "Delta",
    "Event",
    "Gap",
    "Instrument",
    "InvariantBroken",
    "Kline",
    "L2Book",
    "Levels",
    "OpenGap",
    "Outcome",
    "Snapshot",
    "State",
    "SyncState",
    "Ticker",
    "Trade",
]
