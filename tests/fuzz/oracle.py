"""What is right, said without the recorder's own decoder.

The standard library inflates and parses; the rule of the chain is written down once more, in the plainest way. A book
that the recorder calls valid must be the one that follows from the frames by that rule, level by level.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import deque
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.book.model import CAUSES
from bookreel.book.sync import BookSync

__all__ = ["BookOracle", "Frame", "Violation", "check_rows", "text_of"]

Frame: TypeAlias = tuple["bytes | str", "bytes | None"]
"""What was received, and the text it was made of: where the standard library refuses a gzip stream that the
recorder's inflater reads (its checksum proves the content), nothing but that text may come out.
"""

_KEPT: Final = 6000
"""Frames remembered while a book is not valid: more than the recorder buffers."""
_DIGITS: Final = 4_000
"""Digits of a whole number; Python refuses somewhat more."""


class Violation(AssertionError):
    """The recorder accepted what cannot be right."""


def text_of(frame: Frame) -> bytes | None:
    """A frame's text by the standard library; None where it has none."""
    payload, said = frame
    if isinstance(payload, str):
        return payload.encode("utf-8", "surrogatepass")
    stream = zlib.decompressobj(31)
    try:
        text = stream.decompress(payload, 1 << 24)
    except zlib.error:
        return said
    return text if stream.eof and not stream.unused_data else said


def parse(text: bytes | None) -> dict[str, Any] | None:
    """The frame as a JSON object; None where it is none. What is not a finite number is not JSON."""
    if text is None:
        return None
    try:
        said = text.decode("utf-8", "surrogateescape")
        value = json.loads(said, strict=False, parse_int=_whole, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _whole(digits: str) -> int | float:
    """A whole number. One of more digits than Python reads is one, and beyond what any field may be."""
    return int(digits) if len(digits) <= _DIGITS else math.inf


class _Model:
    """One book, level by level."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def change(self, tick: dict[str, Any]) -> None:
        for side, levels in (("bids", self.bids), ("asks", self.asks)):
            for price, size in tick.get(side) or ():
                if not (_is_number(price) and price > 0 and _is_number(size) and size >= 0):
                    raise Violation(f"the level {price!r}, {size!r} was accepted")
                if size:
                    levels[float(price)] = float(size)
                else:
                    levels.pop(float(price), None)

    def check(self, sync: BookSync) -> None:
        if self.bids and self.asks:
            _require(max(self.bids) < min(self.asks), "a crossed book is called valid")
        _require(sync.book.bids == self.bids, "the bids are not those of the frames")
        _require(sync.book.asks == self.asks, "the asks are not those of the frames")


class BookOracle:
    """Follows one book. ``topic``: its text."""

    def __init__(self, topic: str, sync: BookSync) -> None:
        self._topic = topic
        self._sync = sync
        self._valid = False
        self._seq: int | None = None
        self._epoch: int | None = None
        self._model = _Model()
        self._recent: deque[Frame] = deque(maxlen=_KEPT)
        self.adopted = 0
        self.applied = 0

    def after(self, frame: Frame) -> bool:
        """The recorder took this frame. Whether the book is valid now. Raises :class:`Violation`."""
        sync = self._sync
        valid = sync.valid
        if valid:
            if self._valid and sync.epoch == self._epoch:
                if sync.last_seq == self._seq:
                    return True
                self._applied(frame)
            else:
                self._adopted(frame)
            self._seq, self._epoch = sync.last_seq, sync.epoch
        else:
            self._recent.append(frame)
        self._valid = valid
        return valid

    def lost(self) -> None:
        """The connection is gone."""
        self._recent.clear()
        self._valid = self._sync.valid
        _require(not self._valid, "a book outlived its connection")

    def check(self) -> None:
        """The whole book against the frames. Raises :class:`Violation`."""
        if self._sync.valid:
            self._model.check(self._sync)

    def _applied(self, frame: Frame) -> None:
        tick = _delta_in(frame, self._topic)
        _require(tick is not None, "a book changed by what is no delta of it")
        assert tick is not None, "it was required"
        _require(tick["prevSeqNum"] == self._seq, f"{tick['prevSeqNum']} was joined to {self._seq}")
        _require(tick["seqNum"] == self._sync.last_seq, "the number is not the delta's")
        self._model.change(tick)
        self.applied += 1

    def _adopted(self, frame: Frame) -> None:
        said = parse(text_of(frame)) or {}
        data = said.get("data")
        _require(
            said.get("rep") == self._topic and isinstance(data, dict), "a book is valid without a snapshot"
        )
        assert isinstance(data, dict), "it was required"
        seq, target = data.get("seqNum"), self._sync.last_seq
        _require(_is_int(seq), f"a snapshot of number {seq!r} was adopted")
        path: list[dict[str, Any]] = []
        ambiguous = False
        if target != seq:
            found = (_delta_in(held, self._topic) for held in self._recent)
            ticks = [tick for tick in found if tick is not None and _is_delta(tick)]
            by: dict[int, dict[str, Any]] = {}
            for tick in ticks:  # a link counts only after what it follows
                if tick["prevSeqNum"] == seq or tick["prevSeqNum"] in by:
                    by.setdefault(tick["seqNum"], tick)
            need = target
            while need in by and need != seq:
                path.insert(0, by[need])
                need = by[need]["prevSeqNum"]
            _require(need == seq, f"no chain leads from the snapshot {seq} to {target}")
            ambiguous = len({tick["seqNum"] for tick in ticks}) < len(ticks)
        self._model = _Model()
        self._model.change(data)
        for tick in path:
            self._model.change(tick)
        if ambiguous:
            # A number was there twice: which frame counted is the recorder's to say, its levels were looked at.
            self._model.bids, self._model.asks = dict(self._sync.book.bids), dict(self._sync.book.asks)
        self._recent.clear()
        self.adopted += 1
        self._model.check(self._sync)


def _delta_in(frame: Frame, topic: str) -> dict[str, Any] | None:
    """The tick of a delta of this topic; None for any other frame."""
    text = text_of(frame)
    said = parse(text)
    if said is None or text is None:
        return None
    # Of a key that is there twice either may count, as long as it is the same one everywhere.
    if said.get("ch") != topic and not text.startswith(b'{"ch":"%b"' % topic.encode()):
        return None
    tick = said.get("tick")
    if not isinstance(tick, dict) or not _is_int(tick.get("seqNum")) or not _is_int(tick.get("prevSeqNum")):
        return None
    return tick


def _is_delta(tick: dict[str, Any]) -> bool:
    """Whether its levels could have been accepted."""
    try:
        _Model().change(tick)
    except (Violation, TypeError, ValueError):
        return False
    return bool(-(2**63) <= tick["prevSeqNum"] < tick["seqNum"] < 2**63)


def check_rows(tables: dict[str, pa.Table]) -> None:
    """What holds for every row that is stored, whatever was received. Raises :class:`Violation`."""
    deltas = tables["book_deltas"]
    for name, least in (("price", 5e-324), ("size", 0.0)):
        _within(_flat(deltas[name]), least, f"book_deltas.{name}")
    for price in ("price", "size"):
        _within(tables["trades"][price], 5e-324 if price == "price" else 0.0, f"trades.{price}")
    for table, columns in (
        ("bbo", ("bid", "bid_size", "ask", "ask_size")),
        ("klines", ("open", "high", "low", "close", "volume", "turnover")),
        ("tickers", ("open", "high", "low", "close", "volume", "turnover", "bid", "ask", "last")),
    ):
        for column in columns:
            _within(tables[table][column], 0.0, f"{table}.{column}")
    books = tables["book_snapshots"]
    for side in ("bids", "asks"):
        levels: Any = pc.list_flatten(books[side])
        if len(levels):
            _within(pc.struct_field(levels, "price"), 5e-324, f"book_snapshots.{side}")
            _within(pc.struct_field(levels, "size"), 0.0, f"book_snapshots.{side}")
    for number in range(0, books.num_rows, 8):
        _check_whole(books["bids"][number].as_py(), books["asks"][number].as_py())
    gaps = tables["gaps"]
    for cause in set(gaps["cause"].to_pylist()):
        _require(cause in CAUSES, f"a gap of cause {cause!r}")
    times = [gaps[name].cast(pa.int64()).to_pylist() for name in ("start", "end")]
    _require(
        all(end is None or start <= end for start, end in zip(*times, strict=True)),
        "a gap ends before it starts",
    )


def _check_whole(bids: list[dict[str, float]], asks: list[dict[str, float]]) -> None:
    highs, lows = [level["price"] for level in bids], [level["price"] for level in asks]
    _require(highs == sorted(highs, reverse=True), "a stored book's bids are not best first")
    _require(lows == sorted(lows), "a stored book's asks are not best first")
    _require(len(set(highs)) == len(highs) and len(set(lows)) == len(lows), "a stored book has a price twice")
    best = [next((level["price"] for level in side if level["size"]), None) for side in (bids, asks)]
    if best[0] is not None and best[1] is not None:
        _require(best[0] < best[1], "a crossed book is stored")


def _flat(column: Any) -> Any:
    return pc.list_flatten(column) if pa.types.is_list(column.type) else column


def _within(column: Any, least: float, name: str) -> None:
    bounds: Any = pc.min_max(column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is not None:
        _require(low >= least and high < math.inf, f"{name} holds {low!r} to {high!r}")
        nans: Any = pc.any(pc.is_nan(column.cast(pa.float64())))
        _require(not nans.as_py(), f"{name} holds NaN")


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Violation(otherwise)
