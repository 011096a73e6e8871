"""The live books: one state machine for each (symbol, feed), and what is counted about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from bookreel.book.model import Cause, Delta, Snapshot
from bookreel.book.packed import PackedBook
from bookreel.book.sync import BookSync, Outcome, State
from bookreel.ingest.freshness import newer_book
from bookreel.ingest.witness import Witnesses
from bookreel.storage.histogram import Histogram
from bookreel.venues.message import Topic

__all__ = ["RESYNC_BUCKETS_S", "LiveBook", "LiveBooks"]

RESYNC_BUCKETS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the histogram of how long books were not live."""

_UPDATE_BOUNDS_S: Final = (
    *(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4),
    *(1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0),
)

_APPLIED: Final = Outcome.APPLIED
_RETRY_NS: Final = 100_000_000
_REFUSALS_FREE: Final = 2
_RETRY_CAP_NS: Final = 5_000_000_000


class LiveBook:
    """One book and its resync. Times are monotonic ns unless told otherwise."""

    __slots__ = ("_totals", "lost_at", "refusals", "sync", "topic")

    def __init__(self, topic: Topic, totals: LiveBooks) -> None:
        self.topic = topic
        self.sync = BookSync(topic.symbol, topic.feed, engine=PackedBook)
        self.refusals = 0
        """Snapshots refused since the book was last live: one that cannot be had is asked for ever more
        slowly.
        """
        self.lost_at: int | None = None
        """When it stopped being live, or was first wanted."""
        self._totals = totals

    @property
    def pause_ns(self) -> int:
        """How long to wait before the next request. Honest answers are often a little too old: the first ones that
        are refused cost no pause.
        """
        late = self.refusals - _REFUSALS_FREE
        return min(_RETRY_CAP_NS, _RETRY_NS << min(late - 1, 10)) if late > 0 else 0

    def acked(self, conn: str, mono: int) -> None:
        """Its subscription was acknowledged."""
        if self.lost_at is None and not self.sync.valid:
            self.lost_at = mono
        self.sync.subscribed(conn)

    def delta(self, delta: Delta, pos: int, wall: int, mono: int) -> Outcome:
        """The hot path. ``wall``: receive time, ns UTC."""
        outcome = self.sync.delta(delta, pos, wall)
        if outcome is _APPLIED:
            return outcome
        if outcome is Outcome.GAP:
            gap = self.sync.gap
            assert gap is not None, "a break opens a gap"
            self._totals.gaps[gap.cause] += 1
            self.lost_at = mono
        elif outcome is Outcome.DUPLICATE:
            self._totals.duplicates += 1
        return outcome

    def updated(self, took_ns: int) -> None:
        """From the receipt of a delta to its being part of the book it took so long (ns)."""
        self._totals.update_times.add(took_ns / 1e9)

    def snapshot(self, snapshot: Snapshot | None, pos: int, wall: int, mono: int) -> Outcome:
        """A reply, whoever asked for it."""
        sync = self.sync
        outcome = sync.snapshot(snapshot, pos, wall)
        if outcome is Outcome.ADOPTED:
            self.refusals = 0
            if self.lost_at is not None:
                self._totals.resynced(mono - self.lost_at)
                self.lost_at = None
        elif outcome is Outcome.REFUSED:
            self.refusals += 1
            self._totals.refused += 1
        elif outcome is Outcome.AUDIT and snapshot is not None and snapshot.seq == sync.last_seq:
            same = dict(snapshot.bids) == sync.book.bids and dict(snapshot.asks) == sync.book.asks
            self._totals.audits["equal" if same else "different"] += 1
        return outcome

    def newer(self, snapshot: Snapshot) -> bool:
        """Whether a reply holds something that this live book should have been told."""
        last_seq = self.sync.last_seq
        assert last_seq is not None, "a live book has a sequence number"
        return newer_book(snapshot, self.sync.book, last_seq)

    def lost(self, cause: Cause, ts_good: int, mono: int) -> None:
        """Its connection or stream is gone; it was good until ``ts_good`` (receive time, ns)."""
        if self.sync.valid:
            self._totals.gaps[cause] += 1
            self.lost_at = mono
        self.sync.lost(cause, ts_good)

    def doubt(self, cause: Cause, wall: int) -> None:
        """Something of its line is missing; if this book's chain turns out broken, ``cause`` is why."""
        if self.sync.valid:
            self.sync.suspect(cause, max(wall, self.sync.last_ts))

    def unanswered(self) -> None:
        """The request for its snapshot failed."""
        if self.sync.state is State.AWAITING_SNAPSHOT:
            self.sync.timed_out()

    def asking(self) -> bool:
        """A request for its snapshot is about to go out; False: it is not needed any more."""
        if self.sync.state is State.SUBSCRIBED:
            self.sync.requested()
        return self.sync.state is State.AWAITING_SNAPSHOT


class LiveBooks:
    """All books of the recorder, to look at while it runs."""

    def __init__(self, witnesses: Witnesses | None = None) -> None:
        self.witnesses = witnesses
        """What the symbols' other streams know; None: each connection sees its own only."""
        self._books: dict[tuple[str, str], LiveBook] = {}
        self.gaps: Counter[Cause] = Counter()
        self.duplicates = 0
        self.refused = 0
        self.audits: Counter[str] = Counter()
        self.resync_counts = [0] * (len(RESYNC_BUCKETS_S) + 1)
        """For each of :data:`RESYNC_BUCKETS_S`, and for what took longer."""
        self.resync_sum_s = 0.0
        self.update_times = Histogram(_UPDATE_BOUNDS_S)
        """How long deltas took from being received to being part of their book, of one in 64."""

    def add(self, topic: Topic) -> LiveBook:
        """The book of a topic; a new one if there is none yet."""
        key = (topic.symbol, topic.feed)
        book = self._books.get(key)
        if book is None:
            book = self._books[key] = LiveBook(topic, self)
        return book

    def get(self, symbol: str, feed: str) -> BookSync | None:
        """The book of (symbol, feed); look at ``valid`` before using its ``book``."""
        held = self._books.get((symbol, feed))
        return held.sync if held is not None else None

    def __iter__(self) -> Iterator[LiveBook]:
        return iter(self._books.values())

    @property
    def total(self) -> int:
        return len(self._books)

    @property
    def live(self) -> int:
        """Books that are right now."""
        return sum(book.sync.valid for book in self._books.values())

    def resynced(self, took_ns: int) -> None:
        """A book became live after so long (ns)."""
        seconds = took_ns / 1e9
        self.resync_sum_s += seconds
        place = next(
            (i for i, bound in enumerate(RESYNC_BUCKETS_S) if seconds <= bound), len(RESYNC_BUCKETS_S)
        )
        self.resync_counts[place] += 1
