"""What a client may ask of a replay: the same in a query and in the first message of a WebSocket."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from bookreel.replay import Archive, LineStream
from bookreel.replay.errors import BadSpeed, BadTime, BadToken
from bookreel.replay.selection import REPLAY_TABLES, Choice
from bookreel.replay.server import parameters
from bookreel.replay.server.errors import BadRequest
from bookreel.replay.server.limits import Limits
from bookreel.replay.server.parameters import Parameter, Values
from bookreel.replay.times import to_ns
from bookreel.storage.shared_tail import SharedTail

__all__ = ["PARAMETERS", "Choices", "open_lines"]

_NOW: Final = "now"
_SPEED_MAX: Final = 1e6
_TOKEN_CHARS: Final = 128
_STREAMS_MAX: Final = 64


class Choices(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``streams``: several choices by a name of the client's, merged in one order. ``start`` and ``end`` are ``from``
    and ``to``, ns or text. ``speed``: None or ``max`` is as fast as possible. ``after``: a token to go on after.
    """

    streams: dict[str, Choice] | None = None
    start: int | str | None = msgspec.field(default=None, name="from")
    end: int | str | None = msgspec.field(default=None, name="to")
    speed: float | Literal["max"] | None = None
    numbers: Literal["float", "decimal"] = "float"
    follow: bool = False
    after: Annotated[str, msgspec.Meta(max_length=_TOKEN_CHARS)] | None = None

    @classmethod
    def of(cls, values: Values) -> Choices:
        """The choices of a query."""
        names = {"start": "from", "end": "to"}
        given: dict[str, Any] = {name: values[names.get(name, name)] for name in _IN_QUERY}
        return cls(**given)


_IN_QUERY: Final = ("symbols", "tables", "feeds", "start", "end", "speed", "numbers", "follow", "after")


def open_lines(archive: Path | SharedTail, choices: Choices, limits: Limits) -> LineStream:
    """The lines that are asked for. Blocks; raises BadRequest, and what ``Archive.lines`` does."""
    now = time.time_ns()
    start, end = (_instant(text, now, name) for text, name in ((choices.start, "from"), (choices.end, "to")))
    limits.check_range(start, end)
    speed = None if choices.speed == "max" else choices.speed
    further: dict[str, Any] = {"numbers": choices.numbers, "follow": choices.follow, "after": choices.after}
    streams = choices.streams
    own = any((choices.symbols, choices.tables, choices.feeds))
    if streams is not None and (own or not 0 < len(streams) <= _STREAMS_MAX):
        raise BadRequest(
            f"give 1 to {_STREAMS_MAX} streams, each with its own symbols, tables and feeds, or none",
            parameter="streams",
            example='{"streams": {"a": {"tables": ["trades"]}, "b": {"feeds": ["mbp.150"]}}}',
        )
    try:
        with Archive(archive) as opened:
            if streams is not None:
                return opened.merged(streams, start, end, speed=speed, **further)
            return opened.lines(
                choices.symbols, choices.tables, start, end, feeds=choices.feeds, speed=speed, **further
            )
    except BadToken as error:
        raise BadRequest(str(error), parameter="after") from error
    except BadSpeed as error:
        raise BadRequest(str(error), parameter="speed", example="10") from error


def _instant(given: int | str | None, now: int, name: str) -> int | None:
    if given is None or isinstance(given, int):
        return given
    try:
        return now if given == _NOW else to_ns(given)
    except BadTime as error:
        raise BadRequest(str(error), parameter=name, example="2026-11-20T12:00:00Z") from error


def _moment(key: str, about: str) -> Parameter:
    """A time, or ``now``."""
    plain = parameters.time(key, about)
    return msgspec.structs.replace(
        plain,
        read=lambda given: given if given == _NOW else plain.read(given),
        schema={"oneOf": [plain.schema, {"type": "string", "enum": [_NOW]}]},
    )


PARAMETERS: Final = (
    parameters.names("symbols", "Symbols; all by default.", example="btcusdt"),
    parameters.names(
        "tables", f"Of {', '.join(REPLAY_TABLES)}; all but frames by default.", example="trades,bbo"
    ),
    parameters.names("feeds", "Feeds; all by default.", example="mbp.150,trade"),
    _moment("from", "Receive time, inclusive: ISO-8601, integer ns since the epoch, or now."),
    _moment("to", "Receive time, exclusive."),
    parameters.number(
        "speed",
        "How many times as fast as it was received; max, the default, is as fast as possible.",
        0,
        _SPEED_MAX,
        words={"max": None},
        example="10",
    ),
    parameters.choice(
        "numbers",
        "decimal: prices and sizes with every digit that the venue sent.",
        ("float", "decimal"),
        default="float",
    ),
    parameters.flag("follow", "At the end go on with what is being recorded."),
    parameters.text("after", "A token of an earlier replay: go on after it.", _TOKEN_CHARS, example="AbCd"),
)
"""As the options of ``bookreel replay``."""
