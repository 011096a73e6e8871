"""The sealer beside the recorder: a process of its own, so that its work never holds up a frame."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from bookreel.ingest.clock import Clock
from bookreel.ingest.reconnect import backoff

__all__ = ["Sealer"]

_NICE: Final = 10
_BASE_S: Final = 1.0
_CAP_S: Final = 60.0
_LOOK_S: Final = 0.25
_CALM_S: Final = 5.0
"""The disk must keep up for so long before sealing goes on."""

_log = logging.getLogger(__name__)


class Sealer:
    """Keeps `bookreel seal --follow` running, and ends with everything sealed.

    ``pressed``: whether the disk does not keep up with the recorder. The sealer is then ended, as it reads and writes
    the same disk, and begins again once that was over for some seconds; it loses only its own work.

    ``--follow`` ends by itself when the recorder has given the archive free and nothing is left to seal; a
    sealer killed anywhere is made good by the next one.
    """

    def __init__(
        self, archive: Path, clock: Clock, rng: Random, pressed: Callable[[], bool] = lambda: False
    ) -> None:
        self._archive = archive
        self._pressed = pressed
        self._clock = clock
        self._rng = rng
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.restarts = 0
        self.yields = 0
        """How often it was ended for the recorder's sake."""

    async def run(self) -> None:
        """Start it, and start it again, ever more slowly, if it dies; returns after :meth:`finish`."""
        delays = backoff(self._rng, base_s=_BASE_S, cap_s=_CAP_S)
        while not self._stopping:
            await self._calm()
            if self._stopping:
                return
            yields = self.yields
            watch = asyncio.create_task(self._yield(), name="sealer yields")
            try:
                code = await self._call("--follow")
            finally:
                watch.cancel()
            if self._stopping:
                return
            if self.yields > yields:
                continue
            self.restarts += 1
            delay_s = next(delays)
            _log.warning("sealer ended: code=%s retry_s=%.1f", code, delay_s)
            await self._clock.sleep(delay_s)

    async def _calm(self) -> None:
        """Returns once the disk keeps up; where it did not, once it has for a while."""
        left_s = _CALM_S if self._pressed() else 0.0
        while left_s > 0 and not self._stopping:
            await self._clock.sleep(_LOOK_S)
            left_s = _CALM_S if self._pressed() else left_s - _LOOK_S

    async def _yield(self) -> None:
        """Ends the process as soon as the disk does not keep up."""
        while True:
            await self._clock.sleep(_LOOK_S)
            process = self._process
            if self._pressed() and process is not None and process.returncode is None:
                break
        self.yields += 1
        _log.warning("sealer yields: the disk does not keep up with the recorder")
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    async def finish(self) -> bool:
        """The journal is closed: let the running sealer end, or run one, until everything is sealed. False:
        it failed.
        """
        self._stopping = True
        process = self._process
        if process is not None and await process.wait() == 0:
            return True
        return await self._call() == 0

    def kill(self) -> None:
        """End it at once; nothing is lost by that."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    async def _call(self, *flags: str) -> int:
        # Its own session: a Ctrl-C at the terminal is for the recorder, which ends its sealer in order.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bookreel.cli",
            "seal",
            "--archive",
            str(self._archive),
            *flags,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._process = process
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        try:
            return await process.wait()
        finally:
            if self._process is process and process.returncode is not None:
                self._process = None
