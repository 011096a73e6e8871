"""A process that reads for the server: an answer a thread, at a lower priority than whatever records.

It is forked with the journal's tails decoded (:mod:`bookreel.replay.server.stem`). The server hands it a socket for
each question over the control socket; it ends when that is closed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec

from bookreel.replay.archive import Archive
from bookreel.replay.archives import Archives
from bookreel.replay.server.desk import Desk
from bookreel.replay.server.errors import Internal, translate
from bookreel.replay.server.jobs import JOBS
from bookreel.replay.server.wire import Failure, Frame, Head, Question, receive, send
from bookreel.storage.shared_tail import SharedTail
from bookreel.storage.tail import Tail

__all__ = ["BORN", "Orders", "serve"]

BORN: Final = struct.Struct(">I")
"""What a process says when it can be asked: its number."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What such a process is there for. ``jobs``: those that it does, over the first archive, or ``several`` as one.
    ``bytes_max``: of memory, above what it has when it is ready; None does not bound.
    """

    jobs: tuple[str, ...]
    verify: bool
    several: bool = False
    bytes_max: int | None = None


def serve(control: socket.socket, tails: list[Tail], orders: Orders) -> None:
    """Answer until the control socket is closed."""
    with contextlib.ExitStack() as open_:
        shared = [open_.enter_context(SharedTail(tail)) for tail in (tails if orders.several else tails[:1])]
        asked: Archive | Archives
        if orders.several:
            asked = Archives(shared, verify_on_read=orders.verify, memory_bytes=orders.bytes_max)
        else:
            asked = Archive(shared[0], verify_on_read=orders.verify, memory_bytes=orders.bytes_max)
        open_.enter_context(asked)
        with contextlib.suppress(Exception):  # the first question finds SQL there, or is told why it is not
            asked.sql("FROM gaps LIMIT 0").fetchall()
        if orders.bytes_max is not None:
            _confine(orders.bytes_max)
        control.sendall(BORN.pack(os.getpid()))
        desk: Desk[Any] = Desk(asked)
        while True:
            word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not word:
                os._exit(0)  # answers that are still under way have nobody to read them
            for descriptor in descriptors:
                connection = socket.socket(fileno=descriptor)
                threading.Thread(target=_answer, args=(desk, connection, orders.jobs), daemon=True).start()


def _answer(desk: Desk[Any], connection: socket.socket, jobs: tuple[str, ...]) -> None:
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
        except ConnectionError:
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
