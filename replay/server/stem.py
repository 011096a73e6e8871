"""The process that those which read are forked of: it decodes the journal's tail once, for all of them.

To decode a long tail takes seconds, and much longer on a busy machine; a process that is forked has it at once, and
shares its memory until one of them goes on. So a statement of SQL that was killed costs the next one a tenth of a
second. It has one thread, which does nothing while it forks: no lock is held in what is forked.

The server runs :func:`main` in it. It ends when its control socket is closed, and what it forked with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import struct
import time
import traceback
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from bookreel.replay.server import worker
from bookreel.replay.server.worker import Orders
from bookreel.storage.errors import StorageError
from bookreel.storage.schema import TABLES
from bookreel.storage.shared_tail import BYTES_MAX
from bookreel.storage.tail import Tail

__all__ = ["FORK", "KILL", "READY", "WORD", "Setup", "main"]

READY: Final = b"+"
"""What this process says when it can be asked."""

WORD: Final = struct.Struct(">cI")
"""What it is asked: a letter and a number."""

FORK: Final = b"f"
"""Fork a process after the orders of that number; its control socket comes with it."""

KILL: Final = b"k"
"""Kill the process of that number, if it was forked here and is still there."""

_STEP_S: Final = 0.25
"""Seconds between two looks at the journal."""

_END_S: Final = 1.0
"""For what was forked to end by itself."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """``folder``: where the process stays, so that every file has its name in there; ``archives``: their names in it.
    ``niceness``: added to the server's once the tails are decoded. ``orders``: what can be forked.
    """

    folder: str
    archives: tuple[str, ...]
    niceness: int
    orders: tuple[Orders, ...]


def main(arguments: list[str]) -> None:
    """Fork and follow until the control socket is closed. ``arguments``: its descriptor, and the setup as JSON."""
    # The server ends this process: Ctrl-C on a terminal reaches all of them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    setup = msgspec.json.decode(arguments[1], type=Setup)
    pa.set_cpu_count(1)
    os.chdir(setup.folder)
    control = socket.socket(fileno=int(arguments[0]))
    tails = [Tail(Path(name), TABLES, bytes_max=BYTES_MAX) for name in setup.archives]
    _advance(tails)
    os.nice(setup.niceness)
    gc.freeze()
    control.sendall(READY)
    children: set[int] = set()
    while True:
        _reap(children)
        if not select.select([control], [], [], _STEP_S)[0]:
            _advance(tails)
            continue
        word, descriptors = _hear(control)
        if word is None:
            break
        letter, number = word
        if letter == KILL and number in children:
            os.kill(number, signal.SIGKILL)
        elif letter == FORK:
            with socket.socket(fileno=descriptors[0]) as theirs:
                child = os.fork()
                if child == 0:
                    control.close()
                    _become(theirs, tails, setup.orders[number])
                children.add(child)
    _end(children)
    os._exit(0)


def _advance(tails: list[Tail]) -> None:
    """Decode what is new. What is wrong is told to whoever asks."""
    for tail in tails:
        with contextlib.suppress(StorageError, OSError):
            tail.advance()


def _hear(control: socket.socket) -> tuple[tuple[bytes, int] | None, list[int]]:
    """The next word with its descriptors; None at the end."""
    heard, descriptors, _, _ = socket.recv_fds(control, WORD.size, 1)
    while heard and len(heard) < WORD.size:
        more = control.recv(WORD.size - len(heard))
        heard = heard + more if more else b""
    return (WORD.unpack(heard) if heard else None), descriptors


def _become(control: socket.socket, tails: list[Tail], orders: Orders) -> None:
    """Be a process that reads, and nothing else; does not return."""
    try:
        worker.serve(control, tails, orders)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _reap(children: set[int]) -> None:
    """Let go those that have ended."""
    for child in [*children]:
        if os.waitpid(child, os.WNOHANG)[0]:
            children.discard(child)


def _end(children: set[int]) -> None:
    """Their control sockets are closed too: wait for them, and not for long."""
    until = time.monotonic() + _END_S
    while children and time.monotonic() < until:
        _reap(children)
        time.sleep(0.01)
    for child in children:
        os.kill(child, signal.SIGKILL)
