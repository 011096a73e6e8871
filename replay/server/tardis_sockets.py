"""tardis-machine's WebSockets. On ``/ws-replay`` a client speaks the venue's own words: it subscribes within two
seconds, and is then sent what was received, as text. Connections of one session begin together, and are sent in one
order.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Generator, Iterator, Sequence
from itertools import count, groupby, islice
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from bookreel.replay import ReplayError
from bookreel.replay.server.errors import ServeError, translate
from bookreel.replay.server.keys import ARCHIVE, SETTINGS
from bookreel.replay.server.outlet import Beside, SlowReader, held, patiently
from bookreel.replay.server.parameters import Values
from bookreel.replay.server.tardis_normal import normalised
from bookreel.replay.server.tardis_options import Channel, NormalOptions, Span, decode, span
from bookreel.replay.server.tardis_tape import one_by_one, open_tape
from bookreel.storage.errors import StorageError

__all__ = ["START_DELAY_S", "replay_normalised_socket", "replay_socket"]

START_DELAY_S: Final = 2.0
"""From the first connection of a session to its beginning: for the others, and for what they subscribe to."""

_FINISHED: Final = "WS replay finished"
_LATE: Final = "trying to add new WS connection to replay session that already started"
_IDLE: Final = "nothing was read for too long"
_BATCH: Final = 256
"""Messages that are made at once."""

_MESSAGE_BYTES: Final = 65_536
_MEMBERS_MAX: Final = 64
_CLOSE_S: Final = 2.0
_REASON_BYTES: Final = 120
_TOPIC: Final = "market."

_T = TypeVar("_T")


class _Subscribe(msgspec.Struct):
    sub: str


class _Member:
    """One connection of a session."""

    def __init__(self, request: web.Request, wanted: Span) -> None:
        self.request = request
        self.span = wanted
        self.channels: list[Channel] = []
        self.socket = web.WebSocketResponse(max_msg_size=_MESSAGE_BYTES, compress=False, timeout=_CLOSE_S)
        self.sent = 0
        self.gone = False

    async def listen(self) -> None:
        """Note what is subscribed to, until the client is gone."""
        try:
            async for message in self.socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._note(message.data)
        finally:
            self.gone = True

    def _note(self, text: str | bytes) -> None:
        try:
            topic = msgspec.json.decode(text, type=_Subscribe).sub
        except msgspec.DecodeError:
            return  # a pong, a req: nothing of that is answered there
        pieces = topic.split(".")
        if topic.startswith(_TOPIC) and len(pieces) > 2:
            self.channels.append(Channel(pieces[2], [pieces[1]]))

    async def send(self, texts: Sequence[bytes]) -> None:
        """Send each as a message, unless the client is gone. Raises SlowReader."""

        async def each() -> None:
            for text in texts:
                await self.socket.send_frame(text, WSMsgType.TEXT)
                self.sent += 1

        transport = self.request.transport
        patience = self.request.app[SETTINGS].limits.reader_s
        try:
            await patiently(each(), lambda: (self.sent, held(transport)), patience)
        except ConnectionError:
            self.gone = True

    async def close(self, code: int, reason: str) -> None:
        """With a code; one that does not answer is cut off."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.socket.close(code=code, message=reason.encode()[:_REASON_BYTES])
        except (TimeoutError, ConnectionError):
            if self.request.transport is not None:
                self.request.transport.abort()


class _Message(NamedTuple):
    """A message and where it stands: position, member, and number of its kind."""

    pos: int
    member: int
    number: int
    text: bytes


class _Session:
    """Connections that are sent one order."""

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.begun = False

    async def run(self) -> None:
        """Wait for the members and what they subscribe to, send, and close."""
        code, reason = int(WSCloseCode.OK), _FINISHED
        try:
            await asyncio.sleep(START_DELAY_S)
            self.begun = True
            await self._play([member for member in self.members if not member.gone])
        except (ReplayError, ServeError, StorageError) as error:
            code, reason = int(WSCloseCode.INTERNAL_ERROR), str(translate(error))
        except SlowReader:
            code, reason = int(WSCloseCode.TRY_AGAIN_LATER), _IDLE
        await asyncio.gather(*(member.close(code, reason) for member in self.members))

    async def _play(self, members: list[_Member]) -> None:
        for member in members:
            if not member.channels:
                raise ReplayError("no subscriptions were received for a WebSocket connection")
        batches = Beside(_batches(_merged(members)))
        try:
            async for batch in batches:
                # One after the other, so that what one connection reads slowly holds up the others too.
                for index, run in groupby(batch, key=attrgetter("member")):
                    if not members[index].gone:
                        await members[index].send([message.text for message in run])
                if all(member.gone for member in members):
                    return
        finally:
            await batches.aclose()


def _batches(items: Iterator[_T]) -> Generator[list[_T], None, None]:
    while batch := list(islice(items, _BATCH)):
        yield batch


def _merged(members: list[_Member]) -> Iterator[_Message]:
    """The messages of all, in the order of the journal."""

    def of(index: int, member: _Member) -> Iterator[_Message]:
        tape = open_tape(member.request.app[ARCHIVE], "wire", member.channels, member.span)
        numbers = count()
        for pos, text in one_by_one(*tape):
            yield _Message(pos, index, next(numbers), text)

    return heapq.merge(*(of(*pair) for pair in enumerate(members)))


_sessions: Final[WeakKeyDictionary[web.Application, dict[str, _Session]]] = WeakKeyDictionary()


async def replay_socket(request: web.Request, values: Values) -> web.StreamResponse:
    """``/ws-replay``."""
    wanted = span(values["exchange"], values["from"], values["to"], request.app[SETTINGS].limits)
    sessions = _sessions.setdefault(request.app, {})
    key = values["session"] or f"\0{id(request)}"
    member = _Member(request, wanted)
    await member.socket.prepare(request)
    session = sessions.get(key)
    runs: asyncio.Task[None] | None = None
    if session is None:
        session = sessions[key] = _Session()
        runs = asyncio.ensure_future(session.run())
        runs.add_done_callback(lambda _: sessions.pop(key, None))
    if session.begun or len(session.members) >= _MEMBERS_MAX:
        await member.close(WSCloseCode.INTERNAL_ERROR, _LATE)
        return member.socket
    session.members.append(member)
    try:
        await member.listen()
    finally:
        if runs is not None:
            await _ended(session, runs)
    return member.socket


async def _ended(session: _Session, runs: asyncio.Task[None]) -> None:
    """The first connection looks after the session, which ends with its last one."""
    try:
        while not runs.done() and not all(member.gone for member in session.members):
            await asyncio.wait({runs}, timeout=START_DELAY_S)
    finally:
        runs.cancel()
        await asyncio.gather(runs, return_exceptions=True)


async def replay_normalised_socket(request: web.Request, values: Values) -> web.StreamResponse:
    """``/ws-replay-normalized``."""
    limits = request.app[SETTINGS].limits
    given: Any = decode(values["options"], NormalOptions | list[NormalOptions])
    several: list[NormalOptions] = given if isinstance(given, list) else [given]
    wanted = [(one, span(one.exchange, one.start, one.end, limits)) for one in several]
    encode = msgspec.json.Encoder().encode
    batches = Beside(_batches(map(encode, normalised(request.app[ARCHIVE], wanted))))
    member = _Member(request, wanted[0][1])
    code, reason = int(WSCloseCode.OK), _FINISHED
    listens: asyncio.Task[None] | None = None
    try:
        first: list[bytes] = await anext(batches, [])
        await member.socket.prepare(request)
        listens = asyncio.ensure_future(member.listen())
        await member.send(first)
        async for batch in batches:
            if member.gone:
                break
            await member.send(batch)
    except (ReplayError, StorageError) as error:
        if listens is None:
            raise
        code, reason = int(WSCloseCode.INTERNAL_ERROR), str(translate(error))
    except SlowReader:
        code, reason = int(WSCloseCode.TRY_AGAIN_LATER), _IDLE
    finally:
        if listens is not None:
            listens.cancel()
            await asyncio.gather(listens, return_exceptions=True)
        await batches.aclose()
    await member.close(code, reason)
    return member.socket
