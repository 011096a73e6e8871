"""The gateway itself: subscriptions, quotas, logins, delays, health."""

from __future__ import annotations

from typing import Any

from bookreel.venues.futu.item import Item, Security

__all__ = [
    "ConnectionSubscriptions",
    "DelayShare",
    "DelayStatistics",
    "GlobalState",
    "HistoryQuota",
    "HistoryQuotaItem",
    "ProgramStatus",
    "PushDelays",
    "PushHealth",
    "ReplyDelays",
    "SubscriptionInfo",
    "Subscriptions",
    "UsedQuota",
    "UserInfo",
]


class Subscriptions(Item, frozen=True):
    """The securities subscribed in one kind."""

    sub_type: int | None = None
    security_list: tuple[Security, ...] = ()


class ConnectionSubscriptions(Item, frozen=True):
    """The subscriptions of one connection."""

    sub_info_list: tuple[Subscriptions, ...] = ()
    used_quota: int | None = None
    is_own_conn_data: bool | None = None
    security_firm: int | None = None
    option_used_quota: int | None = None


class SubscriptionInfo(Item, frozen=True):
    """What is subscribed, and the quota in units: one for each security and kind."""

    conn_sub_info_list: tuple[ConnectionSubscriptions, ...] = ()
    total_used_quota: int | None = None
    remain_quota: int | None = None
    option_used_quota: int | None = None
    option_remain_quota: int | None = None


class ProgramStatus(Item, frozen=True):
    """What the gateway itself does."""

    type: int | None = None
    str_ext_desc: str | None = None


class GlobalState(Item, frozen=True):
    """Logins, versions, and what each market does, as ``codes.MARKET_STATES`` has it."""

    market_hk: int | None = None
    market_us: int | None = None
    market_sh: int | None = None
    market_sz: int | None = None
    market_hk_future: int | None = None
    market_us_future: int | None = None
    market_sg_future: int | None = None
    market_jp_future: int | None = None
    market_sg: int | None = None
    market_my: int | None = None
    market_jp: int | None = None
    qot_logined: bool | None = None
    trd_logined: bool | None = None
    server_ver: int | None = None
    server_build_no: int | None = None
    time: int | None = None
    local_time: float | None = None
    program_status: ProgramStatus | None = None
    qot_svr_ip_addr: str | None = None
    trd_svr_ip_addr: str | None = None
    conn_id: int | None = None


class UsedQuota(Item, frozen=True):
    """How much of the quotas is used."""

    used_sub_quota: int | None = None
    used_k_line_quota: int | None = None


class UserInfo(Item, frozen=True):
    """The account's rights and quotas."""

    nick_name: str | None = None
    avatar_url: str | None = None
    api_level: str | None = None
    hk_qot_right: int | None = None
    us_qot_right: int | None = None
    cn_qot_right: int | None = None
    is_need_agree_disclaimer: bool | None = None
    user_id: int | None = None
    update_type: int | None = None
    web_key: str | None = None
    web_jump_url_head: str | None = None
    hk_option_qot_right: int | None = None
    has_us_option_qot_right: bool | None = None
    hk_future_qot_right: int | None = None
    sub_quota: int | None = None
    history_kl_quota: int | None = None
    us_future_qot_right: int | None = None
    us_option_qot_right: int | None = None
    user_attribution: int | None = None
    update_whats_new: str | None = None
    us_index_qot_right: int | None = None
    us_otc_qot_right: int | None = None
    us_cme_future_qot_right: int | None = None
    us_cbot_future_qot_right: int | None = None
    us_nymex_future_qot_right: int | None = None
    us_comex_future_qot_right: int | None = None
    us_cboe_future_qot_right: int | None = None
    sg_future_qot_right: int | None = None
    jp_future_qot_right: int | None = None
    is_app_nn_or_mm: bool | None = None
    sh_qot_right: int | None = None
    sz_qot_right: int | None = None
    extra: int | None = None
    cc_qot_right: int | None = None
    sg_stock_qot_right: int | None = None
    my_stock_qot_right: int | None = None
    jp_stock_qot_right: int | None = None
    ec_qot_right: int | None = None


class DelayShare(Item, frozen=True):
    """Pushes within a range of delays, ms."""

    begin: int | None = None
    end: int | None = None
    count: int | None = None
    proportion: float | None = None
    cumulative_ratio: float | None = None


class PushDelays(Item, frozen=True):
    """The delays of one kind of push."""

    qot_push_type: int | None = None
    item_list: tuple[DelayShare, ...] = ()
    delay_avg: float | None = None
    count: int | None = None


class ReplyDelays(Item, frozen=True):
    """The delays of one kind of request."""

    proto_id: int | None = None
    count: int | None = None
    total_cost_avg: float | None = None
    open_d_cost_avg: float | None = None
    net_delay_avg: float | None = None
    is_local_reply: bool | None = None


class DelayStatistics(Item, frozen=True):
    """How long things took."""

    qot_push_statistics_list: tuple[PushDelays, ...] = ()
    req_reply_statistics_list: tuple[ReplyDelays, ...] = ()


class HistoryQuotaItem(Item, frozen=True):
    """A security whose history was asked for."""

    security: Security | None = None
    name: str | None = None
    request_time: str | None = None
    request_time_stamp: int | None = None


class HistoryQuota(Item, frozen=True):
    """How much of the history quota is used."""

    used_quota: int | None = None
    remain_quota: int | None = None
    detail_list: tuple[HistoryQuotaItem, ...] = ()


class PushHealth(Item, frozen=True):
    """Whether quotes still reach the gateway. ``last_push_received_at_ms`` is unix time in ms."""

    push_stream_healthy: bool | None = None
    last_push_received_at_ms: int | None = None
    consecutive_parse_errors: int | None = None
    total_pushes_received: int | None = None
    resubscribe_triggers: int | None = None
    circuit_breaker_trips: int | None = None
    qot_login_health: Any = None
