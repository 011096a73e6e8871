"""A recorder without a network: journals what a venue could have sent, at times of the test's choosing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bookreel.storage.journal import Journal
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.seal import seal

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


class _Clock:
    """The wall clock stands still unless it is set."""

    def __init__(self) -> None:
        self.now = T0

    def wall_ns(self) -> int:
        return self.now

    def mono_ns(self) -> int:
        return time.monotonic_ns()


class Recording:
    """One archive being recorded. Times are seconds after :attr:`t0`; every method returns the record's position."""

    t0 = T0

    def __init__(self, path: Path, venue: str = "huobi") -> None:
        self.path = path
        self.clock = _Clock()
        self.journal = Journal.open(path, venue, clock=self.clock)
        self.event("start", 0, run="test", venue=venue, version="1")

    def at(self, seconds: float) -> int:
        """Receive time in ns of an instant given in seconds."""
        return T0 + round(seconds * SECOND)

    def event(self, name: str, at: float, conn: str = "", **facts: Any) -> int:
        return self._append(at, conn, Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts))

    def frame(self, at: float, message: dict[str, Any] | str, conn: str = "feed-0") -> int:
        text = message if isinstance(message, str) else json.dumps(message)
        return self._append(at, conn, Direction.IN, Kind.TEXT, text.encode())

    def connect(self, at: float, *topics: str, conn: str = "feed-0") -> None:
        self.event("connect", at, conn, url="ws://test")
        for topic in topics:
            self.frame(at, {"id": "1", "status": "ok", "subbed": topic, "ts": 1}, conn)

    def delta(
        self, at: float, prev: int, seq: int, bids: Any = (), asks: Any = (), symbol: str = "btcusdt"
    ) -> int:
        tick = {"seqNum": seq, "prevSeqNum": prev, "bids": bids, "asks": asks}
        return self.frame(
            at, {"ch": f"market.{symbol}.mbp.150", "ts": self.at(at) // 1_000_000, "tick": tick}
        )

    def snapshot(self, at: float, seq: int, bids: Any, asks: Any, symbol: str = "btcusdt") -> int:
        data = {"seqNum": seq, "bids": bids, "asks": asks}
        topic = f"market.{symbol}.mbp.150"
        return self.frame(at, {"id": "2", "status": "ok", "rep": topic, "ts": 1, "data": data})

    def bbo(self, at: float, seq: int, bid: float, ask: float, size: float = 1.0) -> int:
        quote = {"bid": bid, "bidSize": size, "ask": ask, "askSize": size}
        tick = {"seqId": seq, "quoteTime": self.at(at) // 1_000_000, "symbol": "btcusdt", **quote}
        return self.frame(
            at, {"ch": "market.btcusdt.bbo", "ts": self.at(at) // 1_000_000, "tick": tick}, "ws-0"
        )

    def trade(self, at: float, seq: int, price: float, size: float = 1.0, symbol: str = "btcusdt") -> int:
        ts = self.at(at) // 1_000_000
        trade = {
            "id": int(f"1{seq:020d}"),
            "ts": ts,
            "tradeId": seq,
            "amount": size,
            "price": price,
            "direction": "buy",
        }
        tick = {"id": seq, "ts": ts, "data": [trade]}
        return self.frame(at, {"ch": f"market.{symbol}.trade.detail", "ts": ts, "tick": tick}, "ws-0")

    def kline(self, at: float, open_time: int, close: float) -> int:
        tick = {
            "id": open_time,
            "open": 1.0,
            "close": close,
            "low": 1.0,
            "high": 9.0,
            "amount": 1.0,
            "vol": 2.0,
            "count": 3,
        }
        return self.frame(
            at, {"ch": "market.btcusdt.kline.1min", "ts": self.at(at) // 1_000_000, "tick": tick}, "ws-0"
        )

    def rotate(self) -> None:
        """Begin a new segment, which closes the one before it."""
        self.journal.flush()
        self.journal.rotate()
        self.journal.flush()

    def flush(self) -> None:
        self.journal.flush()

    def stop(self, at: float) -> None:
        self.event("stop", at, reason="test")
        self.journal.close()

    def seal(self) -> None:
        """Seal what is closed."""
        self.journal.flush()
        seal(self.path)

    def sent(self, at: float, text: bytes, conn: str) -> int:
        """A frame that was sent."""
        return self._append(at, conn, Direction.OUT, Kind.TEXT, text)

    def _append(self, at: float, conn: str, direction: Direction, kind: Kind, payload: bytes) -> int:
        return self.journal.append(self.at(at), self.at(at), conn, 1 if conn else 0, direction, kind, payload)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Callable[[], Recording]]:
    """Makes recordings, each in an archive of its own, and closes them."""
    made: list[Recording] = []

    def make() -> Recording:
        made.append(Recording(tmp_path / f"archive-{len(made)}"))
        return made[-1]

    yield make
    for recording in made:
        recording.journal.close()


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """An archive of the real mbp.150 dynamics, one half sealed and the other in the journal."""
    from bookreel.ingest.capture import Capture

    archive = tmp_path_factory.mktemp("captured") / "archive"
    with Journal.open(archive, "huobi", clock=_Clock()) as journal:
        for number in Capture(shared_data / "mbp150_btcusdt_20240808.ndjson.gz").write(journal):
            if number == 50_000:
                journal.flush()
                journal.rotate()
        journal.flush()
        seal(archive)
    return archive


@pytest.fixture
def sealed_recording(record: Callable[..., Any]) -> Any:
    """A book with a gap, an empty delta and an audit, its best prices from a feed of their own, and two trades."""
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.connect(1, "market.btcusdt.bbo", "market.btcusdt.trade.detail", conn="ws-0")
    recording.delta(2, 10, 11, [[99, 1]], [[101, 1]])
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.delta(4, 11, 12, [[97, 1]])
    recording.bbo(4.1, 12, 99, 101)
    recording.delta(5, 12, 13)
    recording.delta(6, 13, 14, [[97.5, 2]])
    recording.snapshot(6.5, 14, [[99, 1], [98, 5], [97.5, 2], [97, 1]], [[101, 1], [102, 5]])
    recording.delta(70, 14, 15, [], [[103, 1]])
    recording.trade(71, 1, 100.0)
    recording.trade(72, 2, 100.0)
    recording.event("disconnect", 73, "ws-0", cause="disconnect", detail="")
    recording.connect(75, "market.btcusdt.trade.detail", conn="ws-0")
    recording.rotate()
    recording.seal()
    return recording
