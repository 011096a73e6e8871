"""Several selections of an archive as one stream of lines, merged in the order of the journal; each line has the name
of its stream.

A record that several of them want comes once for each, in the order of the streams. So a place in what is merged is
one in the journal, as everywhere, and a token of it leads on in every stream.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.ndjson import Lines
from bookreel.replay.pages import Form, Page, Reader
from bookreel.replay.source import Source
from bookreel.replay.tokens import START, Place, Tokens
from bookreel.storage.scan import Scanner
from bookreel.storage.tail import Looker

__all__ = ["Merged"]

_DIGEST_BYTES: Final = 4


class Merged:
    """An origin of lines: ``sources`` of one archive and range of time by the name of the stream, at least one."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self._first = next(iter(self._sources.values()))
        self.root = self._first.root
        digests = [(name, source.selection.digest) for name, source in self._sources.items()]
        digest = blake2b(msgspec.json.encode(digests), digest_size=_DIGEST_BYTES).digest()
        self.tokens = Tokens(self.root, digest)

    def scanner(self) -> Scanner:
        """What reads sealed files, of the caller's own."""
        return self._first.scanner()

    def tail(self) -> Looker:
        """What looks at the journal's tail, for the caller to close."""
        return self._first.tail()

    def place(self, after: str | None) -> Place:
        """Where to begin: at a token (raises BadToken), or at the beginning of the range."""
        return Place(start=self._first.selection.start) if after is None else self.tokens.read(after)

    def pages(
        self, scanner: Scanner, tail: Looker, form: Form[Lines], place: Place, *, follow: bool
    ) -> Reader[Lines]:
        """The pages from a place on."""
        # What was given of the record at the place is left out of what is merged, not of a stream.
        begin = Place(place.pos, start=place.start)
        parts = [
            _Part(_tag(name), source.pages(scanner, tail, form, begin, follow=follow))
            for name, source in self._sources.items()
        ]
        return _Pages(parts, place)


class _Columns(NamedTuple):
    """Lines, the positions at which they stand, and their receive times (ns)."""

    lines: Any
    order: Any
    ts: Any


class _Part:
    """One stream: the page that was read of it, and what of that was not given yet."""

    def __init__(self, tag: bytes, pages: Reader[Lines]) -> None:
        self.tag = tag
        self.pages = pages
        self.closing: Page[Lines] | None = None
        self._page: Page[Lines] | None = None
        self._at = 0

    @property
    def reach(self) -> int:
        """Everything that stands before this position was read."""
        return self.pages.place.pos

    def read(self) -> bool:
        """Read on, if nothing is left; whether that led further."""
        before = self.reach
        page = self.pages.read()
        if page is not None and page.end:
            self.closing = page
        elif page is not None:
            self._page, self._at = page, page.first
        return self.pages.done or self.reach > before

    @property
    def empty(self) -> bool:
        """Whether all that was read was given."""
        return self._page is None

    def take(self, upto: int) -> _Columns | None:
        """The lines that stand before a position; None: there are none."""
        page = self._page
        if page is None:
            return None
        stop = bisect_left(page.order, upto, self._at)
        found = _columns(page, self._at, stop, self.tag) if stop > self._at else None
        self._at = stop
        if stop == len(page.order):
            self._page = None
        return found


class _Pages:
    """The pages of a merged origin."""

    def __init__(self, parts: list[_Part], place: Place) -> None:
        self.place = place
        self.done = False
        self._parts = parts

    def read(self) -> Page[Lines] | None:
        """The next page; None: there is none, or none yet. Raises what reading a stream does."""
        while not self.done:
            moved = False
            for part in self._parts:
                if part.empty and not part.pages.done:
                    moved |= part.read()
            place = self.place
            upto = min(part.reach for part in self._parts)
            page = _joined([part.take(upto) for part in self._parts], place)
            if upto > place.pos:
                self.place = Place(upto, start=place.start)
            if page is not None and page.first < len(page.order):
                return page
            if all(part.pages.done for part in self._parts):
                return self._close()
            if not moved:
                return None
        return None

    def _close(self) -> Page[Lines] | None:
        """Gaps that are open at the end, of each stream those that it wants."""
        self.done = True
        pos, _, known, start = self.place
        closing = [(part, part.closing) for part in self._parts if part.closing is not None]
        pieces = [_columns(page, 0, len(page.order), part.tag) for part, page in closing]
        found = _joined([piece._replace(order=_repeated(pos, piece.order)) for piece in pieces], START)
        count = 0 if found is None else len(found.order)
        self.place = Place(pos, 0, max(count, known), start)
        return None if found is None or count <= known else found._replace(first=known, end=True)


def _tag(name: str) -> bytes:
    return b'{"stream":' + msgspec.json.encode(name) + b","


def _columns(page: Page[Lines], start: int, stop: int, tag: bytes) -> _Columns:
    lines: Any = pc.binary_replace_slice(page.items.array(start, stop), start=0, stop=1, replacement=tag)
    return _Columns(lines, _int64(page.order, start, stop), _int64(page.ts, start, stop))


def _int64(values: memoryview, start: int, stop: int) -> Any:
    return pa.Array.from_buffers(pa.int64(), stop - start, [None, pa.py_buffer(values[start:stop])])


def _repeated(value: int, like: Any) -> Any:
    return pa.repeat(pa.scalar(value, pa.int64()), len(like))


def _joined(pieces: Sequence[_Columns | None], place: Place) -> Page[Lines] | None:
    """Pieces of streams as one page; those that lie before a place were given."""
    found = [piece for piece in pieces if piece is not None]
    if not found:
        return None
    columns = zip(*found, strict=True)
    rows = pa.table([pa.chunked_array(list(column)) for column in columns], list(_Columns._fields))
    if len(found) > 1:
        # The sort is stable: what stands at one position stays in the order of the streams.
        rows = rows.take(pc.sort_indices(rows, [("order", "ascending")]))
    lines, order, ts = rows.combine_chunks().to_batches()[0].columns
    view = _view(order)
    first = min(place.given, bisect_left(view, place.pos + 1)) if view[0] == place.pos else 0
    return Page(Lines.of_array(lines), view, _view(ts), first, False)


def _view(column: Any) -> memoryview:
    return memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
