"""The numbers the gateway uses for what users call by name.

A subscription's kind (:data:`SUB_TYPES`) and a bar's period (:data:`KL_TYPES`) are two numberings of their own: 2
is the order book in one and the daily bar in the other. They have different types here, and nothing converts between
them.
"""

from __future__ import annotations

from typing import Final, NewType

import msgspec

__all__ = [
    "KL_TYPES",
    "MARKETS",
    "MARKET_NUMBERS",
    "MARKET_STATES",
    "PERIOD_OF",
    "REHAB",
    "SUB_TYPES",
    "KlType",
    "Market",
    "MarketNumber",
    "SubType",
]

SubType = NewType("SubType", int)
"""A subscription's kind: an order book, ticks, bars of one period, ..."""

KlType = NewType("KlType", int)
"""A bar's period, in requests for bars and inside a bar's push."""

MarketNumber = NewType("MarketNumber", int)
"""A market in a security and in a ``sec_key``."""


class Market(msgspec.Struct, frozen=True):
    """One market. ``zone`` is that of its time strings, ``currency`` that of its prices (None: by symbol)."""

    name: str
    number: MarketNumber
    zone: str
    currency: str | None


_ROWS: Final = (
    ("HK", 1, "Asia/Hong_Kong", "HKD"),
    ("HK_FUTURE", 2, "Asia/Hong_Kong", "HKD"),
    ("US", 11, "America/New_York", "USD"),
    ("SH", 21, "Asia/Shanghai", "CNY"),
    ("SZ", 22, "Asia/Shanghai", "CNY"),
    ("SG", 31, "Asia/Singapore", "SGD"),
    ("JP", 41, "Asia/Tokyo", "JPY"),
    ("AU", 51, "Australia/Sydney", "AUD"),
    ("MY", 61, "Asia/Kuala_Lumpur", "MYR"),
    ("CA", 71, "America/Toronto", "CAD"),
    ("FX", 81, "UTC", None),
    ("CC", 91, "UTC", None),
    ("EC", 101, "America/New_York", "USD"),
)
"""The zones of HK, US, SH and SZ are documented; the others are those of the exchange, unverified."""

MARKETS: Final[dict[str, Market]] = {
    name: Market(name, MarketNumber(number), zone, currency) for name, number, zone, currency in _ROWS
}
"""The prefix of a symbol to its market."""

MARKET_NUMBERS: Final[dict[int, Market]] = {market.number: market for market in MARKETS.values()}

SUB_TYPES: Final[dict[str, SubType]] = {
    "quote": SubType(1),
    "orderbook": SubType(2),
    "ticker": SubType(4),
    "rt": SubType(5),
    "kline.1day": SubType(6),
    "kline.5min": SubType(7),
    "kline.15min": SubType(8),
    "kline.30min": SubType(9),
    "kline.60min": SubType(10),
    "kline.1min": SubType(11),
    "kline.1week": SubType(12),
    "kline.1mon": SubType(13),
    "broker": SubType(14),
    "kline.1quarter": SubType(15),
    "kline.1year": SubType(16),
    "kline.3min": SubType(17),
    "kline.10min": SubType(18),
    "kline.2hour": SubType(19),
    "kline.3hour": SubType(20),
    "kline.4hour": SubType(21),
}
"""Feed to the kind of its subscription. 3 is not used; 22, the odd-lot book, is not offered on REST."""

KL_TYPES: Final[dict[str, KlType]] = {
    "1min": KlType(1),
    "1day": KlType(2),
    "1week": KlType(3),
    "1mon": KlType(4),
    "1year": KlType(5),
    "5min": KlType(6),
    "15min": KlType(7),
    "30min": KlType(8),
    "60min": KlType(9),
    "3min": KlType(10),
    "1quarter": KlType(11),
    "10min": KlType(12),
    "2hour": KlType(13),
    "3hour": KlType(14),
    "4hour": KlType(15),
}
"""A bar's period to its number."""

PERIOD_OF: Final[dict[int, str]] = {number: period for period, number in KL_TYPES.items()}

REHAB: Final = ("none", "forward", "backward")
"""How a bar's prices are adjusted for splits and dividends, by number."""

MARKET_STATES: Final[dict[int, str]] = {
    0: "none",
    1: "auction",
    2: "waiting_open",
    3: "morning",
    4: "rest",
    5: "afternoon",
    6: "closed",
    8: "pre_market_begin",
    9: "pre_market_end",
    10: "after_hours_begin",
    11: "after_hours_end",
    13: "night_open",
    14: "night_end",
    15: "future_day_open",
    16: "future_day_break",
    17: "future_day_close",
    18: "future_day_wait_for_open",
    19: "hk_cas",
    23: "future_open",
    24: "future_break",
    25: "future_break_over",
    26: "future_close",
    27: "after_hours_wait",
    28: "after_hours_fixed_price",
    29: "after_hours_fixed_price_end",
    30: "close_auction",
    31: "afternoon_end",
    32: "night",
    33: "overnight_begin",
    34: "overnight_end",
    35: "trade_at_last",
    36: "trade_auction",
    37: "overnight",
}
"""What a market does now, by number, in ``/api/market-state`` and ``/api/global-state``."""
