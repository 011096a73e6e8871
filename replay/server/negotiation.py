"""Which form and which compression a client wants, by its headers."""

from __future__ import annotations

from typing import Final

from bookreel.replay.server.errors import NotAcceptable
from bookreel.replay.server.forms import FORMS
from bookreel.replay.server.packing import ENCODINGS

__all__ = ["choose_encoding", "choose_form"]

_TYPES: Final = {form.content_type: word for word, form in FORMS.items()}
_ALSO: Final = {
    "application/jsonl": "ndjson",
    "application/x-json-stream": "ndjson",
    "application/vnd.apache.arrow.file": "arrow",
    "application/parquet": "parquet",
}
_PREFERRED: Final = tuple(reversed(ENCODINGS))


def choose_form(accept: str | None, given: str | None) -> str:
    """The word for a form: what ``format=`` says, else what ``Accept`` likes best. Raises NotAcceptable."""
    if given is not None:
        return given
    ranked = _ranked(accept or "*/*")
    best: tuple[float, str] | None = None
    for kind, word in (_TYPES | _ALSO).items():
        main = kind.partition("/")[0]
        quality = ranked.get(kind, ranked.get(f"{main}/*", ranked.get("*/*", 0.0)))
        if quality > 0 and (best is None or quality > best[0]):
            best = quality, word
    if best is None:
        raise NotAcceptable(
            "none of the accepted types can be given; leave Accept away, or use format=",
            parameter="format",
            allowed=list(_TYPES),
            example="format=csv",
        )
    return best[1]


def choose_encoding(accept: str | None, form: str) -> str | None:
    """The compression that ``Accept-Encoding`` likes best; Parquet is compressed already."""
    if accept is None or form == "parquet":
        return None
    ranked = _ranked(accept)
    rated = [(ranked.get(word, ranked.get("*", 0.0)), word) for word in _PREFERRED]
    quality, word = max(rated, key=lambda pair: pair[0])
    return word if quality > 0 and quality >= ranked.get("identity", 0.0) else None


def _ranked(header: str) -> dict[str, float]:
    """The values of such a header, each with its quality."""
    found = {}
    for part in header.split(","):
        word, *options = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for option in options:
            key, _, value = option.partition("=")
            if key.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        if word:
            found[word] = quality if 0 <= quality <= 1 else 0.0
    return found
