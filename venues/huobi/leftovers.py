"""Questions about a frame's text that only the sealer asks: what was in it that a decoded event does not hold."""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw, Struct

from bookreel.venues.huobi import wire
from bookreel.venues.huobi.topics import FEEDS, Family, parse_topic

__all__ = ["inexact_numbers", "unknown_fields"]

_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_objects: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_string: Final = msgspec.json.Decoder(str).decode
_NAME_MAX: Final = 128
"""Longer than any topic's name in quotes; what is longer is not remembered."""
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


def _keys(struct: type[Struct], *read_past: str) -> frozenset[str]:
    """The keys a struct reads, and those known to say nothing more."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(struct)) | frozenset(read_past)


_PUSH: Final = frozenset({"ch", "ts", "tick"})
_DEPTH_PUSH: Final = _PUSH | {"status", "update"}
_REPLY: Final = frozenset({"id", "status", "ts", "rep", "data"})
_TICKS: Final[dict[Family, frozenset[str]]] = {
    "mbp": _keys(wire.MbpDelta),
    "mbp.refresh": _keys(wire.MbpImage),
    "depth": _keys(wire.DepthImage),
    "bbo": _keys(wire.BboTick, "symbol"),
    "trade.detail": _keys(wire.TradeTick, "id"),
    "kline": _keys(wire.KlineTick),
    "detail": _keys(wire.SummaryTick, "id", "version"),
    "ticker": _keys(wire.SummaryTick, "id", "version"),
}
_DATA: Final = _TICKS | {"mbp": _keys(wire.MbpImage), "trade.detail": _keys(wire.TradeItem)}
_TRADE: Final = _keys(wire.TradeItem)
_OTHERS: Final[tuple[tuple[str, str, frozenset[str]], ...]] = (
    ("err-msg", "error", frozenset({"id", "status", "ts", "err-code", "err-msg"})),
    ("ping", "heartbeat", frozenset({"ping"})),
    ("pong", "heartbeat", frozenset({"pong"})),
    ("subbed", "ack", frozenset({"id", "status", "ts", "subbed"})),
    ("unsubbed", "ack", frozenset({"id", "status", "ts", "unsubbed"})),
)


def unknown_fields(text: bytes) -> list[str]:
    """Keys of a readable frame that ``decode`` does not know, as ``family: key``, in the frame's order.

    Looks at the envelope, the tick or data, and a trade's item: ``mbp: checksum``, ``trade.detail:
    tick.data.fee``. Empty for a frame that cannot be read, that a client sent, or that is unknown as a whole.
    """
    try:
        frame = _object(text)
        if "ch" in frame:
            return _unknown_in_push(frame)
        if "rep" in frame:
            return _unknown_in_reply(frame)
    except _UNREADABLE:
        return []
    for sign, label, known in _OTHERS:
        if sign in frame:
            return _beyond(frame, known, f"{label}: ")
    return []


def _unknown_in_push(frame: dict[str, Raw]) -> list[str]:
    family = _family(frame["ch"])
    if family is None or "tick" not in frame:
        return []
    found = _beyond(frame, _DEPTH_PUSH if family == "depth" else _PUSH, f"{family}: ")
    tick = _object(frame["tick"])
    found += _beyond(tick, _TICKS[family], f"{family}: tick.")
    if family == "trade.detail" and "data" in tick:
        found += _unknown_in_list(tick["data"], _TRADE, f"{family}: tick.data.")
    return found


def _unknown_in_reply(frame: dict[str, Raw]) -> list[str]:
    family = _family(frame["rep"])
    if family is None:
        return []
    found = _beyond(frame, _REPLY, f"{family}: ")
    data = frame.get("data", wire.ABSENT)
    if bytes(data).startswith(b"["):
        return found + _unknown_in_list(data, _DATA[family], f"{family}: data.")
    if bytes(data).startswith(b"{"):
        found += _beyond(_object(data), _DATA[family], f"{family}: data.")
    return found


def _unknown_in_list(items: Raw, known: frozenset[str], label: str) -> list[str]:
    """Each key once, however many items have it."""
    return list(dict.fromkeys(key for item in _objects(items) for key in _beyond(item, known, label)))


def _beyond(keys: dict[str, Raw], known: frozenset[str], label: str) -> list[str]:
    return [] if keys.keys() <= known else [label + key for key in keys if key not in known]


def _family(name: Raw) -> Family | None:
    return _family_of(bytes(name)) if len(name) <= _NAME_MAX else None


@functools.lru_cache(maxsize=4096)
def _family_of(name: bytes) -> Family | None:
    topic = parse_topic(_string(name))
    return None if topic is None else FEEDS[topic.feed].family


_FLAT: Final = bytes(ord("0") if byte in b"0123456789." else byte for byte in range(256))
_RUN: Final = b"0" * 16
"""15 significant digits survive any float64 but the very smallest: only a longer run can lose some."""

_NUMBER: Final = re.compile(rb"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_JUNK: Final = re.compile(rb"[0-9.]*")
_TINY: Final = re.compile(rb"[0-9.]{1,15}[eE]-3[0-9]{2}")


def inexact_numbers(text: bytes) -> int:
    """How many numbers with a point or an exponent lose digits as a float64. Whole numbers (ids) do not count.

    Trailing zeros are no loss. A quoted number (the documentation's bbo) counts like a bare one, an ``id`` never.
    """
    count = 0
    # Most frames have no long run at all, and a trade's only one is its id: no number is looked at without need.
    flat = text.translate(_FLAT)
    at = flat.find(_RUN)
    while at >= 0:
        token = _NUMBER.match(text, at)
        if token is not None and not token[0].isdigit() and not text.endswith((b'"id":', b'"id":"'), 0, at):
            count += _is_inexact(token[0])
        at = flat.find(_RUN, _junk_end(text, at if token is None else token.end()))
    if b"E-3" in text or b"e-3" in text:
        tiny = [token[0] for token in _TINY.finditer(text)]
        count += sum(
            _is_inexact(token) for token in tiny if len(token.lower().partition(b"e")[0]) < len(_RUN)
        )
    return count


def _junk_end(text: bytes, at: int) -> int:
    """Where a run of digits and points ends that is no number, so that it costs one step, not one a byte."""
    junk = _JUNK.match(text, at)
    assert junk is not None, "the pattern matches the empty text"
    return junk.end()


def _is_inexact(token: bytes) -> bool:
    number = token.decode()
    try:
        return Decimal(number) != Decimal(repr(float(number)))
    except ArithmeticError:  # an exponent that not even Decimal holds
        return True
