"""What the venue's error texts mean for whoever asked."""

from __future__ import annotations

from typing import Final

from bookreel.venues.message import RefusalKind

__all__ = ["classify"]

# The code is `bad-request` for nearly all of them, so it is the text that tells. First match wins.
_MEANINGS: Final[tuple[tuple[str, RefusalKind], ...]] = (
    ("429 ", "busy"),
    ("too many request", "busy"),
    ("trade not open", "not_open"),
    ("unsub with not subbed", "ignore"),
    ("1008 ", "server"),
    ("request timeout", "server"),
    ("cloud-exchange", "server"),
    ("internal", "server"),
    ("invalid", "permanent"),
    ("json string", "permanent"),
)


def classify(code: str, text: str) -> RefusalKind:
    """What to do about an error frame.

    A text that is not known yet is ``not_open``: asking again slowly harms nobody, and giving up for good would lose
    data if the trouble passes. That includes "does not currently offer subscription services".
    """
    words = f"{code} {text}".lower()
    for part, kind in _MEANINGS:
        if part in words:
            return kind
    return "not_open"
