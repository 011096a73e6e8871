"""Two lines of one feed, each losing frames on its own, and what a merge of them must give exactly.

A :class:`World` is an exchange's stream of frames: one incremental book and its trades. A :class:`Wire` is one
recorder's connection to it: some frames never arrive, connections break, the answer to a request comes some frames
later, and the venue may cut the stream into deltas of its own for each connection. What comes out are the journal
records that the recorder would have written. :func:`run` feeds two of them to the merge and compares.
"""

from __future__ import annotations

import random
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import tee
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import Gap
from bookreel.storage.merge import interleaved
from bookreel.storage.merge_lines import Lines
from bookreel.storage.record import Direction, Kind, Record, encode_event
from bookreel.venues.huobi import Huobi

__all__ = ["FRAME_NS", "START_NS", "SYMBOL", "Frame", "Wire", "World", "apply", "run"]

SYMBOL: Final = "btcusdt"
START_NS: Final = 1_700_000_000 * 10**9
FRAME_NS: Final = 10_000_000
"""Time from one frame to the next."""

TRADE_EVERY: Final = 5
"""Every so manieth frame is a trade."""

_ROWS: Final = 65_536
"""Rows are looked at whenever so many records were fed."""

_NEVER: Final = 1 << 62

Level: TypeAlias = tuple[float, float]


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame of the exchange. ``seq``: of the delta from ``prev``, or the trade's, with ``prev`` 0."""

    ts: int
    seq: int
    prev: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


def apply(side: dict[float, float], levels: tuple[Level, ...]) -> None:
    """Change one side of a book."""
    for price, size in levels:
        if size:
            side[price] = size
        else:
            side.pop(price, None)


class World:
    """The exchange: iterating gives ``count`` frames."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._rng = random.Random(seed)

    def __iter__(self) -> Iterator[Frame]:
        rng, seq = self._rng, 1000
        random_ = rng.random
        for number in range(1, self._count + 1):
            ts = START_NS + number * FRAME_NS
            if number % TRADE_EVERY == 0:
                yield Frame(ts, number, 0, (), ())
                continue
            prev, seq = seq, seq + 1 + int(random_() * 3)
            bid = (100.0 - int(random_() * 8), float(int(random_() * 4)))
            ask = (101.0 + int(random_() * 8), float(int(random_() * 4)))
            yield Frame(ts, seq, prev, (bid,), (ask,))


class Wire:
    """One recorder's line. ``loss``: chance that a frame never arrives; ``breaks``: that the connection does after a
    frame; ``lag_ns``: how late its frames are; ``answer``: frames until a request is answered; ``cut``: the most
    deltas of the exchange that come as one; ``spared``: frames of a time (ns) that do arrive; ``drops``: numbers of
    frames that do not, whatever the chance.
    """

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        breaks: float = 0.0,
        lag_ns: int = 0,
        answer: int = 3,
        cut: int = 1,
        spared: set[int] | None = None,
        drops: Collection[int] = (),
    ) -> None:
        self.lost: set[int] = set()
        self.snapshots: list[tuple[int, int]] = []
        self._seed = seed
        self._rng = random.Random(seed)
        self._loss = loss
        self._breaks = breaks
        self.lag_ns = lag_ns
        self._answer = answer
        self.cut = cut
        self._spared = spared
        self._drops = {START_NS + number * FRAME_NS for number in drops}
        self._pos = 0
        self._ts = 0
        self._epoch = 0

    def __repr__(self) -> str:
        return (
            f"Wire({self._seed}, loss={self._loss}, breaks={self._breaks}, lag_ns={self.lag_ns}, "
            f"answer={self._answer}, cut={self.cut})"
        )

    def records(self, frames: Iterator[Frame], *, stop: bool = True) -> Iterator[Record]:
        """The journal of a recorder that was on this line."""
        rng, loss, breaks = self._rng, self._loss, self._breaks
        bids: dict[float, float] = {}
        asks: dict[float, float] = {}
        self._ts = START_NS + self.lag_ns
        yield self._event("start", run="1", venue="huobi", version="1")
        yield from self._connect()
        held: list[Frame] = []
        due, silent, last, seq = self._answer, 0, 0, 1000
        for frame in frames:
            self._ts = frame.ts + self.lag_ns
            apply(bids, frame.bids)
            apply(asks, frame.asks)
            if silent:
                silent -= 1
                held.clear()
                self.lost.add(frame.ts)
                seq = frame.seq if frame.prev else seq
                if not silent:
                    yield from self._connect()
                    due, last = self._answer, 0
                continue
            if not frame.prev:
                if self._lose(rng.random() < loss, frame):
                    continue
                yield self._frame(_trade(frame))
                continue
            seq = frame.seq
            held.append(frame)
            if self.cut > 1 and len(held) < self.cut and rng.random() < 0.5:
                continue
            if not self._lose(rng.random() < loss, frame):
                yield self._frame(_delta(held))
                if last and held[0].prev != last:
                    due = due or self._answer
                last = frame.seq
            held.clear()
            if due:
                due -= 1
                if not due:
                    self.snapshots.append((frame.ts, seq))
                    yield self._frame(_snapshot(seq, bids, asks))
                    # A snapshot that cannot be joined is asked for again, at the next broken link.
            if breaks and rng.random() < breaks:
                yield self._event("disconnect", "feed-0", cause="disconnect", detail="")
                silent = 1 + int(rng.random() * 20)
        if stop:
            yield self._event("stop", reason="done")

    def _lose(self, lost: bool, frame: Frame) -> bool:
        if frame.ts in self._drops or (lost and (self._spared is None or frame.ts not in self._spared)):
            self.lost.add(frame.ts)
            return True
        return False

    def _connect(self) -> Iterator[Record]:
        self._epoch += 1
        yield self._event("connect", "feed-0", url="ws://world")
        for feed in ("mbp.150", "trade.detail"):
            ack = {"id": "1", "status": "ok", "subbed": f"market.{SYMBOL}.{feed}", "ts": 1}
            yield self._frame(msgspec.json.encode(ack))

    def _event(self, name: str, conn: str = "", **facts: str) -> Record:
        self._pos += 1
        payload = encode_event(name, **facts)
        epoch = self._epoch if conn else 0
        return Record(self._pos, self._ts, self._ts, conn, epoch, Direction.INTERNAL, Kind.EVENT, payload)

    def _frame(self, text: bytes) -> Record:
        self._pos += 1
        return Record(self._pos, self._ts, self._ts, "feed-0", self._epoch, Direction.IN, Kind.TEXT, text)


def _levels(levels: dict[float, float]) -> str:
    return ",".join(f"[{price},{size}]" for price, size in levels.items())


def _delta(frames: list[Frame]) -> bytes:
    bids = _levels({price: size for frame in frames for price, size in frame.bids})
    asks = _levels({price: size for frame in frames for price, size in frame.asks})
    return (
        f'{{"ch":"market.{SYMBOL}.mbp.150","ts":{frames[-1].ts // 1_000_000},"tick":{{"seqNum":{frames[-1].seq},'
        f'"prevSeqNum":{frames[0].prev},"bids":[{bids}],"asks":[{asks}]}}}}'
    ).encode()


def _snapshot(seq: int, bids: dict[float, float], asks: dict[float, float]) -> bytes:
    return (
        f'{{"id":"2","status":"ok","rep":"market.{SYMBOL}.mbp.150","ts":1,"data":{{"seqNum":{seq},'
        f'"bids":[{_levels(bids)}],"asks":[{_levels(asks)}]}}}}'
    ).encode()


def _trade(frame: Frame) -> bytes:
    ts = frame.ts // 1_000_000
    return (
        f'{{"ch":"market.{SYMBOL}.trade.detail","ts":{ts},"tick":{{"id":{frame.seq},"ts":{ts},"data":[{{"id":'
        f'1{frame.seq:020d},"ts":{ts},"tradeId":{frame.seq},"amount":1.0,"price":100.5,"direction":"buy"}}]}}}}'
    ).encode()


class _Hole(msgspec.Struct, frozen=True):
    """A hole of the merged book: the numbers on either side, and when it ended (ns)."""

    last_seq: int
    next_seq: int
    end: int


class _Check:
    """Holds what the merge gives against what it must give."""

    def __init__(self, frames: int, truth: Iterator[Frame]) -> None:
        self._frames = frames
        self._truth = truth
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._seq = 0
        self.seqs = array("q")
        """Of the exchange's deltas."""
        self.times = array("q")
        """Theirs."""
        self._deltas = array("q")
        self._trades = array("q")
        self._gaps: list[_Hole] = []
        self.figures: dict[str, float] = {"books compared": 0, "books wrong": 0}

    def note(self, lines: Lines) -> None:
        """Take the rows that were made since the last call."""
        rows = lines.take()
        deltas = rows["book_deltas"]
        sides, seqs = deltas["side"].to_pylist(), deltas["seq"].to_pylist()
        self._deltas.extend(seq for seq, side in zip(seqs, sides, strict=True) if side == "bid")
        self._trades.extend(rows["trades"]["trade_seq"].to_pylist())
        books = rows["book_snapshots"].select(["seq", "bids", "asks"]).sort_by("seq").to_pylist()
        for book in books:
            self._book(book)
        gaps = rows["gaps"].filter(pc.equal(rows["gaps"]["feed"], pa.scalar("mbp.150")))
        ends = gaps["end"].cast(pa.int64()).to_pylist()
        lasts, nexts = gaps["last_seq"].to_pylist(), gaps["next_seq"].to_pylist()
        self._gaps += [_Hole(*facts) for facts in zip(lasts, nexts, ends, strict=True)]

    def _book(self, book: dict[str, Any]) -> None:
        """Compare a whole book with the exchange's."""
        while self._seq < book["seq"]:
            self._advance(next(self._truth))
        if self._seq == book["seq"]:
            found = [{level["price"]: level["size"] for level in book[side]} for side in ("bids", "asks")]
            self.figures["books compared"] += 1
            self.figures["books wrong"] += found != [self._bids, self._asks]

    def _advance(self, frame: Frame) -> None:
        if not frame.prev:
            return
        self._seq = frame.seq
        self.seqs.append(frame.seq)
        self.times.append(frame.ts)
        apply(self._bids, frame.bids)
        apply(self._asks, frame.asks)

    def finish(self, a: Wire, b: Wire, gaps: Sequence[Sequence[Gap]]) -> None:
        """Compare everything else. ``gaps``: each line's own."""
        for frame in self._truth:
            self._advance(frame)
        both = a.lost & b.lost
        breaks, holes = self._expected(both, (a, b), gaps)
        begun = min(wire.snapshots[0] for wire in (a, b))[1]
        spans = iter([(0, begun), *breaks, (_NEVER, _NEVER)])
        after, upto = next(spans)
        expected = array("q")
        for seq in self.seqs:
            while seq > upto:
                after, upto = next(spans)
            if seq <= after:
                expected.append(seq)
        numbers = range(TRADE_EVERY, self._frames + 1, TRADE_EVERY)
        trades = {START_NS + number * FRAME_NS for number in numbers} - both
        found = sorted(START_NS + index * FRAME_NS for index in self._trades)
        stolen = [ts for ts in both if (ts - START_NS) // FRAME_NS % TRADE_EVERY]
        self.figures |= {
            "lost by A": len(a.lost),
            "lost by B": len(b.lost),
            "deltas lost by both": len(stolen),
            "trades lost by both": len(both) - len(stolen),
            "gaps expected": len(holes),
            "gaps": len(self._gaps),
            "gaps wrong": len(set(holes) ^ set(self._gaps)),
            "deltas": len(self._deltas),
            "deltas wrong": sum((Counter(expected) - Counter(self._deltas)).values()),
            "deltas twice wrong": sum((Counter(self._deltas) - Counter(expected)).values()),
            "trades": len(found),
            "trades wrong": len(trades.symmetric_difference(found)),
            "trades twice wrong": len(found) - len(set(found)),
        }

    def _expected(
        self, both: set[int], wires: Sequence[Wire], gaps: Sequence[Sequence[Gap]]
    ) -> tuple[list[tuple[int, int]], list[_Hole]]:
        """Where the frames lost by both break the chain, as the numbers on either side, and the holes that are told.

        A hole ends with the first line whose own does. What a line lost at the very end of its record it cannot
        know of, so a hole is told only if it lies in one of each line.
        """
        breaks: list[tuple[int, int]] = []
        holes: list[_Hole] = []
        snapshots = [dict(wire.snapshots) for wire in wires]
        until = min(next(iter(of_line)) for of_line in snapshots)
        starts = [[gap.start for gap in of_line] for of_line in gaps]
        for ts in sorted(both):
            index = bisect_left(self.times, ts)
            if ts <= until or index == len(self.times) or self.times[index] != ts:
                continue
            ends: list[tuple[int, int]] = []
            told = True
            for line, wire in enumerate(wires):
                at = bisect_left(starts[line], ts + wire.lag_ns) - 1
                # Before its first snapshot a line had nothing.
                end = gaps[line][at].end if at >= 0 else wire.snapshots[0][0] + wire.lag_ns
                # A snapshot of the frame's own instant has what was lost, and a hole may end with it.
                if end is None:
                    continue
                if end >= ts + wire.lag_ns:
                    ends.append((end, snapshots[line][end - wire.lag_ns]))
                else:
                    told = False
            end, seq = min(ends, default=(_NEVER, _NEVER))
            breaks.append((self.seqs[index - 1], seq))
            if not ends:
                break
            until = self.times[bisect_left(self.seqs, seq)]
            if told:
                holes.append(_Hole(self.seqs[index - 1], seq, end))
        return breaks, holes


def run(
    frames: int = 2_000_000, seed: int = 1, *, loss: float = 0.01, disjoint: bool = False
) -> dict[str, float]:
    """Merge two lines that lose each frame with chance ``loss``, independently, or never the same one (``disjoint``).

    Figures of what was lost and found; each one that ends in ``wrong`` must be 0. A million frames take a minute.
    """
    begun = time.perf_counter()
    first, second, third = tee(World(frames, seed), 3)
    a = Wire(seed + 1, loss=loss)
    b = Wire(seed + 2, loss=loss, lag_ns=FRAME_NS // 3, spared=a.lost if disjoint else None)
    lines = Lines(Huobi(), ("A", "B"))
    check = _Check(frames, third)
    for count, (line, record, pos) in enumerate(interleaved((a.records(first), b.records(second))), 1):
        assert isinstance(record, Record), "nothing is damaged"
        lines.feed(line, record, pos)
        if count % _ROWS == 0:
            check.note(lines)
    gaps = [lines.gaps_of(line, (SYMBOL, "mbp.150")) for line in (0, 1)]
    lines.finish()
    check.note(lines)
    check.finish(a, b, gaps)
    return {"frames": float(frames), **check.figures, "seconds": round(time.perf_counter() - begun, 1)}
