"""`bookreel seal`: journal segments to Parquet."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path

import click

from bookreel.cli.options import archive_option, examples

__all__ = ["command"]


@click.command(
    "seal", epilog=examples("bookreel seal --archive ./archive", "bookreel seal --archive ./archive --follow")
)
@archive_option()
@click.option("--follow", is_flag=True, help="Go on until the recorder has stopped and everything is sealed.")
def command(archive: Path, follow: bool) -> None:
    """Turn closed journal segments into Parquet; a recorder does this by itself.

    Interrupted anywhere, the next run gives the same files.
    """
    from bookreel.cli.progress import Progress
    from bookreel.storage.seal import seal

    # What is half done when a signal comes is given up; the next run does it again and gets the same files.
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # A sealer that follows runs beside a recorder, and the terminal is the recorder's.
    with contextlib.nullcontext() if follow else Progress("sealing segments") as progress:
        report = seal(
            archive,
            follow=follow,
            stop=stop,
            progress=None if progress is None else lambda _: progress.advance(),
        )
    if not report.segments:
        click.echo("nothing to seal")
        return
    rows = ", ".join(f"{count:,} {table}" for table, count in sorted(report.rows.items()) if count)
    segments = "1 segment" if report.segments == 1 else f"{report.segments} segments"
    click.echo(
        f"sealed {segments}, {report.records:,} records, in {report.seconds:.1f} s: {rows or 'no rows'}"
    )
