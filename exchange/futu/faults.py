"""What can go wrong at the gateway, as data."""

from __future__ import annotations

from typing import Final

__all__ = ["FAULT_ABOUT", "FAULT_KINDS"]

_ROWS: Final = (
    ("lag", 2.0, "a client silently loses the next pushes, as a slow reader does"),
    ("disconnect", 1.0, "a client's socket is cut; subscriptions stay"),
    ("restart", 0.3, "the gateway restarts: sockets cut, subscriptions and server times lost"),
    ("login_loss", 0.5, "the login for quotes is lost and comes back: notices, no pushes, ticks back-filled"),
    ("breaker", 0.5, "the gateway stops pushing for a while and says so only in its health"),
    ("forgotten", 1.0, "a subscription ends, as another user of the gateway can end it; nothing says so"),
    ("backfill", 2.0, "a security's ticks are held back and come late, 50 at most"),
    ("cached", 3.0, "ticks that were sent are sent again, marked as cached"),
    ("zero_time", 3.0, "a book whose server times are zero"),
    ("bad_base64", 2.0, "a push whose body is not base64"),
    ("truncated", 2.0, "a push whose protobuf ends early"),
    ("bad_code", 1.0, "one listed security is refused for a while, and with it every batch it is in"),
)

FAULT_KINDS: Final[dict[str, float]] = {kind: rate for kind, rate, _ in _ROWS}
"""Every kind of fault, with its default rate: expected number per minute of the whole gateway."""

FAULT_ABOUT: Final[dict[str, str]] = {kind: about for kind, _, about in _ROWS}
"""Every kind of fault, in words."""
