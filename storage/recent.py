"""The newest ids of something that is sent more than once."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

__all__ = ["TRADES_SEEN", "Recent"]

TRADES_SEEN: Final = 2048
"""Trade ids remembered for each symbol; the venue repeats only its last message, or 300 trades on request."""


class Recent:
    """The newest ids of one symbol's trades, at most ``limit``."""

    __slots__ = ("_known", "_limit", "_order")

    def __init__(self, ids: Collection[int | str] = (), *, limit: int = TRADES_SEEN) -> None:
        self._limit = limit
        self._order = deque(ids)
        self._known = set(ids)

    def add(self, id_: int | str) -> bool:
        """Whether ``id_`` is new."""
        if id_ in self._known:
            return False
        self._known.add(id_)
        self._order.append(id_)
        if len(self._order) > self._limit:
            self._known.discard(self._order.popleft())
        return True

    def ids(self) -> list[int | str]:
        return list(self._order)
