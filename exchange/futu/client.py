"""One socket on ``/ws``: pushes wait for it in a queue of limited length, and nobody waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Client"]


class Client:
    """A connected socket. A reader that is too slow loses the oldest pushes, without a word, as at the real gateway.

    ``on_lost`` is told the number of each push that is lost and why; ``on_cut`` ends the connection.
    """

    def __init__(
        self,
        number: int,
        capacity: int,
        on_lost: Callable[[Client, int, str], None],
        on_cut: Callable[[], None],
    ) -> None:
        self.number = number
        self.note: str | None = None
        """Why the gateway cut it, if it did."""
        self.skip = 0
        """So many of the next pushes are lost to it."""
        self.goodbye: str | None = None
        """The reason with which the connection closes when everything that waits was sent; None: it stays."""
        self._queue: deque[tuple[int, str]] = deque()
        self._wake = asyncio.Event()
        self._capacity = capacity
        self._on_lost = on_lost
        self._on_cut = on_cut

    def send(self, n: int, text: str) -> None:
        """Queue push ``n``."""
        if self.skip:
            self.skip -= 1
            self._on_lost(self, n, "lag")
            return
        if len(self._queue) >= self._capacity:
            self._on_lost(self, self._queue.popleft()[0], "slow")
        self._queue.append((n, text))
        self._wake.set()

    @property
    def queued(self) -> int:
        """Pushes that wait."""
        return len(self._queue)

    def finish(self, goodbye: str) -> None:
        """Close the connection with a reason when everything that waits was sent."""
        self.goodbye = goodbye
        self._wake.set()

    def take(self) -> str | None:
        """The next push's text; None if none waits."""
        return self._queue.popleft()[1] if self._queue else None

    async def next(self) -> str | None:
        """The next push's text, when there is one; None: there will be no more."""
        while not self._queue:
            if self.goodbye is not None:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()[1]

    def cut(self, note: str) -> None:
        """End the connection without a goodbye; what waits is never sent."""
        if self.note is None:
            self.note = note
            self._queue.clear()
            self._on_cut()
