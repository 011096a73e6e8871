"""The exchange without sockets: where frames come from, desk, faults and truth, and the clients that are connected.

Whoever has a connection gives its :class:`~bookreel.exchange.client.Peer` to :meth:`Engine.join`, what comes over
it to :meth:`Engine.take`, and calls :meth:`Engine.leave` when it is gone. :meth:`Engine.start` lets the market run
on the event loop's time.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Final

from bookreel.exchange.client import Client, Peer
from bookreel.exchange.clock import Clock, SteadyTime
from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.desk import Desk
from bookreel.exchange.faults import FAULT_KINDS, FaultSchedule, parse_faults
from bookreel.exchange.hub import Hub
from bookreel.exchange.listing import list_symbols
from bookreel.exchange.market import Market
from bookreel.exchange.rest import Rest
from bookreel.exchange.saboteur import Saboteur
from bookreel.exchange.source import Source
from bookreel.exchange.synthetic import Synthetic
from bookreel.exchange.truth import TruthWriter

__all__ = ["Engine"]

_SECOND_NS: Final = 1e9
_FAULTS_NS: Final = 50_000_000
_REST_S: Final = 0.05
"""The longest pause between two looks at the market: a topic may be subscribed meanwhile."""
_GOING_AWAY: Final = 1001
_ENDED: Final = "the recording has ended"
_CROWDED_BYTES: Final = 1 << 20
"""With so many waiting for a client the market waits as well, where it has no pace of its own."""


class Engine:
    """All of an exchange but its sockets.

    Raises ``UnknownSymbol``, ``UnknownFault`` or ``BadFaultSpec``; a truth file that cannot be written is an
    ``OSError``.
    """

    def __init__(self, config: ExchangeConfig, clock: Clock) -> None:
        self.config = config
        rates = parse_faults(config.faults)
        time = SteadyTime(clock)
        self.now_ns = time.now_ns
        """Nanoseconds since the UNIX epoch, steady."""
        start_ns = time.now_ns()
        self.clients: dict[int, Client] = {}
        """Those connected now, by number."""
        self.truth = TruthWriter(config.truth, time.now_ns)
        self.source: Source = self._source(start_ns)
        schedule = FaultSchedule(rates, config.seed, start_ns)
        self.saboteur = Saboteur(config, schedule, self.truth, self.clients.values(), _say_goodbye)
        self.hub = Hub(self.source, self.truth, self.saboteur, truth_book_s=config.truth_book_s)
        self.rest = Rest(self.source)
        self._desk = Desk(self.hub, self.saboteur, time.now_ns, config.request_gap_s)
        self._sessions = random.Random(f"sessions:{config.seed}")
        self._joined = 0
        self._late: set[int] = set()
        """Those that came back after the end: they are told so, and not waited for."""
        self._beats: dict[int, asyncio.Task[None]] = {}
        self._turning: asyncio.TimerHandle | None = None
        self._faults_ns = 0
        self.over = asyncio.Event()
        """Nothing will come any more, and every client has had all of it."""
        self.failure: Exception | None = None
        """Why it is over before the end."""
        self.truth.start(config.seed, list(self.source.symbols))

    def _source(self, start_ns: int) -> Source:
        config = self.config
        if config.recording is not None:
            from bookreel.exchange.playback import Playback  # Arrow and SQL take longer to load than all else

            return Playback(config.recording, self.now_ns)
        listings = list_symbols(config.symbols)
        market = Market(listings, config.seed, config.rate, start_ns)
        return Synthetic(market, listings, self.truth, self.now_ns)

    def inflict(self, kind: str, topic: str | None = None) -> None:
        """Let one fault of ``kind`` hit the next client (of ``topic``, if given) that it fits."""
        assert kind in FAULT_KINDS, f"no fault is called {kind!r}"
        self.saboteur.arm(kind, topic)

    def start(self) -> None:
        """Let the market move, from now on."""
        self._turn()

    def stop(self) -> None:
        """Stop the market and cut every client off; who has their connections calls :meth:`leave` for each."""
        if self._turning is not None:
            self._turning.cancel()
        for client in tuple(self.clients.values()):
            client.cut("the exchange closed")

    def close(self) -> None:
        """End the truth file, and let go the source."""
        self.source.stop()
        self.truth.close()

    def join(self, path: str, peer: Peer) -> Client:
        """A client connected at ``path``."""
        self._joined += 1
        number = self._joined
        session = str(uuid.UUID(int=self._sessions.getrandbits(128), version=4))
        client = self.clients[number] = Client(number, path, session, peer, self.config, self.now_ns())
        self._beats[number] = asyncio.get_running_loop().create_task(
            client.beat(self.now_ns, self.source.venue_ns)
        )
        self.truth.line("connect", number, path)
        if self.source.ended:
            self._late.add(number)
            client.close(_GOING_AWAY, _ENDED)
        return client

    def take(self, client: Client, text: str) -> None:
        """The client said something; a half-open one is not heard."""
        if not client.frozen:
            self._desk.take(client, text)

    def leave(self, client: Client, note: str) -> None:
        """A client's connection is gone; ``note`` says why where the exchange did not end it."""
        client.closed = True
        del self.clients[client.number]
        self._late.discard(client.number)
        self.hub.leave(client)
        self._beats.pop(client.number).cancel()
        self.truth.line("close", client.number, client.path, note=client.close_note or note)

    def _turn(self) -> None:
        """Everything that is due, and the time of the next turn."""
        now_ns = self.now_ns()
        crowded = self.source.patient and any(c.queued > _CROWDED_BYTES for c in self.clients.values())
        try:
            if not crowded:
                self.hub.tick(now_ns)
        except Exception as error:
            self.failure = error
            self.over.set()
            return
        if now_ns - self._faults_ns >= _FAULTS_NS:
            self._faults_ns = now_ns
            self.saboteur.tick(now_ns)
        self._dismiss()
        pause_s = 0.0
        if crowded or not self.source.behind:
            pause_s = max(
                self.config.pace_s, min(_REST_S, (self.source.next_ns - self.now_ns()) / _SECOND_NS)
            )
        self._turning = asyncio.get_running_loop().call_later(pause_s, self._turn)

    def _dismiss(self) -> None:
        """End the connections that are to end, once everything that was sent has left."""
        ended = self.source.ended
        for client in tuple(self.clients.values()) if ended else tuple(self.hub.leaving):
            if not client.closed and not client.queued:
                client.close(_GOING_AWAY, _ENDED if ended else "")
        if ended and self.clients.keys() <= self._late:
            self.over.set()


def _say_goodbye(client: Client) -> None:
    client.close(_GOING_AWAY, "fault: going away")
