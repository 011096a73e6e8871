"""A security's names: ``HK.00700`` to users and in REST, ``1_00700`` in a push, market 1 and code 00700 inside."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from bookreel.venues.errors import BadSymbol
from bookreel.venues.futu.codes import MARKET_NUMBERS, MARKETS, Market

__all__ = [
    "check_symbol",
    "make_symbol",
    "market_of",
    "near_symbols",
    "parse_sec_key",
    "sec_key",
    "split_symbol",
]

_CODE: Final = re.compile(r"\.?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,46}[A-Za-z0-9_])?")
"""``00700``, ``BRK.B``, ``.SPX``, ``TCH240130C300000``, ``HSImain``. Nothing else may become part of a path."""

_SEC_KEY: Final = re.compile(r"([0-9]{1,3})_(.{1,48})", re.DOTALL)


def split_symbol(symbol: str) -> tuple[Market, str]:
    """Market and code of ``HK.00700``. Raises ``BadSymbol``, which names what was likely meant."""
    name, dot, code = symbol[:64].partition(".")
    market = MARKETS.get(name)
    if market is not None and dot and len(symbol) <= 64 and _CODE.fullmatch(code):
        return market, code
    raise BadSymbol(symbol[:64], _meant(name, code))


def _meant(name: str, code: str) -> list[str]:
    folded = name.upper()
    if folded in MARKETS and _CODE.fullmatch(code):
        return [f"{folded}.{code}"]
    if not code and re.fullmatch(r"[0-9]{1,5}", name):
        return [f"HK.{name:0>5}"]
    if not code and re.fullmatch(r"[A-Za-z]{1,5}", name):
        return [f"US.{folded}"]
    return []


def check_symbol(symbol: str) -> str:
    """``symbol`` itself where it is well-formed; else raises ``BadSymbol``."""
    split_symbol(symbol)
    return symbol


def market_of(symbol: str) -> Market:
    """The market of a symbol. Raises ``BadSymbol``."""
    return split_symbol(symbol)[0]


def make_symbol(market: int, code: str) -> str:
    """The symbol of a security's market number and code. Raises ``BadSymbol``."""
    known = MARKET_NUMBERS.get(market)
    if known is None or not _CODE.fullmatch(code):
        raise BadSymbol(f"{market}_{code[:64]}")
    return f"{known.name}.{code}"


def sec_key(symbol: str) -> str:
    """``1_00700`` of ``HK.00700``. Raises ``BadSymbol``."""
    market, code = split_symbol(symbol)
    return f"{market.number}_{code}"


def parse_sec_key(text: str) -> str | None:
    """The symbol of a push's ``sec_key``; None where it cannot be read as one."""
    match = _SEC_KEY.fullmatch(text)
    try:
        return make_symbol(int(match[1]), match[2]) if match else None
    except BadSymbol:
        return None


def near_symbols(symbol: str, listed: Iterable[str]) -> list[str]:
    """Up to three of the ``listed`` symbols that resemble ``symbol``, best first."""
    return difflib.get_close_matches(symbol[:64].upper(), list(listed), n=3)
