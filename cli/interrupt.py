"""Ctrl-C while a library computes: Python's own handler waits until it is done, which can be long."""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["end_on_interrupt"]

INTERRUPTED = 130


def end_on_interrupt() -> None:
    """From now on SIGINT ends this process at once and quietly. Only for a command that has nothing to put right, and
    before it imports a library that starts threads, as numpy does: they would take the signal.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return
    # Threads made later inherit the mask, so that the signal waits for the one that asks for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_wait, name="interrupt", daemon=True).start()


def _wait() -> None:
    signal.sigwait({signal.SIGINT})
    os._exit(INTERRUPTED)
