"""Printing rows: columns for people; CSV, JSON and Parquet for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from bookreel.cli.questions import Rows

__all__ = ["FORMATS", "Format", "json_rows", "print_json", "print_rows", "stamp"]

Format: TypeAlias = Literal["table", "csv", "json", "parquet"]

FORMATS: Final[tuple[Format, ...]] = ("table", "csv", "json", "parquet")

ROWS_SHOWN: Final = 200
"""Rows of a table; the other formats give all."""

CELL_CHARS: Final = 80
"""Of a table; the other formats give all."""

BETWEEN: Final = "  "

_SECOND: Final = 1_000_000_000


def print_rows(rows: Rows, format: Format) -> None:
    """Write rows to stdout in one of :data:`FORMATS`; all but the table come out as they are read."""
    if format == "table":
        _print_table(rows)
    elif format == "csv":
        _print_csv(rows)
    elif format == "json":
        for batch in rows.batches:
            print_json(json_rows(batch))
    else:
        _print_parquet(rows)


def print_json(values: Iterable[Any]) -> None:
    """One JSON value a line."""
    import msgspec

    lines = msgspec.json.Encoder(decimal_format="number").encode_lines(values)
    sys.stdout.buffer.write(lines)


def stamp(ns: int | None) -> str | None:
    """A time in ns as ISO-8601 text in UTC with all nine digits.

    >>> stamp(1000000005)
    '1970-01-01T00:00:01.000000005Z'
    """
    from bookreel.replay import iso

    if ns is None:
        return None
    seconds, rest = divmod(ns, _SECOND)
    return f"{iso(seconds * _SECOND)[:-1]}.{rest:09d}Z"


def json_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as JSON values. Times become ISO-8601 text with all nine digits: a Python datetime has only six."""
    names = _unique(batch.schema.names)
    columns = [_values(column) for column in batch.columns]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _unique(names: Iterable[str]) -> list[str]:
    """A statement can give two columns the same name, an object cannot."""
    found: dict[str, None] = {}
    for name in names:
        free, number = name, 1
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found[free] = None
    return list(found)


def _values(column: Any) -> list[Any]:
    """A column (an Arrow array) as JSON values, times inside lists and structs included."""
    import pyarrow as pa

    type_ = column.type
    if pa.types.is_timestamp(type_):
        return [None if text is None else str(text) for text in _times(column).to_pylist()]
    if pa.types.is_date(type_) or pa.types.is_time(type_):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_struct(type_):
        names = [field.name for field in type_]
        fields = [_values(field) for field in column.flatten()]
        rows = zip(*fields, strict=True) if fields else ((),) * len(column)
        return [
            dict(zip(names, values, strict=True)) if there else None
            for values, there in zip(rows, column.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        items = iter(_values(column.flatten()))
        lengths = [len(item) if item.is_valid else None for item in column]
        return [None if length is None else [next(items) for _ in range(length)] for length in lengths]
    return list(column.to_pylist())


def _times(column: Any) -> Any:
    """Times as text; a coarser one gets the zeros it lacks, so nothing can overflow."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unit = column.type.unit
    text: Any = pc.cast(column.cast(pa.timestamp(unit)), pa.string())
    zeros = {"s": ".000000000", "ms": "000000", "us": "000", "ns": ""}[unit] + "Z"
    joiner: Any = pc.binary_join_element_wise
    return joiner(pc.replace_substring(text, " ", "T"), pa.scalar(zeros), pa.scalar(""))


def _print_csv(rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.csv

    native = [_is_number(field.type) or pa.types.is_boolean(field.type) for field in rows.schema]
    names = _unique(rows.schema.names)
    types = [field.type if plain else pa.string() for field, plain in zip(rows.schema, native, strict=True)]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with pyarrow.csv.CSVWriter(sys.stdout.buffer, schema) as writer:
        for batch in rows.batches:
            columns = [
                column if plain else _texts(column)
                for column, plain in zip(batch.columns, native, strict=True)
            ]
            writer.write(pa.RecordBatch.from_arrays(columns, schema=schema))


def _texts(column: Any) -> Any:
    """A column as text: lists and the like have no place in CSV, so they go in as JSON."""
    import msgspec
    import pyarrow as pa

    if pa.types.is_string(column.type):
        return column
    if pa.types.is_timestamp(column.type):
        return _times(column)
    encode = msgspec.json.Encoder(decimal_format="number").encode
    texts = [
        value if value is None or isinstance(value, str) else encode(value).decode().strip('"')
        for value in _values(column)
    ]
    return pa.array(texts, pa.string())


def _print_parquet(rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    if sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal; send it to a file: ... > rows.parquet")
    names = _unique(rows.schema.names)
    schema = pa.schema([field.with_name(name) for field, name in zip(rows.schema, names, strict=True)])
    try:
        with pyarrow.parquet.ParquetWriter(sys.stdout.buffer, schema, compression="zstd") as writer:
            for batch in rows.batches:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    except pa.ArrowNotImplementedError as error:
        raise click.UsageError(f"Parquet cannot hold this: {error}; cast the column to VARCHAR") from error


def _print_table(rows: Rows) -> None:
    """As columns, or, where these are wider than the terminal, each row as lines of its own."""
    names = _unique(rows.schema.names)
    cells: list[list[str]] = []
    more = False
    for batch in rows.batches:
        values = [_values(column) for column in batch.slice(0, ROWS_SHOWN + 1 - len(cells)).columns]
        cells += [[_cell(value) for value in row] for row in zip(*values, strict=True)]
        if len(cells) > ROWS_SHOWN:
            more = bool(cells.pop())
            break
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    if sum(widths) + len(BETWEEN) * (len(widths) - 1) > terminal and cells:
        longest = max(map(len, names))
        for number, row in enumerate(cells, 1):
            click.echo(f"row {number}")
            for name, text in zip(names, row, strict=True):
                click.echo(f"  {name:<{longest}}  {text}".rstrip())
    else:
        right = [_is_number(field.type) for field in rows.schema]
        for line in (names, ["-" * width for width in widths], *cells):
            padded = [
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(line, widths, right, strict=True)
            ]
            click.echo(BETWEEN.join(padded).rstrip())
    if not cells:
        click.echo("(no rows)")
    if more:
        click.echo(f"(the first {ROWS_SHOWN} rows; --format csv, json or parquet gives all)")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | dict):
        import msgspec

        text = msgspec.json.encode(value).decode()
    else:
        text = repr(value) if isinstance(value, float) else str(value)
    if not text.isprintable():  # what a venue sent could steer the terminal
        text = text.encode("unicode_escape").decode()
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"


def _is_number(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
