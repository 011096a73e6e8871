"""Captured frames, one JSON object a line, as the same journal records that a live connection makes.

A line is ``{"recv_ts": seconds, "raw": text}``; ``gz_b64`` may hold the frame as received, and is what is kept then.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from bookreel.ingest.errors import IngestError
from bookreel.storage.journal import Journal
from bookreel.storage.lines import IMPORTED
from bookreel.storage.record import Direction, Kind, encode_event

__all__ = ["Capture", "CapturedFrame", "UnreadableCapture"]

NANOS: Final = 1_000_000_000

FLUSH_BYTES: Final = 16 << 20
"""Bytes given to the journal between two waits for the disk."""


class UnreadableCapture(IngestError):
    """A capture file that is not what it should be. Nothing of it was imported."""

    exit_code = 3

    def __init__(self, path: Path, line: int, reason: str) -> None:
        self.path = path
        self.line = line
        self.reason = reason
        where = f"line {line} of {path}" if line else str(path)
        super().__init__(
            f'{where} cannot be read: {reason}; expected {{"recv_ts": seconds, "raw": "..."}} on each line. '
            "Nothing was imported"
        )


class _Line(msgspec.Struct):
    recv_ts: Decimal
    raw: str
    gz_b64: bytes | None = None


class CapturedFrame(msgspec.Struct, frozen=True, gc=False):
    """One frame: receive time (ns UTC) and payload, compressed as received or as text."""

    ts_recv: int
    kind: Kind
    payload: bytes


class Capture:
    """A capture file, plain or gzip, checked whole before its first frame is used."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`UnreadableCapture`."""
        self.path = path
        self.count = 0
        self.first_ts = self.last_ts = 0
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise UnreadableCapture(path, 0, error.strerror or str(error)) from error
        self.sha256 = digest.hexdigest()
        for frame in self.frames():
            self.first_ts = self.first_ts or frame.ts_recv
            self.last_ts = frame.ts_recv
            self.count += 1
        if not self.count:
            raise UnreadableCapture(path, 0, "it holds no frames")

    @property
    def conn(self) -> str:
        """The name its line gets, from the file's digest: the same file always has the same name."""
        return f"{IMPORTED}{self.sha256[:8]}"

    def frames(self) -> Iterator[CapturedFrame]:
        """The frames in the file's order. Raises :class:`UnreadableCapture` at the first line that is none."""
        decode = msgspec.json.Decoder(_Line).decode
        number = 0
        opened = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opened(self.path, "rb") as file:
                for number, text in enumerate(file, 1):  # noqa: B007 - told in the errors below
                    if not text.strip():
                        continue
                    line = decode(text)
                    kind = Kind.TEXT if line.gz_b64 is None else Kind.COMPRESSED
                    yield CapturedFrame(
                        int(line.recv_ts * NANOS),
                        kind,
                        line.gz_b64 if line.gz_b64 is not None else line.raw.encode(),
                    )
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreadableCapture(self.path, number, str(error)) from error
        except (EOFError, OSError, zlib.error) as error:
            raise UnreadableCapture(self.path, number + 1, str(error)) from error

    def write(self, journal: Journal) -> Iterator[int]:
        """Append everything to a journal, yielding the number of frames so far.

        Times are the capture's own throughout, so that questions about that day are answered as if it had been
        recorded then. The caller flushes and closes the journal.
        """
        conn, internal = self.conn, (Direction.INTERNAL, Kind.EVENT)
        facts = {"file": self.path.name, "sha256": self.sha256}
        journal.append(self.first_ts, self.first_ts, "", 0, *internal, encode_event("start", run=conn))
        journal.append(self.first_ts, self.first_ts, conn, 1, *internal, encode_event("import", **facts))
        journal.append(
            self.first_ts, self.first_ts, conn, 1, *internal, encode_event("connect", url=self.path.name)
        )
        waiting = 0
        for number, frame in enumerate(self.frames(), 1):
            journal.append(frame.ts_recv, frame.ts_recv, conn, 1, Direction.IN, frame.kind, frame.payload)
            # A file can be read faster than a disk writes, and unlike a venue it waits.
            waiting += len(frame.payload)
            if waiting > FLUSH_BYTES:
                journal.flush()
                waiting = 0
            yield number
        journal.append(
            self.last_ts, self.last_ts, "", 0, *internal, encode_event("stop", reason="end of the capture")
        )
