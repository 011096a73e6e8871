"""Huobi's words on the wire, as the server writes them: JSON with Java doubles, each frame one gzip member.

Spot frames print every price and size by ``Double.toString``: always a decimal point, an exponent below 1e-3
and from 1e7 on (``2.0E-4``, ``3.358149508E7``, ``0.0``), at most 17 digits. Python's ``repr`` finds the same
digits, so only the layout differs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from isal import igzip

__all__ = [
    "RequestId",
    "encode_ack",
    "encode_error",
    "encode_json",
    "encode_push",
    "encode_reply",
    "gzip_frame",
    "java_double",
    "join_levels",
]

RequestId: TypeAlias = str | int | float | None

_quote = json.JSONEncoder(ensure_ascii=False).encode


def java_double(value: float) -> str:
    """``value`` as ``java.lang.Double.toString`` prints it. Finite numbers only."""
    assert math.isfinite(value), "a market has only finite numbers"
    text = repr(value)
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return text
    sign = "-" if text[0] == "-" else ""
    mantissa, _, power = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    leading = len(digits) - len(digits.lstrip("0"))
    exponent = len(whole) - 1 - leading + int(power or 0)
    digits = digits.strip("0")
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def encode_json(value: object) -> str:
    """``value`` as compact JSON text; floats as Java doubles, integers with all their digits."""
    if isinstance(value, str):
        return _quote(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return java_double(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_quote(str(k))}:{encode_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Iterable):
        return "[" + ",".join(encode_json(v) for v in value) + "]"
    raise AssertionError(f"no frame contains a {type(value).__name__}")


def join_levels(levels: Iterable[str]) -> str:
    """Level texts ``[price,size]`` as one JSON array."""
    return "[" + ",".join(levels) + "]"


def encode_push(topic: str, ts_ms: int, tick: str) -> str:
    """A push: ``tick`` is JSON text already."""
    return f'{{"ch":"{topic}","ts":{ts_ms},"tick":{tick}}}'


def encode_ack(kind: str, topic: str, request_id: RequestId, ts_ms: int) -> str:
    """The answer to an accepted ``sub`` or ``unsub``; the id comes back with the type it was sent in."""
    return f'{{{_id(request_id)}"status":"ok","{kind}bed":{_quote(topic)},"ts":{ts_ms}}}'


def encode_reply(topic: str, request_id: RequestId, ts_ms: int, data: str) -> str:
    """The answer to a ``req``: ``data`` is JSON text already."""
    return f'{{{_id(request_id)}"status":"ok","ts":{ts_ms},"rep":"{topic}","data":{data}}}'


def encode_error(text: str, request_id: RequestId, ts_ms: int, code: str = "bad-request") -> str:
    """A refusal."""
    return f'{{"status":"error","ts":{ts_ms},{_id(request_id)}"err-code":"{code}","err-msg":{_quote(text)}}}'


def _id(request_id: RequestId) -> str:
    return "" if request_id is None else f'"id":{encode_json(request_id)},'


def gzip_frame(text: str) -> bytes:
    """A frame's payload: one complete gzip member."""
    return igzip.compress(text.encode(), 1, mtime=0)
