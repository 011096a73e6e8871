"""An archive held against the truth of the gateway that it was recorded from.

Each question comes with a count, so that "0 wrong" of 0 compared cannot hide:

- is every trade that happened stored exactly once, unless it fell into a gap of its stream or was lost to a slow
  reader, which nobody can know;
- is every stored book the true one of the push it came with;
- is every push that should have come a frame, or in a gap;
- is everything that the gateway kept back while it was unwell in a gap, unless the recording ended before the
  recorder looked again?
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from bookreel.exchange.futu.truth import (
    TruthBook,
    TruthKept,
    TruthLost,
    TruthPush,
    TruthRecord,
    TruthTick,
    read_truth,
)
from bookreel.replay import Archive
from bookreel.venues.futu.codes import SUB_TYPES
from bookreel.venues.futu.feeds import FEED_OF

__all__ = ["GatewayAudit", "audit_gateway"]

_SLACK_NS: Final = 250_000_000
"""A push is received later than it was made, by the event loops of both sides."""
_TOLD_MAX: Final = 10
_UNWELL: Final = frozenset({"login_loss", "breaker", "forgotten"})
_LOOKED_FOR: Final = frozenset({"breaker", "forgotten"})
"""Nothing says so: only a look finds it."""
_LOOKS_WITHIN_NS: Final = 4_000_000_000
"""A recorder looks that often at least, unless told otherwise."""

_SIDES: Final = {1: "buy", 2: "sell"}

_Stream = tuple[str, str]


class GatewayAudit(msgspec.Struct):
    """``counts``: what was compared, and of that ``in gaps`` and ``unknowable``; ``problems``: what is wrong, with
    examples.
    """

    counts: Counter[str] = msgspec.field(default_factory=Counter)
    problems: Counter[str] = msgspec.field(default_factory=Counter)
    examples: list[str] = []

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def wrong(self, what: str, example: str) -> None:
        """Count a problem."""
        self.problems[what] += 1
        if len(self.examples) < _TOLD_MAX:
            self.examples.append(f"{what}: {example}")


class _Life(NamedTuple):
    """When a stream was covered (receive times, ns), and its holes."""

    start: int
    end: int
    holes: list[tuple[int, int]]

    def covers(self, at: int) -> bool:
        """Whether what happened at an instant, well inside this life, has to be there."""
        return self.start + _SLACK_NS < at < self.end - _SLACK_NS

    def excuses(self, at: int) -> bool:
        """Whether a hole is about an instant."""
        return any(start - _SLACK_NS <= at <= end for start, end in self.holes)


_LAST_LOOK: Final = """
SELECT max(epoch_ns(ts_recv)) FROM frames WHERE topic = 'query-subscription' AND kind = 'reply'
"""


def audit_gateway(archive: Path, truth: Path) -> GatewayAudit:
    """Hold an archive that was recorded from a gateway against its truth file. Raises ``BadTruth``."""
    result = GatewayAudit()
    records = list(read_truth(truth))
    with Archive(archive) as opened:
        lives = _lives(opened)
        crcs = _frame_crcs(opened)
        [(looked,)] = opened.sql(_LAST_LOOK).fetchall()
        _ticks(opened, records, lives, result)
        _books(opened, records, crcs, result)
    _pushes(records, lives, crcs, looked or 0, result)
    return result


def _lives(archive: Archive) -> dict[_Stream, _Life]:
    horizon = archive.sql("SELECT max(epoch_ns(ts_recv)) FROM frames").fetchall()[0][0] or 0
    # A stream begins with the answer to the first subscription.
    [(begun,)] = archive.sql("SELECT min(epoch_ns(ts_recv)) FROM frames WHERE kind = 'ack'").fetchall()
    streams = archive.sql(
        "SELECT DISTINCT symbol, split_part(topic, '/', 2)::INT FROM frames WHERE kind = 'data' AND symbol <> ''"
    ).fetchall()
    holes: dict[_Stream, list[tuple[int, int]]] = defaultdict(list)
    rows = archive.sql('SELECT symbol, feed, epoch_ns("start"), epoch_ns("end") FROM gaps').fetchall()
    for symbol, feed, start, end in rows:
        holes[symbol, feed].append((start, horizon if end is None else end))
    return {
        (symbol, FEED_OF[kind].name): _Life(begun or 0, horizon, holes[symbol, FEED_OF[kind].name])
        for symbol, kind in streams
    }


def _frame_crcs(archive: Archive) -> dict[int, int]:
    """Position of each push to the CRC-32 of its body."""
    query = (
        "SELECT pos, from_base64(json_extract_string(payload, '$.body_b64')) FROM frames "
        "WHERE direction = 'in' AND kind = 'data'"
    )
    return {pos: zlib.crc32(body) for pos, body in archive.sql(query).fetchall()}


def _ticks(
    archive: Archive, records: Iterable[TruthRecord], lives: dict[_Stream, _Life], result: GatewayAudit
) -> None:
    rows = archive.sql("SELECT symbol, trade_seq, price, size, side FROM trades").fetchall()
    stored = Counter((symbol, sequence) for symbol, sequence, *_ in rows)
    said = {(symbol, sequence): tuple(told) for symbol, sequence, *told in rows}
    lost = {r.n for r in records if isinstance(r, TruthLost)}
    unknowable = {
        (r.symbol, sequence)
        for r in records
        if isinstance(r, TruthPush) and r.n in lost
        for sequence in r.sequences
    }
    told: dict[tuple[str | None, int], int] = {}
    for record in records:
        if isinstance(record, TruthPush):
            for sequence in record.sequences:
                told.setdefault((record.symbol, sequence), record.t)
    true = set()
    for record in records:
        if not isinstance(record, TruthTick):
            continue
        key = (record.symbol, record.sequence)
        true.add(key)
        if key in said and said[key] != (record.price, float(record.volume), _SIDES.get(record.dir)):
            result.wrong("trade unequal", f"{key}")
        life = lives.get((record.symbol, "ticker"))
        if life is None or not life.covers(record.t):
            continue
        result.counts["trades compared"] += 1
        if stored[key] == 1:
            continue
        if stored[key] > 1:
            result.wrong("trade stored twice", f"{key}")
        elif life.excuses(record.t):
            result.counts["trades in gaps"] += 1
        elif told.get(key, 0) > life.end - _SLACK_NS:
            result.counts["trades told after the end"] += 1
        elif key in unknowable:
            result.counts["trades unknowable"] += 1
        else:
            result.wrong("trade missing outside gaps", f"{key} at {record.t}")
    for key in stored.keys() - true:
        # What was traded before the gateway opened is its history, and not in the truth.
        first = min((sequence for symbol, sequence in true if symbol == key[0]), default=0)
        if key[1] >= first:
            result.wrong("trade that never happened", f"{key}")


def _books(
    archive: Archive, records: Iterable[TruthRecord], crcs: dict[int, int], result: GatewayAudit
) -> None:
    kind = SUB_TYPES["orderbook"]
    pushes = {r.n: r.crc for r in records if isinstance(r, TruthPush) and r.sub_type == kind}
    true = {(r.symbol, pushes[r.n]): r for r in records if isinstance(r, TruthBook) and r.n in pushes}
    rows = archive.sql(
        "SELECT pos, symbol, bids, asks, bid_orders, ask_orders, epoch_ns(ts_event) FROM book_snapshots "
        "WHERE source = 'push'"
    ).fetchall()
    for pos, symbol, bids, asks, bid_orders, ask_orders, ts_event in rows:
        result.counts["books compared"] += 1
        book = true.get((symbol, crcs.get(pos, -1)))
        if book is None:
            result.wrong("book of no push", f"{symbol} at position {pos}")
            continue
        sides = ((bids, bid_orders, book.bids), (asks, ask_orders, book.asks))
        equal = all(
            [(level["price"], level["size"], count) for level, count in zip(levels, counts, strict=True)]
            == [(price, float(size), count) for price, size, count in truth]
            for levels, counts, truth in sides
        )
        # Doubles of seconds hold microseconds.
        timed = (ts_event is None) == (book.ts is None) and (
            ts_event is None or book.ts is None or abs(ts_event - book.ts) < 1_000
        )
        if not equal or not timed:
            result.wrong("book unequal", f"{symbol} at position {pos}")


def _pushes(
    records: Iterable[TruthRecord],
    lives: dict[_Stream, _Life],
    crcs: dict[int, int],
    looked: int,
    result: GatewayAudit,
) -> None:
    frames = Counter(crcs.values())
    lost = {record.n for record in records if isinstance(record, TruthLost)}
    for record in records:
        if not isinstance(record, TruthPush | TruthKept) or record.symbol is None:
            continue
        feed = FEED_OF.get(record.sub_type or 0)
        life = lives.get((record.symbol, feed.name)) if feed else None
        if life is None or not life.covers(record.t):
            continue
        what = f"{record.symbol} {record.proto_id} at {record.t}"
        if isinstance(record, TruthKept):
            if record.why in _UNWELL:
                result.counts["kept back compared"] += 1
                if life.excuses(record.t):
                    continue
                last = max(looked - _SLACK_NS, life.end - _LOOKS_WITHIN_NS)
                if record.why in _LOOKED_FOR and record.t > last:
                    result.counts["kept back after the last look"] += 1
                else:
                    result.wrong("kept back outside gaps", what)
            continue
        result.counts["pushes compared"] += 1
        if frames[record.crc] and record.bad is None:
            frames[record.crc] -= 1
        elif record.n in lost:
            result.counts["pushes unknowable"] += 1
        elif life.excuses(record.t):
            result.counts["pushes in gaps"] += 1
        else:
            result.wrong("push missing outside gaps", what)
