"""The forms in which rows are given, and how a client sees that one was cut off.

NDJSON ends with a record of type ``end`` or ``error``; an Arrow stream has its end mark, Parquet its footer. CSV has
nothing of the kind: where one fails, the connection is cut, so that the last chunk of HTTP is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from bookreel.replay.server.errors import ErrorBody, NotAcceptable
from bookreel.replay.server.lines import encode_line, encode_rows
from bookreel.replay.server.packing import Sink
from bookreel.replay.texts import csv_rows, csv_schema, unique_names

__all__ = ["FORMS", "Form"]

_GROUP_ROWS: Final = 65_536
"""Rows of a Parquet row group: so many are held."""


class Form:
    """Rows as bytes. ``told``: whether its last record says how the answer ended."""

    content_type: ClassVar[str]
    told: ClassVar[bool] = False

    def __init__(self, schema: pa.Schema, kind: str) -> None:
        self._schema = schema
        self._kind = kind

    def rows(self, rows: pa.Table) -> bytes | memoryview:
        """These rows, and whatever comes before the first."""
        raise NotImplementedError

    def end(self, ending: Mapping[str, Any]) -> bytes | memoryview:
        """What comes after the last."""
        raise NotImplementedError

    def failed(self, body: ErrorBody, cursor: str | None) -> bytes:
        """What comes instead of the rest; only of a form that tells."""
        raise NotImplementedError


class Ndjson(Form):
    """A JSON object a line."""

    content_type = "application/x-ndjson"
    told = True

    def rows(self, rows: pa.Table) -> memoryview:
        return encode_rows(rows, self._kind)

    def end(self, ending: Mapping[str, Any]) -> bytes:
        return encode_line({"type": "end", **ending})

    def failed(self, body: ErrorBody, cursor: str | None) -> bytes:
        return encode_line({"type": "error", "error": body.error, "message": body.message, "cursor": cursor})


class _Written(Form):
    """By a writer of Arrow's, whose output is taken away as it comes."""

    def __init__(self, schema: pa.Schema, kind: str) -> None:
        super().__init__(schema, kind)
        self._sink: Any = Sink()
        self._writer = self._open()

    def _open(self) -> Any:
        raise NotImplementedError

    def rows(self, rows: pa.Table) -> bytes:
        self._writer.write_table(rows)
        return _taken(self._sink)

    def end(self, ending: Mapping[str, Any]) -> bytes:
        self._writer.close()
        return _taken(self._sink)


class Csv(_Written):
    """With a line of names; lists and structs as JSON."""

    content_type = "text/csv"

    def _open(self) -> Any:
        self._plain = csv_schema(self._schema)
        return pyarrow.csv.CSVWriter(self._sink, self._plain)

    def rows(self, rows: pa.Table) -> bytes:
        for batch in rows.to_batches():
            self._writer.write(csv_rows(batch, self._plain))
        return _taken(self._sink)


class ArrowStream(_Written):
    """Arrow's IPC stream."""

    content_type = "application/vnd.apache.arrow.stream"

    def _open(self) -> Any:
        return pa.ipc.new_stream(self._sink, self._schema)


class Parquet(_Written):
    """A whole file; rows are held until there are enough for a row group."""

    content_type = "application/vnd.apache.parquet"

    def _open(self) -> Any:
        self._held: list[pa.Table] = []
        self._count = 0
        fields = zip(self._schema, unique_names(self._schema.names), strict=True)
        self._named = pa.schema([field.with_name(name) for field, name in fields])
        try:
            return pyarrow.parquet.ParquetWriter(self._sink, self._named, compression="zstd")
        except pa.ArrowNotImplementedError as error:
            raise NotAcceptable(
                f"Parquet cannot hold a column of these: {error}; cast it, or take another form",
                parameter="format",
                allowed=[form for form in FORMS if form != "parquet"],
                example="format=ndjson",
            ) from error

    def rows(self, rows: pa.Table) -> bytes:
        self._held.append(rows.rename_columns(self._named.names))
        self._count += rows.num_rows
        if self._count >= _GROUP_ROWS:
            self._write()
        return _taken(self._sink)

    def end(self, ending: Mapping[str, Any]) -> bytes:
        if self._count:
            self._write()
        return super().end(ending)

    def _write(self) -> None:
        self._writer.write_table(pa.concat_tables(self._held))
        self._held.clear()
        self._count = 0


FORMS: Final[dict[str, type[Form]]] = {
    "ndjson": Ndjson,
    "csv": Csv,
    "arrow": ArrowStream,
    "parquet": Parquet,
}
"""By the word for ``format=``."""


def _taken(sink: Any) -> bytes:
    found: bytes = sink.take()
    return found
