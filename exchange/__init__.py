"""An exchange to test against: the Huobi/HTX spot protocol over a seeded market whose book is known, or over what was
recorded; faults included."""

from __future__ import annotations

from bookreel.exchange.config import ExchangeConfig, Recording
from bookreel.exchange.errors import ExchangeError, NothingRecorded, PortInUse, UnknownFault, UnknownSymbol
from bookreel.exchange.faults import FAULT_KINDS, parse_faults
from bookreel.exchange.server import Exchange
from bookreel.exchange.truth import TruthRecord, read_truth

__all__ = [
    "FAULT_KINDS",
    "Exchange",
    "ExchangeConfig",
    "ExchangeError",
    "NothingRecorded",
    "PortInUse",
    "Recording",
    "TruthRecord",
    "UnknownFault",
    "UnknownSymbol",
    "parse_faults",
    "read_truth",
]
