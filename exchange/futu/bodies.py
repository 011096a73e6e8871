"""The state of a market as the protocol's messages: bodies of pushes, and the same as JSON for REST."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from bookreel.exchange.futu.market import Level, MarketTick, Queue, StockMarket
from bookreel.venues.futu.codes import KL_TYPES
from bookreel.venues.futu.proto import message_class
from bookreel.venues.futu.symbols import sec_key
from bookreel.venues.futu.times import local_text

__all__ = [
    "LIVE",
    "bars",
    "book",
    "brokers",
    "notice",
    "quote",
    "respond",
    "snapshot",
    "ticks",
    "time_points",
    "to_json",
    "write_frame",
]

LIVE: Final = 1
"""``pushDataType`` of a trade that just happened; 2 is back-filled, 3 from the cache."""


def respond(message: Any) -> bytes:
    """The body of a push: the whole response around a message."""
    name = message.DESCRIPTOR.name
    return bytes(message_class(f"{name}Response")(ret_type=0, s2c=message).SerializeToString())


def write_frame(proto_id: int, text: str, symbol: str | None, sub_type: int | None, rehab: int) -> str:
    """A push as ``/ws`` sends it. ``text``: its body in base64; without a symbol it is news of the gateway itself."""
    if symbol is None:
        return f'{{"type":"notify","proto_id":{proto_id},"body_b64":"{text}"}}'
    where = f'"sec_key":"{sec_key(symbol)}","sub_type":{sub_type},"rehab_type":{rehab}'
    return f'{{"type":"quote","proto_id":{proto_id},{where},"body_b64":"{text}"}}'


def book(stock: StockMarket, *, depth: int = 10, timed: bool = True) -> Any:
    """The order book. Only Hong Kong tells times; ``timed`` False writes them as zero."""
    message = message_class("UpdateOrderBook")(security=_security(stock), name=stock.listing.name)
    for added, side in ((message.order_book_bid_list, stock.bids), (message.order_book_ask_list, stock.asks)):
        _levels(added, side[:depth])
    if stock.listing.market.name == "HK":
        zone = stock.listing.market.zone
        message.svr_recv_time_bid = local_text(stock.bid_ns, zone) if timed else ""
        message.svr_recv_time_bid_timestamp = _seconds(stock.bid_ns) if timed else 0.0
        message.svr_recv_time_ask = local_text(stock.ask_ns, zone) if timed else ""
        message.svr_recv_time_ask_timestamp = _seconds(stock.ask_ns) if timed else 0.0
    return message


def ticks(stock: StockMarket, trades: Iterable[MarketTick], now_ns: int, data_type: int = LIVE) -> Any:
    """Trades; ``data_type`` says why they are sent."""
    message = message_class("UpdateTicker")(security=_security(stock), name=stock.listing.name)
    for trade in trades:
        message.ticker_list.add(
            time=local_text(trade.ts_ns, stock.listing.market.zone),
            sequence=trade.sequence,
            dir=trade.dir,
            price=trade.price,
            volume=trade.volume,
            turnover=round(trade.price * trade.volume, 6),
            recv_time=_seconds(now_ns),
            type=1,
            push_data_type=data_type,
            timestamp=_seconds(trade.ts_ns),
        )
    return message


def quote(stocks: Iterable[StockMarket]) -> Any:
    """The day's figures."""
    message = message_class("UpdateBasicQot")()
    for stock in stocks:
        message.basic_qot_list.add(
            security=_security(stock),
            name=stock.listing.name,
            is_suspended=False,
            list_time="2004-06-16",
            price_spread=stock.listing.spread,
            update_time=local_text(stock.last_ns, stock.listing.market.zone),
            update_timestamp=_seconds(stock.last_ns),
            high_price=stock.high,
            open_price=stock.open,
            low_price=stock.low,
            cur_price=stock.last,
            last_close_price=stock.last_close,
            volume=stock.volume,
            turnover=stock.turnover,
            turnover_rate=round(stock.volume / 1e7, 6),
            amplitude=round((stock.high - stock.low) / stock.last_close * 100, 3),
            dark_status=0,
            sec_status=1,
        )
    return message


def brokers(stock: StockMarket) -> Any:
    """The brokers' queues."""
    message = message_class("UpdateBroker")(security=_security(stock), name=stock.listing.name)
    _queue(message.broker_bid_list, stock.queues[0])
    _queue(message.broker_ask_list, stock.queues[1])
    return message


def time_points(stock: StockMarket, count: int | None = None) -> Any:
    """The minutes of the day, or the newest of them."""
    message = message_class("UpdateRT")(security=_security(stock), name=stock.listing.name)
    day = local_text(stock.last_ns, stock.listing.market.zone)[:10]
    for minute, (price, average, volume, turnover) in list(stock.minutes.items())[-(count or 0) :]:
        message.rt_list.add(
            time=f"{day} {minute // 60:02}:{minute % 60:02}:00",
            minute=minute,
            is_blank=False,
            price=price,
            last_close_price=stock.last_close,
            avg_price=average,
            volume=volume,
            turnover=turnover,
        )
    return message


def bars(stock: StockMarket, period: str, rehab: int, count: int) -> Any:
    """The newest bars of a period. This market has no splits: adjusted prices are the prices."""
    message = message_class("UpdateKL")(
        security=_security(stock), name=stock.listing.name, rehab_type=rehab, kl_type=KL_TYPES[period]
    )
    for bar in stock.bars.newest(period, count):
        message.kl_list.add(
            time=bar.label.isoformat(" ", "seconds"),
            is_blank=False,
            high_price=bar.high,
            open_price=bar.open,
            low_price=bar.low,
            close_price=bar.close,
            last_close_price=bar.last_close,
            volume=bar.volume,
            turnover=bar.turnover,
            change_rate=round((bar.close / bar.last_close - 1) * 100, 3),
        )
    return message


def notice(*, logined: bool) -> Any:
    """The news that the gateway lost, or has again, its login for quotes."""
    return message_class("Notify")(type=3, connect_status={"qot_logined": logined, "trd_logined": False})


def snapshot(stock: StockMarket) -> dict[str, Any]:
    """The figures of ``/api/snapshot``, which no push has."""
    (figures,) = to_json(quote([stock]))["basic_qot_list"]
    bid, ask = stock.bids[0], stock.asks[0]
    more = {
        "type": 3,
        "is_suspend": False,
        "lot_size": stock.listing.lot,
        "bid_price": bid.price,
        "ask_price": ask.price,
    }
    return {"basic": figures | more | {"bid_vol": bid.volume, "ask_vol": ask.volume}}


def to_json(message: Any) -> dict[str, Any]:
    """A message as the gateway's REST writes it: snake case, numbers as numbers, null for what is not there."""
    content: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        nested = field.type == FieldDescriptor.TYPE_MESSAGE
        if isinstance(value, (str, int, float)):
            content[field.name] = value if message.HasField(field.name) else None
        elif nested and hasattr(value, "DESCRIPTOR"):
            content[field.name] = to_json(value) if message.HasField(field.name) else None
        else:
            content[field.name] = [to_json(one) for one in value] if nested else list(value)
    return content


def _security(stock: StockMarket) -> Any:
    return message_class("Security")(market=stock.listing.market.number, code=stock.listing.code)


def _seconds(ns: int) -> float:
    """Unix seconds, exact to the microsecond."""
    return ns // 1000 / 1e6


def _levels(added: Any, levels: Iterable[Level]) -> None:
    for level in levels:
        added.add(price=level.price, volume=level.volume, oreder_count=level.orders)


def _queue(added: Any, queue: Iterable[Queue]) -> None:
    for broker in queue:
        added.add(id=broker.broker_id, name=broker.name, pos=broker.place)
