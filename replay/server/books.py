"""Jobs that rebuild books: one as of an instant, and over ranges of time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.archive import Archive
from bookreel.replay.asof import BBO, BOOKS
from bookreel.replay.errors import NoSuchFeed
from bookreel.replay.question import Book
from bookreel.replay.server.answers import BookAnswer, GapAnswer, json_answer
from bookreel.replay.server.delivery import Delivery, Parts, deliver
from bookreel.replay.server.desk import Desk
from bookreel.replay.server.errors import Conflict
from bookreel.replay.server.tables import timed_cursor, timed_pieces
from bookreel.replay.times import stamp
from bookreel.storage.changes import integers

__all__ = ["best_rows", "book", "book_rows"]

_SECOND: Final = 1_000_000_000
_LONGEST_NS: Final = 3600 * _SECOND
_SHORTEST_NS: Final = 1_000_000
_FIRST_NS: Final = 2 * _SECOND
_FEW_ROWS: Final = 2_048
_MANY_ROWS: Final = 8_192


class _Range(msgspec.Struct, frozen=True, kw_only=True):
    """What books are wanted: of ``start`` to ``end`` (ns); ``every`` in ns, None is each change."""

    symbol: str
    feed: str | None
    start: int | None
    end: int | None
    every: int | None
    depth: int
    cursor: str | None
    delivery: Delivery


def book(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """The book as of an instant. Raises Conflict where it is not valid then, unless that is allowed."""
    symbol, at = values["symbol"], values["at"]
    instant = time.time_ns() if at is None else at
    found = desk.call(lambda archive: archive.book(symbol, instant, values["feed"], values["depth"]))
    if not found.valid and not values["allow_gap"]:
        raise _conflict(found, instant)
    yield from json_answer(_answer(found))


def _answer(found: Book) -> BookAnswer:
    return BookAnswer(
        symbol=found.symbol,
        feed=found.feed,
        seq=found.seq,
        epoch=found.epoch,
        ts_event=stamp(found.ts_event),
        ts_recv=stamp(found.ts_recv),
        valid=found.valid,
        gap=None if found.gap is None else GapAnswer.of(found.gap),
        bids=found.bids,
        asks=found.asks,
        age_ns=found.age_ns,
    )


def _conflict(found: Book, instant: int) -> Conflict:
    what = f"the book of {found.symbol} {found.feed} is not known at {stamp(instant)}"
    gap = None if found.gap is None else GapAnswer.of(found.gap)
    if gap is not None:
        end = "until now" if gap.end is None else f"to {gap.end}"
        reason = f"that is inside a gap ({gap.cause}) from {gap.start} {end}"
    elif found.ts_recv is None:
        reason = "the recording of it had not begun"
    elif found.age_ns is not None:
        reason = "none has been pushed since a gap, or the recording of it had ended"
    else:
        reason = "the recording of it had ended, or its clock was set back"
    return Conflict(
        f"{what}: {reason}; allow_gap=1 gives the last one that was",
        parameter="at",
        example=f"/v1/coverage?symbol={found.symbol}",
        detail={"gap": gap and msgspec.to_builtins(gap)},
    )


def book_rows(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """The book over time: at each change, or at each multiple of an interval."""
    wanted = msgspec.convert(values, _Range)

    def part(archive: Archive, start: int, end: int) -> pa.Table:
        return archive.books(wanted.symbol, start, end, wanted.every, wanted.depth, wanted.feed)

    longest = _LONGEST_NS if wanted.every is None else min(_LONGEST_NS, _MANY_ROWS * wanted.every)
    return _over_time(desk, wanted, "books", BOOKS, "ts", part, longest)


def best_rows(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """The best bid and offer of the book after each change."""
    wanted = msgspec.convert(values, _Range)

    def part(archive: Archive, start: int, end: int) -> pa.Table:
        return archive.bbo(wanted.symbol, start, end, wanted.feed)

    return _over_time(desk, wanted, "bbo", BBO, "ts_recv", part, _LONGEST_NS)


def _over_time(
    desk: Desk[Archive],
    wanted: _Range,
    kind: str,
    schema: pa.Schema,
    column: str,
    part: Callable[[Archive, int, int], pa.Table],
    longest: int,
) -> Parts:
    low, high = desk.call(lambda archive: _life(archive, wanted.symbol, wanted.feed))
    start, skip = wanted.start, 0
    if wanted.cursor is not None:
        start, skip = timed_cursor(wanted.cursor)
    low = low if start is None else max(low, start)
    high = high if wanted.end is None else min(high, wanted.end)
    tables = _parts(desk, low, high, part, longest)
    return deliver(kind, schema, timed_pieces(tables, column, skip), wanted.delivery)


def _life(archive: Archive, symbol: str, feed: str | None) -> tuple[int, int]:
    """When a book was recorded (ns, end exclusive). Raises NoSuchSymbol, NoSuchFeed."""
    chosen = archive.book(symbol, 0, feed, 1).feed
    spans = archive.coverage(symbol)
    of_feed = spans.filter(pc.equal(spans["feed"], pa.scalar(chosen)))
    if not of_feed.num_rows:
        raise NoSuchFeed(symbol, feed, [])
    now = time.time_ns()
    starts = integers(of_feed["start"])
    ends: list[int | None] = of_feed["end"].cast(pa.int64()).to_pylist()
    return min(starts), 1 + max(now if end is None else end for end in ends)


def _parts(
    desk: Desk[Archive], low: int, high: int, part: Callable[[Archive, int, int], pa.Table], longest: int
) -> Iterator[pa.Table]:
    """A range of time in parts of about so many rows that one is ready soon and none is large; ``longest`` in ns."""
    length = min(_FIRST_NS, longest)
    while low < high:
        end = min(low + length, high)
        rows = desk.call(lambda archive, low=low, end=end: part(archive, low, end))  # type: ignore[misc]
        yield rows
        if rows.num_rows < _FEW_ROWS:
            length = min(length * 2, longest)
        elif rows.num_rows > _MANY_ROWS:
            length = min(max(length // 2, _SHORTEST_NS), longest)
        low = end
