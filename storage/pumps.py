"""The threads that drive a journal: each calls its pump from start to start of an interval, or when woken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["Pump", "Pumps"]


class Pump(NamedTuple):
    """A step to be taken again and again. ``interval_ms`` from start to start."""

    name: str
    step: Callable[[], int]
    interval_ms: int


class Pumps:
    """Threads, one a pump. ``failed`` is called, in its thread, with what a step raises; that thread ends then."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._stopping = threading.Event()
        self._wakes: list[threading.Event] = []
        self._threads: list[threading.Thread] = []

    @property
    def running(self) -> bool:
        return bool(self._threads)

    def start(self, pumps: Sequence[Pump]) -> None:
        for pump in pumps:
            wake = threading.Event()
            thread = threading.Thread(target=self._run, args=(pump, wake), name=pump.name)
            self._wakes.append(wake)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """The next step of each is due now."""
        for wake in self._wakes:
            wake.set()

    def stop(self) -> None:
        """Returns when the threads have ended; a second call does nothing."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _run(self, pump: Pump, wake: threading.Event) -> None:
        interval = pump.interval_ms / 1000
        next_at = time.monotonic() + interval
        try:
            while not self._stopping.is_set():
                wake.wait(max(0.0, next_at - time.monotonic()))
                wake.clear()
                # From start to start: a slow step must not add to the interval.
                next_at = time.monotonic() + interval
                pump.step()
        except Exception as error:
            self._failed(error)
