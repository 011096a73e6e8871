"""Figures that are asked for, not pushed: snapshots, market states, money flow, filters, reminders."""

from __future__ import annotations

from typing import Any

from bookreel.venues.futu.item import Item, Security

__all__ = [
    "CapitalDistribution",
    "CapitalFlow",
    "CapitalFlows",
    "EquitySnapshot",
    "ExtendedSnapshot",
    "FilterDays",
    "FilterIndicator",
    "FilterQuarter",
    "FilterValue",
    "FilteredStock",
    "FilteredStocks",
    "FutureSnapshot",
    "IndexSnapshot",
    "MarketInfo",
    "MarketStates",
    "OptionSnapshot",
    "PlateSnapshot",
    "PriceReminders",
    "Reminder",
    "Reminders",
    "RiskFreeRate",
    "Snapshot",
    "SnapshotBasic",
    "Snapshots",
    "SpreadItem",
    "SpreadTable",
    "SpreadTables",
    "TickerStatistic",
    "TrustSnapshot",
    "WarrantSnapshot",
]


class ExtendedSnapshot(Item, frozen=True):
    """A session before, after or between trading hours."""

    price: float | None = None
    high_price: float | None = None
    low_price: float | None = None
    volume: int | None = None
    turnover: float | None = None
    change_val: float | None = None
    change_rate: float | None = None
    amplitude: float | None = None


class SnapshotBasic(Item, frozen=True):
    """The figures every security has."""

    security: Security | None = None
    name: str | None = None
    type: int | None = None
    is_suspend: bool | None = None
    list_time: str | None = None
    lot_size: int | None = None
    price_spread: float | None = None
    update_time: str | None = None
    high_price: float | None = None
    open_price: float | None = None
    low_price: float | None = None
    last_close_price: float | None = None
    cur_price: float | None = None
    volume: int | None = None
    turnover: float | None = None
    turnover_rate: float | None = None
    list_timestamp: float | None = None
    update_timestamp: float | None = None
    ask_price: float | None = None
    bid_price: float | None = None
    ask_vol: int | None = None
    bid_vol: int | None = None
    enable_margin: bool | None = None
    mortgage_ratio: float | None = None
    long_margin_initial_ratio: float | None = None
    enable_short_sell: bool | None = None
    short_sell_rate: float | None = None
    short_available_volume: int | None = None
    short_margin_initial_ratio: float | None = None
    amplitude: float | None = None
    avg_price: float | None = None
    bid_ask_ratio: float | None = None
    volume_ratio: float | None = None
    highest52_weeks_price: float | None = None
    lowest52_weeks_price: float | None = None
    highest_history_price: float | None = None
    lowest_history_price: float | None = None
    pre_market: ExtendedSnapshot | None = None
    after_market: ExtendedSnapshot | None = None
    sec_status: int | None = None
    close_price5_minute: float | None = None
    overnight: ExtendedSnapshot | None = None
    hp_volume: float | None = None
    hp_ask_vol: float | None = None
    hp_bid_vol: float | None = None


class EquitySnapshot(Item, frozen=True):
    """Of a share."""

    issued_shares: int | None = None
    issued_market_val: float | None = None
    net_asset: float | None = None
    net_profit: float | None = None
    earnings_pershare: float | None = None
    outstanding_shares: int | None = None
    outstanding_market_val: float | None = None
    net_asset_pershare: float | None = None
    ey_rate: float | None = None
    pe_rate: float | None = None
    pb_rate: float | None = None
    pe_ttm_rate: float | None = None
    dividend_ttm: float | None = None
    dividend_ratio_ttm: float | None = None
    dividend_lfy: float | None = None
    dividend_lfy_ratio: float | None = None


class WarrantSnapshot(Item, frozen=True):
    """Of a warrant."""

    conversion_rate: float | None = None
    warrant_type: int | None = None
    strike_price: float | None = None
    maturity_time: str | None = None
    end_trade_time: str | None = None
    owner: Security | None = None
    recovery_price: float | None = None
    street_volumn: int | None = None
    issue_volumn: int | None = None
    street_rate: float | None = None
    delta: float | None = None
    implied_volatility: float | None = None
    premium: float | None = None
    maturity_timestamp: float | None = None
    end_trade_timestamp: float | None = None
    leverage: float | None = None
    ipop: float | None = None
    break_even_point: float | None = None
    conversion_price: float | None = None
    price_recovery_ratio: float | None = None
    score: float | None = None
    upper_strike_price: float | None = None
    lower_strike_price: float | None = None
    in_line_price_status: int | None = None
    issuer_code: str | None = None


class OptionSnapshot(Item, frozen=True):
    """Of an option."""

    type: int | None = None
    owner: Security | None = None
    strike_time: str | None = None
    strike_price: float | None = None
    contract_size: int | None = None
    contract_size_float: float | None = None
    open_interest: int | None = None
    implied_volatility: float | None = None
    premium: float | None = None
    delta: float | None = None
    gamma: float | None = None
    vega: float | None = None
    theta: float | None = None
    rho: float | None = None
    strike_timestamp: float | None = None
    index_option_type: int | None = None
    net_open_interest: int | None = None
    expiry_date_distance: int | None = None
    contract_nominal_value: float | None = None
    owner_lot_multiplier: float | None = None
    option_area_type: int | None = None
    contract_multiplier: float | None = None


class IndexSnapshot(Item, frozen=True):
    """Of an index."""

    raise_count: int | None = None
    fall_count: int | None = None
    equal_count: int | None = None


class PlateSnapshot(Item, frozen=True):
    """Of a plate."""

    raise_count: int | None = None
    fall_count: int | None = None
    equal_count: int | None = None


class FutureSnapshot(Item, frozen=True):
    """Of a future."""

    last_settle_price: float | None = None
    position: int | None = None
    position_change: int | None = None
    last_trade_time: str | None = None
    last_trade_timestamp: float | None = None
    is_main_contract: bool | None = None


class TrustSnapshot(Item, frozen=True):
    """Of a fund."""

    dividend_yield: float | None = None
    aum: float | None = None
    outstanding_units: int | None = None
    net_asset_value: float | None = None
    premium: float | None = None
    asset_class: int | None = None


class Snapshot(Item, frozen=True):
    """The present figures of one security."""

    basic: SnapshotBasic | None = None
    equity_ex_data: EquitySnapshot | None = None
    warrant_ex_data: WarrantSnapshot | None = None
    option_ex_data: OptionSnapshot | None = None
    index_ex_data: IndexSnapshot | None = None
    plate_ex_data: PlateSnapshot | None = None
    future_ex_data: FutureSnapshot | None = None
    trust_ex_data: TrustSnapshot | None = None


class Snapshots(Item, frozen=True):
    """The present figures of several securities."""

    snapshot_list: tuple[Snapshot, ...] = ()


class MarketInfo(Item, frozen=True):
    """What a security's market does now, as ``codes.MARKET_STATES`` has it."""

    security: Security | None = None
    name: str | None = None
    market_state: int | None = None


class MarketStates(Item, frozen=True):
    """What the markets of several securities do now."""

    market_info_list: tuple[MarketInfo, ...] = ()


class CapitalFlow(Item, frozen=True):
    """Money that came in until one minute."""

    in_flow: float | None = None
    time: str | None = None
    timestamp: float | None = None
    main_in_flow: float | None = None
    super_in_flow: float | None = None
    big_in_flow: float | None = None
    mid_in_flow: float | None = None
    sml_in_flow: float | None = None


class CapitalFlows(Item, frozen=True):
    """A security's money flow by the minute."""

    flow_item_list: tuple[CapitalFlow, ...] = ()
    last_valid_time: str | None = None
    last_valid_timestamp: float | None = None


class CapitalDistribution(Item, frozen=True):
    """Money in and out by the size of orders."""

    capital_in_super: float | None = None
    capital_in_big: float | None = None
    capital_in_mid: float | None = None
    capital_in_small: float | None = None
    capital_out_super: float | None = None
    capital_out_big: float | None = None
    capital_out_mid: float | None = None
    capital_out_small: float | None = None
    update_time: str | None = None
    update_timestamp: float | None = None


class FilterValue(Item, frozen=True):
    """A figure that was asked for."""

    field_name: int | None = None
    value: float | None = None


class FilterDays(Item, frozen=True):
    """A figure over some days."""

    field_name: int | None = None
    value: float | None = None
    days: int | None = None


class FilterQuarter(Item, frozen=True):
    """A figure of a quarter."""

    field_name: int | None = None
    value: float | None = None
    quarter: int | None = None


class FilterIndicator(Item, frozen=True):
    """A chart indicator."""

    field_name: int | None = None
    value: float | None = None
    kl_type: int | None = None
    field_para_list: tuple[int, ...] = ()


class FilteredStock(Item, frozen=True):
    """A security that passed."""

    security: Security | None = None
    name: str | None = None
    base_data_list: tuple[FilterValue, ...] = ()
    accumulate_data_list: tuple[FilterDays, ...] = ()
    financial_data_list: tuple[FilterQuarter, ...] = ()
    custom_indicator_data_list: tuple[FilterIndicator, ...] = ()


class FilteredStocks(Item, frozen=True):
    """One page of the securities that passed."""

    last_page: bool | None = None
    all_count: int | None = None
    data_list: tuple[FilteredStock, ...] = ()


class Reminder(Item, frozen=True):
    """One reminder that is set."""

    key: int | None = None
    type: int | None = None
    value: float | None = None
    note: str | None = None
    freq: int | None = None
    is_enable: bool | None = None
    reminder_session_list: tuple[int, ...] = ()


class Reminders(Item, frozen=True):
    """The reminders of one security."""

    security: Security | None = None
    name: str | None = None
    item_list: tuple[Reminder, ...] = ()


class PriceReminders(Item, frozen=True):
    """All reminders asked for."""

    price_reminder_list: tuple[Reminders, ...] = ()


class SpreadItem(Item, frozen=True):
    """The price step between two prices."""

    price_from: float
    price_to: float
    value: float


class SpreadTable(Item, frozen=True):
    """The price steps of one table."""

    spread_code: int | None = None
    spread_item_list: tuple[SpreadItem, ...] = ()


class SpreadTables(Item, frozen=True):
    """Every table of price steps."""

    spread_table_list: tuple[SpreadTable, ...] = ()


class RiskFreeRate(Item, frozen=True):
    """Rates in percent."""

    hk_rate_pct: float | None = None
    us_rate_pct: float | None = None
    jp_rate_pct: float | None = None


class TickerStatistic(Item, frozen=True):
    """Trades summed up over intervals. Its names are not documented: it is kept as it came, in snake case."""

    content: dict[str, Any]
