"""What commands that listen have in common: a port, a host that may have no address, and their end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

__all__ = ["ended_or", "port_option", "resolving", "stop_event"]

_F = TypeVar("_F", bound=Callable[..., Any])


def port_option(default: int) -> Callable[[_F], _F]:
    """`--port N`."""
    return click.option(
        "--port", type=click.IntRange(0, 65_535), default=default, show_default=True, help="0: any free one."
    )


@contextmanager
def resolving(host: str) -> Iterator[None]:
    """A ``--host`` without an address is told as the wrong option that it is."""
    try:
        yield
    except socket.gaierror as error:
        raise click.UsageError(f"--host {host}: {error.strerror}; 127.0.0.1 is this machine") from error


def stop_event() -> asyncio.Event:
    """Set by SIGINT and SIGTERM from now on; call it where the event loop runs."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


async def ended_or(ended: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Wait for a signal, or the end of a recording (True), of which what went wrong is raised."""
    waits = [asyncio.ensure_future(ended), asyncio.ensure_future(stop.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if waits[0].done():
            await waits[0]
        return waits[0].done()
    finally:
        for wait in waits:
            wait.cancel()
