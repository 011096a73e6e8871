"""What a process that reads and the server say to each other, over one socket for each answer.

The server writes one frame, the question; the process answers with a head, chunks of the body, and an end or a
failure. Nothing is acknowledged: a reader that is slow fills the socket, and whoever writes then waits. Closing the
socket ends the work.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from enum import IntEnum
from typing import Any, Final

import msgspec

from bookreel.replay.server.errors import ErrorBody

__all__ = ["CHUNK_BYTES", "FRAME", "Failure", "Frame", "Head", "Question", "read_frame", "receive", "send"]

FRAME: Final = struct.Struct(">IB")
"""Bytes of the payload, and what it is."""

CHUNK_BYTES: Final = 1 << 18
"""A chunk has about so many: enough to be worth its overhead, little enough to be a fair turn."""


class Frame(IntEnum):
    """What a frame is."""

    QUESTION = 0
    HEAD = 1
    CHUNK = 2
    FAILURE = 3
    END = 4


class Question(msgspec.Struct, frozen=True):
    """``job``: a name in the table of jobs; ``values``: its arguments."""

    job: str
    values: dict[str, Any]


class Head(msgspec.Struct, frozen=True):
    """The answer's headers."""

    headers: dict[str, str]


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer, or no more of it. ``trace``: of a bug, for the server's log."""

    status: int
    headers: dict[str, str]
    body: ErrorBody
    trace: str | None = None


async def read_frame(reader: asyncio.StreamReader) -> tuple[Frame, bytes]:
    """The next frame. Raises IncompleteReadError where the other side is gone."""
    length, kind = FRAME.unpack(await reader.readexactly(FRAME.size))
    return Frame(kind), await reader.readexactly(length) if length else b""


def send(connection: socket.socket, kind: Frame, payload: bytes | memoryview = b"") -> None:
    """Write a frame, waiting as long as the other side does. Raises OSError where it is gone."""
    connection.sendall(FRAME.pack(len(payload), kind))
    if len(payload):
        connection.sendall(payload)


def receive(connection: socket.socket) -> tuple[Frame, bytes]:
    """The next frame. Raises EOFError where the other side is gone."""
    length, kind = FRAME.unpack(_exactly(connection, FRAME.size))
    return Frame(kind), _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = connection.recv(min(length, CHUNK_BYTES))
        if not part:
            raise EOFError("the other side has closed the connection")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
