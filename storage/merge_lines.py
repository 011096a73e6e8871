"""Several recordings of one feed, record by record, to the rows of one.

Each line has a normalizer of its own, so what it says of itself is what it said when it was sealed. The rows are
chosen from theirs, for each stream by what its numbering allows:

*sequenced*
    :class:`~bookreel.storage.merge_chain.Chain`: each delta once.
*id-only*
    each trade once, by its id.
*unsequenced*
    one line at a time: another one takes over from the instant at which the line in use ceased to be good, or where
    it speaks while that one is silent for longer than is usual. Until then, what the others received since its last
    sign of life waits.

Frames, events and reference data are kept of all lines.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa

from bookreel.book.model import Bbo, Delta, Event, Gap, Instrument, Snapshot, Trade
from bookreel.book.sync import Stamped
from bookreel.storage.book_line import BookLine
from bookreel.storage.lines import Line, LineState
from bookreel.storage.merge_chain import Chain
from bookreel.storage.merge_gaps import Life, common_gaps
from bookreel.storage.normalize import BLOCK_RECORDS, Normalizer
from bookreel.storage.plain_lines import PlainLines, Row
from bookreel.storage.recent import TRADES_SEEN, Recent
from bookreel.storage.record import Kind, Record
from bookreel.storage.rows import FrameFacts, RowWriter
from bookreel.storage.segment import Damage
from bookreel.storage.stream import Stream, StreamState
from bookreel.storage.streams import Streams
from bookreel.storage.turns import Step, Turns, turns_of
from bookreel.venues.message import Reply, Venue

__all__ = ["Lines"]

_TRADES_SEEN: Final = 8192
"""Trade ids remembered for each symbol: one line may be that many behind the other."""

_Key: TypeAlias = tuple[str, str]


class Lines:
    """Makes the rows of a merged archive. ``names``: the lines'; they stand before the names of their connections.

    ``counts``: as those of a normalizer, of what came, and ``unequal``: books that differed at one sequence number.
    """

    def __init__(self, venue: Venue, names: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.rows = RowWriter(venue.name, None, None)
        self._venue = venue
        self.instruments: dict[str, tuple[bytes, int]] = {}
        """Digest and day of each symbol's newest reference data, of whichever line."""
        self._normalizers = [_Normalizer(venue, index, self) for index in range(len(names))]
        self._names = names
        self._chains: dict[_Key, Chain] = {}
        self._plains: dict[_Key, PlainLines] = {}
        self._trades: dict[str, Recent] = defaultdict(lambda: Recent(limit=_TRADES_SEEN))
        self._gaps: list[defaultdict[_Key, list[Gap]]] = [defaultdict(list) for _ in names]
        self._firsts: list[dict[_Key, int]] = [{} for _ in names]
        self._unpacked = 0
        self.steps: list[Step] = []
        """Where the clock of either line was set back."""
        self._begun: tuple[int, int] | tuple[()] = ()

    def feed(self, line: int, record: Record, pos: int) -> None:
        """Take a line's next record as record ``pos`` of the merged archive."""
        name = self._names[line]
        conn = f"{name}/{record.conn}" if record.conn else name
        normalizer = self._normalizers[line]
        normalizer.feed(msgspec.structs.replace(record, pos=pos, conn=conn))
        if not self._begun and record.kind is not Kind.EVENT:
            self._begun = (pos, record.ts_recv)
        if steps := normalizer.take_steps():
            self.steps += steps
        if record.kind is Kind.EVENT:
            self._settle(pos, record.ts_recv)
        self._unpacked += 1
        if self._unpacked == BLOCK_RECORDS:
            self._unpacked = 0
            self.rows.pack()

    def damage(self, line: int, damage: Damage) -> None:
        """A line's records before its next one are missing."""
        self._normalizers[line].damage(damage)

    def take(self) -> dict[str, pa.Table]:
        """The rows since the last call, as :meth:`Normalizer.take` gives them."""
        return self.rows.take(compact=True)

    def finish(self) -> bytes:
        """Nothing more will come: write what waited and the holes. The checkpoint of the merged archive."""
        for chain in self._chains.values():
            chain.settle(end=True)
        for plain in self._plains.values():
            plain.finish()
        keys = sorted({key for normalizer in self._normalizers for key in normalizer.final()[1]})
        for key in keys:
            self._streams(key)  # known to every line from here on
        finals = [normalizer.final() for normalizer in self._normalizers]
        streams = [self._finish_stream(key, [of_line[key] for _, of_line in finals]) for key in keys]
        trades = {symbol: recent.ids() for symbol, recent in sorted(self._trades.items())}
        newest = max(self._normalizers, key=lambda normalizer: normalizer.last_pos)
        return newest.merged_state([line for lines, _ in finals for line in lines], streams, trades)

    def total(self, name: str) -> int:
        """The sum of a count over the lines."""
        return sum(normalizer.counts[name] for normalizer in self._normalizers)

    def gaps_of(self, line: int, key: _Key) -> list[Gap]:
        """The holes of one stream on one line. The last one may be open, or what comes after its end."""
        gaps = self._gaps[line][key]
        if (hole := self._streams(key)[line].hole) is None:
            return gaps
        facts = msgspec.structs.asdict(hole)
        return [*gaps, Gap(symbol=key[0], feed=key[1], end=None, **facts)]

    # What the normalizers say

    def sequenced(self, key: _Key) -> bool:
        """Whether a stream has a chain."""
        return self._venue.topic(*key).coverage == "sequenced"

    def chain(self, key: _Key) -> Chain:
        """The chain of a sequenced stream."""
        chain = self._chains.get(key)
        if chain is None:
            lines = [BookLine(stream) for stream in self._streams(key)]
            chain = self._chains[key] = Chain(*key, lines, self.rows, self._unequal)
        return chain

    def plain(self, line: int, key: _Key, row: Row) -> None:
        """A row of an unsequenced stream."""
        plain = self._plains.get(key)
        if plain is None:
            plain = self._plains[key] = PlainLines(self._streams(key))
        plain.row(line, row)

    def trade(self, trade: Trade, pos: int, ts_recv: int) -> None:
        """A trade that is new to its line."""
        if self._trades[trade.symbol].add(trade.trade_id if trade.trade_seq is None else trade.trade_seq):
            self.rows.trade(trade, pos, ts_recv)
        else:
            self.counts["duplicates"] += 1

    def gap(self, line: int, gap: Gap) -> None:
        """A hole of a line is over."""
        key = gap.symbol, gap.feed
        self._gaps[line][key].append(gap)
        if (plain := self._plains.get(key)) is not None:
            plain.gap(line, gap)

    def began(self, line: int, key: _Key, pos: int) -> None:
        """A stream is good on a line for the first time."""
        self._firsts[line].setdefault(key, pos)

    # Steps of the above

    def _streams(self, key: _Key) -> list[Stream]:
        topic = self._venue.topic(*key)
        return [normalizer.stream(topic) for normalizer in self._normalizers]

    def _settle(self, pos: int, ts_recv: int) -> None:
        """A line may be known to be lost by now: what waited for it goes on."""
        for chain in self._chains.values():
            if chain.blocked:
                chain.now = pos, ts_recv
                chain.settle()

    def _unequal(self) -> None:
        self.counts["unequal"] += 1

    def _finish_stream(self, key: _Key, states: Sequence[StreamState]) -> StreamState:
        """Write a stream's holes; its state from here on is that of the line that lasted longest."""
        lives: list[Life] = []
        for line, stream in enumerate(self._streams(key)):
            lives.append(Life(stream.first, self._firsts[line].get(key), self.gaps_of(line, key)))
        chain = self._chains.get(key)
        last: Gap | None = None
        holes = list(common_gaps(lives, () if chain is None else chain.runs))
        for gap in holes:
            if gap.end is None:
                last = gap
            else:
                assert gap.repaired_by is not None, "something ended it"
                self.counts["gaps"] += 1
                self.rows.gap(gap, gap.repaired_by, gap.end)
        state = _state_after(lives, states, last, chain)
        if self.steps and state.first is not None:
            state.turns = self._turns(key, holes)
            if last is not None and state.ended:
                state.turns.end(last.start)
        return state

    def _turns(self, key: _Key, holes: Sequence[Gap]) -> Turns:
        """The turns of a stream: an instant that either line passed twice is not one instant any more."""
        turns = turns_of(self.steps, *self._begun)
        for gap in holes:
            if gap.end is not None and gap.repaired_by is not None:
                turns.doubts += turns.until(gap.repaired_by).crossed(gap.start, gap.end)
        return turns


def _state_after(
    lives: Sequence[Life], states: Sequence[StreamState], last: Gap | None, chain: Chain | None
) -> StreamState:
    """The state of a merged stream. ``last``: its open hole, or end."""
    firsts = [life.first for life in lives if life.first is not None]
    known = [index for index, life in enumerate(lives) if life.first is not None] or [0]
    chosen = max(known, key=lambda index: (_end(lives[index]), -index))
    state = states[chosen]
    state.first = min(firsts, default=None)
    hole = state.sync.gap if state.sync is not None and state.sync.gap is not None else state.gap
    if hole is not None and last is not None:
        hole.start, hole.last_seq = last.start, last.last_seq
    if state.sync is not None and chain is not None and chain.runs:
        state.sync.epoch = chain.epoch
        if hole is not None:
            hole.epoch = chain.epoch
    return state


def _end(life: Life) -> float:
    """When a line's record of a stream ended."""
    newest = life.gaps[-1] if life.gaps else None
    return newest.start if newest is not None and newest.end is None else float("inf")


class _Streams(Streams):
    """Also tells when a stream is good for the first time."""

    began: Callable[[_Key, int], None]

    def _run(self, stream: Stream, pos: int, ts_recv: int) -> None:
        if stream.first is None:
            self.began((stream.topic.symbol, stream.topic.feed), pos)
        super()._run(stream, pos, ts_recv)


class _Writer(RowWriter):
    """Sends a line's rows on to where they are chosen."""

    def __init__(self, venue: str, line: int, lines: Lines) -> None:
        super().__init__(venue, (), None)
        self._line = line
        self._lines = lines

    def frame(self, record: Record, facts: FrameFacts, text: bytes | None) -> None:
        self._lines.rows.frame(record, facts, text)

    def session(self, record: Record, name: str, detail: bytes) -> None:
        self._lines.rows.session(record, name, detail)

    def instrument(self, item: Instrument, pos: int, ts_recv: int) -> None:
        self._lines.rows.instrument(item, pos, ts_recv)

    def delta(self, delta: Delta, epoch: int | None, pos: int, ts_recv: int) -> None:
        """The chain is told."""

    def book(self, book: Snapshot, epoch: int | None, pos: int, ts_recv: int) -> None:
        # Of a sequenced stream the chain is told.
        if book.source != "keyframe" and not self._lines.sequenced((book.symbol, book.feed)):
            write = partial(self._lines.rows.book, book, epoch, pos, ts_recv)
            self._plain(book, book.seq, ts_recv, write)

    def bbo(self, bbo: Bbo, pos: int, ts_recv: int) -> None:
        self._plain(bbo, bbo.seq, ts_recv, partial(self._lines.rows.bbo, bbo, pos, ts_recv))

    def bar(self, event: Event, pos: int, ts_recv: int) -> None:
        self._plain(event, None, ts_recv, partial(self._lines.rows.bar, event, pos, ts_recv))

    def trade(self, trade: Trade, pos: int, ts_recv: int) -> None:
        self._lines.trade(trade, pos, ts_recv)

    def gap(self, gap: Gap, pos: int, ts_recv: int) -> None:
        self._lines.gap(self._line, gap)

    def _plain(self, event: Any, seq: int | None, ts_recv: int, write: Callable[[], None]) -> None:
        row = Row(ts_recv, (event.ts_event, seq or 0), write)
        self._lines.plain(self._line, (event.symbol, event.feed), row)


class _Normalizer(Normalizer):
    """The normalizer of one line."""

    def __init__(self, venue: Venue, line: int, lines: Lines) -> None:
        super().__init__(venue)
        self._line = line
        self._lines = lines
        self._rows = _Writer(venue.name, line, lines)
        self._streams = _Streams(self._gap, self._rows.wants)
        self._streams.began = partial(lines.began, line)
        self._instruments = lines.instruments

    def stream(self, topic: Any) -> Stream:
        """This line's part of a stream."""
        return self._streams.find(topic)

    def final(self) -> tuple[list[LineState], dict[_Key, StreamState]]:
        """Where the line's connections and streams stand at the end, every stream of any line included."""
        lines, streams = self._streams.checkpoint()
        return lines, {(state.topic.symbol, state.topic.feed): state for state in streams}

    def merged_state(
        self, lines: list[LineState], streams: list[StreamState], trades: dict[str, list[int | str]]
    ) -> bytes:
        """The checkpoint of the merged archive, of which this line had the newest record."""
        merged = Normalizer(self._venue)
        merged._streams.restore(lines, streams)
        merged._last_pos, merged._last_ts = self._last_pos, self._last_ts
        merged._trades = {symbol: Recent(ids[-TRADES_SEEN:]) for symbol, ids in trades.items()}
        merged._instruments = self._instruments
        return merged.state()

    def _count_leftovers(self, text: bytes) -> None:
        """The two archives have counted them, and looking takes as long as reading does."""

    def _delta(self, delta: Delta, stream: Stream, record: Record) -> None:
        chain = self._lines.chain((delta.symbol, delta.feed))
        line = chain.lines[self._line]
        held = Stamped(delta, record.pos, record.ts_recv)
        chain.expect(line, held)
        super()._delta(delta, stream, record)
        chain.delta(line, held)

    def _answer(self, message: Reply, line: Line, record: Record) -> None:
        super()._answer(message, line, record)
        stream = self._streams.find(message.topic)
        sync = stream.sync
        if sync is None or stream.line is not line or not message.events:
            return
        snapshot = message.events[0]
        assert isinstance(snapshot, Snapshot), "a sequenced topic is answered with a snapshot"
        chain = self._lines.chain((snapshot.symbol, snapshot.feed))
        if sync.valid and sync.epoch == record.pos:
            chain.adopted(chain.lines[self._line], snapshot, record.pos, record.ts_recv)
        elif sync.valid:
            chain.audit(snapshot, record.pos, record.ts_recv)
