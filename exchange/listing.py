"""What the exchange lists: each symbol's grid, price and depth, and the reference data REST gives of it."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Iterable

import msgspec

from bookreel.exchange.errors import UnknownSymbol

__all__ = ["CATALOG", "DELISTED", "Listing", "list_symbols", "reference_data", "split_symbol"]


class Listing(msgspec.Struct, frozen=True):
    """A symbol. ``price`` is where its market opens; ``levels`` is how deep each side is kept; ``gap`` the
    mean distance of neighbouring levels in ticks; ``value`` a usual order in quote currency; ``major``
    symbols have long sequence numbers and ids."""

    base: str
    quote: str
    price_precision: int
    amount_precision: int
    price: float
    levels: int
    gap: float
    value: float = 900.0
    major: bool = True
    mbp20: bool = True
    state: str = "online"

    @property
    def symbol(self) -> str:
        """The name: base and quote together."""
        return self.base + self.quote


CATALOG: dict[str, Listing] = {
    listing.symbol: listing
    for listing in (
        Listing("btc", "usdt", 2, 6, 61800.2, 620, 40.0, 6000.0),
        Listing("eth", "usdt", 2, 4, 2684.53, 600, 4.0, 4000.0),
        Listing("xrp", "usdt", 5, 2, 0.60012, 420, 3.0),
        Listing("shib", "usdt", 10, 2, 1.38e-5, 300, 60.0),
        Listing("aidoge", "usdt", 14, 2, 9.377e-11, 90, 8.0, 80.0, major=False, mbp20=False),
        Listing("zen", "eth", 6, 4, 0.05164, 45, 12.0, 0.3, major=False, mbp20=False),
        Listing("nest", "eth", 8, 2, 2.275e-5, 17, 8.0, 0.2, major=False, mbp20=False),
        Listing("btc", "jpy", 0, 6, 13640078.0, 150, 900.0, 40000.0),
        Listing("ltc", "usdt", 2, 4, 63.41, 250, 1.5),
        Listing("eos", "usdt", 4, 4, 0.4912, 250, 1.5),
        Listing("bch", "usdt", 2, 4, 341.77, 200, 4.0),
        Listing("trx", "usdt", 6, 2, 0.128134, 250, 12.0),
        Listing("doge", "usdt", 6, 2, 0.104291, 450, 9.0),
        Listing("sol", "usdt", 4, 4, 155.1873, 410, 30.0, 2500.0),
        Listing("link", "usdt", 4, 2, 10.3187, 200, 8.0),
        Listing("dot", "usdt", 4, 4, 4.6102, 170, 6.0),
        Listing("ada", "usdt", 6, 4, 0.334501, 220, 15.0),
        Listing("zec", "usdt", 2, 4, 29.87, 160, 2.0),
        Listing("etc", "usdt", 4, 4, 18.4021, 170, 12.0),
        Listing("eth", "btc", 6, 4, 0.043417, 300, 2.0, 0.4),
        Listing("xrp", "btc", 8, 2, 9.71e-6, 40, 1.5, 0.02),
        Listing("mex", "btc", 10, 2, 6.22e-8, 60, 2.0, 0.02, major=False, mbp20=False),
    )
}
"""Symbols with a market of their own character; thick, thin and tiny-priced ones. Others are made up by
``list_symbols``."""

DELISTED: dict[str, Listing] = {
    listing.symbol: listing
    for listing in (
        Listing("ven", "eth", 8, 2, 0.0011, 20, 4.0, state="offline"),
        Listing("ost", "eth", 8, 2, 5.1e-5, 20, 4.0, state="offline"),
        Listing("cvcoin", "btc", 8, 4, 2.1e-5, 20, 4.0, state="offline"),
        Listing("ton", "jpy", 2, 2, 812.4, 20, 4.0, state="suspend"),
        Listing("newt", "usdt", 4, 2, 0.2113, 20, 4.0, state="pre-online"),
    )
}
"""Symbols that are in the reference data but have no market."""

_QUOTES = ("usdt", "usdc", "husd", "jpy", "btc", "eth", "trx", "ht")
_QUOTE_VALUE = {"btc": 0.02, "eth": 0.3, "jpy": 90000.0}
_LINE = re.compile(r"[a-z0-9]{4,24}")


def list_symbols(symbols: Iterable[str]) -> list[Listing]:
    """The listings of ``symbols``, in that order, each once. Raises ``UnknownSymbol`` for what cannot be a
    pair."""
    return [_find(symbol) for symbol in dict.fromkeys(s.strip().lower() for s in symbols)]


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol, told from its end; the quote is empty where that is not known."""
    quote = next((q for q in _QUOTES if symbol.endswith(q) and len(symbol) > len(q)), "")
    return symbol.removesuffix(quote), quote


def _find(symbol: str) -> Listing:
    if symbol in CATALOG:
        return CATALOG[symbol]
    quote = split_symbol(symbol)[1]
    if not quote or not _LINE.fullmatch(symbol) or symbol in DELISTED:
        raise UnknownSymbol(symbol, difflib.get_close_matches(symbol, CATALOG, n=3))
    rng = random.Random(f"listing:{symbol}")
    price_precision = rng.choice((4, 5, 6, 8))
    price = rng.randrange(8_000, 900_000) / 10**price_precision
    amount_precision = 2 if price < 1 else 4
    value = _QUOTE_VALUE.get(quote, 600.0)
    levels = rng.choice((30, 90, 160, 260))
    return Listing(
        symbol.removesuffix(quote), quote, price_precision, amount_precision, price, levels, 6.0, value
    )


def reference_data(listing: Listing) -> dict[str, object]:
    """The entry of ``/v1/common/symbols``. As at the venue, which keys there are depends on the symbol."""
    rng = random.Random(f"reference:{listing.symbol}")
    least = 1 if listing.amount_precision < 3 else 0.001
    most = rng.choice((10_000, 800_000, 5_000_000, 800_000_000))
    entry: dict[str, object] = {
        "base-currency": listing.base,
        "quote-currency": listing.quote,
        "price-precision": listing.price_precision,
        "amount-precision": listing.amount_precision,
        "symbol-partition": "main" if listing.major else "innovation",
        "symbol": listing.symbol,
        "state": listing.state,
        "value-precision": 8,
        "min-order-amt": least,
        "max-order-amt": most,
        "min-order-value": 5 if listing.quote == "usdt" else 0.0001,
        "limit-order-min-order-amt": least,
        "limit-order-max-order-amt": most,
        "limit-order-max-buy-amt": most,
        "limit-order-max-sell-amt": most,
        "sell-market-min-order-amt": least,
        "sell-market-max-order-amt": most // 10,
        "buy-market-max-order-value": 100_000,
    }
    if rng.random() < 0.3:
        entry["max-order-value"] = 1000
    if listing.major and rng.random() < 0.6:
        entry["leverage-ratio"] = rng.choice((1, 3, 4, 5))
        if rng.random() < 0.7:
            entry["super-margin-leverage-ratio"] = 3
    entry["api-trading"] = "enabled"
    if rng.random() < 0.85:
        entry["tags"] = rng.choice(("", "", "st", "etp,nav,holdinglimit"))
    if entry.get("tags") == "etp,nav,holdinglimit":
        entry |= {
            "underlying": f"{listing.base}usdt",
            "mgmt-fee-rate": 0.035,
            "charge-time": "23:55:00",
            "rebal-time": "00:00:00",
            "rebal-threshold": -5,
            "init-nav": 10,
        }
    return entry
