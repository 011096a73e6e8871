"""A venue of few words: frames that are right, for the mutators to spoil and for the books to become live by.

Times are ms of the venue, prices lie on both sides of 100, so nothing here ever crosses a book.
"""

from __future__ import annotations

import json
from collections import deque
from random import Random
from typing import Final

__all__ = ["BOOK_TOPICS", "PLAIN_TOPICS", "TOPICS", "Peer"]

BOOK_TOPICS: Final = (b"market.btcusdt.mbp.150", b"market.ethusdt.mbp.20")
PLAIN_TOPICS: Final = (
    b"market.btcusdt.mbp.refresh.20",
    b"market.btcusdt.depth.step0",
    b"market.btcusdt.bbo",
    b"market.btcusdt.trade.detail",
    b"market.ethusdt.trade.detail",
    b"market.btcusdt.kline.1min",
    b"market.btcusdt.detail",
    b"market.btcusdt.ticker",
)
TOPICS: Final = BOOK_TOPICS + PLAIN_TOPICS

_BIDS: Final = [b"[%d.%02d,%d.5]" % (99 - i // 100, 99 - i % 100, i % 7) for i in range(600)]
_ASKS: Final = [b"[%d.%02d,%d.25]" % (100 + i // 100, 1 + i % 99, i % 7) for i in range(600)]
_GONE: Final = (
    [b"[%d.%02d,0]" % (99 - i // 100, 99 - i % 100) for i in range(600)],
    [b"[%d.%02d,0.0]" % (100 + i // 100, 1 + i % 99) for i in range(600)],
)


class Peer:
    """Makes right frames, and the answers to what the recorder asks."""

    def __init__(self, rng: Random) -> None:
        self._random = rng.random
        self.seq = dict.fromkeys(BOOK_TOPICS, 1000)
        """Number of the newest delta of each book."""
        self.ms = 1_790_000_000_000
        self.due: deque[bytes] = deque()
        """Answers that wait to be sent."""
        self._trade = 0

    def delta(self, topic: bytes, prev: int) -> bytes:
        """The delta that follows ``prev``."""
        seq = prev + 1 + int(self._random() * 5)
        self.seq[topic] = seq
        return self.delta_of(topic, prev, seq, self._some(0), self._some(1))

    def delta_of(self, topic: bytes, prev: int, seq: int, bids: bytes, asks: bytes) -> bytes:
        """A delta as told."""
        return b'{"ch":"%b","ts":%d,"tick":{"seqNum":%d,"prevSeqNum":%d,"bids":[%b],"asks":[%b]}}' % (
            topic,
            self.ms,
            seq,
            prev,
            bids,
            asks,
        )

    def reply(self, topic: bytes, request_id: bytes, seq: int) -> bytes:
        """A snapshot of number ``seq``."""
        at = int(self._random() * 500)
        count = 1 + int(self._random() * 20)
        return b'{"id":"%b","rep":"%b","status":"ok","ts":%d,"data":{"seqNum":%d,"bids":[%b],"asks":[%b]}}' % (
            request_id, topic, self.ms, seq, b",".join(_BIDS[at : at + count]), b",".join(_ASKS[at : at + count])
        )  # fmt: skip

    def push(self, topic: bytes) -> bytes:
        """A push of a plain topic."""
        feed = topic.split(b".", 2)[2]
        now = self.ms
        if feed == b"trade.detail":
            return b'{"ch":"%b","ts":%d,"tick":{"id":%d,"ts":%d,"data":[%b]}}' % (
                topic, now, self._trade, now,
                b",".join(self._one_trade() for _ in range(1 + int(self._random() * 3))),
            )  # fmt: skip
        return b'{"ch":"%b","ts":%d,"tick":%b}' % (topic, now, self._tick(feed))

    def heartbeat(self) -> bytes:
        return b'{"ping":%d}' % self.ms

    def ack(self, topic: bytes, request_id: bytes) -> bytes:
        return b'{"id":"%b","status":"ok","subbed":"%b","ts":%d}' % (request_id, topic, self.ms)

    def error(self, request_id: bytes) -> bytes:
        return b'{"status":"error","ts":%d,"id":"%b","err-code":"bad-request","err-msg":"invalid topic"}' % (
            self.ms,
            request_id,
        )

    def hear(self, text: bytes) -> None:
        """The recorder said this: an answer becomes due."""
        said = json.loads(text)
        if "ping" in said:
            self.due.append(b'{"pong":%d}' % said["ping"])
        elif "sub" in said or "unsub" in said:
            verb = "sub" if "sub" in said else "unsub"
            ack = self.ack(said[verb].encode(), said["id"].encode())
            self.due.append(ack if verb == "sub" else ack.replace(b'"subbed"', b'"unsubbed"'))
        elif "req" in said:
            topic, request_id = said["req"].encode(), said["id"].encode()
            if topic in self.seq:
                self.due.append(self.reply(topic, request_id, self.seq[topic]))
            else:
                self.due.append(self.answer(topic, request_id))

    def answer(self, topic: bytes, request_id: bytes) -> bytes:
        """The answer to a request of a plain topic."""
        feed = topic.split(b".", 2)[2]
        if feed == b"trade.detail":
            data = b"[%b,%b]" % (self._one_trade(), self._one_trade())
        elif feed.startswith(b"kline"):
            data = b"[%b]" % self._tick(feed)
        else:
            data = self._tick(feed)
        return b'{"id":"%b","rep":"%b","status":"ok","ts":%d,"data":%b}' % (request_id, topic, self.ms, data)

    def _some(self, side: int) -> bytes:
        """Some levels of a side, a few of them going."""
        at = int(self._random() * 590)
        count = int(self._random() * 8)
        pool = _GONE[side] if self._random() < 0.2 else (_BIDS, _ASKS)[side]
        return b",".join(pool[at : at + count])

    def _one_trade(self) -> bytes:
        self._trade += 1
        return b'{"id":1%023d,"ts":%d,"tradeId":%d,"amount":0.%d,"price":100.5,"direction":"buy"}' % (
            self._trade,
            self.ms,
            self._trade,
            self._trade % 997 + 1,
        )

    def _tick(self, feed: bytes) -> bytes:
        if feed == b"bbo":
            return (
                b'{"seqId":%d,"ask":100.01,"askSize":1.5,"bid":99.99,"bidSize":2.5,"quoteTime":%d,"symbol":"btcusdt"}'
                % (self.seq[BOOK_TOPICS[0]], self.ms)
            )
        if feed.startswith(b"kline"):
            return (
                b'{"id":%d,"open":1.5,"close":2.5,"low":0.5,"high":9.377E-11,"amount":1.0,"vol":2.0,"count":3}'
                % (self.ms // 60_000 * 60)
            )
        if feed in (b"detail", b"ticker"):
            more = b',"bid":1.5,"bidSize":1,"ask":2.5,"askSize":1,"lastPrice":2,"lastSize":1'
            return (
                b'{"open":1.5,"close":2.5,"low":0.5,"high":9.5,"amount":1.0,"vol":2.0,"count":3,"id":5%b}'
                % (more if feed == b"ticker" else b"")
            )
        at = int(self._random() * 500)
        number = b"seqNum" if feed.startswith(b"mbp") else b"version"
        return b'{"%b":%d,"bids":[%b],"asks":[%b]}' % (
            number, self.ms, b",".join(_BIDS[at + 1 : at + 7]), b",".join(_ASKS[at + 1 : at + 7])
        )  # fmt: skip
