"""What a process that reads can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from bookreel.replay.server import books, catalog, statement, tables
from bookreel.replay.server.delivery import Parts
from bookreel.replay.server.desk import Desk

__all__ = ["JOBS", "READING", "Job"]

Job: TypeAlias = Callable[[Desk[Any], dict[str, Any]], Parts]
"""Gives an answer to its arguments."""

READING: Final[dict[str, Job]] = {
    "symbols": catalog.symbols,
    "tables": catalog.tables,
    "coverage": catalog.coverage,
    "count": catalog.count,
    "book": books.book,
    "books": books.book_rows,
    "best": books.best_rows,
    "bars": tables.bar_rows,
    "table": tables.table_rows,
}
"""Those of the processes that answer several at once."""

JOBS: Final[dict[str, Job]] = {**READING, "sql": statement.run}
"""All of them."""
