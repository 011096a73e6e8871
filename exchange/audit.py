"""An archive held against the truth: what a recorder made of an exchange that wrote down what really happened.

Four questions, each with a count, so that "0 wrong" of 0 compared cannot hide:

- is every book that was rebuilt the true one, by sequence number and as of an instant;
- is every hole that was inflicted in the gap ledger;
- is every gap in the ledger explained by something that happened;
- is every trade recorded exactly once, outside gaps?
"""

from __future__ import annotations

import bisect
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Levels
from bookreel.exchange.account import (
    HARMLESS,
    NEVER,
    RECORDER_FAULTS,
    SLACK_NS,
    Account,
    Stream,
    inflicted,
    read_account,
)
from bookreel.replay import Archive

__all__ = ["Audit", "audit"]

KNOWABLE_NS: Final = {
    "silence": 8_000_000_000,
    "half_open": 4_000_000_000,
    "net_half_open": 4_000_000_000,
}
"""A stream that stops is not told from a quiet market at once: the recorder asks after 2 s, once more where the first
answer proves nothing, and later where a stream dies again and again. A silence that began later than this before
the end may be known or not; what it withheld is not counted against the archive."""

AS_OF_SAMPLES: Final = 200
"""Books asked for by instant, unless told otherwise; all are compared by sequence number."""

SELF_EXPLAINED: Final = frozenset({"misaligned", "crash_tail", "shed", "disk_full", "corrupt", "operator"})
"""Causes that lie not with the exchange: a snapshot that could not be joined although nothing is missing (honest ones
are often old), and what happened to the recorder itself, unless the truth tells of that too."""

RECORDER_CAUSES: Final = frozenset({"crash_tail", "shed", "disk_full", "corrupt", "operator"})
"""Causes that need an explanation where the truth tells of the recorder."""

SHARED_HOLES: Final = {
    "silence": frozenset({"silence"}),
    "broken_gzip": frozenset({"decode_error"}),
    "broken_json": frozenset({"decode_error"}),
    "shed": frozenset({"shed", "disk_full"}),
}
"""Faults of one stream that may cost its neighbours on the socket a hole, and its causes: where too much is silent
the recorder connects anew, and a frame too broken to name its topic, or one that was shed, may have been anyone's."""

LAST_WORDS: Final = frozenset({"lost_delta", "reorder"})
"""Faults of one frame that are a silence until the next one comes: the answer to a question is newer than all that
was pushed. They may cost the neighbours on the socket what a silence may, for as long as one needs to be known,
and near the end they may not be known at all."""

PATIENCE_NS: Final = 10_000_000_000
"""What came too late or not at all is noticed, and given up, within this time."""

_SNAPSHOTS: Final = """
SELECT epoch, seq, bids, asks, epoch_ns(ts_recv) FROM book_snapshots
WHERE symbol = ? AND feed = ? AND pos = epoch
QUALIFY row_number() OVER (PARTITION BY epoch ORDER BY seq, source DESC) = 1 ORDER BY pos
"""
_DELTAS: Final = """
SELECT epoch, seq, epoch_ns(ts_recv), side, price, size FROM book_deltas
WHERE symbol = ? AND feed = ? ORDER BY epoch, pos
"""
_GAPS: Final = """
SELECT symbol, feed, cause, epoch_ns(start), epoch_ns("end"), coalesce(pos, 1::BIGINT << 62) FROM gaps ORDER BY start
"""
_FIRST_BOOK: Final = """
SELECT pos, epoch_ns(ts_recv) FROM book_snapshots WHERE symbol = ? AND feed = ? ORDER BY pos LIMIT 1
"""
_FIRST_ACK: Final = """
SELECT pos, epoch_ns(ts_recv) FROM frames WHERE topic = concat('market.', ?, '.', ?) AND kind = 'ack' ORDER BY pos
LIMIT 1
"""
_COVERED: Final = """
SELECT symbol, feed, epoch_ns(min(start)), epoch_ns(max(coalesce("end", '2262-01-01'::TIMESTAMP_NS))) FROM coverage(?)
WHERE state IN ('covered', 'connected') GROUP BY ALL
"""
_LAST: Final = """
SELECT pos, epoch_ns(ts_recv) FROM (FROM frames SELECT pos, ts_recv UNION ALL FROM sessions SELECT pos, ts_recv)
ORDER BY pos DESC LIMIT 1
"""
_HEARD: Final = """
SELECT count(*) FROM frames WHERE topic = concat('market.', ?, '.', ?) AND kind = 'data'
    AND TRY_CAST(regexp_extract(payload, '"seqNum":([0-9]+)', 1) AS BIGINT) > ?
"""
_TRADES: Final = "SELECT trade_seq, side, price, size FROM trades WHERE symbol = ?"


class Audit(msgspec.Struct):
    """Counts of one comparison. ``problems`` has a sentence for each thing that is wrong."""

    books_compared: int = 0
    books_as_of: int = 0
    books_wrong: int = 0
    books_in_gaps: int = 0
    faults: dict[str, int] = {}
    gaps_injected: int = 0
    gaps_found: int = 0
    gaps_filled: int = 0
    gaps_recorded: int = 0
    gaps_unexplained: int = 0
    silences_undecided: int = 0
    trades_true: int = 0
    trades_recorded: int = 0
    trades_in_gaps: int = 0
    trades_recovered: int = 0
    trades_missed: int = 0
    trades_twice: int = 0
    trades_unknown: int = 0
    problems: list[str] = []

    @property
    def ok(self) -> bool:
        """Whether something was compared and nothing was wrong."""
        return not self.problems and self.books_compared > 0 and self.trades_true > 0


class _Hole(msgspec.Struct):
    """A gap of the ledger, in true time."""

    stream: Stream
    cause: str
    start: int
    end: int | None
    explained: bool = False
    recorded: bool = True

    def holds(self, t: int, late: int = 0) -> bool:
        """Whether what was sent at ``t``, and came by ``late`` if that is later, lies in it, with the slack."""
        return self.start <= max(t, late) + SLACK_NS and (self.end is None or t - SLACK_NS <= self.end)


def audit(
    archive: Path, truth: Path, *, seed: int = 1, merged: bool = False, samples: int = AS_OF_SAMPLES
) -> Audit:
    """Compare an archive with a truth file. ``merged``: it is of several lines, so what one of them lost another may
    have filled; that it has, books and trades show. ``samples``: books asked for by instant. Raises what
    :class:`Archive` raises for an unreadable one.
    """
    result = Audit()
    told = read_account(truth)
    with Archive(archive) as opened:
        symbols = [symbol for symbol in opened.symbols() if symbol]
        holes = defaultdict(list)
        clock = told.clock
        for symbol, feed, cause, start, end, pos in opened.sql(_GAPS).fetchall():
            since, until = clock.earlier(start, pos), None if end is None else clock.true(end, pos)
            hole = _Hole((symbol, feed), cause, since, until, recorded=cause != "operator")
            hole.explained = cause in SELF_EXPLAINED and not (told.of_recorder and cause in RECORDER_CAUSES)
            holes[symbol, feed].append(hole)
        covered = _coverage(opened, symbols, told)
        instants = [found for stream in sorted(told.books) for found in _books(opened, stream, told, result)]
        instants = [one for one in instants if clock.unique(one[1])]
        _as_of(opened, random.Random(seed).sample(instants, min(samples, len(instants))), result)

        def heard(stream: Stream, seq: int) -> bool:
            """Whether a frame that came shows that there was a number after ``seq``."""
            return bool(opened.sql(_HEARD, [*stream, seq]).fetchall()[0][0])

        _gaps(told, holes, covered, result, merged, heard)
        for symbol in symbols:
            _trades(opened, symbol, told, holes, covered, result)
    return result


def _coverage(archive: Archive, symbols: list[str], truth: Account) -> dict[Stream, tuple[int, int]]:
    """From when until when, in true time, each stream was recorded, holes included."""
    covered: dict[Stream, tuple[int, int]] = {}
    last = [truth.clock.true(wall, pos) for pos, wall in archive.sql(_LAST).fetchall()]
    for symbol in symbols:
        for _, feed, since, until in archive.sql(_COVERED, [symbol]).fetchall():
            ended = until
            if truth.clock.told:
                # Wall times that were set back cannot be compared, nor does it know yet what a last crash took.
                first = archive.sql(_FIRST_BOOK if feed.startswith("mbp.") else _FIRST_ACK, [symbol, feed])
                for pos, wall in first.fetchall():
                    since, ended = truth.clock.true(wall, pos), max(last)
            covered[symbol, feed] = since, ended if truth.ended is None else min(ended, truth.ended)
    return covered


def _levels(pairs: Iterable[Any]) -> Levels:
    return [(float(price), float(size)) for price, size in pairs]


def _books(
    archive: Archive, stream: Stream, truth: Account, result: Audit
) -> Iterator[tuple[Stream, int, Any]]:
    """Compare each true book by sequence number; yield (stream, an instant when it was the book, the truth)."""
    lines = sorted(truth.books[stream], key=lambda line: line["seq"])
    seqs = [line["seq"] for line in lines]
    deltas = defaultdict(list)
    for epoch, *delta in archive.sql(_DELTAS, list(stream)).fetchall():
        deltas[epoch].append(delta)
    compared = set()
    for epoch, first, bids, asks, ts_recv in archive.sql(_SNAPSHOTS, list(stream)).fetchall():
        book = L2Book()
        book.load(
            [(level["price"], level["size"]) for level in bids], [(x["price"], x["size"]) for x in asks]
        )
        steps = _steps(deltas[epoch], first, ts_recv)
        known, since = first, ts_recv
        for seq, at, changes in steps:
            # Every true book from the last applied delta up to this one is the book as it stands now.
            for index in range(bisect.bisect_left(seqs, known), bisect.bisect_left(seqs, seq)):
                _compare(book, lines[index], stream, result)
                compared.add(index)
                yield stream, since, lines[index]
            book.apply(changes)
            known, since = seq, at
        index = bisect.bisect_left(seqs, known)
        if index < len(seqs) and seqs[index] == known and index not in compared:
            _compare(book, lines[index], stream, result)
            compared.add(index)
            yield stream, since, lines[index]
    result.books_in_gaps += len(lines) - len(compared)


def _steps(rows: list[Any], first: int, ts_recv: int) -> Iterator[tuple[int, int, Delta]]:
    """Rows of one epoch as deltas: (seq, instant from which it was part of the book, delta)."""
    sides: dict[int, tuple[int, Levels, Levels]] = {}
    for seq, at, side, price, size in rows:
        if seq > first:
            _, bids, asks = sides.setdefault(seq, (max(at, ts_recv), [], []))
            if side is not None:
                (bids if side == "bid" else asks).append((price, size))
    for seq, (at, bids, asks) in sides.items():
        yield seq, at, Delta("", "", 0, seq, 0, bids, asks)


def _compare(book: L2Book, line: dict[str, Any], stream: Stream, result: Audit) -> None:
    result.books_compared += 1
    if book.top() != (_levels(line["bids"]), _levels(line["asks"])):
        result.books_wrong += 1
        result.problems.append(
            f"the book of {stream[0]} {stream[1]} at seq {line['seq']} is not the true one"
        )


def _as_of(archive: Archive, sample: list[tuple[Stream, int, Any]], result: Audit) -> None:
    for (symbol, feed), instant, line in sample:
        book = archive.book(symbol, at=instant, feed=feed)
        result.books_as_of += 1
        true = (_levels(line["bids"]), _levels(line["asks"]))
        # An empty delta moves the true number on without changing the book, so the older number is right too.
        fits = book.seq is not None and book.seq <= line["seq"] and (list(book.bids), list(book.asks)) == true
        # What came at the same instant is in it too.
        newer = book.seq is not None and book.seq > line["seq"] and book.ts_recv == instant
        if not (book.valid and (fits or newer)):
            result.books_wrong += 1
            told = "not the true one" if book.valid else "said to be inside a gap, but it is not"
            result.problems.append(f"book({symbol!r}, at={instant}, feed={feed!r}) is {told}")


def _gaps(
    truth: Account,
    holes: dict[Stream, list[_Hole]],
    covered: dict[Stream, tuple[int, int]],
    result: Audit,
    merged: bool,
    heard: Callable[[Stream, int], bool],
) -> None:
    result.faults = dict(Counter(fault["kind"] for fault in truth.faults))
    for stream, fault, others in inflicted(truth):
        t, kind = fault["t"], fault["kind"]
        late = truth.late(t)
        shared = SHARED_HOLES.get(kind, frozenset())
        until = fault.get("until", 0)
        if kind in LAST_WORDS:
            shared, until = SHARED_HOLES["silence"], late + KNOWABLE_NS["silence"]
        for hole in (hole for other in others for hole in holes[other] if hole.cause in shared):
            if hole.holds(t, late) or t < hole.start < until:
                hole.explained = True
        if kind in HARMLESS:
            until = fault.get("until", t) + PATIENCE_NS
            for hole in holes[stream]:
                hole.explained |= hole.cause in HARMLESS[kind] and hole.holds(t, until)
            continue
        since, until = covered.get(stream, (t, 0))
        near = [hole for hole in holes[stream] if hole.holds(t, late)]
        for hole in near:
            # Who is killed had no time to say that it stopped.
            hole.explained |= not (kind in RECORDER_FAULTS and hole.cause == "operator")
        if kind == "power_loss":
            # Later writes may be on the disk where earlier ones are not: such a hole ends before the power was lost.
            for hole in holes[stream]:
                hole.explained |= hole.cause == "corrupt" and hole.holds(truth.kept(t), t)
        # A stream that was not covered yet, or no more, had nothing to lose.
        if not near and not since + SLACK_NS < t < until - SLACK_NS:
            continue
        if not near and merged:
            result.gaps_injected += 1
            result.gaps_filled += 1
            continue
        knowable = KNOWABLE_NS.get(kind, 0)
        if not near and kind in LAST_WORDS and not heard(stream, fault["prev_seq"]):
            knowable = KNOWABLE_NS["silence"]
        if not near and t > until - knowable:
            result.silences_undecided += 1
            holes[stream].append(_Hole(stream, "silence", t, None, explained=True, recorded=False))
            continue
        result.gaps_injected += 1
        if near:
            result.gaps_found += 1
        else:
            result.problems.append(f"{fault['kind']} of {' '.join(stream)} at {fault['t']} is not in gaps")
    for stream, ledger in holes.items():
        for hole in ledger:
            result.gaps_recorded += hole.recorded
            if not hole.explained:
                result.gaps_unexplained += 1
                result.problems.append(
                    f"gap of {' '.join(stream)} ({hole.cause}) at {hole.start} is explained by nothing"
                )


class _Spans:
    """What the holes of a stream cover together, slack included."""

    def __init__(self, holes: list[_Hole]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for hole in sorted(holes, key=lambda hole: hole.start):
            low, high = hole.start - SLACK_NS, NEVER if hole.end is None else hole.end + SLACK_NS
            if self._ends and low <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], high)
            else:
                self._starts.append(low)
                self._ends.append(high)

    def holds(self, t: int, late: int = 0) -> bool:
        """Whether what was sent at ``t``, and came by ``late`` if that is later, lies in one."""
        at = bisect.bisect_right(self._starts, max(t, late)) - 1
        return at >= 0 and t <= self._ends[at]


def _trades(
    archive: Archive,
    symbol: str,
    truth: Account,
    holes: dict[Stream, list[_Hole]],
    covered: dict[Stream, tuple[int, int]],
    result: Audit,
) -> None:
    stream = symbol, "trade.detail"
    if stream not in covered:
        return
    since, until = covered[stream]
    true = truth.trades[symbol]
    oldest = min(true, default=0)
    recorded: Counter[int] = Counter()
    for trade_seq, side, price, size in archive.sql(_TRADES, [symbol]).fetchall():
        if trade_seq < oldest:
            continue  # from before the exchange began to tell the truth
        recorded[trade_seq] += 1
        line = true.get(trade_seq)
        if line is None or (line["side"], line["price"], line["size"]) != (side, price, size):
            result.trades_unknown += 1
            result.problems.append(f"trade {trade_seq} of {symbol} never happened like that")
    result.trades_recorded += len(recorded)
    for trade_seq, count in recorded.items():
        if count > 1:
            result.trades_twice += 1
            result.problems.append(f"trade {trade_seq} of {symbol} is recorded {count} times")
    inside_of = _Spans(holes[stream])
    for trade_seq, line in true.items():
        t = line["t"]
        late = truth.late(t)
        # What was on its way on a slow line when the recorder ended could not be recorded.
        if not since + SLACK_NS < t <= late < until - SLACK_NS:
            continue
        result.trades_true += 1
        # A hole begins by time of receipt: on a slow line it may be that of what was sent long before.
        inside = inside_of.holds(t, late)
        if trade_seq in recorded:
            result.trades_recovered += inside
        elif inside:
            result.trades_in_gaps += 1
        else:
            result.trades_missed += 1
            result.problems.append(f"trade {trade_seq} of {symbol} at {line['t']} is missing outside gaps")
