"""What was recorded as tardis-machine's normalised messages: trades, book changes, and what is computed from them.

Books are better founded here than a mapper can know them: a snapshot begins every run of deltas that chain, and after
a gap there is a new one. Where the range begins inside of a run, the book of that instant comes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import UNSET

from bookreel.replay import (
    Archive,
    RecordedBbo,
    RecordedTrade,
    Session,
)
from bookreel.replay.ndjson import Lines
from bookreel.replay.server.tardis_bars import Bars, TradeEvent
from bookreel.replay.server.tardis_books import BookRun, Books, Keyed, change_lines
from bookreel.replay.server.tardis_computed import (
    BarType,
    BookType,
    computed,
    is_of_books,
    is_of_trades,
)
from bookreel.replay.server.tardis_options import NormalOptions, Span
from bookreel.replay.server.tardis_tape import pages_of
from bookreel.replay.server.tardis_types import BookTicker, Disconnect, Trade, stamp
from bookreel.replay.server.tardis_window import NormalForm, NormalWindow, first_books
from bookreel.replay.sheet import Array
from bookreel.replay.stream import CHUNK_BYTES
from bookreel.storage.shared_tail import SharedTail

__all__ = ["Normal", "normal_chunks", "normal_lines"]

_MS_NS: Final = 1_000_000

_LEVELS: Final = 1 << 17
"""Levels that are written at a time, about."""


class _Item(NamedTuple):
    """A line and where it stands: position, and then the options it is of and their order."""

    pos: int
    source: int
    number: int
    line: bytes


class Normal:
    """The messages of one choice of options, in order. Opening it blocks; raises NoSuchSymbol and BadRequest."""

    def __init__(self, archive: Archive, options: NormalOptions, span: Span) -> None:
        self._archive = archive
        self._exchange = options.exchange
        self._span = span
        kinds = [computed(name) for name in options.data_types]
        self._given = {name for name, kind in zip(options.data_types, kinds, strict=True) if kind is None}
        # What one event leads to comes in this order.
        self._kinds = [kind for kind in kinds if kind is not None]
        self._books = {
            number: Books(kind, self._exchange)
            for number, kind in enumerate(self._kinds)
            if isinstance(kind, BookType)
        }
        self._bars: dict[str, list[Bars]] = {}
        self._disconnects = bool(options.with_disconnect_messages)
        named = [symbol.lower() for symbol in options.symbols or ()]
        self._symbols = list(dict.fromkeys(named)) or archive.symbols()
        tables = []
        if any(map(is_of_trades, options.data_types)):
            tables.append("trades")
        self._feeds: dict[str, str] = {}
        if any(map(is_of_books, options.data_types)):
            tables += ["book_snapshots", "book_deltas"]
            best = {symbol: archive.book_feeds(symbol) for symbol in self._symbols}
            self._feeds = {symbol: feeds[0] for symbol, feeds in best.items() if feeds}
        self._known = np.zeros(len(self._feeds), bool)
        if "book_ticker" in self._given:
            tables.append("bbo")
        if self._disconnects:
            tables.append("sessions")
        feeds = {"trade.detail", "bbo", *self._feeds.values()}
        self._source = archive.source(self._symbols, tables, feeds, span.start, span.end)
        deepest = [kind.depth for kind in self._kinds if isinstance(kind, BookType)]
        self._run = max(1, _LEVELS // (2 * max(deepest, default=32)))

    def runs(self) -> Iterator[tuple[Lines, Array]]:
        """The lines of some events, and where each of them stands."""
        yield from self._runs(self._first())
        for page in pages_of(self._source, NormalForm(self._feeds)):
            yield from self._runs(page.items)

    def items(self, source: int) -> Iterator[_Item]:
        """Each line, with where it stands."""
        numbers = count()
        for lines, order in self.runs():
            for number, pos in enumerate(order.tolist()):
                yield _Item(pos, source, next(numbers), bytes(lines.between(number, number + 1)))

    def _first(self) -> NormalWindow:
        """The books with which the range begins, where it begins inside of a run."""
        found = []
        for number, (symbol, feed) in enumerate(self._feeds.items()):
            book = self._archive.book(symbol, self._span.start - 1, feed)
            if book.valid and book.ts_event is not None:
                found.append((number, book))
        return first_books(found, self._span.start)

    def _runs(self, window: NormalWindow) -> Iterator[tuple[Lines, Array]]:
        # After a disconnect everything computed begins anew.
        breaks = [
            place
            for place in np.flatnonzero(window.places < len(window.values)).tolist()
            if self._disconnects and _is_disconnect(window.values[window.places[place]])
        ]
        total = len(window.places)
        bounds = sorted({*range(0, total, self._run), *breaks, total})
        for first, end in pairwise(bounds):
            if first in breaks:
                self._bars.clear()
                for books in self._books.values():
                    books.reset()
            found = self._lines(window, first, end)
            if found is not None:
                lines, events = found
                yield Lines.of_array(lines), window.order[first:end][events]

    def _lines(self, window: NormalWindow, first: int, end: int) -> tuple[Any, Array] | None:
        """The lines of some events, an Arrow array, and the number of the event of each."""
        at, values, book_at, run = window.part(first, end)
        steps = 1 + len(self._kinds)
        found: list[Keyed] = []
        if values:
            found.append(self._plain(at * steps, values))
        if len(book_at):
            known = self._known_from(run)
            run, book_at = run.pick(known), book_at[known]
        if len(book_at):
            symbols = [symbol.upper() for symbol in self._feeds]
            parts = [(1 + number, books.lines(run, symbols)) for number, books in self._books.items()]
            if "book_change" in self._given:
                parts.insert(0, (0, change_lines(run, symbols, self._exchange)))
            found += [Keyed(book_at[part.events] * steps + step, part.lines) for step, part in parts]
        keys = np.concatenate([part.events for part in found]) if found else np.zeros(0, np.int64)
        if not len(keys):
            return None
        lines: Any = found[0].lines
        if len(found) > 1 or (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys, kind="stable")
            lines = pa.concat_arrays([part.lines for part in found]).take(pa.array(order))
            keys = keys[order]
        return lines, keys // steps

    def _known_from(self, run: BookRun) -> Array:
        """The events of books that are known: there was a whole one before, or it is one."""
        whole = run.whole.astype(bool)
        if self._known[run.symbol].all():
            return np.arange(len(whole))
        wanted = np.zeros(len(whole), bool)
        for symbol in np.unique(run.symbol).tolist():
            own = np.flatnonzero(run.symbol == symbol)
            begun = np.logical_or.accumulate(whole[own]) | self._known[symbol]
            wanted[own] = begun
            self._known[symbol] = begun[-1]
        return np.flatnonzero(wanted)

    # Values

    def _plain(self, keys: Array, values: list[Any]) -> Keyed:
        messages: list[msgspec.Struct] = []
        counts = []
        for value in values:
            before = len(messages)
            messages += _TAKERS[type(value)](self, value)
            counts.append(len(messages) - before)
        return Keyed(np.repeat(keys, counts), Lines.of(messages).array(0, len(messages)))

    def _trade(self, event: RecordedTrade) -> Iterator[msgspec.Struct]:
        ts, local = event.ts_event // _MS_NS, stamp(event.ts_recv // _MS_NS)
        symbol = event.symbol.upper()
        if "trade" in self._given:
            yield Trade(
                symbol=symbol,
                exchange=self._exchange,
                id=str(event.trade_id if event.trade_seq is None else event.trade_seq),
                price=event.price,
                amount=event.size,
                side=str(event.side),
                timestamp=stamp(ts),
                local_timestamp=local,
            )
        bars = self._bars.get(symbol)
        if bars is None:
            wanted = [kind for kind in self._kinds if isinstance(kind, BarType)]
            bars = self._bars[symbol] = [Bars(kind, symbol, self._exchange) for kind in wanted]
        if bars:
            trade = TradeEvent(event.price, event.size, str(event.side), ts, local)
            for one in bars:
                yield from one.take(trade)

    def _quote(self, event: RecordedBbo) -> Iterable[msgspec.Struct]:
        return (
            BookTicker(
                symbol=event.symbol.upper(),
                exchange=self._exchange,
                ask_amount=event.ask_size or UNSET,
                ask_price=event.ask or UNSET,
                bid_price=event.bid or UNSET,
                bid_amount=event.bid_size or UNSET,
                timestamp=stamp(event.ts_event // _MS_NS),
                local_timestamp=stamp(event.ts_recv // _MS_NS),
            ),
        )

    def _session(self, event: Session) -> Iterator[msgspec.Struct]:
        if _is_disconnect(event):
            yield Disconnect(exchange=self._exchange, local_timestamp=stamp(event.ts_recv // _MS_NS))


_TAKERS: Final[dict[Any, Callable[[Normal, Any], Iterable[msgspec.Struct]]]] = {
    RecordedTrade: Normal._trade,
    RecordedBbo: Normal._quote,
    Session: Normal._session,
}


def _is_disconnect(value: Any) -> bool:
    return isinstance(value, Session) and value.event == "disconnect"


def normal_chunks(
    path: Path | SharedTail, wanted: list[tuple[NormalOptions, Span]]
) -> Iterator[bytes | memoryview]:
    """The messages of several options in one order, a line each, in pieces of a bounded size. What it raises for what
    is wanted comes with the first one.
    """
    if len(wanted) > 1:
        buffer = bytearray()
        for line in normal_lines(path, wanted):
            buffer += line
            if len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
        if buffer:
            yield bytes(buffer)
        return
    with Archive(path) as archive:
        for lines, order in Normal(archive, *wanted[0]).runs():
            at = 0
            while at < len(order):
                stop = lines.stop(at, len(order), CHUNK_BYTES)
                yield lines.between(at, stop)
                at = stop


def normal_lines(path: Path | SharedTail, wanted: list[tuple[NormalOptions, Span]]) -> Iterator[bytes]:
    """The lines of :func:`normal_chunks` one by one."""
    with ExitStack() as opened:
        # Each reader has its own archive.
        normals = [Normal(opened.enter_context(Archive(path)), options, span) for options, span in wanted]
        items = [normal.items(number) for number, normal in enumerate(normals)]
        for item in heapq.merge(*items) if len(items) > 1 else items[0]:
            yield item.line
