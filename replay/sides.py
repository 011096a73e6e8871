"""A side of a book, or of a change of one, as JSON: the one place where levels are written in bulk."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from bookreel.replay.sheet import Array, Doubles, Sheet, Texts

__all__ = ["ARRAYS", "OBJECTS", "SideTexts", "Style"]


class Style(NamedTuple):
    """How levels are written: what stands before a price, between it and its size, and after that; ``missing``: a
    level that there is not.
    """

    before: bytes
    between: bytes
    after: bytes
    missing: bytes


ARRAYS: Final = Style(b"[", b",", b"]", b"[]")
OBJECTS: Final = Style(b'{"price":', b',"amount":', b"}", b"{}")


class SideTexts:
    """Writes sides in one style, each as an array of levels, whose prices and sizes are among those that are given
    here.
    """

    def __init__(self, texts: Texts, style: Style, prices: Doubles, sizes: Doubles) -> None:
        self._texts = texts
        self._style = style
        before = b"[" + style.before
        self._firsts = texts.doubles(prices, before)
        self._prices = texts.doubles(prices, style.after + b"," + style.before)
        self._sizes = texts.doubles(sizes, style.between)

    def put(self, sheet: Sheet, levels: Array, counts: Array, depth: int = 0) -> None:
        """A side in each line, of so many levels, of which the places among all are given for all lines. Levels of it
        up to ``depth`` that there are not are missing ones.
        """
        filled = counts > 0
        numbers = np.empty((len(levels), 2), np.int32)
        numbers[:, 0], numbers[:, 1] = self._prices[levels], self._sizes[levels]
        begins = (np.cumsum(counts) - counts)[filled]
        numbers[begins, 0] = self._firsts[levels[begins]]
        sheet.put_several(numbers.ravel(), 2 * counts)
        absent, which = np.unique(np.maximum(depth - counts, 0), return_inverse=True)
        lasts = [self._style.after + b",".join([b"", *self._missing(number)]) + b"]" for number in absent]
        last = np.array([self._texts.word(text) for text in lasts], np.int32)[which]
        none = self._texts.word(b"[" + b",".join(self._missing(depth)) + b"]")
        sheet.put(np.where(filled, last, none))

    def _missing(self, number: int) -> list[bytes]:
        return [self._style.missing] * int(number)
