"""`bookreel exchange --venue futu`: a gateway of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bookreel.exchange.futu import GatewayConfig

__all__ = ["run"]


def run(
    host: str,
    port: int,
    symbols: list[str] | None,
    rate: float | None,
    seed: int,
    faults: str,
    truth: Path | None,
    for_: float | None,
    hours: str,
    token_env: str | None,
) -> None:
    """Serve until a signal, or for a time. ``rate`` None is the gateway's own; so are ``symbols``."""
    from bookreel.exchange.futu import GatewayConfig

    more: dict[str, Any] = {}
    if rate is not None:
        more["rate"] = rate
    if symbols is not None:
        more["symbols"] = tuple(symbols)
    if token_env is not None:
        key = os.environ.get(token_env)
        if not key:
            raise click.UsageError(
                f"--token-env {token_env}: the environment has no such variable, or it is empty"
            )
        more["keys"] = {key: ("qot:read", "qot:state")}
    config = GatewayConfig(
        host=host,
        port=port,
        seed=seed,
        faults=faults,
        truth=truth,
        hours="real" if hours == "real" else "always",
        **more,
    )
    try:
        asyncio.run(_serve(config, for_))
    except socket.gaierror as error:
        raise click.UsageError(f"--host {host}: {error.strerror}; 127.0.0.1 is this machine") from error


async def _serve(config: GatewayConfig, for_: float | None) -> None:
    from bookreel.exchange.futu import GatewayServer

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with GatewayServer(config) as server:
        click.echo(f"listening: {server.ws_url} {server.rest_url}")
        click.echo(
            f"subscribe: curl -X POST {server.rest_url}/api/subscribe -d "
            f'\'{{"symbols":["{config.symbols[0]}"],"sub_types":[2,4],"is_sub_or_un_sub":true,'
            '"is_reg_or_un_reg_push":true}\''
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), for_)
    click.echo("stopped")
