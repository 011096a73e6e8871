"""Rows that come in pieces, delivered in a form: up to a limit, with a cursor to go on from, and with a told end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa

from bookreel.replay.server.errors import Internal, OverLimit, translate
from bookreel.replay.server.forms import FORMS, Form
from bookreel.replay.server.packing import packer
from bookreel.replay.server.wire import CHUNK_BYTES, Head

__all__ = ["CURSOR", "GATHERED_ROWS", "Delivery", "Part", "Parts", "Piece", "deliver"]

CURSOR: Final = "Bookreel-Cursor"
"""The header of a page's cursor, in every form."""

GATHERED_ROWS: Final = 50_000
"""A page of at most so many rows is gathered before it is sent, and so has its cursor in the header."""

Part: TypeAlias = Head | bytes | memoryview
Parts: TypeAlias = Generator[Part, None, None]
"""An answer: its head, then its body. It may be closed before its end."""

_log = logging.getLogger(__name__)


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How rows are wanted. ``form``: of FORMS; ``encoding``: of ENCODINGS. ``limit``: the page's rows, None is all,
    of which there may be ``rows_max``.
    """

    form: str
    encoding: str | None
    limit: int | None
    rows_max: int


class Piece(NamedTuple):
    """Rows, and the cursor that goes on after the first so many of them."""

    rows: pa.Table
    cursor: Callable[[int], str | None]


class _Page:
    """Pieces up to a number of rows."""

    def __init__(self, pieces: Iterator[Piece], most: int) -> None:
        self._pieces = pieces
        self._left = most
        self.count = 0
        self.cursor: str | None = None
        self.more = False
        """Whether it ended at the limit, with rows left."""

    def __iter__(self) -> Iterator[pa.Table]:
        for piece in self._pieces:
            if not self._left:
                self.more = True
                return
            rows = piece.rows.slice(0, self._left)
            self._left -= rows.num_rows
            self.count += rows.num_rows
            self.cursor = piece.cursor(rows.num_rows)
            self.more = rows.num_rows < piece.rows.num_rows
            yield rows
            if self.more:
                return


def deliver(
    kind: str, schema: pa.Schema, pieces: Iterator[Piece], wanted: Delivery, *, held_bytes: int = 0
) -> Parts:
    """The answer: its head, then its body. ``kind``: the ``type`` of a row's record.

    Whatever fails before the first piece is raised before the head. After it, it is told in the form; where that
    cannot tell, or more than ``rows_max`` rows were asked for, it is raised, and the answer ends without its end.
    ``held_bytes``: of rows that are made first where the form cannot tell, so that they fail before the head too.
    """
    page = _Page(pieces, min(wanted.limit or wanted.rows_max, wanted.rows_max))
    rows = iter(page)
    first = next(rows, None)
    found = iter(()) if first is None else chain([first], rows)
    if held_bytes and not FORMS[wanted.form].told:
        found = _begun(found, held_bytes)
        if page.more and wanted.limit is None:
            raise _over(wanted)
    headers: dict[str, str] = {}
    form = FORMS[wanted.form](schema, kind)
    if wanted.limit is not None and wanted.limit <= GATHERED_ROWS:
        found = iter(list(found))
        if page.cursor is not None and page.more:
            headers[CURSOR] = page.cursor
    headers["Content-Type"] = form.content_type
    if wanted.encoding is not None:
        headers["Content-Encoding"] = wanted.encoding
    packs = packer(wanted.encoding)
    yield Head(headers)
    for data in _body(form, found, page, wanted):
        yield from _cut(packs.add(data))
    yield packs.end()


def _begun(rows: Iterator[pa.Table], most: int) -> Iterator[pa.Table]:
    """The rows, of which so many bytes were made already."""
    held: list[pa.Table] = []
    for piece in rows:
        held.append(piece)
        most -= piece.nbytes
        if most <= 0:
            break
    return chain(held, rows)


def _over(wanted: Delivery) -> OverLimit:
    return OverLimit(
        f"the answer has more than {wanted.rows_max:,} rows, which is the limit; ask for less",
        example="format=ndjson, which gives those and says so",
    )


def _body(
    form: Form, rows: Iterator[pa.Table], page: _Page, wanted: Delivery
) -> Iterator[bytes | memoryview]:
    try:
        for piece in rows:
            yield form.rows(piece)
        if page.more and wanted.limit is None and not form.told:
            raise _over(wanted)
    except Exception as error:
        known = translate(error)
        if isinstance(known, Internal):
            _log.error("an answer failed on the way", exc_info=error)
        if not form.told:
            raise known from error
        yield form.failed(known.body, page.cursor)
        return
    ending: dict[str, Any] = {"reason": "limit" if page.more else "complete", "rows": page.count}
    if page.cursor is not None:
        ending["cursor"] = page.cursor
    yield form.end(ending)


def _cut(data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """As chunks."""
    if len(data) <= CHUNK_BYTES:
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]
