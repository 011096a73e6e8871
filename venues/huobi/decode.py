"""Frame text to messages.

Market data is nearly all of the traffic and begins with its topic, so ``decode`` peeks at that, and one typed
parse of the whole frame does the rest. Everything else, and whatever the typed parse refuses, takes the slow way
through the envelope, which also finds the words for an error.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from bookreel.book.model import (
    Bbo,
    Delta,
    Event,
    SnapshotSource,
)
from bookreel.book.packed import read_image, read_push, unpacked_image
from bookreel.venues.errors import DecodeError
from bookreel.venues.huobi import wire
from bookreel.venues.huobi.compression import MAX_TEXT_BYTES
from bookreel.venues.huobi.leftovers import strict_push
from bookreel.venues.huobi.refusals import classify
from bookreel.venues.huobi.ticks import (
    NS_PER_MS,
    Misfit,
    depth_image,
    kline,
    mbp_image,
    millis,
    side,
    summary,
    trades,
)
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

__all__ = ["decode", "decode_known", "decoder"]

_BRIEF_BYTES: Final = 16 << 10
_LONG_EXPONENT: Final = re.compile(rb"[eE][+-]?[0-9]{3}")
_LONG_EXPONENTS_MAX: Final = 1000

_PUSH: Final = b'{"ch":"'
_PUSH_NAME_END: Final = len(_PUSH) + 80
"""No topic's name is longer, and what is longer must not be remembered."""
_WORDS_MAX: Final = 500
"""Characters of an error's code and text, and of the name of a topic that is none: these go into logs."""
_ROUTES_MAX: Final = 65_536
"""Every feed of every listed symbol fits; beyond, the least used is looked up anew."""

_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What parsing raises: wrong types, bad JSON, bad UTF-8 (a ValueError), and nesting without end."""


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


def decode_known(text: bytes) -> tuple[Message, bool]:
    """As :func:`decode`; and whether it is a push of which every key is known, so that ``unknown_fields`` of it has
    none. To parse a text once for both takes half of the time. False says nothing.
    """
    reader = _known_reader(text) if text.isascii() and len(text) <= _BRIEF_BYTES else None
    if reader is not None:
        try:
            return reader(text), True
        except _UNREADABLE:
            pass  # what it is, decode says
    return decode(text), False


def _known_reader(text: bytes) -> Callable[[bytes], Message] | None:
    """What reads the pushes of the topic that a text begins with, and refuses unknown keys."""
    if not text.startswith(_PUSH):
        return None
    end = text.find(b'"', len(_PUSH), _PUSH_NAME_END)
    return _known_reader_of(text[len(_PUSH) : end]) if end > 0 else None


@functools.lru_cache(maxsize=_ROUTES_MAX)
def _known_reader_of(name: bytes) -> Callable[[bytes], Message] | None:
    topic = parse_topic(name.decode("ascii", "replace"))
    strict = None if topic is None else _STRICT.get(FEEDS[topic.feed].family)
    if topic is None or strict is None:
        return None
    push, parse_push = strict
    quoted = b'"' + name + b'"'

    def parse(text: bytes) -> Any:
        frame = parse_push(text)
        if bytes(frame.ch) != quoted:
            raise Misfit("a push of two names")
        return frame

    return lambda text: push(text, topic, parse)


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

    if start != _push_start(topic):
        return decode_push
    end, symbol, feed, family = len(start), topic.symbol, topic.feed, FEEDS[topic.feed].family
    if read_push is not None and family == "mbp":
        read = read_push

        def decode_packed(text: bytes) -> Message:
            delta = read(text, end, symbol, feed)
            return decode_push(text) if delta is None else Data(topic, delta.ts_event, [delta])

        return decode_packed
    if read_image is not None and family in _NUMBERED:
        read_whole, numbered = read_image, _NUMBERED[family]

        def decode_whole(text: bytes) -> Message:
            image = read_whole(text, end, symbol, feed, numbered)
            return decode_push(text) if image is None else Data(topic, image.ts_push, [image])

        return decode_whole
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
    ts_event = None if frame.ts is None else frame.ts * NS_PER_MS
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
    ts_event = None if frame.ts is None else frame.ts * NS_PER_MS
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

_Parser: TypeAlias = Callable[[bytes], Any]

_mbp_push: Final = msgspec.json.Decoder(wire.MbpPush).decode
_refresh_push: Final = msgspec.json.Decoder(wire.RefreshPush).decode
_depth_push: Final = msgspec.json.Decoder(wire.DepthPush).decode
_bbo_push: Final = msgspec.json.Decoder(wire.BboPush).decode
_trade_push: Final = msgspec.json.Decoder(wire.TradePush).decode
_kline_push: Final = msgspec.json.Decoder(wire.KlinePush).decode
_summary_push: Final = msgspec.json.Decoder(wire.SummaryPush).decode


def _push_mbp(text: bytes, topic: Topic, parse: _Parser = _mbp_push) -> Message:
    frame = parse(text)
    tick = frame.tick
    if tick.prev_seq >= tick.seq:
        # One that does not rise would be applied as often as it is repeated.
        raise Misfit(f"prevSeqNum {tick.prev_seq} is not below seqNum {tick.seq}")
    ts = frame.ts * NS_PER_MS
    delta = Delta(topic.symbol, topic.feed, ts, tick.seq, tick.prev_seq, tick.bids or [], tick.asks or [])
    return Data(topic, ts, [delta])


def _push_refresh(text: bytes, topic: Topic) -> Message:
    frame = _refresh_push(text)
    ts = frame.ts * NS_PER_MS
    return Data(topic, ts, [mbp_image(frame.tick, topic, ts, "push")])


def _push_depth(text: bytes, topic: Topic) -> Message:
    frame = _depth_push(text)
    ts = frame.ts * NS_PER_MS
    if frame.update:
        # Read as a whole book it would empty the one we have.
        return Unknown("changes of a depth, not a whole one", topic.text, ts)
    source: SnapshotSource = "push" if frame.status is None else "refresh"
    return Data(topic, ts, [depth_image(frame.tick, topic, ts, source)])


def _push_bbo(text: bytes, topic: Topic, parse: _Parser = _bbo_push) -> Message:
    frame = parse(text)
    tick = frame.tick
    ts = frame.ts * NS_PER_MS
    bid, bid_size = side(tick.bid, tick.bid_size)
    ask, ask_size = side(tick.ask, tick.ask_size)
    quoted = millis(tick.quote_time, ts)
    return Data(topic, ts, [Bbo(topic.symbol, topic.feed, quoted, tick.seq, bid, bid_size, ask, ask_size)])


def _push_trades(text: bytes, topic: Topic, parse: _Parser = _trade_push) -> Message:
    frame = parse(text)
    ts = frame.ts * NS_PER_MS
    tick = frame.tick
    return Data(topic, ts, trades(tick.data, topic, ts if tick.ts is None else tick.ts * NS_PER_MS))


def _push_kline(text: bytes, topic: Topic, parse: _Parser = _kline_push) -> Message:
    frame = parse(text)
    ts = frame.ts * NS_PER_MS
    return Data(topic, ts, [kline(frame.tick, topic, ts)])


def _push_summary(text: bytes, topic: Topic, parse: _Parser = _summary_push) -> Message:
    frame = parse(text)
    ts = frame.ts * NS_PER_MS
    return Data(topic, ts, [summary(frame.tick, topic, ts)])


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


_STRICT: Final[dict[Family, tuple[Callable[[bytes, Topic, _Parser], Message], _Parser]]] = {
    "mbp": (_push_mbp, strict_push("mbp", wire.MbpPush)),
    "bbo": (_push_bbo, strict_push("bbo", wire.BboPush)),
    "trade.detail": (_push_trades, strict_push("trade.detail", wire.TradePush)),
    "kline": (_push_kline, strict_push("kline", wire.KlinePush)),
    "detail": (_push_summary, strict_push("detail", wire.SummaryPush)),
    "ticker": (_push_summary, strict_push("ticker", wire.SummaryPush)),
}
"""The families whose pushes :func:`decode_known` reads: their function, and a parser that refuses unknown keys."""


_NUMBERED: Final[dict[Family, bool]] = {"mbp.refresh": True, "depth": False}
"""The families whose pushes are whole books; whether these begin with a sequence number, or end with a version."""


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
    return None if topic is None else (topic, _reader(topic))


def _reader(topic: Topic) -> Callable[[bytes, Topic], Message]:
    """The function for a topic's pushes, which for a whole book tries first what is compiled."""
    family = FEEDS[topic.feed].family
    push = _PUSHES[family]
    if read_image is None or family not in _NUMBERED:
        return push
    read, numbered, start = read_image, _NUMBERED[family], _push_start(topic)
    end = len(start)

    def whole(text: bytes, topic: Topic) -> Message:
        image = read(text, end, topic.symbol, topic.feed, numbered) if text.startswith(start) else None
        return push(text, topic) if image is None else Data(topic, image.ts_push, [unpacked_image(image)])

    return whole


def _push_start(topic: Topic) -> bytes:
    """How the venue begins the topic's pushes."""
    return _PUSH + topic.text.encode() + b'"'


# Replies: the ``data`` of an answer to ``req``.

_mbp_image_of: Final = msgspec.json.Decoder(wire.MbpImage).decode
_depth_image_of: Final = msgspec.json.Decoder(wire.DepthImage).decode
_trades_of: Final = msgspec.json.Decoder(list[wire.TradeItem]).decode
_klines_of: Final = msgspec.json.Decoder(list[wire.KlineTick]).decode
_summary_of: Final = msgspec.json.Decoder(wire.SummaryTick).decode


def _reply_mbp(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return [mbp_image(_mbp_image_of(data), topic, ts, "refresh")]


def _reply_depth(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return [depth_image(_depth_image_of(data), topic, ts, "refresh")]


def _reply_trades(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return trades(_trades_of(data), topic, ts)


def _reply_klines(data: Raw, topic: Topic, ts: int) -> list[Event]:
    return [kline(bar, topic, ts) for bar in _klines_of(data)]


def _reply_summary(data: Raw, topic: Topic, ts: int) -> list[Event]:
    tick = _summary_of(data)
    return [summary(tick, topic, ts or (tick.ts or 0) * NS_PER_MS)]


def _reply_unasked(data: Raw, topic: Topic, ts: int) -> list[Event]:
    raise Misfit(f"a reply of {topic.feed}, which has none")


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
