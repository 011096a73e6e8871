"""UTC days, as partitions are named and as people give them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from bookreel.storage.errors import StorageError

__all__ = ["DAY_NS", "BadDate", "date_of", "day_start"]

DAY_NS: Final = 86_400 * 1_000_000_000


class BadDate(StorageError):
    """Not a date."""

    exit_code = 2

    def __init__(self, date: str) -> None:
        self.date = date
        super().__init__(f"{date!r} is not a date; give for example 2026-11-20")


def day_start(date: str) -> int:
    """The first instant (ns) of a day given as YYYY-MM-DD. Raises BadDate."""
    try:
        day = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise BadDate(date) from None
    return int(day.timestamp()) * 1_000_000_000


def date_of(ns: int) -> str:
    """The day (YYYY-MM-DD) of an instant."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).date().isoformat()
