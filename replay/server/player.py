"""The WebSocket of ``/v1/replay``: lines in batches, each with a token, and the controls of a player.

Each message of ours is text: lines of JSON, as over HTTP, and after those of a batch one of type ``batch``, whose
token resumes after it. Each message of the client's is an object with ``op`` and an ``id`` of its own. They are
answered in their order by a line of type ``ack``, or by one of type ``refused`` and then change nothing. What stands
before the answer to a control was made before it took effect, and what stands after it afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from aiohttp import WSCloseCode, web

from bookreel.replay import LineStream, ReplayError
from bookreel.replay.server.choices import Choices
from bookreel.replay.server.errors import ServeError, translate
from bookreel.replay.server.limits import Limits
from bookreel.replay.server.outlet import SlowReader
from bookreel.replay.server.sockets import Socket
from bookreel.storage.errors import StorageError

__all__ = ["Player"]

_CHUNK_BYTES: Final = 262_144
"""Of a batch: below the largest message that the usual clients take."""

_Id: TypeAlias = Annotated[str, msgspec.Meta(max_length=128)] | int | None


class _Start(Choices, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op", tag="start"):
    id: _Id = None


class _Control(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op", tag=str.lower
):
    id: _Id = None

    def apply(self, lines: LineStream) -> None:
        """Raises ReplayError where that cannot be."""
        raise NotImplementedError


class Pause(_Control, frozen=True):
    """Time stands still, and nothing is sent."""

    def apply(self, lines: LineStream) -> None:
        lines.pause()


class Resume(_Control, frozen=True):
    """Time goes on."""

    def apply(self, lines: LineStream) -> None:
        lines.resume()


class Stop(_Control, frozen=True):
    """The replay ends, with the token to go on after."""

    def apply(self, lines: LineStream) -> None:
        lines.stop()


class Speed(_Control, frozen=True):
    """How many times as fast as it was received; ``max``: as fast as the client reads."""

    speed: float | Literal["max"]

    def apply(self, lines: LineStream) -> None:
        lines.speed = None if self.speed == "max" else self.speed


class Seek(_Control, frozen=True):
    """Go on at a receive time (ISO-8601 text or integer ns), or after a token."""

    to: int | str | None = None
    token: str | None = None

    def apply(self, lines: LineStream) -> None:
        if self.token is not None:
            lines.seek_token(self.token)
        elif self.to is not None:
            lines.seek(self.to)
        else:
            raise msgspec.ValidationError("give to (a time) or token")


_UNREADABLE: Final = (msgspec.DecodeError, RecursionError)
"""What reading a client's JSON raises; the second where it is nested too deeply."""

_CONTROLS: Final = msgspec.json.Decoder(Pause | Resume | Stop | Speed | Seek)
_START: Final = msgspec.json.Decoder(_Start)


class _Batch(msgspec.Struct, frozen=True, tag_field="type", tag="batch"):
    token: str


class _Ack(msgspec.Struct, frozen=True, tag_field="type", tag="ack"):
    id: _Id
    op: str
    token: str


class _Refused(msgspec.Struct, frozen=True, tag_field="type", tag="refused"):
    id: _Id
    op: str | None
    message: str


class _Closed(Exception):
    """The connection is to be closed, with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


class Player:
    """Plays to one client. ``start`` opens what it asks for; it blocks."""

    def __init__(self, request: web.Request, start: Callable[[Choices], LineStream], limits: Limits) -> None:
        self._start = start
        self._limits = limits
        self._socket = Socket(request, limits.reader_s)

    async def play(self, choices: Choices | None) -> web.WebSocketResponse:
        """Until the end, or until the client is gone; None: the first message says what is wanted."""
        lines = None if choices is None else await asyncio.to_thread(self._start, choices)
        await self._socket.open()
        code, reason = int(WSCloseCode.OK), "replay finished"
        try:
            if lines is None:
                lines = await self._asked()
            await self._run(lines)
        except _Closed as closed:
            code, reason = closed.code, closed.reason
        except SlowReader:
            await self._socket.give_up()
        except ConnectionError:
            pass
        finally:
            if lines is not None:
                lines.stop()
                await asyncio.shield(asyncio.to_thread(lines.close))
        await self._socket.close(code, reason)
        return self._socket.response

    async def _asked(self) -> LineStream:
        """What the first message wants."""
        try:
            message = await self._socket.receive(self._limits.header_s)
        except TimeoutError:
            raise _Closed(WSCloseCode.POLICY_VIOLATION, "no start message came") from None
        try:
            wanted = _START.decode(message)
            lines = await asyncio.to_thread(self._start, wanted)
        except (*_UNREADABLE, ReplayError, StorageError, ServeError) as error:
            told = error if isinstance(error, _UNREADABLE) else translate(error)
            await self._send(_line(_Refused(_id_of(message), "start", str(told))))
            raise _Closed(WSCloseCode.POLICY_VIOLATION, str(told)) from error
        await self._send(_line(_Ack(wanted.id, "start", lines.token)))
        return lines

    async def _run(self, lines: LineStream) -> None:
        """Send batches, and do what the client's messages say, until the end."""
        lines.chunk_bytes = _CHUNK_BYTES
        messages = aiter(self._socket)
        message = asyncio.ensure_future(anext(messages, None))
        batch: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                if batch is None:
                    batch = asyncio.ensure_future(_batch(lines))
                await asyncio.wait({batch, message}, return_when=asyncio.FIRST_COMPLETED)
                # A batch that is there was made before the control; one that is not will be made after it.
                if batch.done():
                    found, batch = batch, None
                    if not await self._give(found):
                        return
                if message.done():
                    said = message.result()
                    if said is None:
                        raise ConnectionResetError
                    await self._send(_line(_obey(said, lines)))
                    message = asyncio.ensure_future(anext(messages, None))
        finally:
            tasks = [message] if batch is None else [message, batch]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _give(self, batch: asyncio.Task[bytes | None]) -> bool:
        """Send a batch; False: there was none any more."""
        try:
            text = batch.result()
        except (ReplayError, StorageError) as error:
            raise _Closed(WSCloseCode.INTERNAL_ERROR, str(error)) from error
        if text is not None:
            await self._send(text)
        return text is not None

    async def _send(self, text: bytes) -> None:
        await self._socket.send((text,))


async def _batch(lines: LineStream) -> bytes | None:
    """The next lines with the token after them, which a control may change before they are sent; None at the end."""
    chunk = await anext(lines, None)
    if chunk is None:
        return None
    return b"".join((chunk, b"" if lines.over else _line(_Batch(lines.token))))


def _obey(data: str | bytes, lines: LineStream) -> msgspec.Struct:
    """Apply one message, and say so."""
    op: str | None = None
    try:
        control = _CONTROLS.decode(data)
        op = type(control).__name__.lower()
        control.apply(lines)
    except (*_UNREADABLE, ReplayError) as error:
        return _Refused(_id_of(data), op, str(error))
    return _Ack(control.id, op, lines.token)


def _id_of(data: str | bytes) -> _Id:
    """The id of a message that is wrong in something else."""
    try:
        found = msgspec.json.decode(data)
    except (*_UNREADABLE, UnicodeDecodeError):
        return None
    id_ = found.get("id") if isinstance(found, dict) else None
    return id_ if isinstance(id_, str | int) else None


def _line(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value) + b"\n"
