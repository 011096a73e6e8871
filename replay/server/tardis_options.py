"""What clients of tardis-machine ask for: its options, read as leniently as it reads them."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeVar

import msgspec

from bookreel.replay.errors import BadTime
from bookreel.replay.server import parameters
from bookreel.replay.server.errors import BadRequest
from bookreel.replay.server.limits import Limits
from bookreel.replay.times import to_ns

__all__ = [
    "EXCHANGE",
    "OPTIONS",
    "Channel",
    "NormalOptions",
    "RawOptions",
    "Span",
    "check_venue",
    "decode",
    "several",
    "span",
]

EXCHANGE: Final = "huobi"
"""What Huobi's spot market is called there."""

_EXAMPLE: Final = (
    '{"exchange": "huobi", "from": "2026-11-20", "to": "2026-11-20T00:05:00Z", "filters": '
    '[{"channel": "trade", "symbols": ["btcusdt"]}]}'
)
_OPTIONS_CHARS: Final = 8_000

_Words = Annotated[list[str], msgspec.Meta(max_length=1000)]

_T = TypeVar("_T")


class Channel(msgspec.Struct, frozen=True):
    """A filter: the third part of a topic, such as ``mbp`` of ``market.btcusdt.mbp.150``, and symbols (None: all)."""

    channel: str
    symbols: _Words | None = None


class RawOptions(msgspec.Struct, frozen=True, rename="camel"):
    """Of ``/replay``. Options that are not known here are those of tardis-machine's own store; they mean nothing."""

    exchange: str
    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    filters: Annotated[list[Channel], msgspec.Meta(max_length=1000)] | None = None
    with_disconnects: bool | None = None


class NormalOptions(msgspec.Struct, frozen=True, rename="camel"):
    """Of ``/replay-normalized``, or one of several that are merged."""

    exchange: str
    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    data_types: Annotated[list[str], msgspec.Meta(min_length=1, max_length=100)]
    symbols: _Words | None = None
    with_disconnect_messages: bool | None = None


class Span(msgspec.Struct, frozen=True):
    """A range of receive time (ns): ``start`` inclusive, ``end`` exclusive."""

    start: int
    end: int


OPTIONS: Final = parameters.text(
    "options", "The options as JSON.", _OPTIONS_CHARS, example=_EXAMPLE, required=True
)


def decode(text: str, kind: type[_T] | Any) -> Any:
    """The options. Raises BadRequest."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest(
            f"the options cannot be read: {error}", parameter="options", example=_EXAMPLE
        ) from error


def several(text: str, limits: Limits) -> list[tuple[NormalOptions, Span]]:
    """Options of ``/replay-normalized``, or a list of some, each with its range. Raises BadRequest."""
    given: Any = decode(text, NormalOptions | Annotated[list[NormalOptions], msgspec.Meta(min_length=1)])
    options: list[NormalOptions] = given if isinstance(given, list) else [given]
    return [(one, span(one.exchange, one.start, one.end, limits)) for one in options]


def check_venue(venue: str) -> None:
    """Raise BadRequest for an archive of a venue that tardis-machine has no messages for."""
    if venue != EXCHANGE:
        raise BadRequest(
            f"this archive is of {venue}, which tardis has no messages for; /v1/replay gives what was recorded",
            example="/v1/replay",
        )


def span(exchange: str, start: str, end: str, limits: Limits) -> Span:
    """The range that is asked for, of the exchange that is here. Raises BadRequest."""
    if exchange != EXCHANGE:
        raise BadRequest(
            f"nothing of {exchange[:64]!r} is recorded here", parameter="exchange", allowed=[EXCHANGE]
        )
    try:
        found = Span(to_ns(start), to_ns(end))
    except BadTime as error:
        raise BadRequest(str(error), parameter="options", example=_EXAMPLE) from error
    limits.check_range(found.start, found.end)
    return found
