"""What the answers of one process share: an archive, and whose turn it is to read it."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from bookreel.replay.archive import Archive
from bookreel.replay.archives import Archives
from bookreel.replay.errors import NoSuchSymbol

__all__ = ["Desk", "known_symbol"]

_T = TypeVar("_T")
_A = TypeVar("_A", bound=Archive | Archives)


class Desk(Generic[_A]):
    """An archive, or several as one, for several threads: one at a time looks at it, for a piece of its answer."""

    def __init__(self, archive: _A) -> None:
        self.archive: _A = archive
        self._lock = threading.Lock()

    def call(self, question: Callable[[_A], _T]) -> _T:
        """One short answer."""
        with self._lock:
            return question(self.archive)

    def steps(self, make: Callable[[_A], Iterator[_T]]) -> Iterator[_T]:
        """An answer in pieces; between two of them others have their turn."""
        pieces = self.call(make)
        while True:
            with self._lock:
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
            yield piece


def known_symbol(archive: Archive, symbol: str) -> None:
    """Raise NoSuchSymbol where the archive has nothing of it."""
    known = archive.symbols()
    if symbol not in known:
        raise NoSuchSymbol(symbol, difflib.get_close_matches(symbol.lower(), known, n=3))
