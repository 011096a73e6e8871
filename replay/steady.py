"""Answers that are looked for again where a day was compacted meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from bookreel.storage.errors import FileGone

__all__ = ["steady"]

_TRIES: Final = 5

_T = TypeVar("_T")


def steady(answer: Callable[[], _T]) -> _T:
    """An answer, looked for again where a day was compacted while its old files were still to be read."""
    for _ in range(_TRIES - 1):
        try:
            return answer()
        except FileGone:
            continue
    return answer()
