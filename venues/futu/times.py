"""The gateway's two ways to write a time, as integer nanoseconds since the UNIX epoch, UTC.

Strings are the exchange's local time (``2026-01-02 09:30:00.123``), doubles are unix seconds. A double near today
holds microseconds exactly and no more. Where both are there the double counts: an hour of each autumn has every
string twice. Nothing and zero both mean that the gateway has no time to tell (after it restarts, for one): that is
None, not 1970.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["instant", "local_ns", "local_text", "seconds_ns"]

_LATEST_S: Final = 2**32
"""The year 2106: up to then a double tells microseconds apart."""
_EARLIEST: Final = datetime(1900, 1, 1)

_zone: Final = functools.cache(ZoneInfo)


def seconds_ns(seconds: float) -> int | None:
    """Unix seconds, exact to the microsecond; None for zero. Raises ``ValueError`` for what is no time."""
    if not seconds:
        return None
    if not -_LATEST_S < seconds < _LATEST_S:
        raise ValueError(f"{seconds!r} is not a time in unix seconds")
    return round(seconds * 1e6) * 1000


def local_ns(text: str, zone: str) -> int | None:
    """The exchange's local time, to the microsecond; None for nothing and for day zero. Raises ``ValueError``.

    An hour that occurs twice (clocks going back) is taken to be the first of the two.
    """
    text = text.strip()
    if text in ("", "0") or text.startswith("1970-01-01"):
        return None
    moment = datetime.fromisoformat(text[:26])
    if moment.tzinfo is not None or moment < _EARLIEST:
        raise ValueError(f"{text!r} is not an exchange's local time")
    since = moment.replace(tzinfo=_zone(zone)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def instant(text: str, seconds: float, zone: str) -> int | None:
    """The one time that a string and a double tell; the double counts where it is not zero. Raises ``ValueError``."""
    return seconds_ns(seconds) or local_ns(text, zone)


def local_text(ns: int, zone: str, *, timespec: str = "milliseconds") -> str:
    """An instant as the exchange writes it: ``2026-01-02 09:30:00.123``, or with ``seconds`` without the fraction."""
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.astimezone(_zone(zone)).replace(tzinfo=None).isoformat(" ", timespec)
