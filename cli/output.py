"""Printing rows: columns for people; CSV, JSON and Parquet for programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from bookreel.cli.questions import Rows

__all__ = ["FORMATS", "Format", "print_json", "print_rows"]

Format: TypeAlias = Literal["table", "csv", "json", "parquet"]

FORMATS: Final[tuple[Format, ...]] = ("table", "csv", "json", "parquet")

ROWS_SHOWN: Final = 200
"""Rows of a table; the other formats give all."""

CELL_CHARS: Final = 80
"""Of a table; the other formats give all."""

BETWEEN: Final = "  "


def print_rows(rows: Rows, format: Format) -> None:
    """Write rows to stdout in one of :data:`FORMATS`; all but the table come out as they are read."""
    if format == "table":
        _print_table(rows)
    elif format == "csv":
        _print_csv(rows)
    elif format == "json":
        from bookreel.replay.texts import json_rows

        for batch in rows.batches:
            print_json(json_rows(batch))
    else:
        _print_parquet(rows)


def print_json(values: Iterable[Any]) -> None:
    """One JSON value a line."""
    import msgspec

    lines = msgspec.json.Encoder(decimal_format="number").encode_lines(values)
    sys.stdout.buffer.write(lines)


def _print_csv(rows: Rows) -> None:
    import pyarrow.csv

    from bookreel.replay.texts import csv_rows, csv_schema

    schema = csv_schema(rows.schema)
    with pyarrow.csv.CSVWriter(sys.stdout.buffer, schema) as writer:
        for batch in rows.batches:
            writer.write(csv_rows(batch, schema))


def _print_parquet(rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    from bookreel.replay.texts import unique_names

    if sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal; send it to a file: ... > rows.parquet")
    names = unique_names(rows.schema.names)
    schema = pa.schema([field.with_name(name) for field, name in zip(rows.schema, names, strict=True)])
    try:
        with pyarrow.parquet.ParquetWriter(sys.stdout.buffer, schema, compression="zstd") as writer:
            for batch in rows.batches:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
    except pa.ArrowNotImplementedError as error:
        raise click.UsageError(f"Parquet cannot hold this: {error}; cast the column to VARCHAR") from error


def _print_table(rows: Rows) -> None:
    """As columns, or, where these are wider than the terminal, each row as lines of its own."""
    from bookreel.replay.texts import is_number, json_values, unique_names

    names = unique_names(rows.schema.names)
    cells: list[list[str]] = []
    more = False
    for batch in rows.batches:
        values = [json_values(column) for column in batch.slice(0, ROWS_SHOWN + 1 - len(cells)).columns]
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
        right = [is_number(field.type) for field in rows.schema]
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
