"""Stored deltas and whole books as lines of JSON, made from columns: the same bytes as by typed values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.book_columns import BookColumns, delta_columns, whole_columns
from bookreel.replay.events import Maker, Part, RecordedDelta, RecordedSnapshot, Times, row_part
from bookreel.replay.sheet import Array, Doubles, Sheet, Texts, integers_of, ranges, times_of
from bookreel.replay.sides import ARRAYS, SideTexts
from bookreel.replay.sweep import ORDER

__all__ = ["BOOK_LINES"]

_encode: Final = msgspec.json.Encoder().encode

_SIDES: Final = ("bids", "asks")


def _delta_lines(rank: float, rows: pa.Table, _: Times) -> list[Part]:
    return [_part(rank, RecordedDelta, delta_columns(rows, _heads(RecordedDelta)))]


def _snapshot_lines(rank: float, rows: pa.Table, _: Times) -> list[Part]:
    # A keyframe is the book after the deltas of its record; every other whole book is the one before.
    keyframe = pc.equal(rows["source"], pa.scalar("keyframe"))
    pieces = ((0.0, rows.filter(pc.invert(keyframe))), (1.5, rows.filter(keyframe)))
    return [
        _part(rank + after, RecordedSnapshot, whole_columns(piece, _heads(RecordedSnapshot)))
        for after, piece in pieces
        if piece.num_rows
    ]


def _heads(kind: type[msgspec.Struct]) -> list[str]:
    return [*(name for name in kind.__struct_fields__ if name not in _SIDES), ORDER]


def _part(rank: float, kind: type[msgspec.Struct], found: BookColumns) -> Part:
    """Lines of values of ``kind``."""
    texts = Texts()
    sheet = Sheet(texts, found.heads.num_rows)
    sides = SideTexts(texts, ARRAYS, Doubles(found.price), Doubles(found.size))
    text = b'{"type":%b' % _encode(kind.__struct_config__.tag)
    for name in kind.__struct_fields__:
        sheet.put(texts.word(b"%b,%b:" % (text, _encode(name))))
        text = b""
        if name in _SIDES:
            at, counts = (found.bid_at, found.bids) if name == "bids" else (found.ask_at, found.asks)
            sides.put(sheet, ranges(at, counts), counts)
        else:
            sheet.put(_numbers(texts, found.heads[name].combine_chunks()))
    sheet.put(texts.word(b"}\n"))
    return row_part(rank, sheet.lines(), found.heads)


def _numbers(texts: Texts, column: Any) -> Array:
    """The numbers of the JSON texts of a column's values."""
    if pa.types.is_timestamp(column.type):
        return texts.each(times_of(column))
    if pa.types.is_integer(column.type):
        return texts.each(integers_of(column))
    coded = column.dictionary_encode()  # none is missing
    known = pa.array([_encode(text) for text in coded.dictionary.to_pylist()], pa.large_binary())
    return texts.add(known) + coded.indices.to_numpy()


BOOK_LINES: Final[Mapping[str, Maker]] = {"book_deltas": _delta_lines, "book_snapshots": _snapshot_lines}
"""Of huobi's tables."""
