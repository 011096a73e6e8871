"""Printing tables: boxes for people, CSV, JSON and Parquet for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import click
import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["FORMATS", "Format", "json_rows", "print_table"]

Format: TypeAlias = Literal["table", "csv", "json", "parquet"]

FORMATS: Final[tuple[Format, ...]] = ("table", "csv", "json", "parquet")

ROWS_SHOWN: Final = 200
"""Rows of a box; the other formats give all."""


def print_table(table: pa.Table, format: Format) -> None:
    """Write all rows to stdout in one of :data:`FORMATS`."""
    if format == "table":
        _print_box(table)
    elif format == "csv":
        import pyarrow.csv

        flat = table.set_column  # lists have no place in CSV: they go in as JSON
        for index, field in enumerate(table.schema):
            if field.type.num_fields:
                texts = [msgspec.json.encode(value).decode() for value in table.column(index).to_pylist()]
                flat(index, field.name, [texts])
        pyarrow.csv.write_csv(table, sys.stdout.buffer)
    elif format == "json":
        for row in json_rows(table):
            click.echo(msgspec.json.encode(row))
    else:
        import pyarrow as pa
        import pyarrow.parquet

        if sys.stdout.isatty():
            raise click.UsageError("Parquet is not for a terminal; send it to a file: ... > rows.parquet")
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink, compression="zstd")
        sys.stdout.buffer.write(sink.getvalue())


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON values. Times become ISO-8601 text with all nine digits: a Python datetime has only six."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_timestamp(column.type):
            text = pc.replace_substring(pc.cast(column, pa.string()), " ", "T")
            suffix = pa.scalar("" if column.type.tz else "Z")
            column = pc.binary_join_element_wise(text, suffix, pa.scalar(""))
        elif pa.types.is_date(column.type) or pa.types.is_duration(column.type):
            column = pc.cast(column, pa.string())
        columns[name] = column.to_pylist()
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _print_box(table: pa.Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field in table.schema:
        shown.add_column(field.name, justify="right" if _is_number(field.type) else "left", no_wrap=True)
    for row in json_rows(table.slice(0, ROWS_SHOWN)):
        shown.add_row(*("" if value is None else _cell(value) for value in row.values()))
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    if not console.is_terminal:
        console.width = 1000
    console.print(shown)
    if table.num_rows > ROWS_SHOWN:
        console.print(f"{ROWS_SHOWN} of {table.num_rows:,} rows; --format csv or json gives them all")


def _cell(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _is_number(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(type_) or pa.types.is_floating(type_)
