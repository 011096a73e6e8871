"""The recorder as a process: event loop, signals, log and display around a :class:`Recorder`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal

from bookreel.ingest.clock import SystemClock
from bookreel.ingest.collector import Collector
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.display import show
from bookreel.ingest.logs import set_up_logging
from bookreel.ingest.loop import new_event_loop
from bookreel.ingest.recorder import Recorder

__all__ = ["record"]

_log = logging.getLogger(__name__)


def record(config: RecordConfig) -> None:
    """Record until SIGINT or SIGTERM, or ``for_seconds`` are over. Raises what :meth:`Collector.run` raises.

    A second signal ends the process at once; what is durable stays so, and the next run or `bookreel seal`
    does the rest.
    """
    set_up_logging(SystemClock())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_record(config))


async def _record(config: RecordConfig) -> None:
    collector = _recorder(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _signalled, collector, number)
    display = asyncio.create_task(show(collector), name="display")
    try:
        await collector.run()
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


def _signalled(collector: Recorder, number: signal.Signals) -> None:
    if not collector.stop_reason:
        collector.stop(number.name)
        return
    _log.warning("second signal: ending at once; run `bookreel seal` for what is not sealed")
    collector.hurry()
    # The journal's threads may wait for a disk that does not answer, and nothing they hold was ever
    # acknowledged.
    os._exit(128 + number)
