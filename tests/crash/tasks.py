"""The parts of the harness as pieces of work for processes."""

from __future__ import annotations

import gc
import importlib
import logging
from typing import Any, Final, NamedTuple

__all__ = ["PARTS", "Task", "begin", "run"]


class Task(NamedTuple):
    """One piece of work for a process: the name of the part, and the numbers that its function takes."""

    part: str
    numbers: tuple[int, ...]

    @property
    def again(self) -> str:
        """The command that repeats it."""
        if self.part in ("points", "overload", "syscalls"):
            return f"python -m tests.crash --part {self.part}"
        size = {"power": "states"}.get(self.part, self.part)
        return (
            f"python -m tests.crash --part {self.part} --seed {self.numbers[-1]} --{size} {self.numbers[0]}"
        )


PARTS: Final = {
    "kills": ("tests.crash.kills", "kill"),
    "sealers": ("tests.crash.sealing", "kill_sealers"),
    "races": ("tests.crash.owners", "race"),
    "shutdowns": ("tests.crash.shutdown", "shut_down"),
    "syscalls": ("tests.crash.syscalls", "kill_at_some"),
    "points": ("tests.crash.points", "disturb_some"),
    "power": ("tests.crash.power", "lose_power_often"),
    "full": ("tests.crash.diskfull", "run"),
    "overload": ("tests.crash.overload", "run"),
}
"""Module and function of each part, in the order in which they are run. A process loads a part only when its turn
comes: the first ones fork, which takes longer the more is loaded.
"""


def run(task: Task) -> Any:
    """What the function of the task's part returns; it raises what went wrong."""
    module, function = PARTS[task.part]
    return getattr(importlib.import_module(module), function)(*task.numbers)


def begin() -> None:
    """Called once in each process."""
    # That the disk fails is the point.
    logging.disable()
    gc.freeze()
    gc.set_threshold(20_000)
