"""Who is connected to a gateway, and its turns on the event loop, whatever its market is.

Whoever has a socket on ``/ws`` calls :meth:`Lobby.join`, sends what :class:`~bookreel.exchange.futu.client.Client`
gives it, and calls :meth:`Lobby.leave` when it is gone. REST goes through :meth:`Lobby.answer`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from bookreel.exchange.clock import Clock, SteadyTime
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.door import Answer, Door
from bookreel.exchange.futu.subscriptions import Subscriptions
from bookreel.exchange.futu.truth import TruthClose, TruthConnect, TruthLost, TruthWriter

__all__ = ["Lobby"]

_REST_S: Final = 0.05
"""The longest pause between two turns: somebody may have subscribed meanwhile."""


class Lobby(ABC):
    """A gateway without sockets. A truth file that cannot be written is an ``OSError``."""

    rest: Door
    """What answers REST."""

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        self.config = config
        self.now_ns = SteadyTime(clock).now_ns
        """Nanoseconds since the UNIX epoch, steady."""
        self.clients: dict[int, Client] = {}
        """Those connected now, by number."""
        self.subs = Subscriptions(config.quota, config.hold_s)
        self.truth = TruthWriter(config.truth, self.now_ns)
        self.over = asyncio.Event()
        """Nothing will come any more, and every client has had all of it."""
        self.failure: Exception | None = None
        """Why it is over before the end."""
        self._joined = 0
        self._turning: asyncio.TimerHandle | None = None

    @property
    def down(self) -> bool:
        """Whether nobody can connect now."""
        return False

    @property
    @abstractmethod
    def symbols(self) -> list[str]:
        """Securities with a market."""

    @property
    @abstractmethod
    def pushes(self) -> int:
        """The number of the last push."""

    @property
    @abstractmethod
    def next_ns(self) -> int:
        """When something is due, on the gateway's steady time."""

    @property
    def behind(self) -> bool:
        """Whether more is due than the last turn took."""
        return False

    @abstractmethod
    def tick(self) -> None:
        """Everything that is due by now."""

    def start(self) -> None:
        """Let time pass on the running event loop."""
        self._turn()

    def stop(self) -> None:
        """Stop time and cut every client off; who has their sockets calls :meth:`leave` for each."""
        if self._turning is not None:
            self._turning.cancel()
        for client in tuple(self.clients.values()):
            client.cut("the gateway closed")

    def close(self) -> None:
        """Let go what is open."""
        self.truth.close()

    def join(self, on_cut: Callable[[], None]) -> Client:
        """A socket connected; ``on_cut`` ends it."""
        self._joined += 1
        client = Client(self._joined, self.config.capacity, self._lost, on_cut)
        self.clients[client.number] = client
        self.truth.write(TruthConnect, conn=client.number, n=self.pushes)
        return client

    def leave(self, client: Client, note: str) -> None:
        """A client's socket is gone; ``note`` says why where the gateway did not cut it."""
        if self.clients.pop(client.number, None) is not None:
            self.truth.write(TruthClose, conn=client.number, n=self.pushes, note=client.note or note)

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer:
        """The answer to a REST request."""
        return self.rest.answer(method, path, key, body)

    def _turn(self) -> None:
        """Everything that is due, and the time of the next turn."""
        try:
            self.tick()
        except Exception as error:  # raised where the end is waited for
            self.failure = error
            self.over.set()
            return
        rest_s = min(_REST_S, (self.next_ns - self.now_ns()) / 1e9)
        pause_s = 0.0 if self.behind else max(self.config.pace_s, rest_s)
        self._turning = asyncio.get_running_loop().call_later(pause_s, self._turn)

    def _lost(self, client: Client, n: int, why: str) -> None:
        self.truth.write(TruthLost, conn=client.number, n=n, why=why)
