"""The gateway without sockets: market, subscriptions, pushes, REST, faults and truth, and the clients of ``/ws``.

Whoever has a socket on ``/ws`` calls :meth:`Gateway.join`, sends what :class:`~bookreel.exchange.futu.client.Client`
gives it, and calls :meth:`Gateway.leave` when it is gone. REST goes through :meth:`Gateway.answer`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from bookreel.exchange.clock import Clock, SteadyTime
from bookreel.exchange.faults import FaultSchedule, parse_faults
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.faults import FAULT_KINDS
from bookreel.exchange.futu.listing import list_symbols
from bookreel.exchange.futu.market import Market
from bookreel.exchange.futu.pusher import Pusher, Quiet, Spoil
from bookreel.exchange.futu.rest import Answer, Rest
from bookreel.exchange.futu.subscriptions import Subscriptions
from bookreel.exchange.futu.truth import (
    TruthClose,
    TruthConnect,
    TruthFault,
    TruthLost,
    TruthStart,
    TruthWriter,
)
from bookreel.venues.futu.codes import SUB_TYPES

__all__ = ["Gateway"]

_REST_S: Final = 0.05
_TICKER: Final = SUB_TYPES["ticker"]


class Gateway:
    """All of it but its sockets.

    Raises ``UnknownSymbol``, ``UnknownFault`` or ``BadFaultSpec``; a truth file that cannot be written is an
    ``OSError``.
    """

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        self.config = config
        listings = list_symbols(config.symbols)
        rates = parse_faults(config.faults, FAULT_KINDS)
        self.now_ns = SteadyTime(clock).now_ns
        """Nanoseconds since the UNIX epoch, steady."""
        start_ns = self.now_ns()
        self.clients: dict[int, Client] = {}
        """Those connected now, by number."""
        self.market = Market(listings, config.seed, config.rate, start_ns, always=config.hours == "always")
        self.subs = Subscriptions(config.quota, config.hold_s)
        self.truth = TruthWriter(config.truth, self.now_ns)
        self.pusher = Pusher(config, self.market, self.subs, self.truth, self.clients)
        self.rest = Rest(self)
        self.down_until_ns = 0
        """Until then the gateway restarts and nobody can connect."""
        self.quiet_until_ns = 0
        self.refused: dict[str, int] = {}
        """Securities that are refused, and until when."""
        self.trips = 0
        """How often dispatch broke."""
        self._held_until: dict[str, int] = {}
        self._schedule = FaultSchedule(rates, config.seed, start_ns)
        self._rng = random.Random(f"victims:{config.seed}")
        self._joined = 0
        self._turning: asyncio.TimerHandle | None = None
        self.truth.write(
            TruthStart,
            seed=config.seed,
            symbols=[listing.symbol for listing in listings],
            version=config.version,
        )

    @property
    def down(self) -> bool:
        """Whether it is restarting."""
        return self.now_ns() < self.down_until_ns

    @property
    def logined(self) -> bool:
        """Whether it is logged in for quotes."""
        return self.pusher.quiet != "login_loss"

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
        """End the truth file."""
        self.truth.close()

    def join(self, on_cut: Callable[[], None]) -> Client:
        """A socket connected; ``on_cut`` ends it."""
        self._joined += 1
        client = Client(self._joined, self.config.capacity, self._lost, on_cut)
        self.clients[client.number] = client
        self.truth.write(TruthConnect, conn=client.number, n=self.pusher.n)
        return client

    def leave(self, client: Client, note: str) -> None:
        """A client's socket is gone; ``note`` says why where the gateway did not cut it."""
        if self.clients.pop(client.number, None) is not None:
            self.truth.write(TruthClose, conn=client.number, n=self.pusher.n, note=client.note or note)

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> Answer:
        """The answer to a REST request."""
        return self.rest.answer(method, path, key, body)

    def tick(self) -> None:
        """Everything that is due by now."""
        now_ns = self.now_ns()
        for event in self.market.advance(now_ns):
            self.pusher.changed(event, now_ns)
        if self.pusher.quiet and now_ns >= self.quiet_until_ns:
            self._speak(now_ns)
        for symbol, until_ns in tuple(self._held_until.items()):
            if now_ns >= until_ns and self.pusher.quiet is None:
                del self._held_until[symbol]
                self.pusher.backfill(symbol, now_ns)
        for kind in self._schedule.due(now_ns):
            self.inflict(kind)
        self.truth.flush(now_ns)

    def inflict(self, kind: str) -> bool:
        """Inflict one fault now; False where there is nobody and nothing to hit."""
        assert kind in FAULT_KINDS, f"no fault is called {kind!r}"
        return _FAULTS[kind](self)

    def _turn(self) -> None:
        self.tick()
        rest_s = min(_REST_S, (self.market.next_ns - self.now_ns()) / 1e9)
        self._turning = asyncio.get_running_loop().call_later(max(self.config.pace_s, rest_s), self._turn)

    def _lost(self, client: Client, n: int, why: str) -> None:
        self.truth.write(TruthLost, conn=client.number, n=n, why=why)

    def _span_ns(self) -> int:
        least, most = self.config.login_s
        return int(self._rng.uniform(least, most) * 1e9)

    def _victim(self) -> Client | None:
        return self._rng.choice(list(self.clients.values())) if self.clients else None

    def _ticker(self) -> str | None:
        """A security whose ticks are pushed and not held back."""
        held = self.pusher.held
        symbols = [
            s.symbol for s in self.subs.all() if s.sub_type == _TICKER and s.pushed and s.symbol not in held
        ]
        return self._rng.choice(symbols) if symbols else None

    # The faults.

    def _lag(self) -> bool:
        client = self._victim()
        if client is None or client.skip:
            return False
        client.skip = self._rng.randint(*self.config.lag_pushes)
        self.truth.write(TruthFault, kind="lag", conn=client.number, n=self.pusher.n)
        return True

    def _disconnect(self) -> bool:
        client = self._victim()
        if client is None:
            return False
        self.truth.write(TruthFault, kind="disconnect", conn=client.number, n=self.pusher.n)
        client.cut("fault: disconnect")
        return True

    def _restart(self) -> bool:
        now_ns = self.now_ns()
        if now_ns < self.down_until_ns:
            return False
        self.down_until_ns = now_ns + int(self.config.restart_s * 1e9)
        self.truth.write(TruthFault, kind="restart", n=self.pusher.n, until=self.down_until_ns)
        self.subs.clear()
        self.pusher.held.clear()
        self._held_until.clear()
        self.pusher.quiet = None
        self.pusher.untimed.update(self.market.stocks)
        self.rest.restarted()
        for client in tuple(self.clients.values()):
            client.cut("fault: restart")
        return True

    def _hush(self, quiet: Quiet) -> bool:
        if self.pusher.quiet is not None or self.down:
            return False
        now_ns = self.now_ns()
        if quiet == "login_loss":
            self.pusher.notice(logined=False, now_ns=now_ns)
        else:
            self.trips += 1
        self.pusher.quiet = quiet
        self.quiet_until_ns = now_ns + self._span_ns()
        self.truth.write(TruthFault, kind=quiet, n=self.pusher.n, until=self.quiet_until_ns)
        return True

    def _speak(self, now_ns: int) -> None:
        """What was quiet is so no longer."""
        lost_login = not self.logined
        self.pusher.quiet = None
        if lost_login:
            self.pusher.notice(logined=True, now_ns=now_ns)
            for symbol in tuple(self.pusher.held):
                if symbol not in self._held_until:
                    self.pusher.backfill(symbol, now_ns)

    def _forget(self) -> bool:
        live = [one for one in self.subs.all() if one.pushed]
        if not live:
            return False
        victim = self._rng.choice(live)
        self.truth.write(
            TruthFault, kind="forgotten", symbol=victim.symbol, sub_type=victim.sub_type, n=self.pusher.n
        )
        self.subs.forget(victim)
        return True

    def _backfill(self) -> bool:
        symbol = self._ticker()
        if symbol is None or self.pusher.quiet is not None:
            return False
        self.pusher.held[symbol] = []
        until_ns = self._held_until[symbol] = self.now_ns() + self._span_ns()
        self.truth.write(TruthFault, kind="backfill", symbol=symbol, n=self.pusher.n, until=until_ns)
        return True

    def _cached(self) -> bool:
        symbol = self._ticker()
        if symbol is None or self.pusher.quiet is not None or not self.market.stocks[symbol].ticks:
            return False
        self.truth.write(TruthFault, kind="cached", symbol=symbol, n=self.pusher.n)
        self.pusher.again(self.market.stocks[symbol], self.now_ns())
        return True

    def _zero_time(self) -> bool:
        symbols = [s.symbol for s in self.subs.all() if s.sub_type == SUB_TYPES["orderbook"] and s.pushed]
        if not symbols:
            return False
        symbol = self._rng.choice(symbols)
        self.truth.write(TruthFault, kind="zero_time", symbol=symbol, n=self.pusher.n)
        self.pusher.untimed.add(symbol)
        return True

    def _spoil(self, spoil: Spoil) -> bool:
        if not self.clients or not self.subs.used:
            return False
        self.truth.write(TruthFault, kind=spoil, n=self.pusher.n)
        self.pusher.spoils.append(spoil)
        return True

    def _bad_code(self) -> bool:
        now_ns = self.now_ns()
        symbol = self._rng.choice(list(self.market.stocks))
        until_ns = self.refused[symbol] = now_ns + int(self.config.refused_s * 1e9)
        self.truth.write(TruthFault, kind="bad_code", symbol=symbol, until=until_ns)
        return True


_FAULTS: Final[dict[str, Callable[[Gateway], bool]]] = {
    "lag": Gateway._lag,
    "disconnect": Gateway._disconnect,
    "restart": Gateway._restart,
    "login_loss": lambda gateway: gateway._hush("login_loss"),
    "breaker": lambda gateway: gateway._hush("breaker"),
    "forgotten": Gateway._forget,
    "backfill": Gateway._backfill,
    "cached": Gateway._cached,
    "zero_time": Gateway._zero_time,
    "bad_base64": lambda gateway: gateway._spoil("bad_base64"),
    "truncated": lambda gateway: gateway._spoil("truncated"),
    "bad_code": Gateway._bad_code,
}
assert set(_FAULTS) == set(FAULT_KINDS)
