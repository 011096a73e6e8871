"""The socket of the gateway: one task only stores what comes, the others see to it that something comes.

Nothing is said over the socket. What is subscribed, missed or unwell is asked over REST, and noted on this line.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from random import Random
from typing import Any, Final

from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import ConnectFailed, Disconnected, FetchFailed, GatewayUnusable, LineDown
from bookreel.ingest.futu.caller import Caller, may_pass
from bookreel.ingest.futu.subscriber import Subscriber
from bookreel.ingest.futu.vigil import Vigil, open_markets
from bookreel.ingest.life import LineLife
from bookreel.ingest.network import AioNetwork, Socket
from bookreel.ingest.reconnect import backoff
from bookreel.ingest.session import check_cancelled
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.storage.errors import StorageError
from bookreel.venues.errors import VenueError
from bookreel.venues.futu import decode
from bookreel.venues.futu.codes import KL_TYPES
from bookreel.venues.futu.errors import Forbidden, GatewayError, Unauthorized
from bookreel.venues.futu.model import Notice, Push
from bookreel.venues.futu.requests import Call, call
from bookreel.venues.futu.status import GlobalState, PushHealth
from bookreel.venues.message import Topic

__all__ = ["PushLine"]

_REFUSED_AGAIN_S: Final = 15.0
"""A symbol that was refused is asked for again after this time: a refusal may be the gateway's own trouble."""
_LOOKED_MAX: Final = 10_000
"""Frames that wait to be looked at; beyond, the oldest are stored and not looked at."""
_NOTICE: Final = "1003"
_TICKS: Final = 1000
_BARS: Final = 100
_REFUSED_STATUS: Final = (401, 403)

_log = logging.getLogger(__name__)


class PushLine:
    """Keeps the socket up and everything subscribed. ``recover``: an earlier run may have missed something."""

    def __init__(
        self,
        topics: Sequence[Topic],
        *,
        config: RecordConfig,
        caller: Caller,
        network: AioNetwork,
        tape: Tape,
        rng: Random,
        recover: bool,
    ) -> None:
        self.stats = LineStats("push-0", config.ws_url, len(topics))
        self.open_markets: set[str] = set()
        """Markets that trade now, as the gateway says."""
        self._topics = topics
        self._symbols = sorted({topic.symbol for topic in topics})
        self._config = config
        self._caller = caller
        self._network = network
        self._tape = tape
        self._clock = tape.clock
        self._rng = rng
        self._life = LineLife(self.stats, tape)
        self._subscriber = Subscriber(caller)
        self._behind = {topic.text for topic in topics} if recover else set[str]()
        """Topics of which something may have been missed."""
        self._of_subscriptions = asyncio.Lock()
        """Held by who asks about them: an answer must not be older than what is known."""
        self._listed_wall = 0
        """When the gateway was last asked, and listed everything that was thought to be subscribed (ns)."""
        self._vigil: Vigil | None = None
        """Of the connection that is, or was last."""
        self._waiting: deque[str] = deque(maxlen=_LOOKED_MAX)
        self._arrived = asyncio.Event()
        self._due = asyncio.Event()

    @property
    def heard_wall(self) -> int:
        """When the last push came, or else the connection was made (wall clock, ns)."""
        return max(self.stats.last_frame_wall, self.stats.connected_wall)

    @property
    def pending(self) -> int:
        """Nothing is asked over the socket."""
        return 0

    async def run(self) -> None:
        """Connect, listen, and again; ends by being cancelled, or with :class:`GatewayUnusable`."""
        delays = self._delays()
        try:
            while True:
                self.stats.state = "connecting"
                try:
                    socket = await self._network.connect(self.stats.url)
                except ConnectFailed as error:
                    if error.status in _REFUSED_STATUS:
                        reason = f"{error.reason}: give a key that may read quotes"
                        raise GatewayUnusable(error.url, reason) from error
                    wait_s = next(delays)
                    self._life.failed(error, wait_s)
                    self.stats.state = "waiting"
                    await self._clock.sleep(wait_s)
                    continue
                good = await asyncio.create_task(self._connected(socket), name="push connection")
                check_cancelled()
                if good:
                    delays = self._delays()
                self.stats.state = "waiting"
                await self._clock.sleep(next(delays))
        finally:
            self.stats.state = "stopped"

    def _delays(self) -> Iterator[float]:
        config = self._config
        return backoff(self._rng, base_s=config.backoff_base_ms / 1e3, cap_s=config.backoff_cap_ms / 1e3)

    async def _connected(self, socket: Socket) -> bool:
        """One connection from open to close. True if it was a good one."""
        self._life.opened()
        self._waiting.clear()
        self._due.set()
        down = LineDown("disconnect", "closed by us")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(socket), name="push read")
                group.create_task(self._look(), name="push look")
                group.create_task(self._tend(), name="push tend")
                group.create_task(self._watch(), name="push watch")
        except* LineDown as downs:
            first = downs.exceptions[0]
            assert isinstance(first, LineDown), "a task ends with one LineDown"
            down = first
        except* (StorageError, GatewayUnusable):
            # Without a journal, or a key, there is nothing to go on for.
            raise
        except* Exception as bugs:
            down = self._life.broken(bugs)
        finally:
            self.stats.acked.clear()
            await socket.close()
        self._life.lost(down)
        self._behind.update(topic.text for topic in self._topics)
        return self._life.good

    async def _read(self, socket: Socket) -> None:
        """Store what comes, and nothing else: a reader that is slow loses pushes without being told."""
        receive, store, clock, stats = socket.receive, self._tape.received, self._clock, self.stats
        try:
            while True:
                frame = await receive()
                wall = clock.wall_ns()
                if not store(frame, wall, clock.mono_ns(), stats.name, stats.epoch):
                    stats.shed += 1
                stats.frames += 1
                stats.frame_bytes += len(frame)
                stats.last_frame_wall = wall
                if isinstance(frame, str):
                    self._waiting.append(frame)
                    self._arrived.set()
        except Disconnected as error:
            raise LineDown("disconnect", str(error)) from error

    async def _look(self) -> None:
        """Notice when the gateway says that its login is lost, or back."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                text = self._waiting.popleft()
                if _NOTICE in text:
                    self._noticed(text)

    def _noticed(self, text: str) -> None:
        try:
            push = decode(text.encode("utf-8", "surrogatepass"))
        except VenueError:
            self.stats.decode_errors += 1
            return
        events = push.events if isinstance(push, Push) else []
        for event in events:
            if isinstance(event, Notice) and event.qot_logined is not None:
                if event.qot_logined:
                    self._due.set()
                else:
                    self._silent("the gateway lost its login", None)

    def _silent(self, why: str, since: int | None, lost: Collection[str] | None = None) -> None:
        """Nothing comes of these topics, whose subscription was ``lost`` (None: of any), although the socket is up;
        known good until ``since`` (ns), None: until the last message of each.
        """
        stats = self.stats
        facts: dict[str, Any] = {} if since is None else {"since": since}
        if lost is not None:
            # What is under way yet is no sign of life: only a new subscription is.
            facts["renewed"] = True
        texts = [topic.text for topic in self._topics if lost is None or topic.text in lost]
        self._tape.event("silence", stats.name, stats.epoch, topics=texts, detail=why, **facts)
        stats.silences += 1
        stats.acked.difference_update(texts)
        self._behind.update(texts)
        _log.warning(
            "no pushes: line=%s epoch=%d topics=%d reason=%s", stats.name, stats.epoch, len(texts), why
        )

    async def _tend(self) -> None:
        """Subscribe what is not whenever it is due, and ask for what was missed meanwhile."""
        delays = self._delays()
        again = False
        while True:
            try:
                async with asyncio.timeout(_REFUSED_AGAIN_S if again else None):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()
            try:
                async with self._of_subscriptions:
                    again = await self._subscribe()
            except (GatewayError, FetchFailed) as error:
                self._give_up(error)
                _log.warning("not subscribed: line=%s error=%s", self.stats.name, error)
                await self._clock.sleep(next(delays))
                self._due.set()
                continue
            delays = self._delays()
            await self._backfill()

    async def _subscribe(self) -> bool:
        """Subscribe what is not; whether some of it has to be asked for again."""
        stats = self.stats
        missing = [topic for topic in self._topics if topic.text not in stats.acked]
        outcome = await self._subscriber.subscribe(missing, self._tape, stats.name, stats.epoch)
        taken = {topic.text for topic in missing if topic.symbol not in outcome.refused}
        if unlisted := taken - outcome.subscribed:
            self._silent("subscribed, and not listed by the gateway", None, unlisted)
        self._listed(outcome.subscribed, outcome.asked_wall)
        begun = taken & outcome.subscribed
        for text in begun:
            self._tape.subscribed(text)
        stats.acked |= begun
        return bool(outcome.refused or unlisted)

    def _listed(self, texts: Collection[str], asked_wall: int) -> None:
        """The gateway was asked at ``asked_wall`` (ns) and listed these topics: whoever else uses it can end a
        subscription of ours, and nothing says so.
        """
        if lost := self.stats.acked.difference(texts):
            self._silent("the gateway lists them no more", self._listed_wall, lost)
            self._due.set()
        self._listed_wall = asked_wall

    async def _backfill(self) -> None:
        """Ask for the newest trades and bars: those known already make no trades, and a bar replaces itself."""
        missed = self._behind & self.stats.acked
        self._behind -= missed
        for topic in self._topics:
            request = _missed(topic) if topic.text in missed else None
            if request is None:
                continue
            try:
                await self._caller.ask(request, self._tape)
            except (GatewayError, FetchFailed) as error:
                self._give_up(error)
                _log.warning("not back-filled: topic=%s error=%s", topic.text, error)

    async def _watch(self) -> None:
        """Ask the gateway again and again whether it is well."""
        vigil = self._vigil = Vigil(self._clock.wall_ns())
        while True:
            await self._clock.sleep(self._config.push_health_s)
            await self._examine(vigil)

    async def last_look(self) -> None:
        """Before recording ends in order: what stopped since the last look is found as well. Raises as :meth:`run`
        does, and ``LineDown``.
        """
        if self._vigil is not None and self.stats.acked:
            await self._examine(self._vigil)

    async def _examine(self, vigil: Vigil) -> None:
        """Ask the gateway whether it is well, which is journaled."""
        sent, frames = self._clock.wall_ns(), self.stats.frames
        health = await self._asked(call("push-subscriber-info"))
        state = await self._asked(call("global-state"))
        if isinstance(state, GlobalState):
            self.open_markets = open_markets(state, self._symbols)
        finding = vigil.look(
            health if isinstance(health, PushHealth) else None,
            state if isinstance(state, GlobalState) else None,
            frames,
            sent,
        )
        if finding == "lost":
            self._silent("the gateway's pushes stopped", vigil.since)
        elif finding == "back":
            self._due.set()
        elif finding == "deaf":
            raise LineDown("half_open", "the gateway pushes, and nothing comes", since=vigil.since)
        elif vigil.well:
            await self._compare()

    async def _compare(self) -> None:
        """Ask what is subscribed."""
        try:
            async with self._of_subscriptions:
                asked_wall = self._clock.wall_ns()
                self._listed(await self._subscriber.listed(self._tape), asked_wall)
        except (GatewayError, FetchFailed) as error:
            self._give_up(error)

    async def _asked(self, request: Call) -> object:
        try:
            return await self._caller.ask(request, self._tape)
        except (GatewayError, FetchFailed) as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        """End everything where trying again does not help."""
        if isinstance(error, Unauthorized | Forbidden):
            raise GatewayUnusable(self._caller.url, str(error)) from error
        if not may_pass(error):
            _log.warning("the gateway refuses: %s", error)


def _missed(topic: Topic) -> Call | None:
    """What asks for the newest of a topic, where there is more than its present state."""
    if topic.feed == "ticker":
        return call("ticker", symbol=topic.symbol, count=_TICKS)
    if topic.feed.startswith("kline."):
        period = KL_TYPES[topic.feed.removeprefix("kline.")]
        return call("kline", symbol=topic.symbol, kl_type=period, rehab_type=0, req_num=_BARS)
    return None
