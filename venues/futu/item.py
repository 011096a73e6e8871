"""What the replies of reference data are made of."""

from __future__ import annotations

import msgspec

from bookreel.venues.futu.symbols import make_symbol

__all__ = ["Item", "Security"]


class Item(msgspec.Struct, frozen=True, gc=False):
    """Names, times and enums as the gateway writes them. What it leaves out is None, what it adds is ignored."""


class Security(Item, frozen=True):
    """A security by its market and code."""

    market: int
    code: str

    @property
    def symbol(self) -> str:
        """``HK.00700``. Raises ``BadSymbol``."""
        return make_symbol(self.market, self.code)
