"""The venue's frame compression: each binary frame is exactly one gzip member."""

from __future__ import annotations

import re
from typing import Final, cast

from isal import isal_zlib

from bookreel.venues.errors import InflateError
from bookreel.venues.huobi.topics import parse_topic
from bookreel.venues.message import Topic

__all__ = ["MAX_TEXT_BYTES", "inflate", "plain", "salvage_topic"]

MAX_TEXT_BYTES: Final = 512 << 10
"""The largest text a frame may hold; real ones stay below 50 kB, and one of this size is read in less than 100 ms."""

_BROKEN: Final = cast(type[Exception], isal_zlib.error)  # the stub has an instance

_GZIP: Final = 31
_RAW: Final = -15
_HEADER_BYTES: Final = 10
_MAGIC: Final = b"\x1f\x8b"

_SALVAGE_BYTES: Final = 4096
"""Looked at, of what was received and of what comes out of it: blocks can be without content for ever."""
_SALVAGE_STEP: Final = 16
_TOPIC: Final = re.compile(
    rb'"(?:ch|rep|subbed|unsubbed|sub|unsub|req)"\s*:\s*"(market\.[a-z0-9]{1,32}\.[a-zA-Z0-9.]{1,32})"'
)


def inflate(payload: bytes, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """The text of a compressed frame, its checksum verified.

    Raises ``InflateError`` for anything but one whole gzip member, and for a text above ``max_bytes`` after
    having made no more than that of it.
    """
    stream = isal_zlib.decompressobj(_GZIP)
    try:
        text: bytes = stream.decompress(payload, max_bytes + 1)
    except _BROKEN as error:
        reason = str(error) if payload.startswith(_MAGIC) else "not a gzip member"
        raise InflateError(reason, len(payload)) from None
    if len(text) > max_bytes:
        raise InflateError(f"its text is larger than {max_bytes} bytes", len(payload))
    if not stream.eof:
        cut = payload.startswith(_MAGIC)
        raise InflateError("the gzip member is cut short" if cut else "not a gzip member", len(payload))
    if stream.unused_data:
        raise InflateError(f"{len(stream.unused_data)} bytes follow the gzip member", len(payload))
    return text


def plain(payload: bytes) -> bytes:
    """The text of a frame that may or may not be compressed: JSON is given back as it is, the rest is inflated."""
    return payload if payload.lstrip()[:1] == b"{" else inflate(payload)


def salvage_topic(payload: bytes) -> Topic | None:
    """The topic in the beginning of a frame that cannot be read to its end, compressed or not.

    None where its name is not there in full: half a name could be another feed's.
    """
    if payload.lstrip()[:1] == b"{":
        return _find_topic(payload[:_SALVAGE_BYTES])
    start = payload[:_SALVAGE_BYTES]
    try:
        # Mostly the compression is sound, and what it carries is not.
        return _find_topic(isal_zlib.decompressobj(_GZIP).decompress(start, _SALVAGE_BYTES))
    except _BROKEN:
        # Where the header is damaged the data after it may still be sound.
        return _salvage(start, _GZIP) or _salvage(start[_HEADER_BYTES:], _RAW)


def _find_topic(text: bytes) -> Topic | None:
    match = _TOPIC.search(text)
    return parse_topic(match[1].decode()) if match else None


def _salvage(payload: bytes, wbits: int) -> Topic | None:
    """The topic in what comes out before the damage: fed in small steps, since a failing step gives nothing."""
    stream = isal_zlib.decompressobj(wbits)
    text = b""
    for start in range(0, len(payload), _SALVAGE_STEP):
        try:
            more = stream.decompress(payload[start : start + _SALVAGE_STEP], _SALVAGE_BYTES)
        except _BROKEN:
            break
        if more:
            text += more
            topic = _find_topic(text)
            if topic is not None or len(text) >= _SALVAGE_BYTES:
                return topic
        if stream.eof or stream.unconsumed_tail:
            break
    return None
