"""`bookreel import`: captured frames into an archive."""

from __future__ import annotations

from pathlib import Path

import click

from bookreel.cli.options import archive_option, examples

__all__ = ["command"]


@click.command(
    "import",
    epilog=examples(
        "bookreel import capture.ndjson.gz --archive ./archive",
        'a line of the file: {"recv_ts": 1618678070.733454, "raw": "{...}", "gz_b64": "H4sI..."}',
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@archive_option()
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
    if not again and _holds(archive, capture.sha256):
        raise click.UsageError(
            f"{file} is in {archive} already; importing it again would record each frame twice. "
            "If that is what you want, add --again."
        )
    with Progress("importing", capture.count) as progress:
        with Journal.open(archive, venue, clock=SystemClock()) as journal:
            for _ in capture.write(journal):
                progress.advance()
        report = seal(archive)
    rows = ", ".join(f"{count:,} {table}" for table, count in sorted(report.rows.items()) if count)
    click.echo(f"imported {capture.count:,} frames of {file.name} into {archive}: {rows}")
    click.echo(f"next: bookreel info --archive {archive}")


def _holds(archive: Path, sha256: str) -> bool:
    from bookreel.replay import Archive

    if not (archive / "archive.json").exists():
        return False
    with Archive(archive) as opened:
        query = "SELECT count(*) FROM sessions WHERE event = 'import' AND contains(detail, ?)"
        [(count,)] = opened.sql(query, [sha256]).fetchall()
        return bool(count)
