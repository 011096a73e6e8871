"""The job of the process for SQL: one reading statement, in memory and time of its own.

DuckDB itself opens no file outside of the archive's ``parquet`` folder, loads no extension, reaches no network and
takes no setting (:mod:`bookreel.storage.query`). The process it runs in has none of the server's environment, can
write no file, and is killed where it takes too much memory or time. Where the archive is, is nobody's business:
files have their names inside of it, and what would show DuckDB's settings, which have the folder, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa

from bookreel.replay.archives import Archives
from bookreel.replay.server.delivery import Delivery, Parts, Piece, deliver
from bookreel.replay.server.desk import Desk
from bookreel.storage.errors import QueryError

__all__ = ["run"]

_BATCH_ROWS: Final = 16_384

_HELD_BYTES: Final = 256 << 20
"""Of an answer in a form that cannot say how it ended: so much is made before its head is sent."""

_WORDS: Final = re.compile(r"\w+")

_HIDDEN: Final = frozenset(
    {
        *("current_setting", "duckdb_settings", "pg_settings"),
        # They run, or plan, what is not there to be read.
        *("query", "query_table", "json_execute_serialized_sql", "json_serialize_plan"),
    }
)
"""Words that no statement may have, wherever in it they stand."""


class _Statement(msgspec.Struct, frozen=True, kw_only=True):
    q: str
    delivery: Delivery


def run(desk: Desk[Archives], values: dict[str, Any]) -> Parts:
    """The rows of a statement. Raises QueryError."""
    wanted = msgspec.convert(values, _Statement)
    if hidden := _HIDDEN.intersection(_WORDS.findall(wanted.q.lower())):
        raise QueryError(f"{min(hidden)} is not possible here", "write the statement itself, over the tables")
    try:
        reader = desk.call(lambda archive: archive.sql(wanted.q)).to_arrow_reader(_BATCH_ROWS)
    except (duckdb.Error, pa.ArrowException, MemoryError) as error:
        raise QueryError(" ".join(str(error).split())) from error
    return deliver("row", reader.schema, _pieces(reader), wanted.delivery, held_bytes=_HELD_BYTES)


def _pieces(reader: pa.RecordBatchReader) -> Iterator[Piece]:
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
            raise QueryError(" ".join(str(error).split())) from error
        yield Piece(pa.Table.from_batches([batch]), _no_cursor)


def _no_cursor(count: int) -> None:
    """An answer to SQL has no order to go on in."""
