"""The bytes of a segment: header, records, footer. ``FORMAT.md`` says the same in words."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from isal.isal_zlib import crc32

from bookreel.storage.record import Direction

try:
    from bookreel.storage import _framing
except ImportError:
    _framing = None  # type: ignore[assignment]

__all__ = [
    "BODY",
    "CONN_BYTES_MAX",
    "CRC",
    "FOOTER",
    "FOOTER_KIND",
    "FRAME",
    "HEADER",
    "MAGIC",
    "MARKER",
    "PAYLOAD_BYTES_MAX",
    "SEGMENT_FORMAT",
    "START",
    "START_BYTES",
    "encode_footer",
    "encode_plainly",
    "encode_record",
    "encode_start",
    "seed_of",
]

SEGMENT_FORMAT: Final = 1
MAGIC: Final = b"bookreel"
MARKER: Final = b"\xf5\xb0\xc4R"
"""Not possible in UTF-8 text; read as a number it is larger than any payload, so that a run of markers is
no record.
"""

PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024
CONN_BYTES_MAX: Final = 255

START: Final = struct.Struct("<8sI8sqq")
"""Segment header: magic, format, archive id, first position, created (wall clock, ns UTC); a CRC-32 from
0 over it follows.
"""
CRC: Final = struct.Struct("<I")
START_BYTES: Final = START.size + CRC.size

FRAME: Final = struct.Struct("<4sI")
"""Record: marker, CRC-32 over everything after it."""
BODY: Final = struct.Struct("<IqqqIBBB")
"""Payload bytes, pos, ts_recv, mono, epoch, direction, kind, bytes of the line's name; then the name and
the payload.
"""
HEADER: Final = struct.Struct("<4sIIqqqIBBB")
"""FRAME and BODY read in one go."""
FOOTER: Final = struct.Struct("<qq")
"""Payload of the footer: records in the segment, last position."""
FOOTER_KIND: Final = 255


def seed_of(archive_id: bytes) -> int:
    """Where the checksum of every record of an archive begins."""
    return int(crc32(archive_id))


def encode_start(archive_id: bytes, first_pos: int, created_ns: int) -> bytes:
    """The first bytes of a segment."""
    head = START.pack(MAGIC, SEGMENT_FORMAT, archive_id, first_pos, created_ns)
    return head + CRC.pack(crc32(head))


def encode_plainly(
    seed: int,
    pos: int,
    ts_recv: int,
    mono: int,
    conn: bytes,
    epoch: int,
    direction: int,
    kind: int,
    payload: bytes,
) -> bytes:
    """One record. ``conn``: the line's name, UTF-8."""
    body = BODY.pack(len(payload), pos, ts_recv, mono, epoch, direction, kind, len(conn)) + conn + payload
    return FRAME.pack(MARKER, crc32(body, seed)) + body


encode_record: Callable[[int, int, int, int, bytes, int, int, int, bytes], bytes] = encode_plainly
"""The same, compiled where a compiler was there at installation. It is called for each frame that comes."""
if _framing is not None:
    encode_record = _framing.encode_record


def encode_footer(seed: int, records: int, last_pos: int) -> bytes:
    """The last bytes of a segment that was closed in order: a record without a position of its own."""
    payload = FOOTER.pack(records, last_pos)
    return encode_record(seed, last_pos, 0, 0, b"", 0, Direction.INTERNAL, FOOTER_KIND, payload)
