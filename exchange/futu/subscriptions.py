"""What is subscribed at the gateway. All REST clients share one connection, and so these."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import msgspec

from bookreel.exchange.errors import ExchangeError

__all__ = ["Refusal", "Subscription", "Subscriptions"]

_NS_PER_S = 1_000_000_000


class Refusal(ExchangeError):
    """The gateway answers that it does not do it."""

    def __init__(self, reason: str, ret_type: int = -1) -> None:
        self.reason = reason
        self.ret_type = ret_type
        super().__init__(reason)


class Subscription(msgspec.Struct):
    """One security and kind. ``pushed``: registered for pushes as well."""

    symbol: str
    sub_type: int
    since_ns: int
    pushed: bool
    rehab: int


class Subscriptions:
    """All of them, within a quota of units."""

    def __init__(self, quota: int, hold_s: float) -> None:
        self.quota = quota
        self._hold_ns = int(hold_s * _NS_PER_S)
        self._live: dict[tuple[str, int], Subscription] = {}
        self._forgotten: dict[tuple[str, int], Subscription] = {}

    @property
    def used(self) -> int:
        """Units in use."""
        return len(self._live)

    def get(self, symbol: str, sub_type: int) -> Subscription | None:
        """The subscription, if there is one."""
        return self._live.get((symbol, sub_type))

    def pushed(self, symbol: str, sub_type: int) -> bool:
        """Whether it is to be pushed."""
        found = self._live.get((symbol, sub_type))
        return found is not None and found.pushed

    def forgotten(self, symbol: str, sub_type: int) -> Subscription | None:
        """What :meth:`forget` ended and nobody began again."""
        return self._forgotten.get((symbol, sub_type))

    def forget(self, subscription: Subscription) -> None:
        """End one of them; whoever began it is not told."""
        key = (subscription.symbol, subscription.sub_type)
        self._forgotten[key] = self._live.pop(key)

    def all(self) -> list[Subscription]:
        """Every subscription, in order of symbol and kind."""
        return [self._live[key] for key in sorted(self._live)]

    def add(
        self, symbols: Iterable[str], sub_types: Iterable[int], now_ns: int, *, pushed: bool, rehab: int
    ) -> list[Subscription]:
        """Subscribe all or nothing; what was subscribed before may begin to be pushed. Raises ``Refusal``."""
        keys = list(dict.fromkeys(product(symbols, sub_types)))
        new = [key for key in keys if key not in self._live]
        if len(self._live) + len(new) > self.quota:
            raise Refusal(
                f"subscription quota exceeded: {len(self._live)} used, {len(new)} more, {self.quota} allowed"
            )
        for key in new:
            self._forgotten.pop(key, None)
            self._live[key] = Subscription(*key, now_ns, pushed, rehab)
        for key in keys:
            self._live[key].pushed |= pushed
        return [self._live[key] for key in keys]

    def remove(self, symbols: Iterable[str], sub_types: Iterable[int], now_ns: int) -> list[Subscription]:
        """Unsubscribe all or nothing, not within a minute of the beginning. Raises ``Refusal``."""
        keys = list(dict.fromkeys(product(symbols, sub_types)))
        for key in keys:
            found = self._live.get(key)
            if found is None:
                raise Refusal(f"{key[0]} is not subscribed in sub_type {key[1]}")
            if now_ns - found.since_ns < self._hold_ns:
                raise Refusal(
                    f"{key[0]}: unsubscribe no sooner than {self._hold_ns // _NS_PER_S} s after subscribing"
                )
        return [self._live.pop(key) for key in keys]

    def clear(self) -> None:
        """The gateway restarted."""
        self._live.clear()
        self._forgotten.clear()
