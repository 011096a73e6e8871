"""`bookreel exchange`: an exchange of one's own."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookreel.cli import gateway
from bookreel.cli.listening import ended_or, port_option, resolving, stop_event
from bookreel.cli.options import Names, Seconds, examples
from bookreel.cli.replay import Speed

if TYPE_CHECKING:
    from bookreel.exchange import ExchangeConfig, Recording

__all__ = ["command"]


@click.command(
    "exchange",
    epilog=examples(
        "bookreel exchange --port 9600 --symbols btcusdt,ethusdt",
        "bookreel exchange --faults all --truth truth.ndjson --seed 7",
        "bookreel exchange --faults lost_delta=10,disconnect=2     (expected number per minute)",
        "bookreel exchange --archive ./archive --from 2026-11-20T12:00:00Z --speed 10",
        "bookreel exchange --archive ./archive --wait --speed max --gaps disconnect",
        "bookreel exchange --archive ./archive --tls-cert cert.pem --tls-key key.pem",
        "bookreel exchange --venue futu --symbols HK.00700,US.AAPL --hours real",
        "bookreel exchange --archive ./stocks --from 2026-11-20T01:30:00Z --speed 10     (its own protocol)",
    ),
)
@click.option(
    "--venue",
    type=click.Choice(["huobi", "futu"]),
    show_default="huobi, or the archive's",
    help="Whose protocol; futu: the FutuOpenD-rs gateway over a stock market.",
)
@port_option(9600)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--symbols", type=Names(), help="Those with a market; by default a few of every kind.")
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    show_default="20, futu 5",
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
@click.option(
    "--tls-cert",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Certificate (PEM): listen on wss:// and https://, which some clients insist on.",
)
@click.option(
    "--tls-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its key, where the certificate's file does not have it.",
)
@click.option(
    "--archive",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    multiple=True,
    callback=lambda context, parameter, value: _one(value),
    help="Play what was recorded instead of a synthetic market.",
)
@click.option("--from", "start", metavar="T", help="Begin at this receive time: ISO-8601 or integer ns.")
@click.option("--to", "end", metavar="T", help="End at this receive time.")
@click.option(
    "--speed", type=Speed(), default="1", show_default=True, help="How many times as fast as it was received."
)
@click.option(
    "--gaps",
    type=click.Choice(["break", "disconnect"]),
    default="break",
    show_default=True,
    help="How a hole shows: a broken chain after it (futu: not at all), or connections that end where it begins.",
)
@click.option(
    "--wait",
    type=Seconds(),
    is_flag=False,
    flag_value="1",
    metavar="[SECONDS]",
    help="Time stands while nobody is subscribed, and begins 1 s after the newest subscription.",
)
@click.option(
    "--hours",
    type=click.Choice(["always", "real"]),
    default="always",
    show_default=True,
    help="futu only: open all the time, or in each market's trading hours.",
)
@click.option(
    "--token-env",
    metavar="NAME",
    help="futu only: environment variable with the key that clients must give; without it none is needed.",
)
@click.pass_context
def command(
    context: click.Context,
    venue: str | None,
    port: int,
    host: str,
    symbols: list[str] | None,
    rate: float | None,
    seed: int,
    faults: str,
    truth: Path | None,
    for_: float | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    archive: Path | None,
    start: str | None,
    end: str | None,
    speed: float | None,
    gaps: str,
    wait: float | None,
    hours: str,
    token_env: str | None,
) -> None:
    """Run an exchange that speaks the Huobi spot protocol over a synthetic market with a true book.

    Point a bot or a recorder at it: every public WebSocket topic, requests, pings, error texts and REST pages are as
    the venue's. It can inflict faults and writes down which.

    With --archive its market is what was recorded, and its protocol that of the archive's venue: each message is
    pushed again as it was received, requests and REST are answered as of the same moment. At the end of the recording
    it closes every connection and ends.
    """
    spoken = _spoken(venue, archive)
    told: dict[str, Any] = {"host": host, "port": port, "seed": seed, "faults": faults, "truth": truth}
    if rate is not None:
        told["rate"] = rate
    if symbols is not None and archive is None:
        told["symbols"] = tuple(symbols)
    of_an_archive = [name for name in _OF_AN_ARCHIVE if _given(context, name)]
    if spoken == "futu" and (tls_cert or tls_key) is not None:
        raise click.UsageError("--tls-cert and --tls-key are for huobi: the gateway of futu has no TLS")
    if tls_cert is not None or tls_key is not None:
        told |= {"tls_cert": tls_cert, "tls_key": tls_key}
        _check_tls(tls_cert, tls_key)
    if archive is None and of_an_archive:
        raise click.UsageError(
            f"--{_OF_AN_ARCHIVE[min(of_an_archive)]} is for an archive; give --archive DIR"
        )
    if archive is not None:
        _check_played(context, spoken)
        told["recording"] = _recording(archive, symbols, start, end, speed, gaps, wait)
    if spoken == "futu":
        gateway.run(told, hours, token_env, for_)
        return
    if hours != "always" or token_env is not None:
        raise click.UsageError("--hours and --token-env are for --venue futu")
    from bookreel.exchange import ExchangeConfig
    from bookreel.ingest.loop import new_event_loop

    config = ExchangeConfig(**told)
    with resolving(host), asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(config, for_))


_OF_AN_ARCHIVE = {"start": "from", "end": "to", "speed": "speed", "gaps": "gaps", "wait": "wait"}


def _given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _one(archives: tuple[Path, ...]) -> Path | None:
    if len(archives) > 1:
        raise click.UsageError(
            "an exchange plays one archive, of one venue: run one for each, on a --port of its own, with the "
            "same --from and --speed"
        )
    return archives[0] if archives else None


def _spoken(venue: str | None, archive: Path | None) -> str:
    """The venue whose protocol is spoken."""
    if archive is None:
        return venue or "huobi"
    from bookreel.storage.disk import OsDisk
    from bookreel.storage.layout import read_meta

    recorded = read_meta(archive, OsDisk()).venue
    if venue not in (None, recorded):
        raise click.UsageError(f"{archive} is of {recorded}, and not of {venue}: leave out --venue")
    return recorded


def _check_played(context: click.Context, spoken: str) -> None:
    """Refuse what is for a synthetic market only."""
    if _given(context, "rate"):
        raise click.UsageError("--rate is for a synthetic market; an archive has its own: give --speed")
    for name in ("hours", "seed", "faults", "truth") if spoken == "futu" else ():
        if _given(context, name):
            raise click.UsageError(
                f"--{name} is for a synthetic market; what futu pushed is played as it was"
            )


def _check_tls(cert: Path | None, key: Path | None) -> None:
    import ssl

    if cert is None:
        raise click.UsageError("--tls-key is the key of a certificate; give --tls-cert FILE too")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise click.UsageError(
            f"--tls-cert {cert}: not a certificate with its key in PEM ({error.reason or error})"
        ) from error


def _recording(
    archive: Path,
    symbols: list[str] | None,
    start: str | None,
    end: str | None,
    speed: float | None,
    gaps: str,
    wait: float | None,
) -> Recording:
    from bookreel.exchange import Recording
    from bookreel.replay import to_ns

    start_ns = None if start is None else to_ns(start)
    end_ns = None if end is None else to_ns(end)
    if start_ns is not None and end_ns is not None and end_ns <= start_ns:
        raise click.UsageError(f"--to {end} is not after --from {start}")
    return Recording(
        archive=archive,
        symbols=None if symbols is None else tuple(symbols),
        start=start_ns,
        end=end_ns,
        speed=speed,
        gaps="break" if gaps == "break" else "disconnect",
        wait_s=wait,
    )


async def _serve(config: ExchangeConfig, for_: float | None) -> None:
    from bookreel.exchange import Exchange

    stop = stop_event()
    async with Exchange(config) as exchange:
        for note in exchange.notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"listening: {exchange.ws_url} {exchange.feed_url} {exchange.rest_url}")
        to = "archive" if config.recording is None else "again"  # not into what is played
        click.echo(
            f"record it: bookreel record --symbols {','.join(exchange.symbols[:2])} --ws-url {exchange.ws_url} "
            f"--feed-url {exchange.feed_url} --rest-url {exchange.rest_url} --archive ./{to}"
        )
        with contextlib.suppress(TimeoutError):
            ended = await asyncio.wait_for(ended_or(exchange.ended(), stop), for_)
            if ended:
                click.echo(f"the recording has ended: {exchange.frames} frames were pushed")
    click.echo("stopped")
