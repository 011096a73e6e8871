"""What one of several lines has told of a sequenced book, while the chain of all lines has not taken it.

The rules are those of :mod:`bookreel.storage.merge_chain`.
"""

from __future__ import annotations

from collections import deque

import msgspec

from bookreel.book.l2 import Book, L2Book
from bookreel.book.model import Snapshot
from bookreel.book.sync import Stamped
from bookreel.storage.stream import Stream

__all__ = ["Begin", "BookLine", "Lost", "copied"]


class Begin(msgspec.Struct, frozen=True):
    """A snapshot that a line adopted. ``restarted``: the venue began its numbering anew before it."""

    snapshot: Snapshot
    seq: int
    pos: int
    ts_recv: int
    restarted: bool


class Lost(msgspec.Struct, frozen=True):
    """The line's connection ended here."""


class BookLine:
    """What one line has told of the book and the chain has not taken yet.

    ``agreed``: rule 2; ``unchecked``: its book began anew and was not compared since. ``generation``: how often the
    numbering began anew. ``book`` is the line's at ``seq``, before the first waiting item, while some wait; None
    where it is not right there.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.agreed = False
        self.unchecked = True
        self.generation = 0
        self.waiting: deque[Stamped | Begin | Lost] = deque()
        self.book: Book | None = None
        self.seq = 0
        self._connection: object = None

    @property
    def silent(self) -> bool:
        """Whether it may yet bring what the chain lacks: it is subscribed, and has said nothing further."""
        return not self.waiting and self.stream.line is not None

    def hold(self) -> None:
        """Items will wait from here on: keep the book as it is before them."""
        sync = self.stream.sync
        assert sync is not None, "a chain is of a sequenced stream"
        self.book = None
        if sync.valid and sync.last_seq is not None:
            self.book, self.seq = copied(sync.book), sync.last_seq

    def look(self) -> None:
        """See whether the connection is another one than before."""
        if self._connection is self.stream.line:
            return
        self._connection = self.stream.line
        if self.waiting:
            self.waiting.append(Lost())
        else:
            self.agreed = False

    def roll(self, held: Stamped) -> None:
        """The chain is past this delta: so is the line's own book."""
        if self.book is not None and held.delta.prev_seq == self.seq:
            self.book.apply(held.delta)
            self.seq = held.delta.seq
        elif held.delta.seq > self.seq:
            self.book = None


def copied(book: Book) -> L2Book:
    """A book that goes its own way."""
    other = L2Book()
    other.load(list(book.bids.items()), list(book.asks.items()))
    return other
