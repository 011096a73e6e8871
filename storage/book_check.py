"""Proof of one recorded book: it is rebuilt, and compared wherever something to compare with is stored.

A book rebuilt from its deltas must be each later keyframe and each snapshot that the venue gave for comparison, its
chain of sequence numbers must be whole inside every epoch, and its best prices must be those that the venue sent in a
feed of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta
from bookreel.storage.changes import Step, Whole, integers, merged, steps, wholes
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.scan import Bounds, Scanner
from bookreel.venues.errors import VenueError
from bookreel.venues.message import Data, Venue

__all__ = ["BookCheck"]


class _Break(NamedTuple):
    """Two deltas of an epoch that do not follow each other: a number that is missing in between, or empty
    deltas.
    """

    after_pos: int
    pos: int
    seq: int
    prev_seq: int


class BookCheck:
    """One sequenced book. ``problem`` is told of each thing that is wrong: its kind, the stream and a sentence;
    ``counts`` grow by what was looked at.
    """

    def __init__(
        self,
        stream: Stream,
        venue: Venue,
        contents: Contents,
        scanner: Scanner,
        problem: Callable[[str, str, str], None],
        counts: Counter[str],
    ) -> None:
        self._tell = problem
        self._counts = counts
        self._scanner = scanner
        self._contents = contents
        self._symbol, self._feed = stream.symbol, stream.feed
        self._venue = venue
        self._book = L2Book()
        self._epoch: int | None = None
        self._seq = 0
        self._pos = 0
        self._waiting: list[Step] = []
        self._ahead: dict[int, Whole] = {}
        self._breaks: list[_Break] = []
        self._unequal_bbo = 0

    def run(self, since: int | None, until: int | None) -> None:
        """Walk through everything received from ``since`` to ``until`` (ns, exclusive). Raises StorageError."""
        bounds = Bounds(symbol=self._symbol, feed=self._feed, since=since, until=until)
        quotes = self._quotes(bounds)
        quote = next(quotes, None)
        for change in merged(
            steps(self._scanner, self._contents, bounds), wholes(self._scanner, self._contents, bounds)
        ):
            before = self._seq
            if isinstance(change, Step):
                self._delta(change)
            else:
                self._whole(change)
            if self._epoch is None or self._seq == before:
                continue
            while quote is not None and quote[0] < self._seq:
                quote = next(quotes, None)
            while quote is not None and quote[0] == self._seq:
                self._counts["bbo"] += 1
                if quote[1:] != self._book.best():
                    self._counts["bbo_unequal"] += 1
                    self._unequal_bbo += 1
                quote = next(quotes, None)
        if self._unequal_bbo:
            text = f"{self._unequal_bbo} recorded best bids and offers are not those of the rebuilt book"
            self._problem("bbo", text)
        if self._breaks:
            self._settle_breaks(bounds)

    def _delta(self, step: Step) -> None:
        if step.epoch != self._epoch:
            self._waiting.append(step)
            return
        self._counts["deltas"] += 1
        self._counts["links"] += 1
        if step.seq <= self._seq:
            self._counts["links_broken"] += 1
            self._problem("chain", f"epoch {step.epoch}: {step.seq} comes after {self._seq}")
            return
        if step.prev_seq != self._seq:
            self._breaks.append(_Break(self._pos, step.pos, self._seq, step.prev_seq))
        self._book.apply(Delta(self._symbol, self._feed, 0, step.seq, step.prev_seq, step.bids, step.asks))
        self._seq, self._pos = step.seq, step.pos
        if self._ahead:
            expected = self._ahead.pop(step.seq, None)
            if expected is not None:
                self._compare(expected)

    def _whole(self, whole: Whole) -> None:
        if whole.epoch != self._epoch:
            # At the edge of a day a keyframe in the middle of an epoch is where the walk begins.
            if whole.begins or (self._epoch is None and whole.source == "keyframe"):
                self._begin(whole)
        elif whole.source == "keyframe":
            # An empty delta moves the number on and leaves no row, so ours may be a bit behind.
            self._compare(whole)
            self._seq = max(self._seq, whole.seq or 0)
        elif whole.seq == self._seq:
            self._compare(whole)
        elif whole.seq is not None and whole.seq > self._seq:
            self._ahead = {whole.seq: whole}

    def _begin(self, whole: Whole) -> None:
        self._counts["epochs"] += 1
        before = self._pos
        self._epoch, self._seq, self._pos = whole.epoch, whole.seq or 0, whole.pos
        self._book.load(whole.bids, whole.asks)
        self._ahead = {}
        # Of merged lines one may be far behind: what it brings can wait for an epoch after the next.
        waiting, self._waiting = (
            self._waiting,
            [step for step in self._waiting if step.epoch > whole.epoch],
        )
        for step in waiting:
            if step.epoch == whole.epoch and step.seq > self._seq:
                # Buffered frames came before the snapshot: what is missing between them is looked for there.
                self._pos = before
                self._delta(step)
                before = self._pos

    def _compare(self, whole: Whole) -> None:
        self._counts["keyframes" if whole.source == "keyframe" else "snapshots"] += 1
        stored = L2Book()
        stored.load(whole.bids, whole.asks)
        if stored == self._book:
            return
        self._counts["books_unequal"] += 1
        levels = sum(
            len(ours.items() ^ theirs.items())
            for ours, theirs in ((self._book.bids, stored.bids), (self._book.asks, stored.asks))
        )
        self._problem(
            "book",
            f"epoch {whole.epoch}, seq {whole.seq}: the {whole.source} at position {whole.pos} differs from the "
            f"rebuilt book in {levels} levels",
        )
        # Go on from what is stored, so that one wrong row is one problem.
        self._book = stored

    def _quotes(
        self, bounds: Bounds
    ) -> Iterator[tuple[int, float | None, float | None, float | None, float | None]]:
        columns = ("seq", "bid", "bid_size", "ask", "ask_size")
        for piece in self._scanner.scan(self._contents, "bbo", columns, bounds._replace(feed=None)):
            for row in zip(*(piece[name].to_pylist() for name in columns), strict=True):
                if row[0] is not None:
                    yield row

    def _settle_breaks(self, bounds: Bounds) -> None:
        """A delta without levels has no rows; its frame shows that the chain is whole nevertheless."""
        empties = self._empty_deltas(bounds)
        for gap in self._breaks:
            seq = gap.prev_seq
            while seq != gap.seq and seq in empties:
                seq = empties[seq]
            if seq == gap.seq:
                self._counts["empty_deltas"] += 1
            else:
                self._counts["links_broken"] += 1
                self._problem(
                    "chain",
                    f"at position {gap.pos}: {gap.prev_seq} does not follow {gap.seq}, and there is no gap",
                )

    def _empty_deltas(self, bounds: Bounds) -> dict[int, int]:
        """Sequence number to the one before it, of deltas without levels that lie in a break."""
        found: dict[int, int] = {}
        topic = self._venue.topic(self._symbol, self._feed).text
        breaks = sorted(self._breaks)
        starts = [gap.after_pos for gap in breaks]
        for piece in self._scanner.scan(
            self._contents, "frames", ("pos", "topic", "payload"), bounds._replace(feed=None)
        ):
            rows = piece.filter(pc.equal(piece["topic"], pa.scalar(topic, pa.string())))
            for pos, payload in zip(integers(rows["pos"]), rows["payload"], strict=True):
                index = bisect_right(starts, pos) - 1
                # A frame that could not be read has no text; its topic was told by what was left of it.
                if index < 0 or pos >= breaks[index].pos or not payload.is_valid:
                    continue
                text = payload.as_py()
                try:
                    message = self._venue.decode(b"" if text is None else text.encode())
                except VenueError:
                    continue
                for event in message.events if isinstance(message, Data) else ():
                    if isinstance(event, Delta) and not event.bids and not event.asks:
                        found[event.seq] = event.prev_seq
        return found

    def _problem(self, kind: str, text: str) -> None:
        self._tell(kind, f"{self._symbol} {self._feed}", text)
