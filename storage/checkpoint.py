"""Where a normalizer stood: all that it knows but the rows it was not asked for yet."""

from __future__ import annotations

from typing import Final

import msgspec

from bookreel.storage.errors import StorageError
from bookreel.storage.lines import LineState
from bookreel.storage.stream import StreamState
from bookreel.storage.turns import Turns

__all__ = ["STATE_VERSION", "BadState", "Checkpoint", "decode_checkpoint"]

STATE_VERSION: Final = 1


class BadState(StorageError):
    """A checkpoint cannot be used."""

    exit_code = 3

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the sealer's checkpoint cannot be used: {reason}; seal without it to go on")


class Checkpoint(msgspec.Struct):
    """What it knows. ``instruments``: digest of the raw object and UTC day of the last row, by symbol. ``clocked``:
    it knows where the clock was set back.
    """

    version: int
    venue: str
    last_pos: int
    last_ts: int
    damaged: bool
    forgotten: int | None
    lines: list[LineState]
    streams: list[StreamState]
    trades: dict[str, list[int | str]]
    instruments: dict[str, tuple[bytes, int]]
    now: int = 0
    mono: int = 0
    ended: int = 0
    before: Turns | None = None
    clocked: bool = False


def decode_checkpoint(state: bytes, venue: str) -> Checkpoint:
    """A checkpoint of this venue from its bytes. Raises :class:`BadState`."""
    try:
        saved = msgspec.msgpack.decode(state, type=Checkpoint)
    except msgspec.MsgspecError as error:
        raise BadState(str(error)) from error
    if saved.version != STATE_VERSION:
        raise BadState(f"it is of version {saved.version}, this is version {STATE_VERSION}")
    if saved.venue != venue:
        raise BadState(f"it is of venue {saved.venue!r}, not {venue!r}")
    return saved
