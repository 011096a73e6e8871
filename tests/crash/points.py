"""Every operation of an archive's life, each disturbed in every way: the process dies before it or half way through
it, the power goes, or it fails. Whatever is left must be gone on with, to a clean end.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tests.crash.life import STEPS, Life, Step, sealed_files
from tests.crash.witness import Lost
from tests.simulation.disk import Crash, Short, SimDisk

__all__ = ["FAULTS", "Points", "disturb", "disturb_some", "operations"]

FAULTS: Final[dict[str, Callable[[], BaseException]]] = {
    "EIO": lambda: OSError(errno.EIO, "injected"),
    "ENOSPC": lambda: OSError(errno.ENOSPC, "injected"),
    "short": lambda: Short(7),
    "half": lambda: Crash(60),
}
"""What an operation can meet besides the end of the process before it."""

_POWER: Final = 3
"""States after a power loss that are tried at each operation."""

_SEAL_EVERY: Final = 4
_COMPACT_EVERY: Final = 16
"""After a disturbance of recording, sealing and compaction are done only so often: they are the costly part."""

_LOOK_EVERY: Final = 4
"""Of operations that only look, so many share one error."""

_ONLY_LOOKING: Final = ("read", "open", "names", "locked", "free", "size")


class Points(msgspec.Struct):
    """What was tried. ``operations`` of the life by name; ``states`` that were gone on with, by kind of
    disturbance; ``acknowledged`` records that were looked for in them.
    """

    operations: Counter[str] = msgspec.field(default_factory=Counter)
    states: Counter[str] = msgspec.field(default_factory=Counter)
    acknowledged: int = 0
    verified: int = 0

    def add(self, other: Points) -> None:
        """Joins two counts."""
        self.operations += other.operations
        self.states += other.states
        self.acknowledged += other.acknowledged
        self.verified += other.verified


def operations(steps: tuple[tuple[str, Step], ...] = STEPS) -> list[tuple[str, str]]:
    """Step and operation, for each operation of an undisturbed life."""
    seen: list[tuple[str, str]] = []
    life = Life()
    for name, step in steps:
        life.disk.before = lambda operation, path, name=name: seen.append((name, operation))
        life.take(step)
    return seen


def disturb(
    chosen: Callable[[int], bool] = lambda index: True,
    *,
    verify_every: int = 8,
    power: int = _POWER,
    failed: Callable[[int, str, str, Exception], None] | None = None,
) -> Points:
    """Disturbs each chosen operation (by its number in the life, from 0) in every way. Raises Lost, or calls
    ``failed`` with operation, its name, the disturbance and what was found.
    """
    points = Points()
    for life, number, step, operation in _deaths(chosen):
        points.operations[operation] += 1
        if operation in _ONLY_LOOKING:
            # Nothing has changed since the operation before.
            continue
        rng = random.Random(number)
        for kind, disk in _left_by(life.disk, power, rng):
            _try(points, life.fork(disk), number, step, kind, failed, verify_every)
        # The one who comes after it dies too, and then the power goes.
        second = life.fork(life.disk.killed())
        _die_within(second, rng.randrange(1, 60))
        for disk in second.disk.power_losses(1, rng):
            _try(points, second.fork(disk), number, step, "killed twice, power", failed, verify_every)
    for number, (step, operation) in enumerate(operations()):
        if not chosen(number):
            continue
        for kind, fault in FAULTS.items():
            if _can_meet(operation, kind) and (operation not in _ONLY_LOOKING or number % _LOOK_EVERY == 0):
                lived = _live_with(number, operation, fault, kind, failed)
                if lived is not None:
                    _try(points, lived, number, step, kind, failed, verify_every)
    return points


def _can_meet(operation: str, kind: str) -> bool:
    """Whether an operation can fail like that."""
    if operation in ("writev", "overwrite"):
        return True
    return kind == "EIO" or (kind == "ENOSPC" and operation not in _ONLY_LOOKING)


def disturb_some(part: int, parts: int) -> Points:
    """One part of all operations: every ``parts``-th one."""
    return disturb(lambda number: number % parts == part)


def _left_by(disk: SimDisk, power: int, rng: random.Random) -> Iterator[tuple[str, SimDisk]]:
    yield "killed", disk.killed()
    for state in disk.power_losses(power, rng):
        yield "power", state


def _deaths(chosen: Callable[[int], bool]) -> Iterator[tuple[Life, int, str, str]]:
    """The life as it is before each operation that was chosen, and the number and names of that."""
    left: list[tuple[Life, int, str, str]] = []
    life = Life()
    for name, step in STEPS:

        def before(operation: str, path: Path, name: str = name) -> None:
            number = life.disk.operations - 1
            if chosen(number):
                life.hear()
                left.append((life.fork(life.disk.killed()), number, name, operation))

        life.disk.before = before
        life.take(step)
        yield from left
        left.clear()


def _die_within(life: Life, after: int) -> None:
    """Goes on, and dies at that operation if it comes to it."""

    def before(operation: str, path: Path) -> None:
        nonlocal after
        after -= 1
        if after == 0:
            life.hear()
            raise Crash

    life.disk.before = before
    try:
        life.go_on()
    except Crash:
        life.die()
    life.disk.before = None


def _live_with(
    number: int,
    operation: str,
    fault: Callable[[], BaseException],
    kind: str,
    failed: Callable[[int, str, str, Exception], None] | None,
) -> Life | None:
    """The whole life with one fault in it; None if it could not be lived."""
    life = Life()
    life.disk.rng.seed(number)
    suspect: set[str] = set()

    def before(name: str, path: Path) -> None:
        if name == "create":
            suspect.discard(str(path))
        if name == "datasync" and str(path) in suspect:
            raise Lost(f"datasync of {path} is tried again after it failed")
        if life.disk.operations - 1 == number:
            if name in ("datasync", "writev") and kind == "EIO" and path.suffix != ".lock":
                suspect.add(str(path))
            raise fault()

    life.disk.before = before
    try:
        for _, step in STEPS:
            try:
                life.take(step)
            except Crash:
                life.hear()
                life.die()
                break
    except Exception as error:
        if failed is None:
            raise
        failed(number, operation, kind, error)
        return None
    return life


def _try(
    points: Points,
    life: Life,
    number: int,
    step: str,
    kind: str,
    failed: Callable[[int, str, str, Exception], None] | None,
    verify_every: int,
) -> None:
    points.states[kind] += 1
    points.acknowledged += len(life.witness.acknowledged)
    try:
        life.disk.before = None
        if kind not in ("EIO", "ENOSPC", "short"):
            life.check_glob()
        if kind == "killed" and step == "seal":
            _seal_again(life)
        count = points.states.total()
        life.finish(
            seals=step.startswith("seal") or count % _SEAL_EVERY == 0,
            compacts=step == "compact" or count % _COMPACT_EVERY == 0,
        )
        if points.states.total() % verify_every == 0:
            points.verified += 1
            life.verify()
    except Exception as error:
        if failed is None:
            error.add_note(f"operation {number} ({step}), {kind}")
            raise
        failed(number, step, kind, error)


_sealed_after: dict[int, dict[str, bytes]] = {}


def _seal_again(life: Life) -> None:
    """Sealing that was killed gives the files of one that was not."""
    expected = _sealed_after.get(life.steps_taken)
    if expected is None:
        whole = Life()
        for _, step in STEPS[: life.steps_taken + 1]:
            whole.take(step)
        expected = _sealed_after[life.steps_taken] = sealed_files(whole.disk)
    life.seal()
    if sealed_files(life.disk) != expected:
        raise Lost("sealing again gives other files")
