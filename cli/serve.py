"""`bookreel serve`: an archive over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bookreel.cli.listening import port_option, stop_event
from bookreel.cli.options import Names, archive_option, examples

if TYPE_CHECKING:
    from bookreel.replay.server import Settings

__all__ = ["command"]

LEVELS: Final = ("debug", "info", "warning", "error")


@click.command(
    "serve",
    epilog=examples(
        "bookreel serve --archive ./archive",
        "curl 'http://127.0.0.1:8000/v1/book?symbol=btcusdt&at=2026-11-20T12:00:00Z&depth=5'",
        "curl 'http://127.0.0.1:8000/v1/trades?symbol=btcusdt&format=csv'",
        "bookreel serve --archive ./archive --host 0.0.0.0 --token-env BOOKREEL_TOKEN",
        "bookreel serve --archive ./crypto --archive ./stocks --enable-sql",
    ),
)
@archive_option(
    multiple=True, help=" Several, each of another venue: the first is served, SQL asks all as one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others need a token.")
@port_option(8000)
@click.option("--token-env", metavar="NAME", help="The environment variable with the token clients bring.")
@click.option("--token-file", type=click.Path(path_type=Path), metavar="FILE", help="The same, from a file.")
@click.option("--allow-host", type=Names(), metavar="A,B", help="Further names the server is called by.")
@click.option(
    "--allow-origin", type=Names(), metavar="A,B", help="Web pages that may read it, such as http://h:1."
)
@click.option("--enable-sql", is_flag=True, help="Answer /v1/sql, in a process of its own that only reads.")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Processes that read."
)
@click.option(
    "--streams", type=click.IntRange(1, 10_000), default=16, show_default=True, help="Long answers at once."
)
@click.option("--verify-on-read", is_flag=True, help="Check each file's digest before it is used.")
@click.option("--access-log", is_flag=True, help="Write a line for each request to stderr.")
@click.option("--log-level", type=click.Choice(LEVELS), default="warning", show_default=True)
def command(
    archive: tuple[Path, ...],
    host: str,
    port: int,
    token_env: str | None,
    token_file: Path | None,
    allow_host: list[str] | None,
    allow_origin: list[str] | None,
    enable_sql: bool,
    workers: int,
    streams: int,
    verify_on_read: bool,
    access_log: bool,
    log_level: str,
) -> None:
    """Serve an archive over HTTP until stopped, also one that is being recorded.

    /v1/openapi.json describes every path. It runs at a low priority, and reads in processes of its own. Ctrl-C or
    SIGTERM ends it in order.
    """
    import asyncio
    import logging
    import os

    from bookreel.replay.server import Limits, Settings
    from bookreel.replay.server.auth import read_token
    from bookreel.replay.server.folder import folder_of

    if len(archive) > 1 and not enable_sql:
        raise click.UsageError(
            "several archives are asked together by SQL only: give --enable-sql, or serve each by itself"
        )
    settings = Settings(
        host=host,
        port=port,
        token=read_token(token_env, token_file),
        allow_hosts=tuple(allow_host or ()),
        allow_origins=tuple(allow_origin or ()),
        limits=Limits(streams=streams),
        sql=enable_sql,
        workers=workers,
        verify=verify_on_read,
    )
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if access_log:
        logging.getLogger("bookreel.access").setLevel(logging.INFO)
    with folder_of(archive) as (folder, names):
        os.chdir(folder)
        asyncio.run(_serve(names, settings, access_log))


async def _serve(archives: tuple[str, ...], settings: Settings, access_log: bool) -> None:
    import os

    from bookreel.replay.server import Server, make_app

    os.nice(settings.niceness)
    stop = stop_event()
    app = make_app(Path(), settings, archives=archives)
    async with Server([(app, settings.port)], settings, access_log=access_log) as server:
        click.echo(f"listening: {server.url}")
        await stop.wait()
    click.echo("stopped")
