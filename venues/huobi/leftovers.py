"""Questions about a frame's text that only the sealer asks: what was in it that a decoded event does not hold."""

from __future__ import annotations

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
    topic = parse_topic(_string(name))
    return None if topic is None else FEEDS[topic.feed].family


_LONG: Final = re.compile(rb"[0-9.]{17,}|[0-9]{16,}[eE]|[eE]-[0-9]{3}")
"""Where a float64 could fall short: 16 digits or more, or a number close to the smallest."""

_NUMBER: Final = re.compile(
    rb'(?<![0-9.eE+"-])(?<!"id":)"?(-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![0-9.eE+-])'
)


def inexact_numbers(text: bytes) -> int:
    """How many numbers with a point or an exponent lose digits as a float64. Whole numbers (ids) do not count.

    Trailing zeros are no loss. A quoted number (the documentation's bbo) counts like a bare one.
    """
    if _LONG.search(text) is None:
        return 0
    return sum(_is_inexact(match[1]) for match in _NUMBER.finditer(text))


def _is_inexact(token: bytes) -> bool:
    if not (b"." in token or b"e" in token or b"E" in token):
        return False
    if (
        len(token) < 16 and b"-3" not in token
    ):  # 15 significant digits survive any but the very smallest float64
        return False
    number = token.decode()
    try:
        return Decimal(number) != Decimal(repr(float(number)))
    except ArithmeticError:  # an exponent that not even Decimal holds
        return True
