"""The compiled half of :mod:`bookreel.book.packed`."""

from bookreel.book.model import Delta, Levels, Snapshot

class PackedDelta(Delta, frozen=True):
    """Has the fields of one, is equal to one, and none can be set. That it is one only the type checkers believe."""

class PackedSnapshot(Snapshot, frozen=True):
    """The same for a whole book. ``ts_push``: the frame's own time (ns)."""

    ts_push: int

class Sides:
    """Both sides of a book. Prices must be above 0 and sizes not below it, both finite: ValueError."""

    bids: dict[float, float]
    asks: dict[float, float]
    _best_bid: float
    _best_ask: float
    def load(self, bids: Levels, asks: Levels) -> None: ...
    def replace(self, image: Snapshot) -> None: ...
    def apply(self, delta: Delta) -> bool: ...

def read_push(text: bytes, start: int, symbol: str, feed: str, /) -> PackedDelta | None:
    """The delta of a push from ``start`` on, the comma after its topic; None where it is not written as the venue
    writes it.
    """

def read_image(text: bytes, start: int, symbol: str, feed: str, numbered: bool, /) -> PackedSnapshot | None:
    """The same for a push of a whole book, best prices first and no price twice."""
