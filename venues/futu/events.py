"""Protobuf messages to the values of :mod:`bookreel.venues.futu.model`, the same for pushes and for REST replies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from bookreel.book.model import TakerSide
from bookreel.venues.futu.codes import MARKET_NUMBERS, PERIOD_OF, REHAB, Market
from bookreel.venues.futu.model import (
    Bar,
    BookLevels,
    Broker,
    BrokerQueue,
    Event,
    ExtendedHours,
    Notice,
    OrderBook,
    Origin,
    PriceReminder,
    Quote,
    Tick,
    TimePoint,
    Volume,
)
from bookreel.venues.futu.symbols import make_symbol
from bookreel.venues.futu.times import instant, seconds_ns

__all__ = [
    "READERS",
    "bars",
    "broker_queue",
    "notice",
    "order_book",
    "quotes",
    "reminder",
    "security",
    "ticks",
    "time_points",
]

_SIDES: Final[dict[int, TakerSide]] = {1: "buy", 2: "sell"}
"""``dir``: 1 the buyer took the ask, 2 the seller took the bid, 3 neither."""

_ORIGINS: Final[dict[int, Origin]] = {1: "live", 2: "backfill", 3: "cache"}


def security(message: Any) -> tuple[str, Market]:
    """The symbol of a security, and its market. Raises ``BadSymbol``."""
    symbol = make_symbol(message.market, _text(message.code))
    return symbol, MARKET_NUMBERS[message.market]


def ticks(push: Any) -> list[Event]:
    """Every trade of a ticker's push or reply, in its order."""
    symbol, market = security(push.security)
    return [
        Tick(
            symbol=symbol,
            feed="ticker",
            ts_event=instant(_text(tick.time), tick.timestamp, market.zone),
            ts_gateway=seconds_ns(tick.recv_time),
            sequence=tick.sequence,
            side=_SIDES.get(tick.dir),
            price=_finite(tick.price, "price"),
            volume=_volume(tick),
            turnover=_finite(tick.turnover, "turnover"),
            kind=_maybe(tick, "type"),
            sign=_maybe(tick, "type_sign"),
            origin=_ORIGINS.get(tick.push_data_type),
        )
        for tick in push.ticker_list
    ]


def order_book(push: Any) -> list[Event]:
    """The one book of an order book's push or reply."""
    symbol, market = security(push.security)
    bid = instant(_text(push.svr_recv_time_bid), push.svr_recv_time_bid_timestamp, market.zone)
    ask = instant(_text(push.svr_recv_time_ask), push.svr_recv_time_ask_timestamp, market.zone)
    return [
        OrderBook(
            symbol=symbol,
            feed="orderbook",
            ts_event=max((t for t in (bid, ask) if t is not None), default=None),
            ts_bid=bid,
            ts_ask=ask,
            bids=_levels(push.order_book_bid_list),
            asks=_levels(push.order_book_ask_list),
            odd_lot=push.order_book_type == 1,
        )
    ]


def quotes(push: Any) -> list[Event]:
    """Every security of a quote's push or reply."""
    return [_quote(quote) for quote in push.basic_qot_list]


def _quote(quote: Any) -> Quote:
    symbol, market = security(quote.security)
    return Quote(
        symbol=symbol,
        feed="quote",
        ts_event=instant(_text(quote.update_time), quote.update_timestamp, market.zone),
        price=_finite(quote.cur_price, "cur_price"),
        open=_finite(quote.open_price, "open_price"),
        high=_finite(quote.high_price, "high_price"),
        low=_finite(quote.low_price, "low_price"),
        last_close=_finite(quote.last_close_price, "last_close_price"),
        volume=_volume(quote),
        turnover=quote.turnover,
        turnover_rate=quote.turnover_rate,
        amplitude=quote.amplitude,
        price_spread=quote.price_spread,
        suspended=quote.is_suspended,
        listed=_text(quote.list_time),
        status=_maybe(quote, "sec_status"),
        dark_status=_maybe(quote, "dark_status"),
        name=_text(_maybe(quote, "name")),
        pre_market=_extended(quote, "pre_market"),
        after_market=_extended(quote, "after_market"),
        overnight=_extended(quote, "overnight"),
    )


def broker_queue(push: Any) -> list[Event]:
    """The one queue of a broker queue's push or reply."""
    symbol, _ = security(push.security)
    return [
        BrokerQueue(symbol, "broker", None, _brokers(push.broker_bid_list), _brokers(push.broker_ask_list))
    ]


def time_points(push: Any) -> list[Event]:
    """Every minute of a time share's push or reply."""
    symbol, market = security(push.security)
    return [
        TimePoint(
            symbol=symbol,
            feed="rt",
            ts_event=instant(_text(point.time), point.timestamp, market.zone),
            minute=point.minute,
            blank=point.is_blank,
            price=_figure(point, "price"),
            last_close=_figure(point, "last_close_price"),
            average=_figure(point, "avg_price"),
            volume=None if point.is_blank else _volume(point),
            turnover=_figure(point, "turnover"),
        )
        for point in push.rt_list
    ]


def bars(push: Any, kl_type: int, rehab_type: int) -> list[Event]:
    """Every bar of a push or reply; which period it is a push says itself and a reply does not."""
    symbol, market = security(push.security)
    period = PERIOD_OF.get(kl_type)
    if period is None or not 0 <= rehab_type < len(REHAB):
        raise ValueError(f"no bar has klType {kl_type} and rehabType {rehab_type}")
    return [
        Bar(
            symbol=symbol,
            feed=f"kline.{period}",
            ts_event=instant(_text(bar.time), bar.timestamp, market.zone),
            period=period,
            rehab=REHAB[rehab_type],
            blank=bar.is_blank,
            open=_figure(bar, "open_price"),
            high=_figure(bar, "high_price"),
            low=_figure(bar, "low_price"),
            close=_figure(bar, "close_price"),
            last_close=_figure(bar, "last_close_price"),
            volume=None if bar.is_blank else _volume(bar),
            turnover=_figure(bar, "turnover"),
            turnover_rate=_figure(bar, "turnover_rate"),
            pe=_figure(bar, "pe"),
            change_rate=_figure(bar, "change_rate"),
        )
        for bar in push.kl_list
    ]


def reminder(push: Any) -> list[Event]:
    """A price reminder that went off."""
    symbol, _ = security(push.security)
    return [
        PriceReminder(
            symbol=symbol,
            feed="reminder",
            ts_event=None,
            price=push.price,
            change_rate=push.change_rate,
            market_status=push.market_status,
            content=_text(push.content),
            note=_text(push.note),
            key=_maybe(push, "key"),
            kind=_maybe(push, "type"),
            set_value=_maybe(push, "set_value"),
            current_value=_maybe(push, "cur_value"),
        )
    ]


def notice(push: Any) -> list[Event]:
    """News of the gateway."""
    event, login = _maybe(push, "event"), _maybe(push, "connect_status")
    quota, used = _maybe(push, "api_quota"), _maybe(push, "used_quota")
    return [
        Notice(
            kind=push.type,
            event=event and event.event_type,
            text=event and _text(event.desc),
            qot_logined=login and login.qot_logined,
            trd_logined=login and login.trd_logined,
            sub_quota=quota and quota.sub_quota,
            history_quota=quota and quota.history_kl_quota,
            used_sub_quota=used and _maybe(used, "used_sub_quota"),
            used_history_quota=used and _maybe(used, "used_k_line_quota"),
        )
    ]


READERS: Final[dict[int, Callable[[Any], list[Event]]]] = {
    1003: notice,
    3005: quotes,
    3007: lambda push: bars(push, push.kl_type, push.rehab_type),
    3009: time_points,
    3011: ticks,
    3013: order_book,
    3015: broker_queue,
    3019: reminder,
}
"""Number of a push to what reads its message. They raise ``ValueError`` for a number that cannot be right."""


def _levels(levels: Iterable[Any]) -> BookLevels:
    return [(_finite(level.price, "price"), _volume(level), level.oreder_count) for level in levels]


def _brokers(brokers: Iterable[Any]) -> list[Broker]:
    return [
        Broker(
            broker.id, _text(broker.name), broker.pos, _maybe(broker, "order_id"), _maybe(broker, "volume")
        )
        for broker in brokers
    ]


def _extended(quote: Any, name: str) -> ExtendedHours | None:
    hours = _maybe(quote, name)
    if hours is None:
        return None
    return ExtendedHours(
        price=_maybe(hours, "price"),
        high=_maybe(hours, "high_price"),
        low=_maybe(hours, "low_price"),
        volume=_maybe(hours, "volume"),
        turnover=_maybe(hours, "turnover"),
        change=_maybe(hours, "change_val"),
        change_rate=_maybe(hours, "change_rate"),
        amplitude=_maybe(hours, "amplitude"),
    )


def _volume(message: Any) -> Volume:
    """The whole volume as it was sent; the fractional one where there is one."""
    fractional: float = message.hp_volume
    whole: int = message.volume
    if fractional and fractional != whole:
        return _finite(fractional, "hp_volume")
    return whole


def _figure(message: Any, name: str) -> float | None:
    value: float | None = None if message.is_blank else _maybe(message, name)
    return value if value is None else _finite(value, name)


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    return value


def _text(value: Any) -> Any:
    """A string's text: the library hands out bytes where it is not UTF-8."""
    if isinstance(value, bytes):
        raise ValueError(f"{value[:40]!r} is not UTF-8")
    return value


def _maybe(message: Any, name: str) -> Any:
    """A field's value; None where the message does not have it."""
    return getattr(message, name) if message.HasField(name) else None
