"""tardis-machine's WebSockets. On ``/ws-replay`` a client speaks the venue's own words: it subscribes within two
seconds, and is then sent what was received, as text. Connections of one session begin together, and are sent in one
order.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Generator, Iterable, Iterator
from itertools import count, groupby, islice
from operator import attrgetter
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import WSCloseCode, web

from bookreel.replay import ReplayError
from bookreel.replay.server.errors import ServeError, translate
from bookreel.replay.server.keys import ARCHIVE, SETTINGS
from bookreel.replay.server.outlet import Beside, SlowReader
from bookreel.replay.server.parameters import Values
from bookreel.replay.server.sockets import Socket
from bookreel.replay.server.tardis_normal import normal_lines
from bookreel.replay.server.tardis_options import Channel, Span, check_venue, several, span
from bookreel.replay.server.tardis_tape import one_by_one, open_tape
from bookreel.storage.errors import StorageError

__all__ = ["START_DELAY_S", "replay_normalised_socket", "replay_socket"]

START_DELAY_S: Final = 2.0
"""From the first connection of a session to its beginning: for the others, and for what they subscribe to."""

_FINISHED: Final = "WS replay finished"
_LATE: Final = "trying to add new WS connection to replay session that already started"
_BATCH: Final = 256
"""Messages that are made at once."""

_MEMBERS_MAX: Final = 64
_TOPIC: Final = "market."

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class _Subscribe(msgspec.Struct):
    sub: str


class _Member:
    """One connection of a session."""

    def __init__(self, request: web.Request, wanted: Span) -> None:
        self.request = request
        self.span = wanted
        self.channels: list[Channel] = []
        self.socket = Socket(request, request.app[SETTINGS].limits.reader_s)
        self.gone = False

    async def listen(self) -> None:
        """Note what is subscribed to, until the client is gone."""
        try:
            async for message in self.socket:
                self._note(message)
        finally:
            self.gone = True

    def _note(self, text: str | bytes) -> None:
        try:
            topic = msgspec.json.decode(text, type=_Subscribe).sub
        except (msgspec.DecodeError, RecursionError):
            return  # a pong, a req: nothing of that is answered there
        pieces = topic.split(".")
        if topic.startswith(_TOPIC) and len(pieces) > 2:
            self.channels.append(Channel(pieces[2], [pieces[1]]))

    async def send(self, texts: Iterable[bytes]) -> None:
        """Send each as a message; a client that takes nothing is disconnected, and then is gone."""
        try:
            await self.socket.send(texts)
        except ConnectionError:
            self.gone = True
        except SlowReader:
            self.gone = True
            await self.socket.give_up()


class _Message(NamedTuple):
    """A message and where it stands: position, member, and number of its kind."""

    pos: int
    member: int
    number: int
    text: bytes


class _Session:
    """Connections that are sent one order, by a task that is none of theirs: it goes on until the last has left."""

    def __init__(self) -> None:
        self.members: list[_Member] = []
        self.begun = self._over = False
        self.task = asyncio.ensure_future(self.run())

    async def leave(self) -> None:
        """After a member is gone."""
        if not self._over and all(member.gone for member in self.members):
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def run(self) -> None:
        """Wait for the members and what they subscribe to, send, and close."""
        code, reason = int(WSCloseCode.OK), _FINISHED
        try:
            await asyncio.sleep(START_DELAY_S)
            self.begun = True
            await self._play([member for member in self.members if not member.gone])
        except (ReplayError, ServeError, StorageError) as error:
            code, reason = int(WSCloseCode.INTERNAL_ERROR), str(translate(error))
        except Exception as error:
            _log.exception("a session failed")
            code, reason = int(WSCloseCode.INTERNAL_ERROR), str(translate(error))
        self._over = True
        await asyncio.gather(*(member.socket.close(code, reason) for member in self.members))

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
                        await members[index].send(message.text for message in run)
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
    check_venue(request.app[ARCHIVE].venue.name)
    wanted = span(values["exchange"], values["from"], values["to"], request.app[SETTINGS].limits)
    sessions = _sessions.setdefault(request.app, {})
    key = values["session"] or f"\0{id(request)}"
    member = _Member(request, wanted)
    await member.socket.open()
    session = sessions.get(key)
    if session is None:
        session = sessions[key] = _Session()
        session.task.add_done_callback(lambda _: sessions.pop(key, None))
    if session.begun or len(session.members) >= _MEMBERS_MAX:
        await member.socket.close(WSCloseCode.INTERNAL_ERROR, _LATE)
        return member.socket.response
    session.members.append(member)
    try:
        await member.listen()
    finally:
        await session.leave()
    return member.socket.response


async def replay_normalised_socket(request: web.Request, values: Values) -> web.StreamResponse:
    """``/ws-replay-normalized``."""
    check_venue(request.app[ARCHIVE].venue.name)
    wanted = several(values["options"], request.app[SETTINGS].limits)
    batches = Beside(_batches(line[:-1] for line in normal_lines(request.app[ARCHIVE], wanted)))
    member = _Member(request, wanted[0][1])
    code, reason = int(WSCloseCode.OK), _FINISHED
    listens: asyncio.Task[None] | None = None
    try:
        first: list[bytes] = await anext(batches, [])
        await member.socket.open()
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
    finally:
        if listens is not None:
            listens.cancel()
            await asyncio.gather(listens, return_exceptions=True)
        await batches.aclose()
    await member.socket.close(code, reason)
    return member.socket.response
