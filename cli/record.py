"""`bookreel record`: the recorder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookreel.cli.options import Names, Seconds, Url, archive_option, examples

__all__ = ["command"]


@click.command(
    "record",
    epilog=examples(
        "bookreel record --symbols btcusdt,ethusdt --feeds mbp.150,trade --archive ./archive",
        "bookreel record recorder.toml",
        "bookreel record recorder.toml --symbols all --for 24h",
        "bookreel record --venue futu --symbols HK.00700,US.AAPL --feeds orderbook,ticker,kline.1min",
        "",
        "recorder.toml:",
        '  symbols = ["btcusdt", "ethusdt"]',
        '  feeds = ["mbp.150", "depth.step0", "bbo", "trade.detail", "kline.1min"]',
        '  archive = "/var/lib/bookreel"',
    ),
)
@click.argument("config", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--venue", help="Whose protocol is spoken: huobi or futu.  [default: huobi]")
@click.option("--symbols", type=Names(), help="Such as btcusdt,ethusdt; `all`: every one that is online.")
@click.option("--feeds", type=Names(), help="Such as mbp.150,depth.step0,bbo,trade,kline.1min,detail.")
@archive_option(required=False, exists=False, help="  [default: archive]")
@click.option("--ws-url", type=Url("wss", "ws"), help="Every feed but the incremental books.")
@click.option("--feed-url", type=Url("wss", "ws"), help="Incremental books.")
@click.option("--rest-url", type=Url("https", "http"), help="Reference data.")
@click.option("--token-env", help="Environment variable that holds the venue's key, where it wants one.")
@click.option("--token-file", type=click.Path(), help="File that holds it.")
@click.option("--for", "for_seconds", type=Seconds(), help="Stop after this time, such as 60s or 24h.")
def command(config: Path | None, archive: Path | None, symbols: list[str] | None, **flags: Any) -> None:
    """Record a venue's feeds until stopped by a signal, then seal what is left.

    CONFIG is a TOML file; flags stand above it. A second signal ends at once, and loses nothing that was durable.
    """
    from bookreel.ingest.config import load_config
    from bookreel.ingest.run import record

    named: list[str] | str | None = "all" if symbols == ["all"] else symbols
    settings = load_config(
        config, {**flags, "symbols": named, "archive": None if archive is None else str(archive)}
    )
    record(settings)
