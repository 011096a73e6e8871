"""`bookreel compact`: a closed day's many files to one a table."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bookreel.cli.options import archive_option, examples

if TYPE_CHECKING:
    from bookreel.storage.compact import Task

__all__ = ["command"]

NICE = 10


@click.command(
    "compact",
    epilog=examples(
        "bookreel compact --archive ./archive",
        "bookreel compact --archive ./archive --date 2026-11-20 --dry-run",
        "15 2 * * *  bookreel compact --archive /data/archive --wait     (a line of a crontab)",
    ),
)
@archive_option()
@click.option("--date", metavar="YYYY-MM-DD", help="Only this day (UTC).")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--wait", is_flag=True, help="Wait for another compaction instead of refusing.")
def command(archive: Path, date: str | None, dry_run: bool, wait: bool) -> None:
    """Merge the files of each day that is over: one a table instead of one a segment.

    Recording and queries go on meanwhile, and whoever reads parquet/ with a plain glob sees each row exactly
    once. The disk needs room for one day of one table twice. Interrupted anywhere, the next run goes on.
    """
    from bookreel.cli.progress import Progress
    from bookreel.storage.compact import compact, plan

    if dry_run:
        tasks = plan(archive, date=date)
        for task in tasks:
            click.echo(_would(task))
        click.echo(_nothing(date) if not tasks else f"{len(tasks)} folders would be compacted")
        return
    # What is half done when a signal comes is given up; it is under compact/, where nobody looks.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with Progress("compacting folders") as progress:
        report = compact(
            archive,
            date=date,
            wait=wait,
            stop=stop,
            total=progress.total,
            progress=lambda _: progress.advance(),
        )
    for folder in report.skipped:
        click.echo(f"left as it is: {folder}", err=True)
    if report.folders:
        click.echo(
            f"compacted {report.days} days: {report.files_before:,} files of {_megabytes(report.bytes_before)} are "
            f"{report.files_after:,} of {_megabytes(report.bytes_after)}; {report.rows:,} rows in "
            f"{report.seconds:.1f} s"
        )
    elif not report.skipped and not report.stopped:
        click.echo(_nothing(date))
    if report.stopped:
        click.echo("stopped; the next run goes on", err=True)
        click.get_current_context().exit(128 + signal.SIGINT)


def _would(task: Task) -> str:
    rows = sum(file.rows for file in task.files)
    size = sum(file.bytes for file in task.files)
    return (
        f"{task.folder}: {len(task.files):,} files to {len(task.groups):,}, {rows:,} rows, {_megabytes(size)}"
    )


def _nothing(date: str | None) -> str:
    return f"nothing to compact{'' if date is None else f' on {date}'}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
