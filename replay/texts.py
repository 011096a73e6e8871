"""Columns of Arrow as JSON values and as text: times with all nine digits, which a Python datetime does not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["csv_rows", "csv_schema", "is_number", "json_rows", "json_values", "times", "unique_names"]

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


def json_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as JSON values. Times become ISO-8601 text with all nine digits: a Python datetime has only six."""
    names = unique_names(batch.schema.names)
    columns = [json_values(column) for column in batch.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def unique_names(names: Iterable[str]) -> list[str]:
    """A statement can give two columns the same name, an object cannot."""
    found: dict[str, None] = {}
    for name in names:
        free, number = name, 1
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found[free] = None
    return list(found)


def json_values(column: Any) -> list[Any]:
    """A column (an Arrow array) as JSON values, times inside lists and structs included."""
    type_ = column.type
    if pa.types.is_timestamp(type_):
        return [None if text is None else str(text) for text in times(column).to_pylist()]
    if pa.types.is_date(type_) or pa.types.is_time(type_):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_struct(type_):
        names = [field.name for field in type_]
        fields = [json_values(field) for field in column.flatten()]
        rows = zip(*fields, strict=True) if fields else ((),) * len(column)
        return [
            dict(zip(names, values, strict=True)) if there else None
            for values, there in zip(rows, column.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        items = iter(json_values(column.flatten()))
        lengths = [len(item) if item.is_valid else None for item in column]
        return [None if length is None else [next(items) for _ in range(length)] for length in lengths]
    return list(column.to_pylist())


def times(column: Any) -> Any:
    """Times as text; a coarser one gets the zeros it lacks, so nothing can overflow."""
    unit = column.type.unit
    text: Any = pc.cast(column.cast(pa.timestamp(unit)), pa.string())
    zeros = {"s": ".000000000", "ms": "000000", "us": "000", "ns": ""}[unit] + "Z"
    joiner: Any = pc.binary_join_element_wise
    return joiner(pc.replace_substring(text, " ", "T"), pa.scalar(zeros), pa.scalar(""))


def csv_schema(schema: pa.Schema) -> pa.Schema:
    """The columns as CSV has them: numbers and booleans stay, all else is text."""
    plain = [is_number(field.type) or pa.types.is_boolean(field.type) for field in schema]
    types = [field.type if stays else pa.string() for field, stays in zip(schema, plain, strict=True)]
    return pa.schema(list(zip(unique_names(schema.names), types, strict=True)))


def csv_rows(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the columns of :func:`csv_schema`."""
    columns = [
        _texts(column) if field.type == pa.string() else column
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def is_number(type_: pa.DataType) -> bool:
    """Whether values of this type are numbers in JSON and CSV."""
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)


def _texts(column: Any) -> Any:
    """A column as text: lists and the like have no place in CSV, so they go in as JSON."""
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_timestamp(column.type):
        return times(column)
    encode = _ENCODER.encode
    found = [
        value if value is None or isinstance(value, str) else encode(value).decode().strip('"')
        for value in json_values(column)
    ]
    return pa.array(found, pa.string())
