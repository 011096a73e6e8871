from __future__ import annotations

import asyncio
import os
import signal
import socket

import click
import pytest

from bookreel.cli.listening import resolving, stop_event


def test_a_host_without_an_address_is_a_wrong_option() -> None:
    with pytest.raises(click.UsageError, match="--host nowhere: Name or service"), resolving("nowhere"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it(number: signal.Signals) -> None:
    async def run() -> None:
        stop = stop_event()
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 60)

    asyncio.run(run())
