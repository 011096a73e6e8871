"""What is measured: frames as a recorder receives them.

Real market dynamics are taken from the folder of captured frames where it lies beside the repository. Elsewhere
the embedded exchange's market makes frames of the same kinds, the same ones every time.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from bookreel.book.model import Delta, Snapshot
from bookreel.book.sync import BookSync, Outcome
from bookreel.exchange.feeds import make_feed, parse_topic
from bookreel.exchange.huobi_wire import encode_ack, encode_reply
from bookreel.exchange.listing import CATALOG
from bookreel.exchange.market import Market
from bookreel.exchange.mbp import MbpFeed
from bookreel.venues.huobi import Huobi
from bookreel.venues.message import Data, Reply

__all__ = ["BOOK_TOPIC", "SYMBOL", "Frame", "Frames", "Run", "load"]

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
SYMBOL: Final = "btcusdt"
BOOK_TOPIC: Final = f"market.{SYMBOL}.mbp.150"

_MADE_SECONDS: Final = 330
_MADE_START_NS: Final = 1_700_000_000_000_000_000
_SLOT_NS: Final = 50_000_000
_S: Final = 1_000_000_000


class Frame(NamedTuple):
    """A frame: receive time (ns UTC), its text, and the gzip bytes that came over the wire."""

    ts_recv: int
    text: bytes
    payload: bytes


class Run(NamedTuple):
    """One run of a book: the snapshot it begins with, and the deltas that follow in the chain."""

    snapshot: Snapshot
    deltas: list[Delta]

    @property
    def levels(self) -> int:
        return sum(len(delta.bids) + len(delta.asks) for delta in self.deltas)

    def begin(self) -> BookSync:
        """A book that is live at the snapshot."""
        sync = BookSync(self.snapshot.symbol, self.snapshot.feed)
        sync.subscribed("line-0")
        sync.requested()
        assert sync.snapshot(self.snapshot, 1, 1) is Outcome.ADOPTED, (
            "nothing is buffered that could refuse it"
        )
        return sync


class Frames(NamedTuple):
    """``all``: one capture of mbp.150, bbo and trade.detail in the order received; ``depth``: depth.step0."""

    source: str
    all: list[Frame]
    depth: list[Frame]

    def of(self, feed: str) -> list[Frame]:
        """The pushes of one feed."""
        start = f'{{"ch":"market.{SYMBOL}.{feed}"'.encode()
        return [frame for frame in self.all if frame.text.startswith(start)]

    def run(self) -> Run:
        """The book of the capture from the state in which its snapshot was joined, to its end."""
        sync = BookSync(SYMBOL, "mbp.150")
        deltas: list[Delta] = []
        began: Snapshot | None = None
        for frame in self.all:
            message = Huobi.decode(frame.text)
            if isinstance(message, Reply):
                for event in message.events:
                    assert isinstance(event, Snapshot), "an mbp topic is answered with a snapshot"
                    if sync.snapshot(event, 1, frame.ts_recv) is Outcome.ADOPTED:
                        bids, asks = sync.book.top()
                        assert sync.last_seq is not None, "a live book has a sequence number"
                        began = Snapshot(
                            SYMBOL, "mbp.150", event.ts_event, sync.last_seq, bids, asks, "refresh"
                        )
            elif isinstance(message, Data) and message.topic.text == BOOK_TOPIC:
                for event in message.events:
                    assert isinstance(event, Delta), "an mbp topic pushes deltas"
                    if sync.delta(event, 1, frame.ts_recv) is Outcome.APPLIED:
                        deltas.append(event)
        assert began is not None, "a capture has a snapshot"
        return Run(began, deltas)

    def describe(self) -> dict[str, Any]:
        """Where the frames come from, and what an average one is."""
        deltas = self.of("mbp.150")
        run = self.run()
        return {
            "source": self.source,
            "frames": len(self.all),
            "seconds": round((self.all[-1].ts_recv - self.all[0].ts_recv) / _S),
            "deltas": len(deltas),
            "levels_per_delta": round(run.levels / len(run.deltas), 1),
            "text_bytes_per_delta": round(sum(len(frame.text) for frame in deltas) / len(deltas)),
            "gzip_bytes_per_delta": round(sum(len(frame.payload) for frame in deltas) / len(deltas)),
            "depth_frames": len(self.depth),
            "text_bytes_per_depth": round(sum(len(f.text) for f in self.depth) / len(self.depth)),
        }


def load() -> Frames:
    """The captured frames, or frames made here."""
    if SHARED.is_dir():
        book = list(_captured(SHARED / "mbp150_btcusdt_20240808.ndjson.gz"))
        depth = [
            frame
            for frame in _captured(SHARED / "huobi_ws_20210417.ndjson.gz")
            if b'.depth.step0"' in frame.text[:64] and frame.text.startswith(b'{"ch"')
        ]
        return Frames("captured market data", book, depth)
    return _made()


def _captured(path: Path) -> Iterator[Frame]:
    with gzip.open(path) as lines:
        for line in lines:
            said = json.loads(line)
            ts_recv = round(said["recv_ts"] * _S)
            text = said["raw"].encode()
            if "gz_b64" in said:
                yield Frame(ts_recv, text, base64.b64decode(said["gz_b64"]))
            else:
                yield _frame(ts_recv, text)


def _frame(ts_recv: int, text: bytes) -> Frame:
    """The venue compresses with Java's default level, which is 6."""
    return Frame(ts_recv, text, gzip.compress(text, 6, mtime=0))


def _made() -> Frames:
    """One symbol of the embedded exchange, subscribed as a recorder does, with a snapshot 1 s later."""
    market = Market([CATALOG[SYMBOL]], seed=1, rate=600.0, start_ns=_MADE_START_NS)
    symbol = market.symbols[SYMBOL]
    topics = [parse_topic(f"market.{SYMBOL}.{feed}") for feed in ("bbo", "trade.detail", "depth.step0")]
    bbo, trades, depth = (make_feed(topic, symbol) for topic in topics if topic is not None)
    topic = parse_topic(BOOK_TOPIC)
    assert topic is not None, "the topic is one of the venue's"
    book = MbpFeed(topic, symbol)
    found: list[Frame] = []
    whole: list[Frame] = []

    def add(frames: list[Frame], text: str, now_ns: int) -> None:
        frames.append(_frame(now_ns, text.encode()))

    add(found, encode_ack("sub", BOOK_TOPIC, "sub1", _MADE_START_NS // 1_000_000), _MADE_START_NS)
    for slot in range(1, _MADE_SECONDS * _S // _SLOT_NS):
        now_ns = _MADE_START_NS + slot * _SLOT_NS
        for _, event in market.advance(now_ns):
            for feed in (bbo, trades):
                if (frame := feed.on_event(event, event.ts_ns // 1_000_000)) is not None:
                    add(found, frame.text, event.ts_ns)
        if (frame := book.on_slot(now_ns // 1_000_000)) is not None:
            add(found, frame.text, now_ns)
        if slot == 20:
            text = encode_reply(BOOK_TOPIC, "req1", now_ns // 1_000_000, book.images[-6].json())
            add(found, text, now_ns)
        if slot % 20 == 0 and (frame := depth.on_slot(now_ns // 1_000_000)) is not None:
            add(whole, frame.text, now_ns)
    return Frames("frames made by the embedded exchange", found, list(islice(whole, 300)))
