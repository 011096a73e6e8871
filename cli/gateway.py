"""`bookreel exchange` of the second venue: a gateway of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import click

from bookreel.cli.listening import ended_or, resolving, stop_event

if TYPE_CHECKING:
    from bookreel.exchange.futu import GatewayConfig

__all__ = ["run"]


def run(told: dict[str, Any], hours: str, token_env: str | None, for_: float | None) -> None:
    """Serve until a signal, or for ``for_`` seconds. ``told``: settings by their name; what it does not hold is as
    usual.
    """
    from bookreel.exchange.futu import GatewayConfig

    if token_env is not None:
        key = os.environ.get(token_env)
        if not key:
            raise click.UsageError(
                f"--token-env {token_env}: the environment has no such variable, or it is empty"
            )
        told = {**told, "keys": {key: ("qot:read", "qot:state")}}
    config = GatewayConfig(hours="real" if hours == "real" else "always", **told)
    with resolving(config.host):
        asyncio.run(_serve(config, for_))


async def _serve(config: GatewayConfig, for_: float | None) -> None:
    from bookreel.exchange.futu import GatewayServer

    stop = stop_event()
    async with GatewayServer(config) as server:
        click.echo(f"listening: {server.ws_url} {server.rest_url}")
        if config.recording is None:
            click.echo(
                f"subscribe: curl -X POST {server.rest_url}/api/subscribe -d "
                f'\'{{"symbols":["{config.symbols[0]}"],"sub_types":[2,4],"is_sub_or_un_sub":true,'
                '"is_reg_or_un_reg_push":true}\''
            )
        else:
            click.echo(
                f"record it: bookreel record --venue futu --symbols {','.join(server.symbols[:2])} "
                f"--ws-url {server.ws_url} --rest-url {server.rest_url} --archive ./again"
            )
        with contextlib.suppress(TimeoutError):
            if await asyncio.wait_for(ended_or(server.ended(), stop), for_):
                click.echo(f"the recording has ended: {server.frames} frames were pushed")
    click.echo("stopped")
