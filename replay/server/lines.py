"""Rows as lines of JSON, a column at a time by Arrow's kernels: one object a row, its ``type`` first.

Times are ISO-8601 text with nine digits, levels are ``[price, size]``, and what JSON has no number for is null.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.texts import is_number, json_values, times, unique_names
from bookreel.storage.schema import LEVELS

__all__ = ["encode_line", "encode_rows"]

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_join: Final[Any] = pc.binary_join_element_wise
_join_list: Final[Any] = pc.binary_join


def encode_line(value: Any) -> bytes:
    """One value as a line."""
    return _ENCODER.encode(value) + b"\n"


def encode_rows(rows: pa.Table, kind: str) -> memoryview:
    """A line for each row; ``kind`` is its ``type``."""
    if not rows.num_rows:
        return memoryview(b"")
    batch = rows.combine_chunks().to_batches()[0]
    parts: list[Any] = []
    before = f'{{"type":{_ENCODER.encode(kind).decode()}'
    for name, column in zip(unique_names(batch.schema.names), batch.columns, strict=True):
        parts += [_text(f"{before},{_ENCODER.encode(name).decode()}:"), _json(column)]
        before = ""
    lines = _join(*parts, _text(f"{before}}}\n"), _text(""))
    _, ends, buffer = lines.buffers()
    bounds = memoryview(ends).cast("q")
    return memoryview(buffer)[bounds[lines.offset] : bounds[lines.offset + len(lines)]]


def _json(column: Any) -> Any:
    """The JSON text of each value."""
    type_ = column.type
    if pa.types.is_floating(type_):
        text = column.cast(pa.float64()).cast(pa.large_string())
        return _or_null(pc.if_else(pc.is_finite(column), text, pa.scalar(None, pa.large_string())))
    if is_number(type_) or pa.types.is_boolean(type_):
        return _or_null(column.cast(pa.large_string()))
    if pa.types.is_timestamp(type_):
        return _or_null(_wrapped('"', times(column).cast(pa.large_string()), '"'))
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        coded = column.dictionary_encode()  # most columns have few different texts
        return _or_null(_encoded(coded.dictionary.to_pylist()).take(coded.indices))
    if type_ == LEVELS:
        price, size = (_json(part) for part in column.flatten().flatten())
        return _listed(column, _join(_text("["), price, _text(","), size, _text("]"), _text("")))
    if pa.types.is_list(type_) and pa.types.is_floating(type_.value_type):
        return _listed(column, _json(column.flatten()))
    return _encoded(json_values(column))


def _listed(column: Any, items: Any) -> Any:
    """Lists of which the items are JSON texts already."""
    lengths: Any = pc.fill_null(pc.list_value_length(column), pa.scalar(0, pa.int32()))
    ends: Any = pc.cumulative_sum(lengths)
    offsets: Any = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    joined = _join_list(pa.ListArray.from_arrays(offsets, items.cast(pa.string())), ",")
    text = _wrapped("[", joined.cast(pa.large_string()), "]")
    return pc.if_else(column.is_valid(), text, _text("null"))


def _wrapped(before: str, column: Any, after: str) -> Any:
    return _join(_text(before), column, _text(after), _text(""))


def _encoded(values: list[Any]) -> Any:
    return pa.array([_ENCODER.encode(value).decode() for value in values], pa.large_string())


def _or_null(column: Any) -> Any:
    return pc.fill_null(column, "null")


def _text(text: str) -> Any:
    return pa.scalar(text, pa.large_string())
