"""The book of a running recorder, compiled where a compiler was there at installation.

A recorder reads a delta once, applies it once and forgets it, so no Python object is made of its levels:
``read_push`` reads the one way in which the venue writes a push into a ``PackedDelta``, and declines any other text,
which is then for the decoder to read or to refuse; ``PackedBook`` keeps both sides in tables of its own. Either works
with the other's counterpart in Python, and tests hold the results equal. Where nothing was compiled there is no
``read_push``, and ``PackedBook`` is :class:`L2Book`.

Whatever is looked at again and again (sealing, replay) has its levels as Python objects anyway, and uses
:class:`L2Book`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bookreel.book.l2 import Book, L2Book
from bookreel.book.model import Delta

__all__ = ["DELTAS", "PackedBook", "read_push", "unpacked"]

try:
    from bookreel.book import _packed
except ImportError:
    _packed = None  # type: ignore[assignment]

read_push: Callable[[bytes, int, str, str], Delta | None] | None = None
"""``read_push(text, start, symbol, feed)``: the delta of a push that names its topic before ``start``, a comma."""
PackedBook: type[Book] = L2Book
DELTAS: tuple[type[Delta], ...] = (Delta,)
"""The classes a delta may be of."""

if _packed is not None:

    class _PackedBook(_packed.Sides, Book):
        __slots__ = ()

    read_push, PackedBook, DELTAS = _packed.read_push, _PackedBook, (Delta, _packed.PackedDelta)

_PLAIN: Final = Delta


def unpacked(delta: Delta) -> Delta:
    """The delta as one that can be kept and stored."""
    if type(delta) is _PLAIN:
        return delta
    return Delta(delta.symbol, delta.feed, delta.ts_event, delta.seq, delta.prev_seq, delta.bids, delta.asks)
