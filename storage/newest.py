"""A stream's newest message, to tell one that is only sent again."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

__all__ = ["KEPT_BYTES", "Newest"]

KEPT_BYTES: Final = 1024
"""A text up to so long is kept as it is: to compare it takes a tenth of the time of hashing it. There can be tens of
thousands of streams, so of a longer one only the digest is.
"""


class Newest:
    """The newest message, where there was one; ``digest`` is what a checkpoint has of it, empty before the first."""

    __slots__ = ("_digest", "_text")

    def __init__(self, digest: bytes = b"") -> None:
        self._digest = digest
        self._text: bytes | None = None

    @property
    def digest(self) -> bytes:
        """Of the newest message, the same however it is kept."""
        return self._digest if self._text is None else _digest_of(self._text)

    def repeats(self, text: bytes) -> bool:
        """Whether a message is the one before it, which it replaces. The hot path."""
        before = self._text
        if len(text) <= KEPT_BYTES:
            self._text = text
            if before is not None:
                return text == before
            return self._digest != b"" and self._digest == _digest_of(text)
        known, self._digest, self._text = self.digest, _digest_of(text), None
        return known == self._digest


def _digest_of(text: bytes) -> bytes:
    return blake2b(text, digest_size=16).digest()
