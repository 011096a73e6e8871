"""Power losses: at every operation of a recorder's life, many legal states of the disk, each opened and checked.

A life is a few runs in a row on one disk; between them the process was killed, the power went, or it ended in order.
So what one run leaves pending, and the next builds on, is lost in every way as well.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.recovery import claim
from bookreel.storage.segment import list_segments
from tests.crash.trace import ARCHIVE, Clock, Trace
from tests.crash.witness import Found, Lost, Witness, read
from tests.simulation.disk import Crash, SimDisk

__all__ = ["Losses", "lose_power", "lose_power_often"]

_STATES_AN_OPERATION: Final = 64
_WHOLE_OPENING: Final = 8
"""One state in so many is opened by a whole journal, with its reserve; the others are claimed and recovered."""
_RUNS: Final = 3
_RECORDS: Final = 12
_KNOWN_MAX: Final = 4096
_ONLY_LOOKING: Final = frozenset(("read", "open", "names", "locked", "free", "lock"))
_READING: Final = JournalOptions(threads=False, archive_id=b"archive0")
_FSYNC_MS: Final = 100
"""The recorder's ``fsync_interval_ms``."""


class Losses(msgspec.Struct):
    """What was tried. ``states``: of the disk, each held against what was acknowledged by then; ``distinct``: those
    that were not byte for byte another one of the same life, each opened. ``checked``: how often an acknowledged
    record was looked for. ``operations``: those at which the power went. ``oldest_ns``: age of the oldest record
    that was lost, and ``waited_ns`` how much of that the disk had kept the journal waiting.
    """

    states: int = 0
    distinct: int = 0
    traces: int = 0
    checked: int = 0
    operations: Counter[str] = msgspec.field(default_factory=Counter)
    oldest_ns: int = 0
    waited_ns: int = 0

    def add(self, other: Losses) -> None:
        """Joins two counts."""
        self.states += other.states
        self.distinct += other.distinct
        self.traces += other.traces
        self.checked += other.checked
        self.operations += other.operations
        if other.oldest_ns > self.oldest_ns:
            self.oldest_ns, self.waited_ns = other.oldest_ns, other.waited_ns


def lose_power(seed: int, *, states: int = _STATES_AN_OPERATION, runs: int = _RUNS) -> Losses:
    """One recorder's life of up to so many runs, the power lost at each operation in so many ways. Raises Lost."""
    rng = random.Random(seed)
    losses = Losses(traces=1)
    disk, witness, clock = SimDisk(), Witness(), Clock()
    payload_max = rng.choice((60, 300, 900, 2500))
    eyes = _Eyes()
    for _ in range(rng.randrange(1, runs + 1)):
        end = rng.choice(("close", "close", "killed", "power"))
        left = rng.randrange(20, 90) if end in ("killed", "power") else 1 << 30
        trace = Trace(disk, witness, rng, clock=clock, payload_max=payload_max)

        def watch(operation: str, path: Path, disk: SimDisk = disk, trace: Trace = trace) -> None:
            nonlocal left
            if operation in _ONLY_LOOKING:
                return
            losses.operations[operation] += 1
            for state in disk.power_losses(states, rng):
                _check(state, trace, losses, eyes)
            left -= 1
            if left <= 0:
                raise Crash

        trace.watch = watch
        try:
            trace.run(_RECORDS)
        except Crash:
            disk = disk.killed() if end == "killed" else disk.power_loss(rng)
        else:
            disk.before = None
        witness.ended()
        clock.now += 10**9
    return losses


def lose_power_often(states: int, seed: int) -> Losses:
    """At least so many states, from as many lives as it takes. Raises Lost."""
    losses = Losses()
    while losses.states < states:
        losses.add(lose_power(seed + losses.traces))
    return losses


class _Eyes:
    """Reads archives as :func:`look` does, but a segment that is the same as one read before only once."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int, int], Found] = {}
        self.opened: dict[tuple[object, ...], tuple[int, Found]] = {}
        """By the image of a disk what opening it gave: the next position, and what there is to read then."""

    def look(self, disk: SimDisk) -> Found:
        whole = Found({}, 0, 0, [])
        segments = list_segments(ARCHIVE, disk)
        following = [*(segment.first_pos for segment in segments[1:]), 0]
        for segment, next_first in zip(segments, following, strict=False):
            file = disk.open(segment.path)
            key = (file.read(0, segment.size), whole.last_pos, next_first)
            found = self._known.get(key)
            if found is None:
                found = Found({}, 0, whole.last_pos, [])
                read(found, segment.path, disk)
                self._known[key] = found
            whole.payloads.update(found.payloads)
            whole.damage += found.damage
            whole.last_pos = found.last_pos
        if len(self._known) > _KNOWN_MAX:
            self._known.clear()
        return whole


def _open(state: SimDisk, trace: Trace, eyes: _Eyes, *, whole: bool) -> tuple[int, Found]:
    """As the next recorder does; the next position, and what there is to read."""
    if whole:
        next_pos = Journal.open(ARCHIVE, "huobi", clock=trace.clock, options=_READING, disk=state).next_pos
    else:
        lock, _, recovery = claim(
            ARCHIVE, "huobi", created_ns=trace.clock.now, archive_id=b"archive0", disk=state
        )
        next_pos = recovery.next_pos
        lock.release()
    return next_pos, eyes.look(state)


def _check(state: SimDisk, trace: Trace, losses: Losses, eyes: _Eyes) -> None:
    witness, now = trace.witness, trace.clock.now
    image = state.image()
    known = eyes.opened.get(image)
    if known is None:
        known = eyes.opened[image] = _open(state, trace, eyes, whole=losses.distinct % _WHOLE_OPENING == 0)
        losses.distinct += 1
    next_pos, found = known
    witness.check(found, next_pos)
    age = witness.oldest_lost(found, now)
    if age > _FSYNC_MS * 1_000_000:
        waited = trace.waited(now - age)
        if age > _FSYNC_MS * 1_000_000 + waited:
            raise Lost(
                f"a record of {age / 1e6:.0f} ms ago is lost; {waited / 1e6:.0f} ms of them were the disk's"
            )
        if age > losses.oldest_ns:
            losses.waited_ns = waited
    losses.states += 1
    losses.checked += len(witness.acknowledged)
    losses.oldest_ns = max(losses.oldest_ns, age)
