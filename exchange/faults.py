"""Which faults an exchange inflicts, how often, and when: a SPEC from the user and a seeded schedule made
from it."""

from __future__ import annotations

import difflib
import heapq
import random
from collections.abc import Mapping
from typing import Final

from bookreel.exchange.errors import BadFaultSpec, UnknownFault

__all__ = ["FAULT_KINDS", "FaultSchedule", "parse_faults"]

FAULT_KINDS: Final[dict[str, float]] = {
    "lost_delta": 6.0,
    "duplicate": 6.0,
    "reorder": 3.0,
    "disconnect": 1.5,
    "silence": 1.5,
    "half_open": 0.5,
    "late_snapshot": 2.0,
    "stale_snapshot": 4.0,
    "null_snapshot": 4.0,
    "straddling_snapshot": 4.0,
    "broken_gzip": 2.0,
    "broken_json": 2.0,
    "sub_error": 2.0,
    "rate_limit": 2.0,
}
"""Every kind of fault, with its default rate: expected number per minute of the whole exchange."""


def parse_faults(spec: str, kinds: Mapping[str, float] = FAULT_KINDS) -> dict[str, float]:
    """Kind -> number per minute, from ``all``, or ``lost_delta=5,disconnect`` (a kind alone takes its
    default), or nothing. ``kinds`` are those there are, with their defaults.

    Raises ``UnknownFault`` (it names the nearest kinds) or ``BadFaultSpec``.
    """
    rates: dict[str, float] = {}
    for part in (p.strip() for p in spec.split(",")):
        if not part or part == "none":
            continue
        kind, equals, number = (p.strip() for p in part.partition("="))
        kind = kind.lower().replace("-", "_")
        if kind == "all":
            rates |= {k: _rate(part, number) if equals else default for k, default in kinds.items()}
        elif kind in kinds:
            rates[kind] = _rate(part, number) if equals else kinds[kind]
        else:
            raise UnknownFault(kind, difflib.get_close_matches(kind, kinds, n=3, cutoff=0.5))
    return {kind: rate for kind, rate in rates.items() if rate > 0}


def _rate(part: str, number: str) -> float:
    try:
        rate = float(number)
    except ValueError:
        raise BadFaultSpec(part, f"{number!r} is not a number") from None
    if not 0 <= rate <= 6000:
        raise BadFaultSpec(part, "the number per minute must be between 0 and 6000")
    return rate


class FaultSchedule:
    """The instants at which faults come due: for each kind a Poisson process of its own, so kinds do not
    disturb each other."""

    def __init__(self, rates: Mapping[str, float], seed: int, start_ns: int) -> None:
        self._rngs = {kind: random.Random(f"faults:{seed}:{kind}") for kind in rates}
        self._gaps_ns = {kind: 60e9 / rate for kind, rate in rates.items()}
        self._queue = [(self._after(kind, start_ns), kind) for kind in rates]
        heapq.heapify(self._queue)

    def due(self, now_ns: int) -> list[str]:
        """The kinds that came due since the last call."""
        kinds = []
        while self._queue and self._queue[0][0] <= now_ns:
            at_ns, kind = self._queue[0]
            heapq.heapreplace(self._queue, (self._after(kind, at_ns), kind))
            kinds.append(kind)
        return kinds

    def _after(self, kind: str, at_ns: int) -> int:
        return at_ns + 1 + int(self._rngs[kind].expovariate(1.0) * self._gaps_ns[kind])
