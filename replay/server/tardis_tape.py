"""Frames as tardis-machine gives them: as they were received, each with the time at which that was.

Lines are made by Arrow's kernels, a column at a time: the text of a frame stands in its line as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay import Archive
from bookreel.replay.ndjson import Lines
from bookreel.replay.pages import Form, Page
from bookreel.replay.server.tardis_options import Channel, Span
from bookreel.replay.source import Source
from bookreel.replay.stream import CHUNK_BYTES
from bookreel.replay.sweep import ORDER, Sweep
from bookreel.storage.shared_tail import SharedTail

__all__ = ["Style", "Tape", "in_chunks", "one_by_one", "open_tape", "pages_of"]

_T = TypeVar("_T")

Style: TypeAlias = Literal["machine", "feed", "wire"]
"""How a frame is written: as a line of ``/replay``, as one of tardis's own data feed, or as it came."""

_STYLES: Final[Mapping[str, tuple[str, str, str]]] = {
    "machine": ('{"localTimestamp":"', 'Z","message":', "}\n"),
    "feed": ("", "Z ", "\n"),
}
_TIME_CHARS: Final = 27
"""Of ``2019-06-01T00:03:03.1238784``: as many as there always are there."""

_DATA: Final = ("data", "reply")
_HEARTBEATS: Final = ("ping", "pong", "undecodable")
_PLAIN: Final = 0x20


class Tape:
    """A form of pages: a line for each frame that was received and is of one of ``channels`` (None: of any), and an
    empty one for each disconnect where those are in the selection.
    """

    texts = False

    def __init__(self, style: Style, channels: Sequence[Channel] | None) -> None:
        self._style = style
        self._channels = channels

    def make(self, rows: Mapping[str, pa.Table], sweep: Sweep) -> tuple[Lines, memoryview, memoryview]:
        """As :class:`bookreel.replay.pages.Form` says."""
        parts = []
        if "frames" in rows:
            frames = self._wanted(rows["frames"])
            parts.append(pa.table([self._lines(frames), frames[ORDER], frames["ts_recv"]], _COLUMNS))
        if "sessions" in rows:
            breaks = rows["sessions"].filter(pc.equal(rows["sessions"]["event"], pa.scalar("disconnect")))
            empty = pa.chunked_array([pa.repeat(pa.scalar("\n", pa.large_string()), breaks.num_rows)])
            parts.append(pa.table([empty, breaks[ORDER], breaks["ts_recv"]], _COLUMNS))
        found = pa.concat_tables(parts).combine_chunks()
        if len(parts) > 1:
            found = found.take(pc.sort_indices(found, [(ORDER, "ascending")])).combine_chunks()
        if not found.num_rows:
            return _NOTHING
        lines, order, ts = (found.to_batches()[0].column(place) for place in range(3))
        return Lines.of_array(lines), _view(order), _view(ts)

    def gaps(self, rows: pa.Table, horizon: int) -> Lines:
        """Gaps are not shown there."""
        raise AssertionError("no gaps were selected")

    def _wanted(self, rows: pa.Table) -> pa.Table:
        kept = pc.and_(pc.equal(rows["direction"], pa.scalar("in")), pc.is_valid(rows["payload"]))
        if self._channels is None:
            kept = pc.and_(kept, pc.invert(pc.is_in(rows["kind"], pa.array(_HEARTBEATS))))
        else:
            kept = pc.and_(kept, pc.is_in(rows["kind"], pa.array(_DATA)))
            topics = [topic for topic in pc.unique(rows["topic"]).to_pylist() if self._is_wanted(topic)]
            kept = pc.and_(kept, pc.is_in(rows["topic"], pa.array(topics, pa.string())))
        rows = rows if pc.all(kept).as_py() else rows.filter(kept)
        unsure = pc.equal(rows["kind"], pa.scalar("unknown"))
        if pc.any(unsure).as_py():
            # What is not JSON would not leave a line that is.
            good = [
                not doubt or _is_json(text)
                for doubt, text in zip(unsure.to_pylist(), rows["payload"].to_pylist(), strict=True)
            ]
            rows = rows.filter(pa.array(good))
        return rows

    def _is_wanted(self, topic: str | None) -> bool:
        pieces = (topic or "").split(".")
        return len(pieces) > 2 and any(
            pieces[2] == wanted.channel
            and (wanted.symbols is None or pieces[1] in (symbol.lower() for symbol in wanted.symbols))
            for wanted in self._channels or ()
        )

    def _lines(self, rows: pa.Table) -> Any:
        payload: Any = rows["payload"].combine_chunks()
        if isinstance(payload, pa.ChunkedArray):
            payload = payload.chunk(0) if payload.num_chunks else pa.array([], pa.string())
        payload = _on_one_line(payload).cast(pa.large_string())
        if self._style == "wire":
            return pa.chunked_array([payload])
        before, between, after = (pa.scalar(text, pa.large_string()) for text in _STYLES[self._style])
        text: Any = pc.utf8_slice_codeunits(rows["ts_recv"].cast(pa.string()), 0, _TIME_CHARS)
        times = pc.binary_replace_slice(text, start=10, stop=11, replacement="T").combine_chunks()
        joiner: Any = pc.binary_join_element_wise
        ends = pa.scalar("", pa.large_string())
        return pa.chunked_array(
            [joiner(before, times.cast(pa.large_string()), between, payload, after, ends)]
        )


_COLUMNS: Final = ["lines", ORDER, "ts"]
_NONE: Final = memoryview(b"").cast("q")
_NOTHING: Final = (Lines(memoryview(b""), _NONE), _NONE, _NONE)


def open_tape(
    archive: Path | SharedTail,
    style: Style,
    channels: Sequence[Channel] | None,
    span: Span,
    *,
    disconnects: bool = False,
) -> tuple[Source, Tape]:
    """What reads the frames of some channels. Blocks; raises what :meth:`bookreel.replay.Archive.lines` does."""
    symbols: set[str] | None = set()
    for channel in channels or ():
        if channel.symbols is None:
            symbols = None
            break
        symbols = (symbols or set()) | {symbol.lower() for symbol in channel.symbols}
    tables = ["frames", "sessions"] if disconnects else ["frames"]
    with Archive(archive) as opened:
        return opened.source(symbols or None, tables, None, span.start, span.end), Tape(style, channels)


def pages_of(source: Source, form: Form[_T]) -> Iterator[Page[_T]]:
    """The pages of a selection, to its end."""
    with closing(source.tail()) as tail:
        pages = source.pages(source.scanner(), tail, form, source.place(None), follow=False)
        while not pages.done:
            page = pages.read()
            if page is not None:
                yield page


def in_chunks(source: Source, tape: Tape) -> Iterator[bytes | memoryview]:
    """The lines, in pieces of a bounded size."""
    for page in pages_of(source, tape):
        at = page.first
        while at < len(page.order):
            stop = page.items.stop(at, len(page.order), CHUNK_BYTES)
            yield page.items.between(at, stop)
            at = stop


def one_by_one(source: Source, tape: Tape) -> Iterator[tuple[int, bytes]]:
    """Each line, with the position at which it stands."""
    for page in pages_of(source, tape):
        for index in range(page.first, len(page.order)):
            yield page.order[index], bytes(page.items.between(index, index + 1))


def _on_one_line(texts: Any) -> Any:
    """Texts without line ends: in JSON they stand only between its parts."""
    _, _, buffer = texts.buffers()
    if buffer is None or not len(buffer):
        return texts
    codes = pa.Array.from_buffers(pa.uint8(), len(buffer), [None, buffer])
    least: int = pc.min(codes).as_py()
    if least >= _PLAIN:
        return texts
    replace: Callable[..., Any] = pc.replace_substring
    return replace(replace(texts, "\n", " "), "\r", " ")


def _is_json(text: str | None) -> bool:
    try:
        msgspec.json.decode(text or "")
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _view(column: Any) -> memoryview:
    return memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
