"""Reading an archive: books at any instant, SQL, and its events again, as fast as possible or at their own pace."""

from bookreel.replay.archive import Archive
from bookreel.replay.asof import Book
from bookreel.replay.errors import (
    BadInterval,
    BadTime,
    NoSuchFeed,
    NoSuchSymbol,
    NoSuchTable,
    ReplayError,
)
from bookreel.replay.events import (
    EVENT_TABLES,
    Recorded,
    RecordedBbo,
    RecordedDelta,
    RecordedGap,
    RecordedInstrument,
    RecordedKline,
    RecordedSnapshot,
    RecordedTicker,
    RecordedTrade,
    Session,
)
from bookreel.replay.times import iso, to_interval, to_ns
from bookreel.storage.errors import CorruptFile, NotAnArchive, QueryError

__all__ = [
    "EVENT_TABLES",
    "Archive",
    "BadInterval",
    "BadTime",
    "Book",
    "CorruptFile",
    "NoSuchFeed",
    "NoSuchSymbol",
    "NoSuchTable",
    "NotAnArchive",
    "QueryError",
    "Recorded",
    "RecordedBbo",
    "RecordedDelta",
    "RecordedGap",
    "RecordedInstrument",
    "RecordedKline",
    "RecordedSnapshot",
    "RecordedTicker",
    "RecordedTrade",
    "ReplayError",
    "Session",
    "iso",
    "to_interval",
    "to_ns",
]
