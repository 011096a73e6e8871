"""What a symbol's other streams tell about its incremental books: all their numbers are of one space.

A quote or an image in full that is numbered S proves that the symbol's engine got as far as S. A book that was
told less, and is told nothing more within a moment, has missed something or had nothing of its own to tell:
worth a question. A book that was told as much, while the witness is known to live, has nothing to say: no
question is needed, and the venue's few requests stay free for those who wait for a snapshot.

Nothing is decoded until a book is silent: the hot path keeps a reference to the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bookreel.book.model import Event

__all__ = ["Witnesses"]

_MS: Final = 1_000_000
_LAG_NS: Final = 300 * _MS
"""Lines and feeds of one symbol are ahead of each other by less than this: books are pushed every 100 ms."""
_TRUST_NS: Final = 3_000 * _MS
"""A witness that gave no sign of life for so long is not believed: a living one is asked sooner."""


class _Sighting:
    """One witness: its newest message, when it came and when the stream was last known to live (monotonic ns)."""

    __slots__ = ("alive_at", "came_at", "payload", "seq", "whole")

    def __init__(self, payload: bytes, now: int, *, whole: bool) -> None:
        self.payload: bytes | None = payload
        self.came_at = self.alive_at = now
        self.seq: int | None = None
        self.whole = whole


class Witnesses:
    """Of all symbols, over all lines. ``read`` decodes a push."""

    def __init__(self, read: Callable[[bytes], Sequence[Event]]) -> None:
        self._read = read
        self._symbols: dict[str, dict[str, _Sighting]] = {}

    def spoke(self, symbol: str, feed: str, payload: bytes, now: int, *, whole: bool) -> None:
        """A push of a numbered stream. ``whole``: nothing happens to the symbol that it would not show."""
        seen = self._symbols.setdefault(symbol, {})
        sighting = seen.get(feed)
        if sighting is None:
            seen[feed] = _Sighting(payload, now, whole=whole)
        else:
            sighting.payload = payload
            sighting.came_at = sighting.alive_at = now

    def lives(self, symbol: str, feed: str, now: int) -> None:
        """The stream was asked, and has nothing new to say."""
        sighting = self._symbols.get(symbol, {}).get(feed)
        if sighting is not None:
            sighting.alive_at = now

    def gone(self, symbol: str, feed: str) -> None:
        """The stream is not subscribed any more, or dead."""
        self._symbols.get(symbol, {}).pop(feed, None)

    def testify(self, symbol: str, known: int, now: int) -> bool | None:
        """Of a book that was silent for a moment and got as far as number ``known``. True: there is no more to
        tell; False: there is; None: nobody knows.
        """
        quiet: bool | None = None
        for sighting in self._symbols.get(symbol, {}).values():
            if sighting.payload is not None:
                sighting.seq = self._number(sighting.payload)
                sighting.payload = None
            if sighting.seq is None:
                continue
            if sighting.seq > known:
                if now - sighting.came_at > _LAG_NS:
                    return False
                quiet = None
                break
            if sighting.whole and now - sighting.alive_at < _TRUST_NS:
                quiet = True
        return quiet

    def _number(self, payload: bytes) -> int | None:
        events = self._read(payload)
        return getattr(events[0], "seq", None) if events else None
