"""The recorder as a process: event loop, signals, log and display around a :class:`Recorder`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from typing import Final

from bookreel.ingest.clock import SystemClock
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.display import show
from bookreel.ingest.logs import set_up_logging
from bookreel.ingest.loop import new_event_loop
from bookreel.ingest.recorder import Recorder

__all__ = ["record", "spare_collector"]

_GC_OBJECTS: Final = 50_000
"""Made and not freed before it looks again; frames that wait are that many at times."""

_log = logging.getLogger(__name__)


def record(config: RecordConfig) -> None:
    """Record until SIGINT or SIGTERM, or ``for_seconds`` are over. Raises what :meth:`Collector.run` raises.

    A second signal ends the process at once; what is durable stays so, and the next run or `bookreel seal`
    does the rest.
    """
    set_up_logging(SystemClock())
    spare_collector()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_record(config))


def spare_collector() -> None:
    """Have Python's collector of cycles look less often, and not at what is here to stay: frames make none, and one
    look at all that is loaded takes tens of milliseconds.
    """
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS, 20, 100)


async def _record(config: RecordConfig) -> None:
    recorder = _recorder(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _signalled, recorder, number)
    display = asyncio.create_task(show(recorder), name="display")
    try:
        await recorder.run()
    finally:
        display.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await display


def _recorder(config: RecordConfig) -> Recorder:
    """The recorder that this venue needs."""
    if config.venue == "futu":
        from bookreel.ingest.futu.recorder import GatewayRecorder  # only the venue that is used gets loaded

        return GatewayRecorder(config)
    return Collector(config)


def _signalled(recorder: Recorder, number: signal.Signals) -> None:
    if not recorder.stop_reason:
        recorder.stop(number.name)
        return
    _log.warning("second signal: ending at once; run `bookreel seal` for what is not sealed")
    recorder.hurry()
    # The journal's threads may wait for a disk that does not answer, and nothing they hold was ever
    # acknowledged.
    os._exit(128 + number)
