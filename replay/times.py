"""Times and intervals as people give them, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, TypeAlias

from bookreel.replay.errors import BadInterval, BadTime

__all__ = ["Interval", "Time", "iso", "stamp", "to_interval", "to_ns"]

Time: TypeAlias = int | str | datetime
"""Integer ns since the epoch, ISO-8601 text (UTC unless it says otherwise), or a datetime with a time zone.
"""

Interval: TypeAlias = int | str
"""Integer ns, or text such as 100ms, 1s, 5m."""

_SECOND: Final = 1_000_000_000
_ISO: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[T ](\d{2}(?::\d{2}(?::\d{2})?)?)(?:[.,](\d{1,9})\d*)?)?"
    r"\s*(Z|z|[+-]\d{2}:?\d{2})?"
)
_INTERVAL: Final = re.compile(r"(\d{1,18})\s*(ns|us|ms|s|m|min|h|d)")
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "min": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
}
_LIMIT: Final = 1 << 63


def to_ns(value: Time) -> int:
    """``value`` as ns since the epoch. Raises :class:`BadTime`.

    >>> to_ns("1970-01-01T00:00:01.000000005Z")
    1000000005
    """
    if isinstance(value, bool):
        raise BadTime(value, "it is a truth value")
    if isinstance(value, int):
        found = value
    elif isinstance(value, datetime):
        if value.utcoffset() is None:
            raise BadTime(value, "it has no time zone")
        found = _whole_ns(value)
    elif isinstance(value, str):
        found = _from_text(value.strip())
    else:
        raise BadTime(value, f"it is of type {type(value).__name__}")
    if not -_LIMIT <= found < _LIMIT:
        raise BadTime(value, "it is outside of 1677 to 2262")
    return found


def to_interval(value: Interval) -> int:
    """``value`` in ns. Raises :class:`BadInterval`.

    >>> to_interval("100ms")
    100000000
    """
    found = 0
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and (match := _INTERVAL.fullmatch(value.strip())):
        found = int(match[1]) * _UNITS[match[2]]
    if not 0 < found < _LIMIT:
        raise BadInterval(value)
    return found


def iso(ns: int | None) -> str:
    """ISO-8601 in UTC with as many decimals as the time has; ``never`` for None.

    >>> iso(1000000005)
    '1970-01-01T00:00:01.000000005Z'
    """
    if ns is None:
        return "never"
    seconds, rest = divmod(ns, _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def stamp(ns: int | None) -> str | None:
    """A time in ns as ISO-8601 text in UTC with nine digits.

    >>> stamp(1000000005)
    '1970-01-01T00:00:01.000000005Z'
    """
    if ns is None:
        return None
    seconds, rest = divmod(ns, _SECOND)
    return f"{iso(seconds * _SECOND)[:-1]}.{rest:09d}Z"


def _from_text(text: str) -> int:
    if re.fullmatch(r"-?\d{5,40}", text):
        return int(text)
    match = _ISO.fullmatch(text)
    if match is None:
        raise BadTime(text, "it cannot be read")
    day, clock, decimals, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(zone or 'Z').upper()}")
    except ValueError as error:
        raise BadTime(text, str(error)) from error
    return _whole_ns(moment) + int((decimals or "").ljust(9, "0"))


def _whole_ns(moment: datetime) -> int:
    """Without the rounding of ``timestamp()``, which is a float."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
