"""The names other programs import: taking one away, or adding one, is a decision."""

from __future__ import annotations

import importlib

import pytest

PUBLIC = {
    "bookreel.book": """
        CAUSES Bbo BookError BookSync Cause Delta Event Gap Instrument InvariantBroken Kline L2Book Levels
        OpenGap Outcome Snapshot State SyncState Ticker Trade
    """,
    "bookreel.replay": """
        Archive Archives BadInterval BadSpeed BadTime BadToken Batch Book CorruptFile EVENT_TABLES End Events
        LineStream NoSuchFeed NoSuchSymbol NoSuchTable NotAnArchive QueryError QueuedBroker REPLAY_TABLES
        Recorded RecordedBbo RecordedDelta RecordedFrame RecordedGap RecordedInstrument
        RecordedKline RecordedMinute RecordedQueue RecordedQuote RecordedSnapshot RecordedTicker
        RecordedTrade ReplayError SameVenue Session StockKline StockSnapshot StockTrade Stream
        Unsettled iso to_interval to_ns
    """,
    "bookreel.replay.server": "Limits ROUTES Route ServeError Server Settings make_app",
    "bookreel.exchange": """
        FAULT_KINDS Exchange ExchangeConfig ExchangeError NothingRecorded PortInUse Recording TruthRecord
        UnknownFault UnknownSymbol parse_faults read_truth
    """,
    "bookreel.venues": "Dialect UnknownVenue Venue dialect get names",
    "bookreel.storage": "",
    "bookreel.ingest": "",
    "bookreel.cli": "",
}


@pytest.mark.parametrize("package", PUBLIC)
def test_public_names(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    for name in module.__all__:
        assert hasattr(module, name)
