"""The gateway of a synthetic market: market, subscriptions, pushes, REST, faults and truth."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

from bookreel.exchange.clock import Clock
from bookreel.exchange.faults import FaultSchedule, parse_faults
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.faults import FAULT_KINDS
from bookreel.exchange.futu.listing import list_symbols
from bookreel.exchange.futu.lobby import Lobby
from bookreel.exchange.futu.market import Market, StockMarket
from bookreel.exchange.futu.pusher import Pusher, Quiet, Spoil
from bookreel.exchange.futu.rest import Rest
from bookreel.exchange.futu.subscriptions import Refusal, Subscription
from bookreel.exchange.futu.truth import TruthFault, TruthStart, TruthSub
from bookreel.venues.futu.codes import SUB_TYPES

__all__ = ["Gateway"]

_TICKER: Final = SUB_TYPES["ticker"]


class Gateway(Lobby):
    """Raises ``UnknownSymbol``, ``UnknownFault`` or ``BadFaultSpec``."""

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        listings = list_symbols(config.symbols)
        rates = parse_faults(config.faults, FAULT_KINDS)
        super().__init__(config, clock)
        start_ns = self.now_ns()
        self.market = Market(listings, config.seed, config.rate, start_ns, always=config.hours == "always")
        self.pusher = Pusher(config, self.market, self.subs, self.truth, self.clients)
        self.rest = self._answers = Rest(self)
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
    def symbols(self) -> list[str]:
        return list(self.market.stocks)

    @property
    def pushes(self) -> int:
        return self.pusher.n

    @property
    def next_ns(self) -> int:
        return self.market.next_ns

    @property
    def logined(self) -> bool:
        """Whether it is logged in for quotes."""
        return self.pusher.quiet != "login_loss"

    def venue_ns(self) -> int:
        """The present instant."""
        return self.now_ns()

    def stock(self, symbol: str) -> StockMarket:
        """A security. Raises ``Refusal`` where there is none, or it is refused for now."""
        stock = self.market.stocks.get(symbol)
        if stock is None or self.refused.get(symbol, 0) > self.now_ns():
            raise Refusal(f"unknown stock {symbol}")
        return stock

    def check(self, symbol: str, sub_types: Iterable[int], rehab: int) -> None:
        """Every kind of a security can be subscribed. Raises ``Refusal`` for one that is not known."""
        self.stock(symbol)

    def begun(self, subscriptions: list[Subscription], *, first: bool) -> None:
        """Note subscriptions, and push what is cached of them."""
        for one in subscriptions:
            self.truth.write(TruthSub, symbol=one.symbol, sub_type=one.sub_type, on=True, pushed=one.pushed)
        for one in subscriptions if first else ():
            self.pusher.first(one, self.now_ns())

    def ended(self, subscriptions: list[Subscription]) -> None:
        """Note that they ended."""
        for one in subscriptions:
            self.truth.write(TruthSub, symbol=one.symbol, sub_type=one.sub_type, on=False)

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
        self._answers.restarted()
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
