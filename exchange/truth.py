"""The truth file: what really happened at the exchange, to hold a recorder against.

NDJSON, one record a line, in the order it happened; ``t`` is nanoseconds since the UNIX epoch. Types:
``start``, ``stop``, ``fault`` (one per fault really inflicted on a client), ``trade``, ``book`` (the true
best N levels at the seqNum of a delta), and ``connect``, ``close``, ``sub``, ``unsub`` of each socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import msgspec

from bookreel.exchange.errors import BadTruth
from bookreel.exchange.market import MarketEvent
from bookreel.exchange.mbp import Image

__all__ = [
    "TruthBook",
    "TruthFault",
    "TruthLine",
    "TruthRecord",
    "TruthStart",
    "TruthStop",
    "TruthTrade",
    "TruthWriter",
    "read_truth",
]

_FLUSH_NS = 500_000_000


class _Record(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    t: int


class TruthStart(_Record, tag="start", frozen=True, kw_only=True):
    """The exchange opened."""

    seed: int
    symbols: list[str]


class TruthStop(_Record, tag="stop", frozen=True):
    """The exchange closed in order; nothing was sent after this."""


class TruthFault(_Record, tag="fault", frozen=True, kw_only=True):
    """A fault inflicted on socket ``conn``. ``seq`` and ``prev_seq`` are those of the delta that was lost,
    repeated, swapped (the one that came late) or broken, or ``seq`` is that of the bad snapshot; ``until``
    (ns) is when it ends by itself at the latest."""

    kind: str
    conn: int
    path: str
    symbol: str | None = None
    feed: str | None = None
    topic: str | None = None
    seq: int | None = None
    prev_seq: int | None = None
    until: int | None = None
    note: str | None = None


class TruthTrade(_Record, tag="trade", frozen=True, kw_only=True):
    """A trade, whether or not anybody was told."""

    symbol: str
    trade_id: str
    trade_seq: int
    side: str
    price: float
    size: float


class TruthBook(_Record, tag="book", frozen=True, kw_only=True):
    """The true best N levels of an mbp feed at ``seq``, which is the seqNum of one of its deltas; best
    first."""

    symbol: str
    feed: str
    seq: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


class _Line(_Record, frozen=True, kw_only=True):
    conn: int
    path: str
    topic: str | None = None
    note: str | None = None


class TruthConnect(_Line, tag="connect", frozen=True, kw_only=True):
    """A socket opened."""


class TruthClose(_Line, tag="close", frozen=True, kw_only=True):
    """A socket closed; ``note`` says why."""


class TruthSub(_Line, tag="sub", frozen=True, kw_only=True):
    """A subscription was acknowledged."""


class TruthUnsub(_Line, tag="unsub", frozen=True, kw_only=True):
    """A subscription ended by request."""


TruthLine: TypeAlias = TruthConnect | TruthClose | TruthSub | TruthUnsub
TruthRecord: TypeAlias = TruthStart | TruthStop | TruthFault | TruthTrade | TruthBook | TruthLine

_LINES: dict[str, type[TruthConnect] | type[TruthClose] | type[TruthSub] | type[TruthUnsub]] = {
    "connect": TruthConnect,
    "close": TruthClose,
    "sub": TruthSub,
    "unsub": TruthUnsub,
}


class TruthWriter:
    """Appends records to a file; without a path it counts faults and writes nothing. ``now_ns`` gives the
    time of each."""

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

    def start(self, seed: int, symbols: list[str]) -> None:
        """The exchange opens."""
        self._write(TruthStart(self._now_ns(), seed=seed, symbols=symbols))

    def fault(
        self,
        kind: str,
        conn: int,
        path: str,
        *,
        symbol: str | None = None,
        feed: str | None = None,
        topic: str | None = None,
        seq: int | None = None,
        prev_seq: int | None = None,
        until: int | None = None,
        note: str | None = None,
    ) -> None:
        """A fault was inflicted."""
        self.inflicted[kind] = self.inflicted.get(kind, 0) + 1
        self.note(
            kind,
            conn,
            path,
            symbol=symbol,
            feed=feed,
            topic=topic,
            seq=seq,
            prev_seq=prev_seq,
            until=until,
            note=note,
        )

    def note(self, kind: str, conn: int = 0, path: str = "", **facts: Any) -> None:
        """A line like that of a fault, for what is none; nothing is counted."""
        self._write(TruthFault(self._now_ns(), kind=kind, conn=conn, path=path, **facts))

    def line(
        self, kind: str, conn: int, path: str, topic: str | None = None, note: str | None = None
    ) -> None:
        """Something happened to a socket: ``connect``, ``close``, ``sub`` or ``unsub``."""
        self._write(_LINES[kind](self._now_ns(), conn=conn, path=path, topic=topic, note=note))

    def trades(self, event: MarketEvent) -> None:
        """An event's trades."""
        for trade in event.trades:
            self._write(
                TruthTrade(
                    event.ts_ns,
                    symbol=event.symbol,
                    trade_id=str(trade.trade_id),
                    trade_seq=trade.trade_seq,
                    side=trade.side,
                    price=trade.price,
                    size=trade.size,
                )
            )

    def book(self, symbol: str, feed: str, image: Image) -> None:
        """The book after a delta."""
        if self._file is not None:
            head = (
                f'{{"type":"book","t":{self._now_ns()},"symbol":"{symbol}","feed":"{feed}","seq":{image.seq}'
            )
            self._file.write(f"{head},{image.sides()}}}\n".encode())

    def flush(self, now_ns: int) -> None:
        """Give the file what is due, at most twice a second."""
        if self._file is not None and now_ns - self._flushed_ns >= _FLUSH_NS:
            self._flushed_ns = now_ns
            self._file.flush()

    def close(self) -> None:
        """The exchange closes."""
        self._write(TruthStop(self._now_ns()))
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, record: TruthRecord) -> None:
        if self._file is not None:
            self._file.write(self._encode(record) + b"\n")


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
