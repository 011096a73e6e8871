"""SQL questions to an archive, answered in batches; what goes wrong is told by errors of ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import duckdb
import pyarrow as pa

from bookreel.replay import Archive
from bookreel.storage.errors import QueryError

__all__ = ["Params", "Rows", "answer", "ask"]

Params: TypeAlias = Mapping[str, Any] | Sequence[Any] | None

BATCH_ROWS: Final = 16_384

LINE: Final = "\n\nLINE "
"""DuckDB's complaint, then this, then the statement's line and a mark under the wrong word."""


class Rows(NamedTuple):
    """An answer: its columns, and its rows as they come."""

    schema: pa.Schema
    batches: Iterable[pa.RecordBatch]


def ask(archive: Archive, query: str, params: Params = None) -> Rows:
    """The rows of one reading statement, never all of them in memory.

    Raises ``QueryError`` where the statement is wrong and ``CorruptFile`` where what it reads is damaged, here
    or while the batches are read.
    """
    tries = 2
    while True:
        tries -= 1
        try:
            reader = archive.sql(query, params).to_arrow_reader(BATCH_ROWS)
            first = next(iter(reader), None)
            return Rows(reader.schema, _batches(first, reader, archive, query, params))
        except QueryError as error:
            raise _as_sentence(error) from error
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            # Nothing was given yet: where a day was compacted in this moment, the next look has its new files.
            if not tries or not _is_gone(error):
                raise _told(archive, query, params, str(error)) from error


def _is_gone(error: Exception) -> bool:
    return "No such file" in str(error) or "No files found" in str(error)


def answer(archive: Archive, query: str, params: Params = None) -> list[tuple[Any, ...]]:
    """All rows of a small answer, as Python values. Raises as :func:`ask` does."""
    rows = ask(archive, query, params)
    table = pa.Table.from_batches(rows.batches, rows.schema)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _batches(
    first: pa.RecordBatch | None, reader: pa.RecordBatchReader, archive: Archive, query: str, params: Params
) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _told(archive, query, params, str(error)) from error
        yield batch


def _told(archive: Archive, query: str, params: Params, reason: str) -> QueryError:
    """Why a statement failed while it ran. Raises ``CorruptFile`` if that is a file's fault: its digest shows it."""
    with Archive(archive.path, verify_on_read=True) as checked:
        checked.sql(query, params)
    return _as_sentence(QueryError(reason))


def _as_sentence(error: QueryError) -> QueryError:
    """DuckDB's complaint on one line, with what to do, and under it the place in the statement."""
    text, mark, place = error.reason.partition(LINE)
    hint = error.hint
    if not hint and "Did you mean" not in text and "Candidate bindings" not in text:
        hint = "see bookreel sql --help for examples"
    sentence = " ".join([*text.split(), *([f"({hint})"] if hint else [])])
    return QueryError(sentence + mark[1:] + place.rstrip() if mark else sentence)
