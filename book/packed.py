"""The book of a running recorder, compiled where a compiler was there at installation.

A recorder reads a push once, takes it into its book once and forgets it, so no Python object is made of its levels:
``read_push`` reads the one way in which the venue writes a delta into a ``PackedDelta``, ``read_image`` a whole book
into a ``PackedSnapshot``, and both decline any other text, which is then for the decoder to read or to refuse;
``PackedBook`` keeps both sides in tables of its own. Each works with the other's counterpart in Python, and tests
hold the results equal. Where nothing was compiled there is neither ``read_push`` nor ``read_image``, and
``PackedBook`` is :class:`L2Book`.

Whatever is looked at again and again (sealing, replay) has its levels as Python objects anyway, and uses
:class:`L2Book`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bookreel.book.l2 import Book, L2Book
from bookreel.book.model import Delta, Snapshot

if TYPE_CHECKING:
    from bookreel.book._packed import PackedSnapshot

__all__ = ["DELTAS", "PackedBook", "read_image", "read_push", "unpacked", "unpacked_image"]

try:
    from bookreel.book import _packed
except ImportError:
    _packed = None  # type: ignore[assignment]

read_push: Callable[[bytes, int, str, str], Delta | None] | None = None
"""``read_push(text, start, symbol, feed)``: the delta of a push that names its topic before ``start``, a comma."""
read_image: Callable[[bytes, int, str, str, bool], PackedSnapshot | None] | None = None
"""``read_image(text, start, symbol, feed, numbered)``: the whole book of such a push. ``numbered``: it begins with
its sequence number; else it ends with its version and its time.
"""
PackedBook: type[Book] = L2Book
DELTAS: tuple[type[Delta], ...] = (Delta,)
"""The classes a delta may be of."""

# One that was built of an older source is none.
if _packed is not None and hasattr(_packed, "read_image"):

    class _PackedBook(_packed.Sides, Book):
        __slots__ = ()

    read_push, read_image = _packed.read_push, _packed.read_image
    PackedBook, DELTAS = _PackedBook, (Delta, _packed.PackedDelta)

_PLAIN: Final = Delta


def unpacked(delta: Delta) -> Delta:
    """The delta as one that can be kept and stored."""
    if type(delta) is _PLAIN:
        return delta
    return Delta(delta.symbol, delta.feed, delta.ts_event, delta.seq, delta.prev_seq, delta.bids, delta.asks)


def unpacked_image(image: PackedSnapshot) -> Snapshot:
    """The whole book with its levels as lists."""
    return Snapshot(image.symbol, image.feed, image.ts_event, image.seq, image.bids, image.asks, image.source)
