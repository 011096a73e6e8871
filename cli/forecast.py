"""`bookreel forecast`: how long the disk lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click

from bookreel.cli.interrupt import end_on_interrupt
from bookreel.cli.options import archive_option, examples

__all__ = ["command"]

YEAR_DAYS: Final = 365
"""Beyond so many days a date says nothing."""


@click.command(
    "forecast",
    epilog=examples(
        "bookreel forecast --archive ./archive", "bookreel forecast --archive ./archive --days 14"
    ),
)
@archive_option()
@click.option("--days", type=click.FloatRange(min=0), metavar="N", help="Exit with 1 if it may last less.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(archive: Path, days: float | None, format_: str) -> None:
    """Say how many days the disk lasts at the rates of the last hour, day and week of recording.

    Exit code 1 with --days where one of them says less.
    """
    end_on_interrupt()

    from bookreel.storage.forecast import forecast

    found = forecast(archive)
    left = found.days_left
    if format_ == "json":
        import msgspec

        from bookreel.cli.output import print_json

        print_json([{"archive": str(archive), **msgspec.structs.asdict(found), "days_left": left}])
    else:
        click.echo(
            f"{archive}: {found.free / 1e9:,.1f} GB free; {found.sealed / 1e6:,.1f} MB sealed, "
            f"{found.journal / 1e6:,.1f} MB in the journal"
        )
        for rate in found.rates:
            click.echo(
                f"  last {rate.window:<5} {rate.bytes_per_second * 86_400 / 1e9:>10,.3f} GB a day "
                f"{rate.days_left:>12,.1f} days left{_full_on(rate.days_left)}"
                f"   ({rate.recorded / 3600:,.2f} h recorded)"
            )
        if left is None:
            click.echo("  too little is sealed to know a rate; ask again in some minutes, or seal")
    if days is not None and left is not None and left < days:
        click.echo(f"bookreel: the disk may last {left:,.1f} days, less than {days:g}; free some", err=True)
        click.get_current_context().exit(1)


def _full_on(days: float) -> str:
    """The day on which the disk is full, where that is soon enough to be said."""
    if days > YEAR_DAYS:
        return ""
    return f", until {(datetime.now(UTC) + timedelta(days=days)).date()}"
