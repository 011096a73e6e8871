"""A small venue of brisk and of quiet symbols, for hours of virtual time: events come one by one, and only what
happens costs anything.

It speaks as the venue does where liveness and resync are concerned: pings and pongs, an acknowledgement and then
the last message again for every subscription, images up to two deltas old for a book's request, one request in
100 ms per connection (counted as they arrive), connections limited with 429 and Retry-After. Frames keep their
order on the way, as TCP does.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from bookreel.ingest.errors import ConnectFailed, Disconnected
from tests.simulation.loop import VirtualClock

__all__ = ["FEEDS", "PROFILES", "Fault", "QuietVenue", "Wire"]

FEEDS: Final = ("mbp.150", "depth.step0", "bbo", "trade.detail", "kline.1min", "detail")

PROFILES: Final[dict[str, tuple[float, float, float]]] = {
    "brisk": (10.0, 0.0, 0.0),
    "slow": (0.5, 0.0, 0.0),
    "quiet": (0.05, 0.0, 0.0),
    "bursts": (0.01, 0.02, 8.0),
}
"""Events a second; bursts a second, and events in each. All have lulls: a tenth of it for hours."""

_REQ_GAP_S: Final = 0.1
_IMAGES: Final = 8
_DAY_S: Final = 86_400.0
_MS: Final = 1_000_000


class Fault:
    """Something withheld. ``mode`` of a silence: what a second subscription does (``heals`` it, sends the last
    message again but no more (``cached``), or nothing (``deaf``, requests included)).
    """

    def __init__(self, kind: str, topic: str, mode: str, until: float) -> None:
        self.kind = kind
        self.topic = topic
        self.mode = mode
        self.until = until
        self.first: float | None = None
        """When the first frame was withheld, s."""
        self.found: float | None = None

    def withheld(self, now: float) -> None:
        if self.first is None:
            self.first = now


class _Book:
    """One symbol: its number, and what each topic said last."""

    def __init__(self, name: str, profile: str) -> None:
        self.name = name
        self.profile = profile
        self.seq = 1000
        self.trades = 0
        self.last: dict[str, str] = {}
        self.wires: dict[str, list[Wire]] = {feed: [] for feed in FEEDS}
        self.images: deque[tuple[float, int]] = deque([(0.0, 1000)], _IMAGES)
        """When deltas ended, and in which number."""
        self.pending: set[str] = set()
        """Feeds whose slot is coming."""


class Wire:
    """One connection. A :class:`bookreel.ingest.network.Socket`."""

    def __init__(self, venue: QuietVenue, kind: str) -> None:
        self.venue = venue
        self.kind = kind
        self.opened = venue.now()
        self.muted: dict[str, Fault] = {}
        self.frozen: Fault | None = None
        self.closed = False
        self.topics: set[str] = set()
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._there = 0.0
        self._back = 0.0
        self._req_at = -1.0
        self._beat = venue.loop.call_later(5.0, self._ping)

    async def receive(self) -> bytes | str:
        frame = await self._queue.get()
        if frame is None:
            raise Disconnected(None, "cut")
        return frame

    async def send(self, text: bytes) -> None:
        if self.closed:
            raise Disconnected(None, "cut")
        venue = self.venue
        self._there = max(self._there + 1e-6, venue.now() + venue.way())
        venue.loop.call_at(self._there, self._heard, json.loads(text))

    async def close(self) -> None:
        self.end()

    def cut(self) -> None:
        """The connection is reset."""
        if not self.closed:
            self.end()
            self._queue.put_nowait(None)

    def end(self) -> None:
        self.closed = True
        self._beat.cancel()
        for topic in list(self.topics):
            self._drop(topic)
        self.venue.wires.discard(self)

    def say(self, text: str) -> None:
        """Send, behind all that was sent before."""
        if self.closed:
            return
        venue = self.venue
        if self.frozen is not None:
            self.frozen.withheld(venue.now())
            return
        self._back = max(self._back + 1e-6, venue.now() + venue.way())
        venue.loop.call_at(self._back, self._queue.put_nowait, text)
        venue.sent_bytes += len(text)

    def push(self, topic: str, text: str) -> None:
        """A message of a topic, unless it is withheld."""
        fault = self.muted.get(topic)
        if fault is not None:
            if self.venue.now() < fault.until:
                fault.withheld(self.venue.now())
                return
            del self.muted[topic]
        self.say(text)

    def _ping(self) -> None:
        self._beat = self.venue.loop.call_later(5.0, self._ping)
        self.say(f'{{"ping":{self.venue.now_ms()}}}')

    def _heard(self, said: dict[str, Any]) -> None:
        venue = self.venue
        if self.closed or self.frozen is not None:
            return
        if "ping" in said:
            self.say(f'{{"pong":{said["ping"]}}}')
        elif "sub" in said:
            self._sub(said["sub"], said["id"])
        elif "unsub" in said:
            self._drop(said["unsub"])
            self.say(
                json.dumps(
                    {"id": said["id"], "status": "ok", "unsubbed": said["unsub"], "ts": venue.now_ms()}
                )
            )
        elif "req" in said:
            self._req(said["req"], said["id"])

    def _sub(self, topic: str, request_id: str) -> None:
        venue = self.venue
        venue.counts["sub"] += 1
        fault = self.muted.get(topic)
        if topic in self.topics and fault is not None:
            if fault.mode == "deaf":
                return
            if fault.mode == "heals":
                del self.muted[topic]
        book, feed = venue.find(topic)
        if topic not in self.topics:
            self.topics.add(topic)
            book.wires[feed].append(self)
        self.say(json.dumps({"id": request_id, "status": "ok", "subbed": topic, "ts": venue.now_ms()}))
        if feed in book.last and feed != "mbp.150":
            self.say(book.last[feed])

    def _drop(self, topic: str) -> None:
        book, feed = self.venue.find(topic)
        if topic in self.topics:
            self.topics.discard(topic)
            self.muted.pop(topic, None)
            book.wires[feed].remove(self)

    def _req(self, topic: str, request_id: str) -> None:
        venue, rng = self.venue, self.venue.rng
        now = venue.now()
        venue.counts["req"] += 1
        if now - self._req_at < _REQ_GAP_S:
            venue.counts["refused"] += 1
            text = f"429 too many request topic is {topic}"
            self.say(
                json.dumps(
                    {
                        "status": "error",
                        "ts": venue.now_ms(),
                        "id": request_id,
                        "err-code": "bad-request",
                        "err-msg": text,
                    }
                )
            )
            return
        self._req_at = now
        fault = self.muted.get(topic)
        if fault is not None and fault.mode == "deaf" and now < fault.until:
            return
        book, feed = venue.find(topic)
        if feed == "mbp.150":
            # As old as up to two deltas of a brisk market.
            then = now - rng.choice((0.0, 0.0, 0.1, 0.2))
            seq = next((seq for at, seq in reversed(book.images) if at <= then), book.images[0][1])
            data: Any = {"seqNum": seq, "bids": [[9.0, float(seq)]], "asks": []}
        else:
            last = json.loads(book.last[feed])["tick"] if feed in book.last else {}
            data = (
                last.get("data")
                if feed == "trade.detail"
                else [last]
                if last and feed == "kline.1min"
                else last
            )
        reply = {"id": request_id, "status": "ok", "rep": topic, "ts": venue.now_ms(), "data": data}
        reply["data"] = data or None
        venue.loop.call_later(rng.uniform(*venue.answer_s), self._reply, json.dumps(reply))

    def _reply(self, text: str) -> None:
        self.say(text)


class QuietVenue:
    """The venue, and the way to it: a :class:`bookreel.ingest.network.Network`.

    ``way_s``: the shortest time a frame takes, and how much longer it may. ``connects_per_s``: more than that are
    refused, with a pause asked for; 0: no limit.
    """

    def __init__(
        self,
        clock: VirtualClock,
        rng: Random,
        symbols: dict[str, str],
        *,
        way_s: tuple[float, float] = (0.02, 0.004),
        answer_s: tuple[float, float] = (0.01, 0.3),
        connects_per_s: float = 0.0,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.loop = asyncio.get_running_loop()
        self.way_s = way_s
        self.answer_s = answer_s
        self.connects_per_s = connects_per_s
        self.books = {name: _Book(name, profile) for name, profile in symbols.items()}
        self.wires: set[Wire] = set()
        self.counts: Counter[str] = Counter()
        self.sent_bytes = 0
        self.connects: list[float] = []
        """When each connection was asked for, s."""
        self.refused: list[float] = []
        self.down = False
        self.lost: Callable[[str], bool] = lambda topic: False
        """Whether this delta is lost on the way."""
        for book in self.books.values():
            self._next(book)
            self._slot(book, "mbp.150", 0.1)
        self.loop.call_later(60.0, self._minute)

    def now(self) -> float:
        return self.loop.time()

    def now_ms(self) -> int:
        return self.clock.wall_ns() // _MS

    def way(self) -> float:
        return self.way_s[0] + self.rng.random() * self.way_s[1]

    def find(self, topic: str) -> tuple[_Book, str]:
        _, symbol, feed = topic.split(".", 2)
        return self.books[symbol], feed

    async def connect(self, url: str) -> Wire:
        now = self.now()
        self.connects.append(now)
        await asyncio.sleep(3 * self.way())
        if self.down:
            raise ConnectFailed(url, "no answer")
        if self.connects_per_s and sum(now - at < 1.0 for at in self.connects[-100:]) > self.connects_per_s:
            self.refused.append(now)
            raise ConnectFailed(url, "HTTP status 429", status=429, retry_after=5.0)
        wire = Wire(self, url.rpartition("/")[2])
        self.wires.add(wire)
        return wire

    async def get(self, url: str) -> bytes:
        raise NotImplementedError("nothing here is asked by HTTP")

    async def close(self) -> None:
        for wire in list(self.wires):
            wire.end()

    # The market

    def _next(self, book: _Book) -> None:
        rate, bursts, _ = PROFILES[book.profile]
        # Nights are quiet: 8 of 24 hours at a tenth.
        if self.now() % _DAY_S > _DAY_S * 2 / 3:
            rate, bursts = rate / 10, bursts / 10
        self.loop.call_later(self.rng.expovariate(rate + bursts), self._happen, book, rate / (rate + bursts))

    def _happen(self, book: _Book, single: float) -> None:
        self._next(book)
        if self.rng.random() < single:
            self._event(book)
            return
        at = 0.0
        for _ in range(1 + int(self.rng.expovariate(1 / PROFILES[book.profile][2]))):
            at += self.rng.expovariate(10.0)
            self.loop.call_later(at, self._event, book)

    def _event(self, book: _Book) -> None:
        rng = self.rng
        book.seq += rng.randint(1, 9)
        seq, now = book.seq, self.now_ms()
        kind = rng.random()
        self._slot(book, "mbp.150", 0.1)
        self._slot(book, "depth.step0", 1.0)
        if kind < 0.7:
            quote = {
                "seqId": seq,
                "ask": 10.0,
                "askSize": 1.0,
                "bid": 9.0,
                "bidSize": float(seq),
                "quoteTime": now,
                "symbol": book.name,
            }
            self._push(book, "bbo", quote)
        if kind < 0.3:
            book.trades += 1
            item = {
                "id": 10**26 + seq,
                "ts": now,
                "tradeId": book.trades,
                "amount": 1.0,
                "price": 9.5,
                "direction": "buy",
            }
            self._push(book, "trade.detail", {"id": seq, "ts": now, "data": [item]})
            self._push(book, "kline.1min", self._bar(book))
            self._slot(book, "detail", 0.1)

    def _bar(self, book: _Book) -> dict[str, Any]:
        start = self.now_ms() // 60_000 * 60
        summary = {"open": 9.0, "close": 9.5, "low": 9.0, "high": 9.5, "amount": 1.0, "vol": 9.5}
        return {"id": start, **summary, "count": book.trades}

    def _minute(self) -> None:
        self.loop.call_later(60.0, self._minute)
        for book in self.books.values():
            self._push(book, "kline.1min", self._bar(book))

    def _slot(self, book: _Book, feed: str, period: float) -> None:
        """At the end of the slot the feed says how things stand."""
        if feed not in book.pending:
            book.pending.add(feed)
            self.loop.call_later(period - self.now() % period, self._told, book, feed)

    def _told(self, book: _Book, feed: str) -> None:
        book.pending.discard(feed)
        seq = book.seq
        if feed == "mbp.150":
            before = book.images[-1][1]
            if before == seq:
                return
            book.images.append((self.now(), seq))
            tick: dict[str, Any] = {
                "seqNum": seq,
                "prevSeqNum": before,
                "bids": [[9.0, float(seq)]],
                "asks": [],
            }
            if self.lost(f"market.{book.name}.{feed}"):
                return
        elif feed == "depth.step0":
            tick = {"bids": [[9.0, float(seq)]], "asks": [[10.0, 1.0]], "version": seq, "ts": self.now_ms()}
        else:
            tick = {"id": seq, "version": seq, "low": 9.0, "high": 9.5, "open": 9.0, "close": 9.5}
            tick |= {"vol": float(seq), "amount": float(seq), "count": book.trades}
        self._push(book, feed, tick)

    def _push(self, book: _Book, feed: str, tick: dict[str, Any]) -> None:
        topic = f"market.{book.name}.{feed}"
        wires = book.wires[feed]
        text = json.dumps({"ch": topic, "ts": self.now_ms(), "tick": tick}, separators=(",", ":"))
        book.last[feed] = text
        for wire in wires:
            wire.push(topic, text)
