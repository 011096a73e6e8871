"""`bookreel verify`: proof that what is stored is what was recorded."""

from __future__ import annotations

from pathlib import Path

import click

from bookreel.cli.interrupt import end_on_interrupt
from bookreel.cli.options import archive_option, examples

__all__ = ["command"]

PROBLEMS_SHOWN = 50


@click.command(
    "verify",
    epilog=examples(
        "bookreel verify --archive ./archive", "bookreel verify --archive ./archive --date 2026-11-20"
    ),
)
@archive_option()
@click.option("--date", metavar="YYYY-MM-DD", help="Only this day (UTC).")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(archive: Path, date: str | None, format_: str) -> None:
    """Check digests, row counts and sequence chains, and hold rebuilt books against every later snapshot.

    Exit code 1 if anything is wrong.
    """
    end_on_interrupt()

    from bookreel.cli.progress import Progress
    from bookreel.storage.verify import verify

    with Progress("verifying") as progress:
        report = verify(archive, date=date, progress=progress.advance)
    if format_ == "json":
        from bookreel.cli.output import print_json

        print_json([report])
    else:
        for problem in report.problems[:PROBLEMS_SHOWN]:
            click.echo(f"{problem.kind}: {problem.where}: {problem.text}", err=True)
        if len(report.problems) > PROBLEMS_SHOWN:
            click.echo(
                f"... and {len(report.problems) - PROBLEMS_SHOWN} more; --format json has all", err=True
            )
        for line in report.lines():
            click.echo(line)
    if report.problems:
        click.get_current_context().exit(1)
