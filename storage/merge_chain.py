"""One sequenced book out of several lines that recorded it.

Theory of operation
-------------------
Each line tells the book's life in order: snapshots that its own :class:`~bookreel.book.sync.BookSync` adopted, and
deltas, each from one sequence number to the next, whether that line's own book was right at the time or not. The
merged chain stands at a number, with a book, and goes on by these rules:

1. *First received counts.* A delta that begins where the chain stands takes it on, whichever line it is of, if that
   line agrees. One that ends at or before it is a second copy.
2. *A line agrees* from the first number on at which both stand and the two books are equal, until its connection
   ends: the venue may number each connection in its own way. A line whose book is unequal there is never mixed in.
3. *What does not fit waits.* A line's items wait, in its order, until the chain reaches them. Only when no other
   line can bring what is missing any more is the chain given up: it begins anew, in a new epoch, with the book of a
   line that is right, or with the next snapshot of any line. The other lines' items then go on from there.
4. *Order of positions is order of effect.* A delta that had to wait for one received later takes effect with that
   one, so an epoch begins there, exactly as when deltas had waited for a snapshot.

An item that is lost on every line is the only thing that breaks the chain, so the merged deltas are the union of
the lines', and the merged holes their intersection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from bookreel.book.l2 import Book, L2Book
from bookreel.book.model import Snapshot
from bookreel.book.sync import BUFFER_LIMIT, Stamped
from bookreel.storage.book_line import Begin, BookLine, Lost, copied
from bookreel.storage.normalize import KEYFRAME_NS
from bookreel.storage.rows import RowWriter

__all__ = ["WAITING_MAX", "Chain", "ChainRun"]

WAITING_MAX: Final = BUFFER_LIMIT
"""Items of one line that wait for another line, which is then taken for dead."""


class ChainRun(msgspec.Struct):
    """An unbroken stretch of the merged chain: right at every instant from ``start`` to ``end`` (receive times, ns).
    ``pos``: where it began; ``epoch``: its newest one.
    """

    start: int
    end: int
    pos: int
    first_seq: int
    last_seq: int
    epoch: int


class Chain:
    """The merged chain of one (symbol, feed). ``lines``: one for each line; ``unequal`` is called where two books
    differ at one number.
    """

    def __init__(
        self,
        symbol: str,
        feed: str,
        lines: Sequence[BookLine],
        rows: RowWriter,
        unequal: Callable[[], None],
    ) -> None:
        self.lines = lines
        self.runs: list[ChainRun] = []
        self.epoch = 0
        self.now = (0, 0)
        """Position and receive time (ns) of the newest record."""
        self.seq: int | None = None
        self._rows = rows
        self._unequal = unequal
        self._book: Book = L2Book()
        self._generation = 0
        self._pos = 0
        self._ts = 0
        self._ts_event = 0
        self._keyframe_ts = 0
        self._keyframe_due = False
        self._symbol = symbol
        self._feed = feed

    @property
    def blocked(self) -> bool:
        """Whether anything waits."""
        return any(line.waiting for line in self.lines)

    # What a line says

    def expect(self, line: BookLine, held: Stamped) -> None:
        """To be called before the line's own book takes the delta."""
        self.now = held.pos, held.ts_recv
        line.look()
        if not line.waiting and not self._known(held) and not self._links(line, held):
            line.hold()

    def delta(self, line: BookLine, held: Stamped) -> None:
        """A delta came; the line's own book has taken it already."""
        if line.waiting:
            line.waiting.append(held)
        elif self._known(held):
            self._compare(line)
            return
        elif self._links(line, held):
            self._extend(held)
        else:
            line.waiting.append(held)
        if self.blocked:
            self.settle()
        self._write_keyframe()

    def adopted(self, line: BookLine, snapshot: Snapshot, pos: int, ts_recv: int) -> None:
        """The line's own book began anew with a snapshot, and the deltas after it that had waited."""
        self.now = pos, ts_recv
        line.look()
        sync = line.stream.sync
        assert sync is not None and snapshot.seq is not None, "only a numbered snapshot is adopted"
        restarted = sync.closed is not None and sync.closed.cause == "seq_restart"
        # Deltas that were replayed come after the snapshot: it is what proves them.
        replayed = {held.pos for held in sync.replayed}
        earlier = [x for x in line.waiting if not (isinstance(x, Stamped) and x.pos in replayed)]
        if not earlier:
            line.book = None
        begin = Begin(snapshot, snapshot.seq, pos, ts_recv, restarted)
        line.waiting = deque([*earlier, begin, *sync.replayed])
        self.settle()
        self._write_keyframe()

    def audit(self, snapshot: Snapshot, pos: int, ts_recv: int) -> None:
        """A snapshot to compare with: it begins nothing."""
        if self.runs and snapshot.seq is not None and snapshot.seq >= self.runs[-1].first_seq:
            self._rows.book(snapshot, self.epoch, pos, ts_recv)

    def settle(self, *, end: bool = False) -> None:
        """Take what can be taken. ``end``: no line will say anything more."""
        for line in self.lines:
            line.look()
        while True:
            while self._take():
                pass
            waiting = [line for line in self.lines if line.waiting]
            if not waiting:
                break
            full = any(len(line.waiting) > WAITING_MAX for line in waiting)
            anew = any(self._anew(line, line.waiting[0]) for line in waiting)
            patient = not (self.seq is None or full or anew or end)
            if patient and any(line.silent for line in self.lines):
                break
            if not self._resolve(waiting):
                for line in waiting:
                    while len(line.waiting) > WAITING_MAX:
                        line.waiting.popleft()
                        line.book = None
                break
        self._write_keyframe()

    # Rules

    def _known(self, held: Stamped) -> bool:
        return self.seq is not None and held.delta.seq <= self.seq

    def _links(self, line: BookLine, held: Stamped) -> bool:
        return line.agreed and held.delta.prev_seq == self.seq

    def _take(self) -> bool:
        """Take the first items of all lines as far as the chain has come; whether there were any."""
        taken = False
        for line in self.lines:
            while line.waiting:
                item = line.waiting[0]
                if isinstance(item, Lost):
                    line.agreed, line.book = False, None
                elif isinstance(item, Begin):
                    if self.seq is None or item.seq > self.seq or self._anew(line, item):
                        break
                    line.book, line.seq, line.unchecked = _loaded(item.snapshot), item.seq, True
                    line.generation += item.restarted
                    self.audit(item.snapshot, item.pos, item.ts_recv)
                elif self._known(item):
                    line.roll(item)
                elif self._links(line, item):
                    line.roll(item)
                    self._extend(item)
                else:
                    break
                line.waiting.popleft()
                taken = True
                self._compare(line)
                if isinstance(item, Begin) and (line.agreed or line.unchecked):
                    # The venue was no further: nothing is missing up to here, whatever happens next.
                    self.runs[-1].end = max(self.runs[-1].end, item.ts_recv)
        return taken

    def _compare(self, line: BookLine) -> None:
        """Rule 2, where both stand at one number."""
        book, seq = line.book, line.seq
        if not line.waiting:
            sync = line.stream.sync
            assert sync is not None, "a chain is of a sequenced stream"
            if not sync.valid or sync.last_seq is None:
                return
            book, seq = sync.book, sync.last_seq
        if (line.agreed and not line.unchecked) or book is None or seq != self.seq:
            return
        line.unchecked = False
        line.agreed = book == self._book
        if not line.agreed:
            self._unequal()

    def _resolve(self, waiting: list[BookLine]) -> bool:
        """Nobody can bring what is missing: go on with what there is. Whether that was possible."""
        if any(self._prove(line) for line in waiting):
            return True
        for line in sorted(waiting, key=_first_pos):
            if self._switch(line):
                return True
        begins = [
            (item.pos, line, item) for line in waiting for item in line.waiting if isinstance(item, Begin)
        ]
        if not begins:
            return False
        _, line, begin = min(begins, key=itemgetter(0))
        anew = self._anew(line, begin)
        if self.seq is not None and begin.seq <= self.seq and not anew:
            # What comes before it is of no use to anybody; it, and what follows, is.
            self._drop_before(line, begin)
            return True
        place = self._place(begin)
        if place is None:
            return False
        self._drop_before(line, begin)
        line.waiting.popleft()
        line.agreed = line.agreed and not anew
        line.generation += begin.restarted
        self._generation = max(self._generation, line.generation)
        self._begin(line, _loaded(begin.snapshot), begin.seq, place, begin.snapshot.ts_event)
        if self._pos == begin.pos:
            self._rows.book(begin.snapshot, self.epoch, begin.pos, begin.ts_recv)
        else:
            self._write_book()
        return True

    def _drop_before(self, line: BookLine, begin: Begin) -> None:
        while (item := line.waiting[0]) is not begin:
            if isinstance(item, Lost):
                line.agreed = False
            line.book = None
            line.waiting.popleft()

    def _place(self, item: Stamped | Begin) -> tuple[int, int] | None:
        """Position and receive time where an epoch that begins with ``item`` takes effect: not before what the chain
        has taken already, and no two epochs at one position.
        """
        if item.pos > self._pos:
            return item.pos, item.ts_recv
        if self.epoch != self._pos:
            return self._pos, self._ts
        return self.now if self.now[0] > self._pos else None

    def _anew(self, line: BookLine, item: Stamped | Begin | Lost) -> bool:
        """Whether a line's numbering began anew and the chain's has not yet."""
        return isinstance(item, Begin) and item.restarted and line.generation == self._generation

    def _prove(self, line: BookLine) -> bool:
        """Deltas of a line that does not agree yet lead from the chain to its next snapshot: if the books are equal
        there, it does.
        """
        if self.seq is None or line.agreed:
            return False
        book, seq = copied(self._book), self.seq
        for item in line.waiting:
            if isinstance(item, Lost):
                return False
            if isinstance(item, Begin):
                line.agreed = not item.restarted and item.seq == seq and book == _loaded(item.snapshot)
                return line.agreed
            if item.delta.prev_seq == seq:
                book.apply(item.delta)
                seq = item.delta.seq
        return False

    def _switch(self, line: BookLine) -> bool:
        """A line's book is right before its first waiting delta, only the two have no number in common."""
        item = line.waiting[0]
        if line.book is None or not isinstance(item, Stamped) or item.delta.prev_seq != line.seq:
            return False
        place = self._place(item)
        if place is None:
            return False
        self._begin(line, copied(line.book), line.seq, place, item.delta.ts_event)
        self._write_book()
        return True

    def _begin(self, line: BookLine, book: Book, seq: int, place: tuple[int, int], ts_event: int) -> None:
        """A new chain, in an epoch of its own. Where the line did not agree with the old one, no other one is known
        to agree with this.
        """
        self._write_keyframe()
        if not line.agreed:
            for other in self.lines:
                other.agreed = other is line
        pos, ts_recv = place
        line.book, line.seq, line.unchecked = copied(book), seq, False
        self._book, self.seq, self.epoch = book, seq, pos
        self._pos, self._ts, self._ts_event = pos, ts_recv, ts_event
        self._keyframe_due = True
        self.runs.append(ChainRun(ts_recv, ts_recv, pos, seq, seq, pos))

    def _extend(self, held: Stamped) -> None:
        """Rules 1 and 4."""
        delta = held.delta
        in_order = held.pos > self._pos or (held.pos == self._pos != self.epoch)
        if in_order:
            self._write_keyframe()
        elif self.epoch != self._pos:
            self.epoch = self.runs[-1].epoch = self._pos
            self._write_book()
        self._book.apply(delta)
        if self._book.crossed:
            # Nothing that follows can be right; the lines' own books have ended here too.
            self.seq, self._keyframe_due = None, False
            return
        self._rows.delta(delta, self.epoch, held.pos, held.ts_recv)
        self.seq = delta.seq
        self._ts_event = delta.ts_event
        if in_order:
            self._pos, self._ts = held.pos, held.ts_recv
            self._keyframe_due = self._ts - self._keyframe_ts >= KEYFRAME_NS
        else:
            self._keyframe_due = True
        run = self.runs[-1]
        run.end, run.last_seq = max(run.end, self._ts), delta.seq

    # Rows

    def _write_keyframe(self) -> None:
        """The whole book, once everything that takes effect at this position has."""
        if self._keyframe_due:
            self._keyframe_due = False
            self._keyframe_ts = self._ts
            self._write_book()

    def _write_book(self) -> None:
        assert self.seq is not None, "a chain has begun"
        book = Snapshot(self._symbol, self._feed, self._ts_event, self.seq, *self._book.top(), "keyframe")
        self._rows.book(book, self.epoch, self._pos, self._ts)


def _loaded(snapshot: Snapshot) -> L2Book:
    book = L2Book()
    book.load(snapshot.bids, snapshot.asks)
    return book


def _first_pos(line: BookLine) -> int:
    item = line.waiting[0]
    return 0 if isinstance(item, Lost) else item.pos
