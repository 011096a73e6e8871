"""`bookreel merge`: two recordings of one feed become one."""

from __future__ import annotations

from pathlib import Path

import click

from bookreel.cli.options import archive_option, examples

__all__ = ["command"]

_SOURCE = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    "merge",
    epilog=examples(
        "bookreel merge ./line-1 ./line-2 --archive ./merged",
        "bookreel verify --archive ./merged",
        "bookreel gaps --archive ./merged",
    ),
)
@click.argument("first", type=_SOURCE, metavar="A")
@click.argument("second", type=_SOURCE, metavar="B")
@archive_option(exists=False, help=" A new one.")
def command(first: Path, second: Path, archive: Path) -> None:
    """Make one archive of two that recorded the same feed independently of each other.

    It holds every frame of A and B, each trade and each change of a book once, and only those gaps that both have. A
    and B are not changed. Interrupted anywhere, the next run begins anew and gives the same files.
    """
    from bookreel.cli.progress import Progress
    from bookreel.storage.merge import merge

    with Progress("merging") as progress:

        def advance(steps: int, total: int) -> None:
            progress.total(total)
            progress.advance(steps)

        report = merge(first, second, archive, progress=advance)
    rows = ", ".join(f"{count:,} {table}" for table, count in sorted(report.rows.items()) if count)
    records = " and ".join(f"{count:,}" for count in report.records)
    click.echo(f"merged {records} records into {archive} in {report.seconds:.1f} s: {rows or 'no rows'}")
    gaps = "1 gap" if report.gaps == 1 else f"{report.gaps:,} gaps"
    click.echo(f"{gaps} left; next: bookreel verify --archive {archive}")
    if report.unequal:
        click.echo(
            f"the books of A and B differed at {report.unequal} sequence numbers, where the two were not mixed: "
            "run bookreel verify on both",
            err=True,
        )
