"""What the polled health of a gateway means for the streams: pure, nothing is asked here.

A stock that nobody trades is silent, and so is every stock at lunch: silence alone says nothing. What does: the
gateway's own word that its pushes stopped (``push_stream_healthy``, the login), a count of how often they did
(``circuit_breaker_trips``), and its count of pushes rising while none came through our socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, TypeAlias

from bookreel.venues.futu.status import GlobalState, PushHealth
from bookreel.venues.futu.symbols import market_of

__all__ = ["Finding", "Look", "Vigil", "open_markets"]

Finding: TypeAlias = Literal["lost", "back", "deaf"]
"""``lost``: pushes stopped, or had stopped, since the last good look. ``back``: they go on. ``deaf``: the gateway
pushes and our socket brings nothing.
"""

_DEAF_LOOKS: Final = 3
_FIELDS: Final = {
    "HK": "market_hk",
    "US": "market_us",
    "SH": "market_sh",
    "SZ": "market_sz",
    "HK_FUTURE": "market_hk_future",
    "SG": "market_sg",
    "JP": "market_jp",
    "MY": "market_my",
}
_TRADING: Final = frozenset({3, 5, 8, 10, 13, 15, 23, 30, 32, 33, 36, 37})
"""States, as ``codes.MARKET_STATES`` has them, in which trades happen; a lunch break is none."""


class Look(NamedTuple):
    """What was seen at one look."""

    trips: int
    total: int
    frames: int


class Vigil:
    """Looks at one connection's health. ``since`` is when it was last known to be well (wall clock, ns)."""

    def __init__(self, now: int) -> None:
        self.since = now
        self.well = True
        self._last: Look | None = None
        self._deaf = 0

    def look(
        self, health: PushHealth | None, state: GlobalState | None, frames: int, sent: int
    ) -> Finding | None:
        """Take the answers of a look that was begun at ``sent`` (ns); ``frames``: received until then. None where
        nothing changed.
        """
        if health is None and state is None:
            return None
        seen = Look(
            (health and health.circuit_breaker_trips) or 0,
            (health and health.total_pushes_received) or 0,
            frames,
        )
        last, self._last = self._last, seen
        said = health is None or health.push_stream_healthy is not False
        logined = state is None or state.qot_logined is not False
        stumbled = last is not None and health is not None and seen.trips > last.trips
        well = said and logined
        if stumbled or not well:
            finding: Finding | None = "lost" if self.well or stumbled else None
            self.well = False
            return finding
        if not self.well:
            self.well, self.since = True, sent
            return "back"
        self.since = sent
        missed = last is not None and seen.total > last.total and seen.frames == last.frames
        self._deaf = self._deaf + 1 if missed else 0
        return "deaf" if self._deaf >= _DEAF_LOOKS else None


def open_markets(state: GlobalState, symbols: Iterable[str]) -> set[str]:
    """The markets of these symbols that trade now, by the gateway's own account; one it does not tell of is left out:
    nothing may be expected of it.
    """
    markets = {market_of(symbol).name for symbol in symbols}
    return {name for name in markets if name in _FIELDS and getattr(state, _FIELDS[name]) in _TRADING}
