"""Numbers with every digit that the venue sent: taken from the text of an event's frame."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

__all__ = ["FrameNumbers", "exact"]

_EXACT: Final = 1 << 53
"""Integers below it are doubles."""

_DECIMALS: Final = msgspec.json.Decoder(float_hook=Decimal)

_Numbers: TypeAlias = dict[float, Decimal]


class FrameNumbers:
    """The numbers of one frame, found again by the doubles they stand for.

    Two numbers can stand for one double, if they have more digits than it holds. So levels are looked up as
    pairs, and other numbers within the innermost object that has all of an event's numbers and its ``key``. A
    number that the frame does not have, or all where there is no text, is the shortest for its double.
    """

    def __init__(self, text: str | None) -> None:
        self._all: _Numbers = {}
        self._pairs: dict[tuple[float, float], tuple[Decimal, Decimal]] = {}
        self._objects: list[_Numbers] = []
        if text is not None:
            self._walk(_DECIMALS.decode(text))

    def number(self, value: float, within: _Numbers | None = None) -> Decimal:
        """The number that stands for ``value``."""
        found = None if within is None else within.get(value)
        found = self._all.get(value) if found is None else found
        return Decimal(repr(value)) if found is None else found

    def pair(self, pair: tuple[float, float]) -> tuple[Decimal, Decimal]:
        """The numbers of a level."""
        found = self._pairs.get(pair)
        return (self.number(pair[0]), self.number(pair[1])) if found is None else found

    def object(self, values: Collection[float], key: int | None) -> _Numbers | None:
        """The numbers of the first object that has all of these, and ``key``."""
        for numbers in self._objects:
            if all(value in numbers for value in values) and (key is None or float(key) in numbers):
                return numbers
        return None

    def _walk(self, value: Any) -> Decimal | None:
        """Note every number of a decoded frame; a number itself is given back."""
        if isinstance(value, Decimal):
            self._all.setdefault(float(value), value)
            return value
        if isinstance(value, int) and -_EXACT < value < _EXACT:
            return self._all.setdefault(float(value), Decimal(value))
        if isinstance(value, dict):
            # Inner objects are noted first.
            numbers = [self._walk(inner) for inner in value.values()]
            self._objects.append({float(number): number for number in numbers if number is not None})
        elif isinstance(value, list):
            items = [self._walk(inner) for inner in value]
            if len(items) == 2 and items[0] is not None and items[1] is not None:
                self._pairs.setdefault((float(items[0]), float(items[1])), (items[0], items[1]))
        return None


def exact(event: Any, numbers: FrameNumbers, fields: Iterable[str]) -> Any:
    """The event with the numbers of its frame in ``fields``: numbers, or lists of levels."""
    values = {name: getattr(event, name) for name in fields}
    scalars = [value for value in values.values() if isinstance(value, float)]
    within = numbers.object(scalars, getattr(event, "trade_seq", None)) if scalars else None
    changed: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list):
            changed[name] = [numbers.pair(level) for level in value]
        elif value is not None:
            changed[name] = numbers.number(value, within)
    return msgspec.structs.replace(event, **changed)
