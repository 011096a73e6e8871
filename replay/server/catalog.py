"""Jobs that say what is there: symbols, tables, coverage, and how much a query would give."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import msgspec
import pyarrow as pa

from bookreel.replay.archive import Archive
from bookreel.replay.server.answers import Column, CountAnswer, Span, SymbolsAnswer, TableAnswer, json_answer
from bookreel.replay.server.delivery import Parts
from bookreel.replay.server.desk import Desk, known_symbol
from bookreel.replay.server.lines import encode_rows
from bookreel.replay.times import stamp
from bookreel.storage.manifest import Manifest
from bookreel.storage.schema import TABLES

__all__ = ["count", "coverage", "symbols", "tables"]

_SAMPLE_ROWS: Final = 1_000


class _Counted(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    symbol: str | None
    start: int | None
    end: int | None


def symbols(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """Every symbol."""
    return json_answer(SymbolsAnswer(desk.call(lambda archive: archive.symbols())))


def tables(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """Every table with its columns."""
    return json_answer([TableAnswer(name, _columns(schema)) for name, schema in TABLES.items()])


def _columns(schema: pa.Schema) -> list[Column]:
    return [
        Column(field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode())
        for field in schema
    ]


def coverage(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """The life of each of a symbol's streams."""
    symbol = values["symbol"]
    found = desk.call(lambda archive: archive.coverage(symbol))
    columns = [found[name].cast(pa.int64()).to_pylist() for name in ("start", "end")]
    texts = [found[name].to_pylist() for name in ("feed", "state", "class")]
    return json_answer(
        [
            Span(symbol, feed, stamp(start) or "", stamp(end), state, class_)
            for feed, state, class_, start, end in zip(*texts, *columns, strict=True)
        ]
    )


def count(desk: Desk[Archive], values: dict[str, Any]) -> Parts:
    """Rows of a table received in a range of time, and about how many bytes they are."""
    wanted = msgspec.convert(values, _Counted)
    if wanted.symbol is not None:
        symbol = wanted.symbol
        desk.call(lambda archive: known_symbol(archive, symbol))
    clauses, params = [], {}
    if wanted.symbol is not None and wanted.table != "sessions":  # those are of no symbol
        clauses.append("symbol = $symbol")
        params["symbol"] = wanted.symbol
    for name, comparison in (("start", ">="), ("end", "<")):
        if (ns := getattr(wanted, name)) is not None:
            clauses.append(f"ts_recv {comparison} make_timestamp_ns(${name})")
            params[name] = ns
    where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
    query = f"SELECT count(*) FROM {wanted.table}{where}"  # noqa: S608 - a name of the schema, bound values
    answer = desk.call(lambda archive: archive.sql(query, params or None))
    rows: int = answer.fetchall()[0][0]
    sizes = desk.call(lambda archive: _row_bytes(archive, wanted))
    return json_answer(
        CountAnswer(wanted.table, rows, {form: round(size * rows) for form, size in sizes.items()})
    )


def _row_bytes(archive: Archive, wanted: _Counted) -> dict[str, float]:
    """Bytes of a row by form: as NDJSON those of a sample, as Parquet those of all that is sealed."""
    batches = archive.batches(wanted.symbol, wanted.table, wanted.start, wanted.end)
    sample = [batch.rows[wanted.table].slice(0, _SAMPLE_ROWS) for batch in islice(batches, 1)]
    found = {}
    for rows in sample:
        found["ndjson"] = len(encode_rows(rows, wanted.table)) / rows.num_rows
    files = Manifest.load(archive.path).files(wanted.table)
    if stored := sum(entry.rows for entry in files):
        found["parquet"] = sum(entry.bytes for entry in files) / stored
    return found
