"""What is listed: securities, plates, splits and dividends, suspensions, new listings, trading days."""

from __future__ import annotations

from bookreel.venues.futu.item import Item, Security

__all__ = [
    "AllSuspensions",
    "CodeChange",
    "CodeChanges",
    "FutureStatic",
    "Ipo",
    "IpoBasic",
    "IpoCn",
    "IpoHk",
    "IpoJp",
    "IpoMy",
    "IpoSg",
    "IpoUs",
    "Ipos",
    "OptionStatic",
    "OwnerPlate",
    "OwnerPlates",
    "PlateInfo",
    "Plates",
    "Rehab",
    "Rehabs",
    "StaticBasic",
    "StaticInfo",
    "StaticInfos",
    "Suspension",
    "Suspensions",
    "TradeDate",
    "TradeDates",
    "WarrantStatic",
    "WinningNumData",
]


class StaticBasic(Item, frozen=True):
    """What every security has. ``id`` is the venue's own number."""

    security: Security | None = None
    id: int | None = None
    lot_size: int | None = None
    sec_type: int | None = None
    name: str | None = None
    list_time: str | None = None
    delisting: bool | None = None
    list_timestamp: float | None = None
    exch_type: int | None = None


class WarrantStatic(Item, frozen=True):
    """Of a warrant."""

    type: int | None = None
    owner: Security | None = None


class OptionStatic(Item, frozen=True):
    """Of an option."""

    type: int | None = None
    owner: Security | None = None
    strike_time: str | None = None
    strike_price: float | None = None
    suspend: bool | None = None
    market: str | None = None
    strike_timestamp: float | None = None
    index_option_type: int | None = None
    expiration_cycle: int | None = None
    option_standard_type: int | None = None
    option_settlement_mode: int | None = None


class FutureStatic(Item, frozen=True):
    """Of a future."""

    last_trade_time: str | None = None
    last_trade_timestamp: float | None = None
    is_main_contract: bool | None = None


class StaticInfo(Item, frozen=True):
    """Reference data of one security."""

    basic: StaticBasic | None = None
    warrant_ex_data: WarrantStatic | None = None
    option_ex_data: OptionStatic | None = None
    future_ex_data: FutureStatic | None = None


class StaticInfos(Item, frozen=True):
    """Reference data of many securities."""

    static_info_list: tuple[StaticInfo, ...] = ()


class PlateInfo(Item, frozen=True):
    """One plate: an industry, a region or a concept."""

    plate: Security | None = None
    name: str | None = None
    plate_type: int | None = None


class Plates(Item, frozen=True):
    """The plates of a market."""

    plate_info_list: tuple[PlateInfo, ...] = ()


class OwnerPlate(Item, frozen=True):
    """The plates a security belongs to."""

    security: Security | None = None
    name: str | None = None
    plate_info_list: tuple[PlateInfo, ...] = ()


class OwnerPlates(Item, frozen=True):
    """The plates of several securities."""

    owner_plate_list: tuple[OwnerPlate, ...] = ()


class Rehab(Item, frozen=True):
    """One event that changes a price, with the factors that adjust for it."""

    time: str | None = None
    company_act_flag: int | None = None
    fwd_factor_a: float | None = None
    fwd_factor_b: float | None = None
    bwd_factor_a: float | None = None
    bwd_factor_b: float | None = None
    split_base: int | None = None
    split_ert: int | None = None
    join_base: int | None = None
    join_ert: int | None = None
    bonus_base: int | None = None
    bonus_ert: int | None = None
    transfer_base: int | None = None
    transfer_ert: int | None = None
    allot_base: int | None = None
    allot_ert: int | None = None
    allot_price: float | None = None
    add_base: int | None = None
    add_ert: int | None = None
    add_price: float | None = None
    dividend: float | None = None
    sp_dividend: float | None = None
    spin_off_base: float | None = None
    spin_off_ert: float | None = None
    timestamp: float | None = None


class Rehabs(Item, frozen=True):
    """A security's splits, dividends and the like."""

    rehab_list: tuple[Rehab, ...] = ()


class Suspension(Item, frozen=True):
    """A day without trading."""

    time: str | None = None
    timestamp: float | None = None


class Suspensions(Item, frozen=True):
    """The days on which a security was suspended."""

    security: Security | None = None
    suspend_list: tuple[Suspension, ...] = ()


class AllSuspensions(Item, frozen=True):
    """The suspensions of several securities."""

    security_suspend_list: tuple[Suspensions, ...] = ()


class IpoBasic(Item, frozen=True):
    """What every listing has."""

    security: Security | None = None
    name: str | None = None
    list_time: str | None = None
    list_timestamp: float | None = None


class WinningNumData(Item, frozen=True):
    """Numbers that were drawn."""

    winning_name: str | None = None
    winning_info: str | None = None


class IpoCn(Item, frozen=True):
    """Of a listing in mainland China."""

    apply_code: str | None = None
    issue_size: int | None = None
    online_issue_size: int | None = None
    apply_upper_limit: int | None = None
    apply_limit_market_value: int | None = None
    is_estimate_ipo_price: bool | None = None
    ipo_price: float | None = None
    industry_pe_rate: float | None = None
    is_estimate_winning_ratio: bool | None = None
    winning_ratio: float | None = None
    issue_pe_rate: float | None = None
    apply_time: str | None = None
    apply_timestamp: float | None = None
    winning_time: str | None = None
    winning_timestamp: float | None = None
    is_has_won: bool | None = None
    winning_num_data: tuple[WinningNumData, ...] = ()


class IpoHk(Item, frozen=True):
    """Of a listing in Hong Kong."""

    ipo_price_min: float | None = None
    ipo_price_max: float | None = None
    list_price: float | None = None
    lot_size: int | None = None
    entrance_price: float | None = None
    is_subscribe_status: bool | None = None
    apply_end_time: str | None = None
    apply_end_timestamp: float | None = None


class IpoUs(Item, frozen=True):
    """Of a listing in the US."""

    ipo_price_min: float | None = None
    ipo_price_max: float | None = None
    issue_size: int | None = None


class IpoSg(Item, frozen=True):
    """Of a listing in Singapore."""

    ipo_price_min: float | None = None
    ipo_price_max: float | None = None
    issue_size: int | None = None
    apply_start_time: str | None = None
    apply_start_timestamp: float | None = None
    apply_end_time: str | None = None
    apply_end_timestamp: float | None = None
    winning_time: str | None = None
    winning_timestamp: float | None = None


class IpoMy(Item, frozen=True):
    """Of a listing in Malaysia."""

    offer_price: float | None = None
    issue_size: int | None = None
    apply_start_time: str | None = None
    apply_start_timestamp: float | None = None
    apply_end_time: str | None = None
    apply_end_timestamp: float | None = None
    winning_time: str | None = None
    winning_timestamp: float | None = None


class IpoJp(Item, frozen=True):
    """Of a listing in Japan."""

    ipo_price_min: float | None = None
    ipo_price_max: float | None = None
    issue_size: int | None = None


class Ipo(Item, frozen=True):
    """One listing."""

    basic: IpoBasic | None = None
    cn_ex_data: IpoCn | None = None
    hk_ex_data: IpoHk | None = None
    us_ex_data: IpoUs | None = None
    sg_ex_data: IpoSg | None = None
    my_ex_data: IpoMy | None = None
    jp_ex_data: IpoJp | None = None


class Ipos(Item, frozen=True):
    """The listings ahead in a market."""

    ipo_list: tuple[Ipo, ...] = ()


class CodeChange(Item, frozen=True):
    """A security that took another code."""

    type: int | None = None
    security: Security | None = None
    related_security: Security | None = None
    public_time: str | None = None
    public_timestamp: float | None = None
    effective_time: str | None = None
    effective_timestamp: float | None = None
    end_time: str | None = None
    end_timestamp: float | None = None


class CodeChanges(Item, frozen=True):
    """Securities that took other codes."""

    code_change_list: tuple[CodeChange, ...] = ()


class TradeDate(Item, frozen=True):
    """A trading day. ``trade_date_type``: 0 whole, 1 morning only, 2 afternoon only."""

    time: str | None = None
    timestamp: float | None = None
    trade_date_type: int | None = None


class TradeDates(Item, frozen=True):
    """The trading days of a market."""

    trade_date_list: tuple[TradeDate, ...] = ()
