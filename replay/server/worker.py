"""A process that reads for the server: an answer a thread, at a lower priority than whatever records.

The server runs :func:`main` in it, and hands it a socket for each question over the control socket. It ends when that
is closed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa

from bookreel.replay.archive import Archive
from bookreel.replay.server.desk import Desk
from bookreel.replay.server.errors import Internal, translate
from bookreel.replay.server.jobs import JOBS
from bookreel.replay.server.wire import Failure, Frame, Head, Question, receive, send
from bookreel.storage.shared_tail import SharedTail

__all__ = ["READY", "Orders", "main"]

READY: Final = b"+"
"""What a process says when it can be asked."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """How such a process is set up. ``niceness`` is added to the server's. ``bytes_max``: of memory, above what it
    has when it is ready; None does not bound. ``jobs``: those that it does.
    """

    archive: str
    verify: bool
    niceness: int
    bytes_max: int | None
    jobs: tuple[str, ...]


def main(arguments: list[str]) -> None:
    """Answer until the control socket is closed. ``arguments``: its descriptor, and the orders as JSON."""
    # The server ends this process: Ctrl-C on a terminal reaches all of them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = msgspec.json.decode(arguments[1], type=Orders)
    os.nice(orders.niceness)
    pa.set_cpu_count(1)
    os.chdir(orders.archive)  # what is wrong with a file is told by its name in the archive
    control = socket.socket(fileno=int(arguments[0]))
    with (
        SharedTail(Path()) as tail,
        Archive(tail, verify_on_read=orders.verify, memory_bytes=orders.bytes_max) as archive,
    ):
        desk = Desk(archive)
        archive.sql(
            "FROM gaps LIMIT 0"
        ).fetchall()  # the first question finds the journal's tail and SQL there
        gc.freeze()
        if orders.bytes_max is not None:
            _confine(orders.bytes_max)
        control.sendall(READY)
        while True:
            word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not word:
                break
            for descriptor in descriptors:
                connection = socket.socket(fileno=descriptor)
                threading.Thread(target=_answer, args=(desk, connection, orders.jobs), daemon=True).start()
    os._exit(0)  # answers that are still under way have nobody to read them


def _answer(desk: Desk, connection: socket.socket, jobs: tuple[str, ...]) -> None:
    with connection, contextlib.suppress(OSError, EOFError):
        _, payload = receive(connection)
        question = msgspec.msgpack.decode(payload, type=Question)
        assert question.job in jobs, "the server asks each process for what it is there for"
        try:
            with contextlib.closing(JOBS[question.job](desk, question.values)) as parts:
                for part in parts:
                    if isinstance(part, Head):
                        send(connection, Frame.HEAD, msgspec.msgpack.encode(part))
                    elif len(part):
                        send(connection, Frame.CHUNK, part)
            send(connection, Frame.END)
        except (OSError, EOFError):
            raise
        except Exception as error:
            known = translate(error)
            # The server logs it: this process can write no file, also where its stderr is one.
            trace = traceback.format_exc() if isinstance(known, Internal) else None
            failure = Failure(known.status, dict(known.headers), known.body, trace)
            send(connection, Frame.FAILURE, msgspec.msgpack.encode(failure))


def _confine(bytes_max: int) -> None:
    """From now on this process can take no more than so much memory, and write no file."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        most = pages * resource.getpagesize() + 2 * bytes_max  # DuckDB keeps to the half by itself
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
