"""`bookreel gaps`: what is missing, and why."""

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

QUERY = """
SELECT symbol, feed, cause, start, "end", (epoch_ns("end") - epoch_ns(start)) / 1e6 AS ms, last_seq, next_seq, conn
FROM gaps
WHERE ($symbol IS NULL OR symbol = $symbol) AND ($cause IS NULL OR cause = $cause) AND (NOT $open OR "end" IS NULL)
ORDER BY start, symbol, feed
"""


@click.command(
    "gaps",
    epilog=examples(
        "bookreel gaps --archive ./archive",
        "bookreel gaps --archive ./archive --symbol btcusdt --cause seq_gap --format csv",
        "bookreel gaps --archive ./archive --open",
    ),
)
@archive_option()
@click.option("--symbol", metavar="S", help="Only this one.")
@click.option("--cause", metavar="CAUSE", help="Such as disconnect, silence or seq_gap.")
@click.option("--open", "open_", is_flag=True, help="Only gaps that have not ended.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
def command(archive: Path, symbol: str | None, cause: str | None, open_: bool, format_: Format) -> None:
    """List the holes, each with its cause; nothing is promised strictly between start and end.

    An open gap has no end.
    """
    end_on_interrupt()

    import difflib

    from bookreel.book import CAUSES
    from bookreel.cli.questions import ask
    from bookreel.replay import Archive

    if cause is not None and cause not in CAUSES:
        near = difflib.get_close_matches(cause, CAUSES, n=3, cutoff=0.3) or sorted(CAUSES)
        raise click.UsageError(f"There is no cause {cause!r}; did you mean {', '.join(near)}?")
    with Archive(archive) as opened:
        if symbol is not None:
            opened.coverage(symbol)  # refuses a symbol that the archive does not have
        print_rows(ask(opened, QUERY, {"symbol": symbol, "cause": cause, "open": open_}), format_)
