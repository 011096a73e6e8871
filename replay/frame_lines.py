"""Lines of frames, made a column at a time: the same bytes as by typed values.

Arrow's kernels make them at first. A process that makes many loads the machine code of
:mod:`bookreel.replay.weaving`, which takes a third of their time, for all but what is odd.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from bookreel.replay.events import RecordedFrame

__all__ = ["frame_lines", "integer_view", "woven_lines"]

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode

_SPACE: Final = 0x20
_TILDE: Final = 0x7E
_LOOK_BYTES: Final = 1 << 16

_BEGIN: Final = '{"type":"frame"'
_NEEDED: Final = ("ts_event", "payload", "ts_recv", "pos")

_WEAVING: Final = "bookreel.replay.weaving"
_ROWS: Final = 1 << 19
"""Frames that a process makes lines of before it loads machine code: by then the quarter of a second that this takes
is won back.
"""


class _Made:
    """How many that are, in this process."""

    rows = 0


_made: Final = _Made()


def woven_lines(batch: pa.RecordBatch) -> tuple[memoryview, memoryview] | None:
    """A line for each row of ``frames`` in one buffer, and where each of them ends. None where that is not to be had:
    by :func:`frame_lines` then.
    """
    if _WEAVING not in sys.modules:
        _made.rows += batch.num_rows
        if _made.rows < _ROWS:
            return None
    try:
        from bookreel.replay.weaving import Columns, Texts, weave
    except ImportError:
        return None
    column = batch.column
    if column("payload_bytes").null_count < len(batch) or any(column(name).null_count for name in _NEEDED):
        return None
    few = {name: column(name) for name in ("conn", "direction", "kind", "topic")}
    return weave(
        Columns(
            Texts(*_members(_BEGIN, {"symbol": column("symbol")}, ',"ts_event":"')),
            integer_view(column("ts_event")),
            Texts(*_members('Z"', few, ',"payload":"')),
            column("payload"),
            b'","payload_bytes":null,"ts_recv":"',
            integer_view(column("ts_recv")),
            b'Z","pos":',
            integer_view(column("pos")),
        )
    )


def frame_lines(batch: pa.RecordBatch) -> Any:
    """A line for each row of ``frames``, as an Arrow array of texts."""
    parts: list[Any] = []
    text, few = _BEGIN, dict[str, Any]()
    for name in RecordedFrame.__struct_fields__:
        column = batch.column(name)
        if pa.types.is_string(column.type) and name != "payload":
            few[name] = column
            continue
        before, values, after = _json(name, column)
        before = f',"{name}":{before}'
        parts.append(_taken(*_members(text, few, before)) if few else _text(text + before))
        parts.append(values)
        text, few = after, {}
    joiner: Any = pc.binary_join_element_wise
    return joiner(*parts, _text(text + "}\n"), _text(""))


def _members(before: str, columns: Mapping[str, Any], after: str) -> tuple[list[bytes], Any]:
    """Columns of few different texts as members of an object: each combination that there is, and for each row the
    number of its own.
    """
    codes: Any = pa.scalar(0, pa.int64())
    known: list[list[bytes]] = []
    for name, column in columns.items():
        coded = column.dictionary_encode(null_encoding="encode")
        known.append(
            [b',"%s":%s' % (name.encode(), _encode(value)) for value in coded.dictionary.to_pylist()]
        )
        codes = pc.add(pc.multiply(codes, pa.scalar(len(known[-1]), pa.int64())), coded.indices)
    found = codes.dictionary_encode()
    texts = []
    for code in found.dictionary.to_pylist():
        members = [after.encode()]
        for values in reversed(known):
            code, index = divmod(code, len(values))
            members.append(values[index])
        texts.append(b"".join((before.encode(), *reversed(members))))
    return texts, found.indices


def _taken(texts: list[bytes], indices: Any) -> Any:
    return pa.array([text.decode() for text in texts], pa.large_string()).take(indices)


def _json(name: str, column: Any) -> tuple[str, Any, str]:
    """A column's values as JSON texts, but for what stands before and after each of them."""
    if pa.types.is_timestamp(column.type):
        text = pc.binary_replace_slice(column.cast(pa.string()), start=10, stop=11, replacement="T")
        return _quoted(text, "Z")
    if name == "payload":
        return _quoted(_escaped(column), "")
    if pa.types.is_binary(column.type):
        if column.null_count == len(column):
            return "", _text("null"), ""
        texts = [_encode(value).decode() for value in column.to_pylist()]
        return "", pa.array(texts, pa.large_string()), ""
    return "", column.cast(pa.large_string()), ""


def _text(text: str) -> Any:
    return pa.scalar(text, pa.large_string())


def _escaped(column: Any) -> Any:
    """Texts as they stand between the quotes of JSON."""
    _, offsets, buffer = column.buffers()
    ends = memoryview(offsets).cast("i")[column.offset : column.offset + len(column) + 1]
    if buffer is None or ends[0] == ends[-1]:
        return column
    codes: Any = buffer.slice(ends[0], ends[-1] - ends[0])
    text = column
    if _has_backslash(memoryview(codes)):
        text = pc.replace_substring(text, "\\", "\\\\")
    text = pc.replace_substring(text, '"', '\\"')
    # What is not plain is left to the encoder: control characters, and what is not ASCII.
    bounds: Any = pc.min_max(pa.Array.from_buffers(pa.uint8(), codes.size, [None, codes])).as_py()
    if bounds["min"] < _SPACE or bounds["max"] > _TILDE:
        odd: Any = pc.fill_null(pc.invert(pc.ascii_is_printable(column)), pa.scalar(False))
        further = [_encode(value).decode()[1:-1] for value in column.filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(further, text.type))
    return text


def _has_backslash(codes: memoryview) -> bool:
    # A little at a time: a copy that stays in the cache is looked at faster than Arrow looks at the whole.
    return any(b"\\" in bytes(codes[at : at + _LOOK_BYTES]) for at in range(0, len(codes), _LOOK_BYTES))


def _quoted(text: Any, end: str) -> tuple[str, Any, str]:
    """Texts, ``end`` after each, in quotes; ``null`` for none."""
    text = text.cast(pa.large_string())
    if not text.null_count:
        return '"', text, end + '"'
    joiner: Any = pc.binary_join_element_wise
    return "", pc.fill_null(joiner(_text('"'), text, _text(end + '"'), _text("")), "null"), ""


def integer_view(column: Any) -> memoryview:
    """A column of integers or times without nulls."""
    return memoryview(column.buffers()[1]).cast("q")[column.offset : column.offset + len(column)]
