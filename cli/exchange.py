"""`bookreel exchange`: an exchange of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from pathlib import Path

import click

from bookreel.cli.options import Names, Seconds, examples

__all__ = ["command"]


@click.command(
    "exchange",
    epilog=examples(
        "bookreel exchange --port 9600 --symbols btcusdt,ethusdt",
        "bookreel exchange --faults all --truth truth.ndjson --seed 7",
        "bookreel exchange --faults lost_delta=10,disconnect=2     (expected number per minute)",
    ),
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=9600, show_default=True, help="0: any free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--symbols", type=Names(), help="Those with a market; by default a few of every kind.")
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    default=20.0,
    show_default=True,
    help="Events a second and symbol.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed, the same market and faults."
)
@click.option("--faults", default="", metavar="SPEC", help="`all`, or kind=number,... per minute.")
@click.option(
    "--truth", type=click.Path(dir_okay=False, path_type=Path), help="Write what really happens (NDJSON)."
)
@click.option("--for", "for_", type=Seconds(), help="Stop after this time.")
def command(
    port: int,
    host: str,
    symbols: list[str] | None,
    rate: float,
    seed: int,
    faults: str,
    truth: Path | None,
    for_: float | None,
) -> None:
    """Run an exchange that speaks the Huobi spot protocol over a synthetic market with a true book.

    Point a bot or a recorder at it: every public WebSocket topic, requests, pings, error texts and REST pages are as
    the venue's. It can inflict faults and writes down which.
    """
    from bookreel.exchange import ExchangeConfig

    config = ExchangeConfig(host=host, port=port, rate=rate, seed=seed, faults=faults, truth=truth)
    if symbols is not None:
        import msgspec

        config = msgspec.structs.replace(config, symbols=tuple(symbols))
    try:
        asyncio.run(_serve(config, for_))
    except socket.gaierror as error:
        raise click.UsageError(f"--host {host}: {error.strerror}; 127.0.0.1 is this machine") from error


async def _serve(config: object, for_: float | None) -> None:
    from bookreel.exchange import Exchange, ExchangeConfig

    assert isinstance(config, ExchangeConfig), "made above"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Exchange(config) as exchange:
        click.echo(f"listening: {exchange.ws_url} {exchange.feed_url} {exchange.rest_url}")
        click.echo(
            f"record it: bookreel record --symbols {','.join(config.symbols[:2])} --ws-url {exchange.ws_url} "
            f"--feed-url {exchange.feed_url} --rest-url {exchange.rest_url} --archive ./archive"
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), for_)
    click.echo("stopped")
