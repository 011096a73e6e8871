"""Frame text to messages.

Market data is nearly all of the traffic and begins with its topic, so ``decode`` peeks at that, and one typed
parse of the whole frame does the rest. Everything else, and whatever the typed parse refuses, takes the slow way
through the envelope, which also finds the words for an error.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgspec
from msgspec import Raw

from bookreel.book.model import (
    Bbo,
    Delta,
    Event,
    Kline,
    Levels,
    Snapshot,
    SnapshotSource,
    TakerSide,
    Ticker,
    Trade,
)
from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi import wire
from bookreel.venues.huobi.compression import MAX_TEXT_BYTES
from bookreel.venues.huobi.refusals import classify
from bookreel.venues.huobi.topics import FEEDS, Family, parse_topic
from bookreel.venues.message import (
    Ack,
    Data,
    Heartbeat,
    Message,
    Refusal,
    Reply,
    Request,
    RequestId,
    Topic,
    Unknown,
)

__all__ = ["decode", "decoder"]

_BRIEF_BYTES: Final = 16 << 10
_LONG_EXPONENT: Final = re.compile(rb"[eE][+-]?[0-9]{3}")
_LONG_EXPONENTS_MAX: Final = 1000

_PUSH: Final = b'{"ch":"'
_PUSH_NAME_END: Final = len(_PUSH) + 80
"""No topic's name is longer, and what is longer must not be remembered."""
_NS_PER_MS: Final = 1_000_000
_NS_PER_S: Final = 1_000_000_000
_INT64_MAX: Final = 2**63 - 1
_WORDS_MAX: Final = 500
"""Characters of an error's code and text, and of the name of a topic that is none: these go into logs."""
_TRADE_ID_MAX: Final = 64
"""Digits or characters of a trade's long id: the venue's have 27, and thousands are remembered."""
_ROUTES_MAX: Final = 65_536
"""Every feed of every listed symbol fits; beyond, the least used is looked up anew."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What parsing raises: wrong types, bad JSON, bad UTF-8 (a ValueError), and nesting without end."""

_price: Final = itemgetter(0)


class _Misfit(ValueError):
    """A frame that parses, and cannot be right."""


def decode(text: bytes) -> Message:
    """One frame's text, in either direction, as a message.

    ``ts_event`` of an event is 0 where neither it nor its envelope has a time (old replies). Raises ``DecodeError``.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise DecodeError(f"it is larger than {MAX_TEXT_BYTES} bytes", text)
    if len(text) > _BRIEF_BYTES and len(_LONG_EXPONENT.findall(text)) > _LONG_EXPONENTS_MAX:
        # Each takes the parser some 8 us, a thousand times as long as others. Prices have none.
        raise DecodeError(f"more than {_LONG_EXPONENTS_MAX} numbers have an exponent of three digits", text)
    if not text.isascii():
        # The parser looks only at what it reads, and a text that is none could not be stored as one.
        try:
            text.decode()
        except UnicodeDecodeError as error:
            raise DecodeError(str(error), text) from None
    failed: Exception | None = None
    route = _route_of(text)
    if route is not None:
        try:
            return route[1](text, route[0])
        except _UNREADABLE as error:
            failed = error  # the slow way tells an error frame from a broken one
    try:
        return _decode_any(text, failed)
    except _UNREADABLE as error:
        raise DecodeError(str(error), text) from None


def decoder(start: bytes) -> Callable[[bytes], Message]:
    """What reads texts that begin with ``start`` just as :func:`decode` does, in less time where ``start`` says whose
    pushes they are.
    """
    route = _route_of(start)
    if route is None:
        return decode
    topic, push = route

    def decode_push(text: bytes) -> Message:
        if len(text) <= _BRIEF_BYTES and text.isascii():
            try:
                return push(text, topic)
            except _UNREADABLE:
                pass  # it is for decode to say what it is
        return decode(text)

    return decode_push


def _decode_any(text: bytes, failed: Exception | None) -> Message:
    """``failed``: why it cannot be read as the push that it begins as; that is not tried twice."""
    try:
        frame = _envelope(text)
    except msgspec.ValidationError:
        if text.lstrip()[:1] == b"{":
            raise
        _any(text)  # not an object, but is it JSON at all?
        return Unknown("not an object", None, None)
    if frame.status == "error" or frame.err_msg is not None:
        return _refusal(frame)
    if frame.ping is not None:
        return Heartbeat("ping", frame.ping)
    if frame.pong is not None:
        return Heartbeat("pong", frame.pong)
    ts_event = None if frame.ts is None else frame.ts * _NS_PER_MS
    if frame.action != wire.ABSENT or frame.op != wire.ABSENT or frame.code != wire.ABSENT:
        name = None if frame.ch is None else frame.ch[:_WORDS_MAX]
        return Unknown("a frame of the private protocols", name, ts_event)
    if frame.ch is not None:
        topic = parse_topic(frame.ch)
        if topic is None:
            return Unknown("unknown topic", frame.ch[:_WORDS_MAX], ts_event)
        if failed is not None:
            raise failed
        return _PUSHES[FEEDS[topic.feed].family](text, topic)
    if frame.rep is not None:
        return _reply(frame, frame.rep, ts_event)
    if frame.subbed != wire.ABSENT:
        return _ack("sub", frame.subbed, frame, ts_event)
    if frame.unsubbed != wire.ABSENT:
        return _ack("unsub", frame.unsubbed, frame, ts_event)
    if frame.sub != wire.ABSENT:
        return _request("sub", frame.sub, frame)
    if frame.unsub != wire.ABSENT:
        return _request("unsub", frame.unsub, frame)
    if frame.req != wire.ABSENT:
        return _request("req", frame.req, frame)
    return Unknown("no key that tells what it is", None, ts_event)


_envelope: Final = msgspec.json.Decoder(wire.Envelope).decode
_any: Final = msgspec.json.Decoder(Raw).decode
_string: Final = msgspec.json.Decoder(str).decode
_request_id_of: Final = msgspec.json.Decoder(int | str | None).decode


def _refusal(frame: wire.Envelope) -> Refusal:
    code = "" if frame.err_code is None else str(frame.err_code)[:_WORDS_MAX]
    words = (frame.err_msg or "")[:_WORDS_MAX]
    ts_event = None if frame.ts is None else frame.ts * _NS_PER_MS
    return Refusal(classify(code, words), code, words, _request_id(frame.id), ts_event)


def _ack(kind: Any, name: Raw, frame: wire.Envelope, ts_event: int | None) -> Message:
    text = _topic_text(name)
    topic = parse_topic(text)
    if topic is None:
        return Unknown(f"{kind} of an unknown topic", text[:_WORDS_MAX], ts_event)
    return Ack(kind, topic, _request_id(frame.id), ts_event)


def _request(kind: Any, name: Raw, frame: wire.Envelope) -> Request:
    text = _topic_text(name)
    return Request(kind, parse_topic(text), text[:_WORDS_MAX], _request_id(frame.id))


def _topic_text(name: Raw) -> str:
    """A topic's text; the JSON itself for what is not one string, such as a list of topics."""
    text = bytes(name)
    return _string(text) if text.startswith(b'"') else text.decode()


def _request_id(value: Raw) -> RequestId:
    """The id as sent, its type kept; its JSON text where it is neither a string nor an integer."""
    if value == wire.ABSENT:
        return None
    try:
        known: RequestId = _request_id_of(value)
        return known
    except msgspec.ValidationError:
        return bytes(value).decode()


def _reply(frame: wire.Envelope, text: str, ts_event: int | None) -> Message:
    topic = parse_topic(text)
    if topic is None:
        return Unknown("reply of an unknown topic", text[:_WORDS_MAX], ts_event)
    events: list[Event] = []
    if bytes(frame.data) not in (b"", b"null"):
        events = _REPLIES[FEEDS[topic.feed].family](frame.data, topic, ts_event or 0)
    return Reply(topic, _request_id(frame.id), ts_event, events)


# Pushes: one function a family, each with the parser of its whole frame.

_mbp_push: Final = msgspec.json.Decoder(wire.MbpPush).decode
_refresh_push: Final = msgspec.json.Decoder(wire.RefreshPush).decode
_depth_push: Final = msgspec.json.Decoder(wire.DepthPush).decode
_bbo_push: Final = msgspec.json.Decoder(wire.BboPush).decode
_trade_push: Final = msgspec.json.Decoder(wire.TradePush).decode
_kline_push: Final = msgspec.json.Decoder(wire.KlinePush).decode
_summary_push: Final = msgspec.json.Decoder(wire.SummaryPush).decode


def _push_mbp(text: bytes, topic: Topic) -> Message:
    frame = _mbp_push(text)
    tick = frame.tick
    if tick.prev_seq >= tick.seq:
        # One that does not rise would be applied as often as it is repeated.
        raise _Misfit(f"prevSeqNum {tick.prev_seq} is not below seqNum {tick.seq}")
    ts = frame.ts * _NS_PER_MS
    delta = Delta(topic.symbol, topic.feed, ts, tick.seq, tick.prev_seq, tick.bids or [], tick.asks or [])
    return Data(topic, ts, [delta])


def _push_refresh(text: bytes, topic: Topic) -> Message:
    frame = _refresh_push(text)
    ts = frame.ts * _NS_PER_MS
    return Data(topic, ts, [_mbp_image(frame.tick, topic, ts, "push")])


def _push_depth(text: bytes, topic: Topic) -> Message:
    frame = _depth_push(text)
    ts = frame.ts * _NS_PER_MS
    if frame.update:
        # Read as a whole book it would empty the one we have.
        return Unknown("changes of a depth, not a whole one", topic.text, ts)
    source: SnapshotSource = "push" if frame.status is None else "refresh"
    return Data(topic, ts, [_depth_image(frame.tick, topic, ts, source)])


def _push_bbo(text: bytes, topic: Topic) -> Message:
    frame = _bbo_push(text)
    tick = frame.tick
    ts = frame.ts * _NS_PER_MS
    bid, bid_size = _side(tick.bid, tick.bid_size)
    ask, ask_size = _side(tick.ask, tick.ask_size)
    quoted = _millis(tick.quote_time, ts)
    return Data(topic, ts, [Bbo(topic.symbol, topic.feed, quoted, tick.seq, bid, bid_size, ask, ask_size)])


def _push_trades(text: bytes, topic: Topic) -> Message:
    frame = _trade_push(text)
    ts = frame.ts * _NS_PER_MS
    tick = frame.tick
    return Data(topic, ts, _trades(tick.data, topic, ts if tick.ts is None else tick.ts * _NS_PER_MS))


def _push_kline(text: bytes, topic: Topic) -> Message:
    frame = _kline_push(text)
    ts = frame.ts * _NS_PER_MS
    return Data(topic, ts, [_kline(frame.tick, topic, ts)])


def _push_summary(text: bytes, topic: Topic) -> Message:
    frame = _summary_push(text)
    ts = frame.ts * _NS_PER_MS
    return Data(topic, ts, [_summary(frame.tick, topic, ts)])


_PUSHES: Final[dict[Family, Callable[[bytes, Topic], Message]]] = {
    "mbp": _push_mbp,
    "mbp.refresh": _push_refresh,
    "depth": _push_depth,
    "bbo": _push_bbo,
    "trade.detail": _push_trades,
    "kline": _push_kline,
    "detail": _push_summary,
    "ticker": _push_summary,
}


def _route_of(text: bytes) -> tuple[Topic, Callable[[bytes, Topic], Message]] | None:
    """The topic that a text begins with, and the function for its pushes."""
    if not text.startswith(_PUSH):
        return None
    end = text.find(b'"', len(_PUSH), _PUSH_NAME_END)
    return _route(text[len(_PUSH) : end]) if end > 0 else None


@functools.lru_cache(maxsize=_ROUTES_MAX)
def _route(text: bytes) -> tuple[Topic, Callable[[bytes, Topic], Message]] | None:
    """A topic by the bytes of its name, with the function for its pushes."""
    topic = parse_topic(text.decode("ascii", "replace"))
    return None if topic is None else (topic, _PUSHES[FEEDS[topic.feed].family])


# Replies: the ``data`` of an answer to ``req``.

_mbp_image_of: Final = msgspec.json.Decoder(wire.MbpImage).decode
_depth_image_of: Final = msgspec.json.Decoder(wire.DepthImage).decode
_trades_of: Final = msgspec.json.Decoder(list[wire.TradeItem]).decode
_klines_of: Final = msgspec.json.Decoder(list[wire.KlineTick]).decode
_summary_of: Final = msgspec.json.Decoder(wire.SummaryTick).decode


def _reply_mbp(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return [_mbp_image(_mbp_image_of(data), topic, ts, "refresh")]


def _reply_depth(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return [_depth_image(_depth_image_of(data), topic, ts, "refresh")]


def _reply_trades(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return _trades(_trades_of(data), topic, ts)


def _reply_klines(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return [_kline(bar, topic, ts) for bar in _klines_of(data)]


def _reply_summary(data: Raw, topic: Topic, ts: int) -> list[Event]:
    tick = _summary_of(data)
    return [_summary(tick, topic, ts or (tick.ts or 0) * _NS_PER_MS)]


def _reply_unasked(data: Raw, topic: Topic, ts: int) -> list[Event]:
    raise _Misfit(f"a reply of {topic.feed}, which has none")


_REPLIES: Final[dict[Family, Callable[[Raw, Topic, int], list[Event]]]] = {
    "mbp": _reply_mbp,
    "mbp.refresh": _reply_mbp,
    "depth": _reply_depth,
    "bbo": _reply_unasked,
    "trade.detail": _reply_trades,
    "kline": _reply_klines,
    "detail": _reply_summary,
    "ticker": _reply_summary,
}


# Ticks to events.


def _sorted(levels: Levels | None, *, best_is_high: bool) -> Levels:
    """Best price first, each price once. On a sorted list, as the venue sends it, one pass."""
    if not levels:
        return []
    levels.sort(key=_price, reverse=best_is_high)
    if len(dict(levels)) != len(levels):
        raise _Misfit("a whole book with a price twice")
    return levels


def _mbp_image(image: wire.MbpImage, topic: Topic, ts: int, source: SnapshotSource) -> Snapshot:
    bids = _sorted(image.bids, best_is_high=True)
    asks = _sorted(image.asks, best_is_high=False)
    return Snapshot(topic.symbol, topic.feed, ts, image.seq, bids, asks, source)


def _depth_image(image: wire.DepthImage, topic: Topic, ts: int, source: SnapshotSource) -> Snapshot:
    bids = _sorted(image.bids, best_is_high=True)
    asks = _sorted(image.asks, best_is_high=False)
    taken = ts if image.ts is None else image.ts * _NS_PER_MS
    return Snapshot(topic.symbol, topic.feed, taken, image.version, bids, asks, source)


def _trades(items: list[wire.TradeItem], topic: Topic, ts: int) -> list[Event]:
    """The venue's order is kept: within a frame the newest may come first."""
    events: list[Event] = []
    for item in items:
        side: TakerSide = item.direction
        traded = ts if item.ts is None else item.ts * _NS_PER_MS
        trade_id = _trade_id(item)
        events.append(
            Trade(topic.symbol, topic.feed, traded, trade_id, item.trade_id, side, item.price, item.amount)
        )
    return events


def _trade_id(item: wire.TradeItem) -> str:
    """The long id's exact digits; they are more than a float64 or int64 holds, so no number is made of them."""
    text = bytes(item.id)
    if len(text) > _TRADE_ID_MAX:
        raise _Misfit("a trade's id has too many digits")
    if text[:1].isdigit():
        return text.decode()
    if text.startswith(b'"') and len(text) > 2:
        return _string(text)
    if text not in (b"", b"null", b'""'):
        raise _Misfit("a trade's id is neither a number nor a string")
    if item.trade_id is None:
        raise _Misfit("a trade without any id")
    return str(item.trade_id)


def _kline(bar: wire.KlineTick, topic: Topic, ts: int) -> Kline:
    return Kline(
        topic.symbol,
        topic.feed,
        ts,
        topic.feed.removeprefix("kline."),
        bar.id * _NS_PER_S,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.amount,
        bar.vol,
        bar.count,
    )


def _summary(tick: wire.SummaryTick, topic: Topic, ts: int) -> Ticker:
    return Ticker(
        topic.symbol,
        topic.feed,
        ts,
        tick.open,
        tick.high,
        tick.low,
        tick.close,
        tick.amount,
        tick.vol,
        tick.count,
        tick.bid,
        tick.bid_size,
        tick.ask,
        tick.ask_size,
        tick.last,
        tick.last_size,
    )


_DECIMAL: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _side(price: float | str | None, size: float | str | None) -> tuple[float | None, float | None]:
    """One side of a bbo; None where the venue left it out or sent it empty."""
    price = _number(price)
    if price == 0:
        raise _Misfit("a price of 0")
    return price, _number(size)


def _number(value: float | str | None) -> float | None:
    if not isinstance(value, str):
        return value
    if value == "":
        return None
    if _DECIMAL.fullmatch(value) is None or not math.isfinite(number := float(value)):
        raise _Misfit(f"{value[:40]!r} is not a price or size")
    return number


def _millis(value: int | str | None, otherwise: int) -> int:
    """A time in ms, perhaps quoted, as ns."""
    if value is None or value == "":
        return otherwise
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 19):
            raise _Misfit(f"{value[:40]!r} is not a time")
        value = int(value)
    if value > _INT64_MAX // _NS_PER_MS:
        raise _Misfit(f"the time {value} is out of range")
    return value * _NS_PER_MS
