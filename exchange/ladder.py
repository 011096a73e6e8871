"""One side of the true book, on a tick grid, always in order.

A level's key is its price in ticks for asks and the negative of it for bids, so that on both sides the
smaller key is the better price. The texts of the levels are kept, since the same level is printed in many
frames.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from itertools import islice
from typing import Final

from bookreel.exchange.huobi_wire import java_double

__all__ = ["Ladder"]

_REMEMBERED: Final = 512


class Ladder:
    """Price levels of one side: ``keys`` ascending (best first), ``lots`` the size of each. ``changes`` counts
    what was done to it."""

    __slots__ = ("_changed", "_price_unit", "_size_unit", "_texts", "changes", "keys", "lots")

    def __init__(self, price_precision: int, amount_precision: int) -> None:
        self._price_unit: int = 10**price_precision
        self._size_unit: int = 10**amount_precision
        self.keys: list[int] = []
        self.lots: dict[int, int] = {}
        self._texts: dict[int, str] = {}
        self._changed: deque[int] = deque(maxlen=_REMEMBERED)
        self.changes = 0

    def __len__(self) -> int:
        return len(self.keys)

    def put(self, key: int, lots: int) -> None:
        """Set a level's size; 0 removes it."""
        if lots <= 0:
            self.remove(key)
            return
        if key not in self.lots:
            insort(self.keys, key)
        self.lots[key] = lots
        self._change(key)

    def remove(self, key: int) -> None:
        """Remove a level that exists."""
        del self.keys[bisect_left(self.keys, key)]
        del self.lots[key]
        self._change(key)

    def _change(self, key: int) -> None:
        self._texts.pop(key, None)
        self._changed.append(key)
        self.changes += 1

    def changed(self, since: int) -> set[int] | None:
        """Keys of the levels that were set or removed since ``changes`` was ``since``; None: too long ago."""
        count = self.changes - since
        return None if count > _REMEMBERED else set(islice(reversed(self._changed), count))

    def price(self, key: int) -> float:
        """A level's price: int division is correctly rounded, so this is the double a decimal price parses
        to."""
        return abs(key) / self._price_unit

    def size(self, key: int) -> float:
        """A level's size."""
        return self.lots[key] / self._size_unit

    def text(self, key: int) -> str:
        """A level as ``[price,size]``."""
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = f"[{java_double(self.price(key))},{java_double(self.size(key))}]"
        return text

    def gone(self, key: int) -> str:
        """A level's removal, ``[price,0.0]``."""
        return f"[{java_double(self.price(key))},0.0]"

    def image(self, levels: int) -> dict[int, str]:
        """The best ``levels`` levels, best first: key -> text."""
        text = self.text
        return {key: text(key) for key in self.keys[:levels]}

    def grouped(self, step: int, levels: int) -> list[str]:
        """The best ``levels`` levels after prices are joined to multiples of ``step`` ticks, away from the
        touch."""
        sums: dict[int, int] = {}
        for key in self.keys:
            group = (
                -(-key // step) * step
            )  # up: asks to the higher price, bids (negative keys) to the lower one
            if group not in sums and len(sums) == levels:
                break
            sums[group] = sums.get(group, 0) + self.lots[key]
        return [f"[{java_double(self.price(k))},{java_double(n / self._size_unit)}]" for k, n in sums.items()]

    def _check(self) -> None:
        assert self.keys == sorted(set(self.keys)), f"keys out of order: {self.keys}"
        assert set(self.keys) == set(self.lots), "keys and sizes disagree"
        assert all(n > 0 for n in self.lots.values()), "an empty level was kept"
        assert set(self._texts) <= set(self.lots), "the text of a removed level was kept"
