"""`bookreel import`: captured frames into an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bookreel.cli.options import archive_option, examples

if TYPE_CHECKING:
    from bookreel.ingest.capture import Capture

__all__ = ["command"]

EARLIER = """
SELECT count(*) AS begun, count(*) FILTER (EXISTS (
    FROM sessions s WHERE s.event = 'stop' AND s.pos > i.pos AND NOT EXISTS (
        FROM sessions b WHERE b.event = 'start' AND b.pos > i.pos AND b.pos < s.pos))) AS ended
FROM sessions i WHERE i.event = 'import' AND contains(i.detail, ?)
"""
"""Imports of a file, and how many of them came to their end."""


@click.command(
    "import",
    epilog=examples(
        "bookreel import capture.ndjson.gz --archive ./archive",
        'a line of the file: {"recv_ts": 1618678070.733454, "raw": "{...}", "gz_b64": "H4sI..."}',
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@archive_option(exists=False)
@click.option("--venue", default="huobi", show_default=True, help="Whose frames they are.")
@click.option("--again", is_flag=True, help="Import a file that the archive holds already.")
def command(file: Path, archive: Path, venue: str, again: bool) -> None:
    """Take captured frames into an archive, by the same pipeline as live ones.

    FILE has one JSON object a line, plain or gzip. It is checked whole before anything is written.
    """
    from bookreel import venues
    from bookreel.cli.progress import Progress
    from bookreel.ingest.capture import Capture
    from bookreel.ingest.clock import SystemClock
    from bookreel.storage.journal import Journal
    from bookreel.storage.seal import seal

    venues.get(venue)
    capture = Capture(file)
    if not again:
        _refuse_twice(capture, archive)
    with Progress("importing", capture.count) as progress:
        with Journal.open(archive, venue, clock=SystemClock()) as journal:
            for _ in capture.write(journal):
                progress.advance()
        report = seal(archive)
    rows = ", ".join(f"{count:,} {table}" for table, count in sorted(report.rows.items()) if count)
    click.echo(f"imported {capture.count:,} frames of {file.name} into {archive}: {rows}")
    click.echo(f"next: bookreel info --archive {archive}")


def _refuse_twice(capture: Capture, archive: Path) -> None:
    """Raises UsageError if the archive holds the capture already, or a part of it."""
    from bookreel.cli.questions import answer
    from bookreel.replay import Archive

    if not (archive / "archive.json").exists():
        return
    with Archive(archive) as opened:
        [(begun, ended)] = answer(opened, EARLIER, [capture.sha256])
    if ended:
        raise click.UsageError(
            f"{capture.path} is in {archive} already: importing it again would record each frame twice; "
            "if that is what you want, add --again"
        )
    if begun:
        raise click.UsageError(
            f"an import of {capture.path} into {archive} was interrupted, a part of it is there: import it into "
            "a new folder, or add --again to record that part twice"
        )
