"""What a client sends: one JSON object a text frame, never compressed."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bookreel.venues.errors import BadRequest
from bookreel.venues.huobi.topics import FEEDS
from bookreel.venues.message import RequestId, Topic

__all__ = [
    "EARLIEST_S",
    "KLINES_PER_REPLY",
    "LATEST_S",
    "MIN_REQ_INTERVAL_NS",
    "ping",
    "pong",
    "req",
    "sub",
    "unsub",
]

MIN_REQ_INTERVAL_NS: Final = 100_000_000
"""The venue refuses requests (``429``) that follow each other faster than this on one socket."""

EARLIEST_S: Final = 1_501_174_800
LATEST_S: Final = 2_556_115_200
"""Bounds of a bar request's range, unix seconds."""

KLINES_PER_REPLY: Final = 300
"""A reply never holds more bars; a longer range is cut by the venue without a word."""


def sub(topic: Topic, request_id: RequestId = None) -> bytes:
    """Subscribe to a topic."""
    return _frame("sub", topic, request_id)


def unsub(topic: Topic, request_id: RequestId = None) -> bytes:
    """Unsubscribe from a topic."""
    return _frame("unsub", topic, request_id)


def req(
    topic: Topic, request_id: RequestId = None, *, start_s: int | None = None, end_s: int | None = None
) -> bytes:
    """Ask once for a topic's present state; for bars also between two bar starts in unix seconds, both included.

    Raises ``BadRequest`` for a feed that has no such answer and for a range that the venue would refuse.
    """
    feed = FEEDS[topic.feed]
    if not feed.req:
        raise BadRequest(f"{topic.text} cannot be requested, only subscribed to")
    bounds: dict[str, int] = {}
    if start_s is not None or end_s is not None:
        if feed.family != "kline":
            raise BadRequest(f"{topic.text} has no history; leave the range out, or request a kline feed")
        if (
            not EARLIEST_S
            <= (EARLIEST_S if start_s is None else start_s)
            <= (LATEST_S if end_s is None else end_s)
            <= LATEST_S
        ):
            raise BadRequest(
                f"the range {start_s}..{end_s} must rise and lie within {EARLIEST_S}..{LATEST_S} s"
            )
        if start_s is not None:
            bounds["from"] = start_s
        if end_s is not None:
            bounds["to"] = end_s
    return _frame("req", topic, request_id, **bounds)


def ping(value: int) -> bytes:
    """Ask the venue for a pong with this value (unix ms by custom); the venue answers pings as it sends them."""
    return b'{"ping":%d}' % value


def pong(value: int) -> bytes:
    """The answer to the venue's ping of this value. Two pings without one and the venue closes the connection."""
    return b'{"pong":%d}' % value


def _frame(verb: str, topic: Topic, request_id: RequestId, **more: Any) -> bytes:
    body: dict[str, Any] = {verb: topic.text}
    if request_id is not None:
        body["id"] = request_id
    return msgspec.json.encode(body | more)
