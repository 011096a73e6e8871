"""A small archive, made by hand, with a hole; and a playback of it whose time is the test's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bookreel.exchange import Recording
from bookreel.exchange.feeds import parse_topic
from bookreel.exchange.playback import Playback
from bookreel.exchange.recorded import RecordedBook
from tests.exchange.again import capture

__all__ = [
    "MBP",
    "MINUTE",
    "SMALL",
    "T0",
    "Projector",
    "bar",
    "delta",
    "image",
    "ns",
    "push",
    "trade",
    "write",
]

T0: Final = 1_700_000_000
"""Second of its first frame."""


def push(symbol: str, feed: str, at: float, tick: dict[str, Any]) -> tuple[float, str]:
    text = json.dumps({"ch": f"market.{symbol}.{feed}", "ts": int((T0 + at) * 1000), "tick": tick})
    return at, text.replace(" ", "")


def delta(
    at: float, prev: int, seq: int, bids: list[Any], asks: list[Any] | None = None
) -> tuple[float, str]:
    tick = {"seqNum": seq, "prevSeqNum": prev, "bids": bids, "asks": asks or []}
    return push("btcusdt", "mbp.150", at, tick)


def image(at: float, seq: int, bids: list[Any], asks: list[Any]) -> tuple[float, str]:
    data = {"seqNum": seq, "bids": bids, "asks": asks}
    frame = {"id": "x", "status": "ok", "ts": int((T0 + at) * 1000), "rep": "market.btcusdt.mbp.150"}
    return at, json.dumps(frame | {"data": data}).replace(" ", "")


def trade(at: float, number: int) -> tuple[float, str]:
    item = {"id": 10**24 + number, "ts": int((T0 + at) * 1000), "tradeId": number, "amount": 0.5}
    tick = {"id": number, "ts": item["ts"], "data": [item | {"price": 100.25, "direction": "buy"}]}
    return push("btcusdt", "trade.detail", at, tick)


def bar(at: float, start: int, close: float) -> tuple[float, str]:
    values = {"open": 100.0, "close": close, "low": 99.0, "high": 102.0, "amount": 2.0, "vol": 200.0}
    return push("btcusdt", "kline.1min", at, {"id": start, **values, "count": 3})


MINUTE: Final = T0 - T0 % 300
SMALL: Final = [
    delta(0.0, 99, 100, [[98.5, 1.0]]),
    image(0.1, 100, [[99.5, 1.0], [99.0, 2.0]], [[101.5, 1.0]]),
    delta(1.0, 100, 105, [[99.5, 0.0]], [[101.25, 3.0]]),
    trade(1.5, 1),
    bar(2.0, MINUTE, 100.5),
    bar(2.5, MINUTE, 101.5),
    trade(3.0, 2),
    bar(3.5, MINUTE + 60, 101.75),
    push(
        "btcusdt",
        "detail",
        4.0,
        {"id": 7, "version": 7, "open": 90.0, "high": 110.0, "low": 80.0}
        | {"close": 100.25, "amount": 5.5, "vol": 550.0, "count": 12},
    ),
    push(
        "btcusdt",
        "bbo",
        4.5,
        {"seqId": 105, "ask": 101.25, "askSize": 3.0, "bid": 99.0, "bidSize": 2.0}
        | {"quoteTime": (T0 + 4) * 1000, "symbol": "btcusdt"},
    ),
    # here is a hole: 106 to 109 never came
    delta(10.0, 109, 110, [[98.0, 4.0]]),
    image(10.2, 110, [[99.0, 2.0], [98.0, 4.0]], [[101.25, 3.0]]),
    delta(11.0, 110, 111, [[99.25, 7.0]]),
    push(
        "btcusdt",
        "depth.step0",
        12.0,
        {"bids": [[99.25, 7.0], [99.0, 2.0]], "asks": [[101.25, 3.0]]}
        | {"version": 111, "ts": (T0 + 12) * 1000},
    ),
]


def write(folder: Path, frames: list[tuple[float, str]] = SMALL) -> Path:
    """An archive of frames, in ``folder``."""
    lines = [json.dumps({"recv_ts": T0 + at, "raw": raw}) for at, raw in frames]
    (folder / "frames.ndjson").write_text("\n".join(lines))
    capture(folder / "frames.ndjson", folder / "small")
    return folder / "small"


def ns(at: float) -> int:
    return round((T0 + at) * 1e9)


class Projector:
    """A playback whose time is the test's."""

    def __init__(self, archive: Path, **more: Any) -> None:
        self.now = 5 * 10**9
        self.playback = Playback(Recording(archive=archive, **{"speed": 10.0, **more}), lambda: self.now)

    def until(self, at: float, *topics: str) -> list[tuple[str, str | None]]:
        """Open these topics, and let time pass to ``at`` of the recording: what was pushed of any that is open."""
        playback = self.playback
        for text in topics:
            topic = parse_topic(text)
            assert topic is not None and playback.refusal(topic) is None
            playback.open(topic, self.now)
        seen = list(playback.advance(self.now))  # the clock runs from here
        self.now += round((ns(at) - playback.venue_ns()) / 10)
        while not playback.ended and playback.next_ns <= self.now:
            seen += playback.advance(self.now)
        return [(topic, None if frame is None else frame.text) for topic, frame in seen]

    def page(self) -> Any:
        return self.playback.symbols["btcusdt"]

    def ask(self, feed: str, first: int = 0, last: int = 2**40) -> Any:
        topic = parse_topic(f"market.btcusdt.{feed}")
        assert topic is not None
        text = self.playback.feed(topic).reply(first, last)
        return None if text is None else json.loads(text)

    def book(self) -> tuple[int, list[Any], list[Any]] | None:
        feed = self.playback.feed(MBP)
        assert isinstance(feed, RecordedBook)
        return feed.book()


_MBP = parse_topic("market.btcusdt.mbp.150")
assert _MBP is not None
MBP: Final = _MBP
