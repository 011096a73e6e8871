"""What can be wrong inside a book. A gap is no error but a value, see :class:`bookreel.book.model.Gap`."""

from __future__ import annotations

__all__ = ["BookError", "InvariantBroken"]


class BookError(Exception):
    """Base of this package's errors."""


class InvariantBroken(BookError):
    """A book contradicts itself: a mistake of ours, never of the venue's data."""

    def __init__(self, what: str, **facts: object) -> None:
        self.what = what
        self.facts = facts
        told = ", ".join(f"{name}={value!r}" for name, value in facts.items())
        super().__init__(f"{what} ({told}); please report this with the journal that leads to it")
