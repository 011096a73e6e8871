"""Stored events for normalised messages: values, but for deltas, of which most levels are only written down again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import Any, Final, NamedTuple

import pyarrow as pa
from msgspec import Raw

from bookreel.book.model import Delta
from bookreel.replay.deltas import LevelColumns, delta_rows
from bookreel.replay.events import Arranged, Maker, Part, Times, arrange, column_values, ns_times, row_part
from bookreel.replay.kinds import MAKERS
from bookreel.replay.server.tardis_options import EXCHANGE
from bookreel.replay.sweep import ORDER, Sweep

__all__ = ["NormalForm", "Step"]

_HEADS: Final = ("symbol", "feed", "ts_event", "ts_recv", ORDER)

_OBJECTS: Final = ('{"price":', ',"amount":', "}")


class Step(NamedTuple):
    """A delta; times in ns, ``pos`` is where it stands. Its asks begin at ``middle`` of the levels."""

    symbol: str
    feed: str
    ts_event: int
    ts_recv: int
    pos: int
    start: int
    middle: int
    stop: int
    levels: LevelColumns

    @property
    def delta(self) -> Delta:
        """As a book takes it; numbers of the chain are not read."""
        bids = self.levels.pairs(self.start, self.middle)
        asks = self.levels.pairs(self.middle, self.stop)
        return Delta(self.symbol, self.feed, self.ts_event, 0, 0, bids, asks)

    @property
    def json(self) -> tuple[Raw, Raw]:
        """Bids and asks."""
        return self.levels.json(self.start, self.middle), self.levels.json(self.middle, self.stop)


def _steps(rank: float, piece: pa.Table, times: Times) -> list[Part]:
    found = delta_rows(piece, _HEADS, _OBJECTS)
    values = [column_values(found.heads, name, times) for name in _HEADS]
    events = list(map(Step, *values, found.starts, found.middles, found.stops, repeat(found.levels)))
    return [row_part(rank, events, found.heads)]


_MAKERS: Final[Mapping[str, Maker]] = {**MAKERS[EXCHANGE], "book_deltas": _steps}


class NormalForm:
    """A form of pages: events, with a :class:`Step` for each delta."""

    texts = False

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> Arranged:
        """As :class:`bookreel.replay.pages.Form` says."""
        return arrange(rows, ns_times, _MAKERS)

    def gaps(self, rows: pa.Table, horizon: int) -> list[Any]:
        """Gaps are not shown there."""
        raise AssertionError("no gaps were selected")
