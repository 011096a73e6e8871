"""`bookreel sql`: one query over an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bookreel.cli.interrupt import end_on_interrupt
from bookreel.cli.options import archive_option, examples
from bookreel.cli.output import FORMATS, print_rows

if TYPE_CHECKING:
    from bookreel.cli.output import Format

__all__ = ["command"]


@click.command(
    "sql",
    epilog=examples(
        "bookreel sql --archive ./archive \"SELECT * FROM bbo_at('btcusdt', now())\"",
        "bookreel sql --archive ./archive \"FROM ohlcv('btcusdt', INTERVAL 5 SECONDS)\" --format csv",
        'bookreel sql --archive ./archive "SELECT cause, count(*) FROM gaps GROUP BY ALL"',
        'bookreel sql --archive ./archive "FROM trades" --format parquet > trades.parquet',
        "bookreel sql --archive ./crypto --archive ./stocks \\",
        '    "SELECT venue, symbol, count(*) FROM trades GROUP BY ALL"',
        "",
        "tables: frames book_deltas book_snapshots bbo trades klines bars tickers quotes broker_queue timeshare gaps",
        "        sessions instruments; DESCRIBE <table> lists the columns",
        "macros: book_at(symbol, ts), bbo_at(symbol, ts), ohlcv(symbol, interval),",
        "        coverage(symbol), top(symbol, n)",
    ),
)
@archive_option(multiple=True, help=" Several, each of another venue, are asked as one.")
@click.argument("query")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--verify-on-read", is_flag=True, help="Check each file's digest before it is used.")
def command(archive: tuple[Path, ...], query: str, format_: Format, verify_on_read: bool) -> None:
    """Ask an archive with SQL (DuckDB's), what was received a moment ago included.

    Times are UTC; now() is the current time in the type of the time columns.
    """
    end_on_interrupt()

    from bookreel.cli.questions import ask
    from bookreel.replay import Archives

    with Archives(archive, verify_on_read=verify_on_read) as opened:
        print_rows(ask(opened, query), format_)
