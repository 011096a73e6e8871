"""A truth file as an audit reads it: what really happened to market, connections and recorder, sorted out."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

__all__ = [
    "HARMLESS",
    "NEVER",
    "RECORDER_FAULTS",
    "SLACK_NS",
    "Account",
    "RecorderClock",
    "Stream",
    "inflicted",
    "read_account",
    "stream_of",
]

SLACK_NS: Final = 1_000_000_000
"""The exchange stamps when it sends, the recorder when it receives: a frame may wait that long in between."""

STREAM_FAULTS: Final = frozenset({"lost_delta", "reorder", "broken_gzip", "broken_json", "silence", "shed"})
CONNECTION_FAULTS: Final = frozenset({"disconnect", "half_open", "net_reset", "net_half_open"})
RECORDER_FAULTS: Final = frozenset({"crash", "power_loss"})
"""These cost a stream, all streams of a connection, or all streams there are, a hole. Whoever makes the recorder or
the network fail writes that into the truth like the exchange its own faults."""

HARMLESS: Final = {
    "unanswered": frozenset({"half_open", "silence"}),
    "net_slow": frozenset({"half_open", "silence", "disconnect", "operator"}),
    "stop": frozenset({"operator"}),
    "disk_full": frozenset({"disk_full", "shed"}),
}
"""What costs nothing by itself, yet may lead to holes of these causes on its connection, or on all."""

NEVER: Final = 1 << 62
"""An instant (ns) or a position that is later than all."""

Stream: TypeAlias = tuple[str, str]
"""(symbol, feed)"""


class RecorderClock:
    """The recorder's wall clock against true time: by how much it was ahead, from which record and instant on.

    Where the truth tells nothing of it, it was right.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[int, int, int]] = []

    @property
    def told(self) -> bool:
        """Whether the truth tells of it."""
        return bool(self._steps)

    def set(self, pos: int, t: int, ahead: int) -> None:
        """From record ``pos``, and true time ``t``, on. Positions may be given out twice: the later one counts."""
        while self._steps and self._steps[-1][0] >= pos:
            self._steps.pop()
        self._steps.append((pos, t, ahead))

    def true(self, wall: int, pos: int) -> int:
        """The true time of record ``pos``, received at ``wall``."""
        return wall - next((ahead for first, _, ahead in reversed(self._steps) if first <= pos), 0)

    def earlier(self, wall: int, pos: int) -> int:
        """The true time of a record before ``pos``, received at ``wall``; the earliest where the clock showed that
        more than once.
        """
        found, ended = self.true(wall, pos), NEVER
        for first, t, ahead in reversed(self._steps):
            if first <= pos and t - SLACK_NS <= wall - ahead <= ended + SLACK_NS:
                found = wall - ahead
            ended = t
        return found

    def unique(self, wall: int) -> bool:
        """Whether the clock was never set back over this reading: else it is not one instant."""
        return not any(
            t + after - SLACK_NS <= wall <= t + before + SLACK_NS
            for (_, _, before), (_, t, after) in pairwise(self._steps)
        )


class Account(msgspec.Struct):
    """What a truth file tells."""

    books: dict[Stream, list[dict[str, Any]]]
    trades: dict[str, dict[int, dict[str, Any]]]
    faults: list[dict[str, Any]]
    subscriptions: list[dict[str, Any]]
    stalls: list[tuple[int, int]]
    """When the disk kept nothing, and until when at the latest."""
    slow: list[tuple[int, int]]
    """When connections were slow, and when the last late message had come."""
    clock: RecorderClock
    ended: int | None
    """When the recorder ended for good, where that is told."""
    of_recorder: bool
    """Whether it tells what happened to the recorder."""

    def kept(self, t: int) -> int:
        """Until when at least all was on the disk that a loss of power at ``t`` finds."""
        return min((since for since, until in self.stalls if since <= t <= until + SLACK_NS), default=t)

    def late(self, t: int) -> int:
        """When at the latest what was sent at ``t`` came."""
        return max((until for since, until in self.slow if since <= t <= until), default=t)


def read_account(path: Path) -> Account:
    """Read a truth file. A line of kind "clock" is no fault, but says by how much (``seq``, ns) the recorder's clock
    is ahead from record ``prev_seq`` on. Raises OSError, msgspec.DecodeError.
    """
    truth = Account(
        defaultdict(list), defaultdict(dict), [], [], [], [], RecorderClock(), None, of_recorder=False
    )
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with path.open("rb") as file:
        for order, text in enumerate(file):
            line = decode(text)
            line["order"] = order
            match line["type"]:
                case "book":
                    truth.books[line["symbol"], line["feed"]].append(line)
                case "trade":
                    truth.trades[line["symbol"]][line["trade_seq"]] = line
                case "fault":
                    kind = line["kind"]
                    if kind == "clock":
                        truth.clock.set(line["prev_seq"], line["t"], line["seq"])
                        continue
                    if kind in RECORDER_FAULTS or kind == "stop":
                        truth.ended, truth.of_recorder = line["t"], True
                    if kind == "disk_slow":
                        truth.stalls.append((line["t"], line["until"]))
                    if kind == "net_slow":
                        truth.slow.append((line["t"], line["until"]))
                    truth.faults.append(line)
                case "sub" | "unsub" | "connect" | "close":
                    if line["type"] == "sub":
                        truth.ended = None
                    truth.subscriptions.append(line)
    return truth


def inflicted(truth: Account) -> Iterator[tuple[Stream, dict[str, Any], list[Stream]]]:
    """Each (stream, fault, all streams on that socket then) of the faults that cost a stream something."""
    topics: dict[int, set[str]] = defaultdict(set)
    lasting: dict[int, list[dict[str, Any]]] = defaultdict(list)
    # On no socket since the last one closed, and missed until they are subscribed again.
    left: set[str] = set()
    for event in heapq.merge(truth.subscriptions, truth.faults, key=lambda line: line["order"]):
        conn: int = event["conn"]
        match event["type"]:
            case "sub":
                if event["topic"] not in topics[conn]:
                    # What is harmless does not count twice, so it may be told of each stream that it met.
                    for fault in lasting[conn] + lasting[0]:
                        if event["t"] <= fault["until"]:
                            yield stream_of(event["topic"]), fault, []
                topics[conn].add(event["topic"])
                left.discard(event["topic"])
            case "unsub":
                topics[conn].discard(event["topic"])
            case "close":
                left |= topics.pop(conn, set())
            case "fault":
                kind = event["kind"]
                # Connection 0: it concerns them all.
                on = sorted(set().union(*topics.values()) if conn == 0 else topics[conn])
                if kind in STREAM_FAULTS:
                    yield stream_of(event["topic"]), event, [stream_of(topic) for topic in on]
                    continue
                if kind in HARMLESS and "until" in event:
                    lasting[conn].append(event)
                if kind in RECORDER_FAULTS:
                    on = sorted(left.union(on))
                if kind in CONNECTION_FAULTS or kind in RECORDER_FAULTS or kind in HARMLESS:
                    for topic in on:
                        yield stream_of(topic), event, []


def stream_of(topic: str) -> Stream:
    """The stream of a topic's text."""
    _, symbol, feed = topic.split(".", 2)
    return symbol, feed
