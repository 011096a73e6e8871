"""Questions about a frame's text that only the sealer asks: what was in it that a decoded event does not hold."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from bookreel.venues.huobi import wire
from bookreel.venues.huobi.topics import FEEDS, Family, parse_topic

__all__ = ["inexact_numbers", "strict_push", "unknown_fields"]

_object: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_objects: Final = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_string: Final = msgspec.json.Decoder(str).decode
_float: Final = msgspec.json.Decoder(float).decode
_printed: Final = msgspec.json.Encoder().encode
_CH: Final = b'{"ch":"'
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


def _strict(known: frozenset[str], **nested: Any) -> Any:
    """A struct that has these keys and refuses any other. What they hold is read past, but for ``nested`` ones."""
    fields = [
        ("ch" if key == "ch" else f"key_{index}", nested.get(key, Raw), msgspec.field(default=None, name=key))
        for index, key in enumerate(sorted(known))
    ]
    return msgspec.defstruct("Strict", fields, forbid_unknown_fields=True)


def _strict_push(family: Family) -> Callable[[bytes], Any]:
    """Reads a push of which every key is known; raises for any other."""
    trades = types.GenericAlias(list, (_strict(_TRADE),))
    ticks = {"data": trades} if family == "trade.detail" else {}
    tick = _strict(_TICKS[family], **ticks)
    return msgspec.json.Decoder(_strict(_DEPTH_PUSH if family == "depth" else _PUSH, tick=tick)).decode


_STRICT: Final[dict[Family, Callable[[bytes], Any]]] = {family: _strict_push(family) for family in _TICKS}


def strict_push(family: Family, push: type[Struct]) -> Callable[[bytes], Any]:
    """Reads a push of a family as ``push`` and its ``ch`` as it is written; raises for a key that is not known."""
    (tick,) = [field.type for field in msgspec.structs.fields(push) if field.name == "tick"]
    nested: list[Any] = []
    if tick is wire.TradeTick:
        nested = [("data", types.GenericAlias(list, (_refusing(wire.TradeItem, ()),)))]
    fields = [("ch", Raw), ("tick", _refusing(tick, _TICKS[family] - _keys(tick), nested))]
    return msgspec.json.Decoder(_refusing(push, (), fields)).decode


def _refusing(struct: type[Struct], further: Collection[str], fields: Sequence[Any] = ()) -> Any:
    """The struct with ``further`` keys, which are read past, and other ``fields``; it refuses any other key."""
    past = [
        (f"key_{index}", Raw, msgspec.field(default=wire.ABSENT, name=key))
        for index, key in enumerate(sorted(further))
    ]
    return msgspec.defstruct(
        f"Strict{struct.__name__}",
        [*fields, *past],
        bases=(struct,),
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def unknown_fields(text: bytes) -> list[str]:
    """Keys of a readable frame that ``decode`` does not know, as ``family: key``, in the frame's order.

    Looks at the envelope, the tick or data, and a trade's item: ``mbp: checksum``, ``trade.detail:
    tick.data.fee``. Empty for a frame that cannot be read, that a client sent, or that is unknown as a whole.
    """
    if _has_known_only(text):
        return []
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


def _has_known_only(text: bytes) -> bool:
    """Whether it is a push and each of its keys is known, in half the time that looking for others takes."""
    end = text.find(b'"', len(_CH), _NAME_MAX) if text.startswith(_CH) else -1
    if end < 0:
        return False
    name = text[len(_CH) - 1 : end + 1]
    try:
        family = _family_of(name)
        # Of two names the second one counts.
        return family is not None and bytes(_STRICT[family](text).ch) == name
    except _UNREADABLE:
        return False


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

_NUMERIC: Final = bytes(byte if byte in b"0123456789.eE+-" else ord(" ") for byte in range(256))
_LONG_ID: Final = re.compile(rb'"id":[0-9]{16,31}[,}]')
"""An id that is one such run, and no two."""
_ID: Final = re.compile(rb'"id":"?([0-9.eE+-]+)')


def inexact_numbers(text: bytes) -> int:
    """How many numbers with a point or an exponent lose digits as a float64. Whole numbers (ids) do not count.

    Trailing zeros are no loss. A quoted number (the documentation's bbo) counts like a bare one, an ``id`` never.
    """
    # Most frames have no long run at all, and a trade's only one is its id: no number is looked at without need.
    tiny = b"E-3" in text or b"e-3" in text
    if not tiny:
        runs = text.translate(_FLAT).count(_RUN)
        if not runs or runs == len(_LONG_ID.findall(text)):
            return 0
    words = text.translate(_NUMERIC).split()
    count = _count_inexact(words)
    if count and b'"id":' in text:
        count -= _count_inexact(_ID.findall(text))
    if tiny:
        count += sum([_is_inexact(word) for word in words if len(word) < len(_RUN) and b"-3" in word])
    return count


def _count_inexact(words: list[bytes]) -> int:
    return sum([_is_inexact(word) for word in words if len(word) >= len(_RUN) and not word.isdigit()])


def _is_inexact(token: bytes) -> bool:
    """False for what is no number. A frame has room for thirty thousand: the usual one is compared as text."""
    try:
        # Python's own conversions, either way, take five to ten times as long.
        printed = _printed(_float(token))
    except msgspec.MsgspecError:  # beyond all float64s, or no number in JSON
        try:
            printed = repr(float(token)).encode()
        except ValueError:
            return False
    if b"e" not in printed and b"e" not in token and b"E" not in token:
        return token.strip(b"-0") != printed.strip(b"-0")
    try:
        return Decimal(token.decode()) != Decimal(printed.decode())
    except ArithmeticError:  # an exponent that not even Decimal holds
        return True
