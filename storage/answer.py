"""The answer to a SQL statement: DuckDB's relation, whose errors are ours.

A relation is lazy: a damaged page or a cast that fails comes up when rows are fetched, long after the statement was
accepted, and DuckDB does not say which file it was reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import duckdb
import pyarrow as pa

from bookreel.storage.errors import StorageError

__all__ = ["FOREIGN", "Answer"]

FOREIGN: Final = (
    duckdb.Error,
    pa.ArrowException,
    OSError,
    RuntimeError,
    UnicodeDecodeError,
    MemoryError,
    OverflowError,
)
"""What DuckDB raises over a file that is damaged: also a column's name that is no text, or a huge length."""

_Explain: TypeAlias = Callable[[Exception], StorageError]


class Answer:
    """Everything that ``duckdb.DuckDBPyRelation`` has, which this passes on to; further relations made of it are
    answers too. Raises :class:`bookreel.storage.errors.CorruptFile` where a file that it reads is damaged, else
    :class:`bookreel.storage.errors.QueryError`; a reader of batches does so while they are read.
    """

    __slots__ = ("_explain", "_relation")

    def __init__(self, relation: duckdb.DuckDBPyRelation, explain: _Explain) -> None:
        self._relation = relation
        self._explain = explain

    def __getattr__(self, name: str) -> Any:
        found = self._call(getattr, self._relation, name)
        if not callable(found):
            return found
        return lambda *args, **options: self._call(found, *args, **options)

    def __len__(self) -> int:
        length: int = self._call(len, self._relation)
        return length

    def __getitem__(self, name: str) -> Any:
        return self._call(self._relation.__getitem__, name)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """All rows for another library, in memory: through its interface no error could be told as one of ours.
        For rows as they come take ``to_arrow_reader``.
        """
        table: Any = self._call(self._relation.to_arrow_table)
        return table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        text: str = self._call(repr, self._relation)
        return text

    __str__ = __repr__

    def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            result = function(*args, **options)
        except FOREIGN as error:
            raise self._explain(error) from error
        if isinstance(result, duckdb.DuckDBPyRelation):
            return Answer(result, self._explain)
        if isinstance(result, pa.RecordBatchReader):
            return pa.RecordBatchReader.from_batches(result.schema, self._batches(result))
        return result

    def _batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except FOREIGN as error:
            raise self._explain(error) from error
