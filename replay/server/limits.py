"""How much one client, and all of them together, may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from bookreel.replay.server.errors import BadRequest, Busy
from bookreel.storage.dates import DAY_NS

__all__ = ["DEFAULT", "Limits", "Slots"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``streams``: answers under way at once that are more than one book or list. ``range_days``: the longest range
    of time of one request; ``rows``: of one answer. ``header_s``: from a connection's beginning, or from the end of
    the answer before, to the end of a request's head; ``body_s``: for its body, of ``body_bytes`` at most.
    ``line_bytes``: of the request's line and of each header, of which there may be ``headers``. ``reader_s``: for a
    client to take what was sent, before it is disconnected. ``shutdown_s``: for answers under way at the end.
    """

    streams: int = 16
    range_days: int = 366
    rows: int = 100_000_000
    header_s: float = 15.0
    body_s: float = 10.0
    reader_s: float = 60.0
    body_bytes: int = 65_536
    line_bytes: int = 8_190
    headers: int = 64
    shutdown_s: float = 3.0

    def check_range(self, start: int | None, end: int | None) -> None:
        """Raise BadRequest where a range of time (ns) is empty or too long; None leaves an end open."""
        if start is None or end is None:
            return
        if end <= start:
            raise BadRequest(
                "the range is empty: from is not before to", parameter="to", example="a time later than from"
            )
        if end - start > self.range_days * DAY_NS:
            raise BadRequest(
                f"the range is longer than {self.range_days} days; ask for it in parts",
                parameter="to",
                example="a time nearer to from",
            )


DEFAULT: Final = Limits()


class Slots:
    """So many at once, and no queue: whoever comes then is told to come again."""

    def __init__(self, most: int, what: str) -> None:
        self.most = most
        self.taken = 0
        self._what = what

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold one. Raises Busy."""
        if self.taken >= self.most:
            raise Busy(f"{self.most} {self._what} are under way, which is the limit; try again in a moment")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
