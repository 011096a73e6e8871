"""The securities the gateway can make a market for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final, NamedTuple

from bookreel.exchange.errors import UnknownSymbol
from bookreel.venues.futu.codes import Market
from bookreel.venues.futu.symbols import market_of

__all__ = ["CATALOG", "Listing", "list_symbols"]


class Listing(NamedTuple):
    """One security. A price is a whole number of steps: ``steps / scale`` in its currency."""

    symbol: str
    name: str
    price: float
    step: int
    scale: int
    lot: int
    number: int

    @property
    def market(self) -> Market:
        """The market it is listed on."""
        return market_of(self.symbol)

    @property
    def code(self) -> str:
        """Its code within the market."""
        return self.symbol.partition(".")[2]

    @property
    def spread(self) -> float:
        """The least difference of two prices."""
        return self.step / self.scale

    def price_of(self, index: int) -> float:
        """The price that is ``index`` steps."""
        return index * self.step / self.scale


_ROWS: Final = (
    ("HK.00700", "TENCENT", 300.2, 2, 10, 100),
    ("US.AAPL", "Apple", 195.5, 1, 100, 1),
    ("HK.09988", "BABA-W", 82.35, 5, 100, 100),
    ("US.NVDA", "NVIDIA", 135.25, 1, 100, 1),
    ("HK.00005", "HSBC HOLDINGS", 65.1, 5, 100, 400),
    ("US.TSLA", "Tesla", 250.1, 1, 100, 1),
    ("SH.600519", "KWEICHOW MOUTAI", 1680.5, 1, 100, 100),
    ("HK.03690", "MEITUAN-W", 120.4, 1, 10, 100),
    ("HK.01810", "XIAOMI-W", 18.5, 2, 100, 200),
    ("HK.00388", "HKEX", 280.6, 2, 10, 100),
    ("HK.02318", "PING AN", 38.25, 5, 100, 500),
    ("HK.00941", "CHINA MOBILE", 65.4, 5, 100, 500),
    ("HK.01299", "AIA", 66.75, 5, 100, 200),
    ("HK.09618", "JD-SW", 110.5, 1, 10, 50),
    ("HK.00863", "OSL GROUP", 7.52, 1, 100, 500),
    ("US.MSFT", "Microsoft", 410.3, 1, 100, 1),
    ("US.AMZN", "Amazon", 180.2, 1, 100, 1),
    ("US.META", "Meta", 510.7, 1, 100, 1),
    ("US.GOOG", "Alphabet", 172.9, 1, 100, 1),
    ("US.AMD", "AMD", 145.6, 1, 100, 1),
    ("US.BRK.B", "Berkshire Hathaway", 455.25, 1, 100, 1),
    ("US.SPY", "SPDR S&P 500", 540.1, 1, 100, 1),
    ("SZ.300750", "CATL", 245.3, 1, 100, 100),
    ("HK.02800", "TRACKER FUND", 19.1, 2, 100, 500),
)

CATALOG: Final[dict[str, Listing]] = {
    row[0]: Listing(*row, 10_000_000_001 + i) for i, row in enumerate(_ROWS)
}
"""Every security by its symbol. ``number`` is the venue's own, beyond 32 bits."""


def list_symbols(symbols: Iterable[str]) -> list[Listing]:
    """The listings of these symbols. Raises ``UnknownSymbol``, which names near ones."""
    found = []
    for symbol in symbols:
        if symbol not in CATALOG:
            near = difflib.get_close_matches(symbol.upper(), CATALOG, n=3)
            raise UnknownSymbol(symbol, near or list(CATALOG)[:3])
        found.append(CATALOG[symbol])
    return found
