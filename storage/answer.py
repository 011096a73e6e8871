"""The answer to a SQL statement: DuckDB's relation, whose errors are ours.

A relation is lazy: a damaged page or a cast that fails comes up when rows are fetched, long after the statement was
accepted, and DuckDB does not say which file it was reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from bookreel.storage.errors import StorageError

__all__ = ["Answer"]

_Explain: TypeAlias = Callable[[Exception], StorageError]


class Answer:
    """Everything that ``duckdb.DuckDBPyRelation`` has, which this passes on to; further relations made of it are
    answers too. Raises :class:`bookreel.storage.errors.CorruptFile` where a file that it reads is damaged, else
    :class:`bookreel.storage.errors.QueryError`.
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

    def __repr__(self) -> str:
        text: str = self._call(repr, self._relation)
        return text

    __str__ = __repr__

    def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            result = function(*args, **options)
        except (duckdb.Error, pa.ArrowException) as error:
            raise self._explain(error) from error
        return Answer(result, self._explain) if isinstance(result, duckdb.DuckDBPyRelation) else result
