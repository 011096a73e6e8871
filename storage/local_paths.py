"""What a recorder wrote of the machine it ran on, taken out of what can be read of it.

The journal keeps it: its own start has the recorder's settings, and an error of a disk names a file. But rows are
read, and served, by others, and where something is on that machine is nobody's business there.
"""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["HIDDEN", "hide", "without_paths"]

HIDDEN: Final = "[path]"
"""What stands in place of a path."""

_VALUES: Final = r'("(?:archive|token_file)":")(?:[^"\\]|\\.)*', rf"\1{HIDDEN}"
"""Settings that are paths, also where they are relative."""

_QUOTED: Final = r"""(['"])/[^'"\\]*(['"])""", rf"\1{HIDDEN}\2"
"""A whole text, or a name as errors of the system quote it."""

_PLAIN: Final = r"""([\s(=])/[^\s"'\\),]+""", rf"\1{HIDDEN}"
"""In a sentence. What follows the colon of a URL is none."""

_TEXTS: Final = (_VALUES, _QUOTED, _PLAIN)
_PATTERNS: Final = tuple((re.compile(pattern.encode()), new.encode()) for pattern, new in _TEXTS)


def hide(detail: bytes) -> bytes:
    """The facts of an event, which are JSON, without paths of the machine."""
    for pattern, new in _PATTERNS:
        detail = pattern.sub(new, detail)
    return detail


def without_paths(rows: pa.Table) -> pa.Table:
    """Rows of ``sessions`` from before their paths were hidden, with them hidden; others as they are."""
    column = rows["detail"]
    for pattern, new in _TEXTS:
        column = pc.replace_substring_regex(column, pattern=pattern, replacement=new)
    return rows.set_column(rows.schema.get_field_index("detail"), rows.schema.field("detail"), column)
