"""The FutuOpenD-rs gateway (HK, US and CN stocks): its words, both ways. No I/O, and no way to place an order. What
the gateway promises is told in docs/venues.md.
"""

from __future__ import annotations

from bookreel.venues.futu.decode import decode, salvage_topic
from bookreel.venues.futu.feeds import FEEDS, make_topic, parse_topic
from bookreel.venues.futu.symbols import check_symbol, near_symbols
from bookreel.venues.futu.venue import Futu

__all__ = [
    "FEEDS",
    "Futu",
    "check_symbol",
    "decode",
    "make_topic",
    "near_symbols",
    "parse_topic",
    "salvage_topic",
]
