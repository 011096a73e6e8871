"""Options, warrants and futures, as replies of the gateway."""

from __future__ import annotations

from bookreel.venues.futu.item import Item, Security
from bookreel.venues.futu.listed import StaticInfo

__all__ = [
    "FutureContract",
    "FutureContracts",
    "OptionChain",
    "OptionExpiration",
    "OptionExpirations",
    "OptionPair",
    "OptionStrike",
    "TradeHours",
    "Warrant",
    "Warrants",
]


class OptionPair(Item, frozen=True):
    """Call and put of one strike."""

    call: StaticInfo | None = None
    put: StaticInfo | None = None


class OptionStrike(Item, frozen=True):
    """The options that end on one day."""

    strike_time: str | None = None
    option: tuple[OptionPair, ...] = ()
    strike_timestamp: float | None = None


class OptionChain(Item, frozen=True):
    """The options on a security."""

    option_chain: tuple[OptionStrike, ...] = ()


class OptionExpiration(Item, frozen=True):
    """A day on which options end."""

    strike_time: str | None = None
    strike_timestamp: float | None = None
    option_expiry_date_distance: int | None = None
    cycle: int | None = None


class OptionExpirations(Item, frozen=True):
    """The days on which a security's options end."""

    date_list: tuple[OptionExpiration, ...] = ()


class Warrant(Item, frozen=True):
    """One warrant with its figures."""

    stock: Security | None = None
    owner: Security | None = None
    type: int | None = None
    issuer: int | None = None
    maturity_time: str | None = None
    maturity_timestamp: float | None = None
    list_time: str | None = None
    list_timestamp: float | None = None
    last_trade_time: str | None = None
    last_trade_timestamp: float | None = None
    recovery_price: float | None = None
    conversion_ratio: float | None = None
    lot_size: int | None = None
    strike_price: float | None = None
    last_close_price: float | None = None
    name: str | None = None
    cur_price: float | None = None
    price_change_val: float | None = None
    change_rate: float | None = None
    status: int | None = None
    bid_price: float | None = None
    ask_price: float | None = None
    bid_vol: int | None = None
    ask_vol: int | None = None
    volume: int | None = None
    turnover: float | None = None
    score: float | None = None
    premium: float | None = None
    break_even_point: float | None = None
    leverage: float | None = None
    ipop: float | None = None
    price_recovery_ratio: float | None = None
    conversion_price: float | None = None
    street_rate: float | None = None
    street_vol: int | None = None
    amplitude: float | None = None
    issue_size: int | None = None
    high_price: float | None = None
    low_price: float | None = None
    implied_volatility: float | None = None
    delta: float | None = None
    effective_leverage: float | None = None
    upper_strike_price: float | None = None
    lower_strike_price: float | None = None
    in_line_price_status: int | None = None


class Warrants(Item, frozen=True):
    """One page of warrants."""

    last_page: bool | None = None
    all_count: int | None = None
    warrant_data_list: tuple[Warrant, ...] = ()


class TradeHours(Item, frozen=True):
    """Minutes of the day from midnight."""

    begin: float | None = None
    end: float | None = None


class FutureContract(Item, frozen=True):
    """One contract."""

    name: str | None = None
    security: Security | None = None
    last_trade_time: str | None = None
    last_trade_timestamp: float | None = None
    owner: Security | None = None
    owner_other: str | None = None
    exchange: str | None = None
    contract_type: str | None = None
    contract_size: float | None = None
    contract_size_unit: str | None = None
    quote_currency: str | None = None
    min_var: float | None = None
    min_var_unit: str | None = None
    quote_unit: str | None = None
    trade_time: tuple[TradeHours, ...] = ()
    time_zone: str | None = None
    exchange_format_url: str | None = None
    origin: Security | None = None


class FutureContracts(Item, frozen=True):
    """Several contracts."""

    future_info_list: tuple[FutureContract, ...] = ()
