"""SQL questions to an archive, answered in batches; what goes wrong is told by errors of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import pyarrow as pa

from bookreel.replay import Archive, Archives
from bookreel.storage.errors import FileGone, QueryError

__all__ = ["Params", "Rows", "answer", "ask"]

Params: TypeAlias = Mapping[str, Any] | Sequence[Any] | None

BATCH_ROWS: Final = 16_384

LINE: Final = "\n\nLINE "
"""DuckDB's complaint, then this, then the statement's line and a mark under the wrong word."""


class Rows(NamedTuple):
    """An answer: its columns, and its rows as they come."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]


def ask(archive: Archive | Archives, query: str, params: Params = None) -> Rows:
    """The rows of one reading statement, never all of them in memory.

    Raises ``QueryError`` where the statement is wrong and ``CorruptFile`` where what it reads is damaged, here
    or while the batches are read.
    """
    try:
        try:
            return _begun(archive, query, params)
        except FileGone:
            # Nothing was given yet: where a day was compacted in this moment, the next look has its new files.
            return _begun(archive, query, params)
    except QueryError as error:
        raise _as_sentence(error) from error


def _begun(archive: Archive | Archives, query: str, params: Params) -> Rows:
    reader = archive.sql(query, params).to_arrow_reader(BATCH_ROWS)
    first = next(iter(reader), None)
    return Rows(reader.schema, _batches(first, reader))


def answer(archive: Archive, query: str, params: Params = None) -> list[tuple[Any, ...]]:
    """All rows of a small answer, as Python values. Raises as :func:`ask` does."""
    rows = ask(archive, query, params)
    table = pa.Table.from_batches(rows.batches, rows.schema)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _batches(first: pa.RecordBatch | None, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
    try:
        yield from reader
    except QueryError as error:
        raise _as_sentence(error) from error


def _as_sentence(error: QueryError) -> QueryError:
    """DuckDB's complaint on one line, with what to do, and under it the place in the statement."""
    text, mark, place = error.reason.partition(LINE)
    hint = error.hint
    if not hint and "Did you mean" not in text and "Candidate bindings" not in text:
        hint = "see bookreel sql --help for examples"
    sentence = " ".join([*text.split(), *([f"({hint})"] if hint else [])])
    return QueryError(sentence + mark[1:] + place.rstrip() if mark else sentence)
