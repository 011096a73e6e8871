"""The truth file: what really happened at the gateway, to hold a recorder against.

NDJSON, one record a line, in the order it happened; ``t`` is nanoseconds since the UNIX epoch. Pushes are numbered
over the whole gateway (``n``). What a socket was sent are the pushes between the ``n`` of its ``connect`` and of its
``close``, less those that are ``lost`` to it; those just before the close may not have arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from bookreel.exchange.errors import BadTruth

__all__ = [
    "TruthBook",
    "TruthClose",
    "TruthConnect",
    "TruthFault",
    "TruthKept",
    "TruthLost",
    "TruthPush",
    "TruthRecord",
    "TruthStart",
    "TruthStop",
    "TruthSub",
    "TruthTick",
    "TruthWriter",
    "read_truth",
]

_FLUSH_NS = 500_000_000


class _Record(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    t: int


class TruthStart(_Record, tag="start", frozen=True, kw_only=True):
    """The gateway opened."""

    seed: int
    symbols: list[str]
    version: str


class TruthStop(_Record, tag="stop", frozen=True):
    """The gateway closed in order."""


class TruthTick(_Record, tag="tick", frozen=True, kw_only=True):
    """A trade, whether or not anybody was told."""

    symbol: str
    sequence: int
    dir: int
    price: float
    volume: int
    ts: int


class TruthPush(_Record, tag="push", frozen=True, kw_only=True):
    """A push went to every socket. ``crc`` is the CRC-32 of its body as it should be; ``bad`` how it was spoiled.

    ``sequences`` are those of its ticks, ``data_type`` why they were sent.
    """

    n: int
    proto_id: int
    crc: int
    symbol: str | None = None
    sub_type: int | None = None
    bad: str | None = None
    sequences: list[int] = []
    data_type: int | None = None


class TruthBook(_Record, tag="book", frozen=True, kw_only=True):
    """The true book of push ``n``, best first; each level is price, volume, orders. ``ts`` is None where zero."""

    n: int
    symbol: str
    bids: list[tuple[float, int, int]]
    asks: list[tuple[float, int, int]]
    ts: int | None = None


class TruthKept(_Record, tag="kept", frozen=True, kw_only=True):
    """A push that was made and went to nobody; ``why``: duplicate, login_loss, breaker, forgotten."""

    why: str
    proto_id: int
    crc: int
    symbol: str | None = None
    sub_type: int | None = None
    sequences: list[int] = []


class TruthLost(_Record, tag="lost", frozen=True, kw_only=True):
    """Push ``n`` never went to socket ``conn``; ``why``: lag (a fault), slow (its queue was full)."""

    conn: int
    n: int
    why: str


class TruthFault(_Record, tag="fault", frozen=True, kw_only=True):
    """A fault was inflicted; ``until`` (ns) is when it ends."""

    kind: str
    conn: int | None = None
    symbol: str | None = None
    sub_type: int | None = None
    n: int | None = None
    until: int | None = None


class TruthConnect(_Record, tag="connect", frozen=True, kw_only=True):
    """A socket opened; ``n`` is the last push before it."""

    conn: int
    n: int


class TruthClose(_Record, tag="close", frozen=True, kw_only=True):
    """A socket closed; ``n`` is the last push before that."""

    conn: int
    n: int
    note: str


class TruthSub(_Record, tag="sub", frozen=True, kw_only=True):
    """A subscription began (``on``) or ended."""

    symbol: str
    sub_type: int
    on: bool
    pushed: bool = True


TruthRecord: TypeAlias = (
    TruthStart | TruthStop | TruthTick | TruthPush | TruthBook | TruthKept | TruthLost | TruthFault | TruthConnect
    | TruthClose | TruthSub
)  # fmt: skip


class TruthWriter:
    """Appends records to a file; without a path it only counts faults. ``now_ns`` gives each record its time."""

    def __init__(self, path: Path | None, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._file: IO[bytes] | None = path.open("wb") if path else None
        self._flushed_ns = 0
        self._encode = msgspec.json.Encoder().encode
        self.inflicted: dict[str, int] = {}
        """Faults so far, by kind."""

    @property
    def writing(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def write(self, kind: type[TruthRecord], /, **facts: Any) -> None:
        """One record."""
        if kind is TruthFault:
            self.inflicted[facts["kind"]] = self.inflicted.get(facts["kind"], 0) + 1
        if self._file is not None:
            self._file.write(self._encode(kind(t=self._now_ns(), **facts)) + b"\n")

    def flush(self, now_ns: int) -> None:
        """Give the file what is due, at most twice a second."""
        if self._file is not None and now_ns - self._flushed_ns >= _FLUSH_NS:
            self._flushed_ns = now_ns
            self._file.flush()

    def close(self) -> None:
        """The gateway closes."""
        self.write(TruthStop)
        if self._file is not None:
            self._file.close()
            self._file = None


def read_truth(path: Path) -> Iterator[TruthRecord]:
    """The records of a truth file; an unfinished last line is not yet one. Raises ``BadTruth``."""
    decode = msgspec.json.Decoder(TruthRecord).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decode(line)
            except msgspec.DecodeError as error:
                raise BadTruth(str(path), number, str(error)) from None
