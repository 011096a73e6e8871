"""Reading an archive: books at any instant, SQL, and its events again, as fast as possible or at their own pace."""

from bookreel.replay.archive import Archive
from bookreel.replay.archives import Archives
from bookreel.replay.batches import Batch
from bookreel.replay.errors import (
    BadInterval,
    BadSpeed,
    BadTime,
    BadToken,
    NoSuchFeed,
    NoSuchSymbol,
    NoSuchTable,
    ReplayError,
    SameVenue,
)
from bookreel.replay.events import (
    End,
    RecordedBbo,
    RecordedDelta,
    RecordedFrame,
    RecordedGap,
    RecordedInstrument,
    RecordedKline,
    RecordedSnapshot,
    RecordedTicker,
    RecordedTrade,
    Session,
)
from bookreel.replay.kinds import Recorded
from bookreel.replay.question import Book
from bookreel.replay.selection import EVENT_TABLES, REPLAY_TABLES
from bookreel.replay.stocks import (
    QueuedBroker,
    RecordedMinute,
    RecordedQueue,
    RecordedQuote,
    StockKline,
    StockSnapshot,
    StockTrade,
)
from bookreel.replay.stream import Events, LineStream, Stream
from bookreel.replay.times import iso, to_interval, to_ns
from bookreel.storage.errors import CorruptFile, NotAnArchive, QueryError, Unsettled

__all__ = [
    "EVENT_TABLES",
    "REPLAY_TABLES",
    "Archive",
    "Archives",
    "BadInterval",
    "BadSpeed",
    "BadTime",
    "BadToken",
    "Batch",
    "Book",
    "CorruptFile",
    "End",
    "Events",
    "LineStream",
    "NoSuchFeed",
    "NoSuchSymbol",
    "NoSuchTable",
    "NotAnArchive",
    "QueryError",
    "QueuedBroker",
    "Recorded",
    "RecordedBbo",
    "RecordedDelta",
    "RecordedFrame",
    "RecordedGap",
    "RecordedInstrument",
    "RecordedKline",
    "RecordedMinute",
    "RecordedQueue",
    "RecordedQuote",
    "RecordedSnapshot",
    "RecordedTicker",
    "RecordedTrade",
    "ReplayError",
    "SameVenue",
    "Session",
    "StockKline",
    "StockSnapshot",
    "StockTrade",
    "Stream",
    "Unsettled",
    "iso",
    "to_interval",
    "to_ns",
]
