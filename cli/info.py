"""`bookreel info`: what an archive holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from bookreel.cli.interrupt import end_on_interrupt
from bookreel.cli.options import archive_option, examples

__all__ = ["command"]

NOTED: Final = {
    "decode_errors": "unreadable frames",
    "unknown_fields": "fields nobody knows",
    "inexact_numbers": "numbers a float64 cannot hold",
}
"""What the sealer counts, and how it is called."""

SYMBOLS_SHOWN = 8


@click.command(
    "info",
    epilog=examples("bookreel info --archive ./archive", "bookreel info --archive ./archive --format json"),
)
@archive_option()
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(archive: Path, format_: str) -> None:
    """Say what an archive holds: tables, symbols, time, sizes, gaps, and what is not sealed yet."""
    end_on_interrupt()

    from bookreel.cli.output import print_json

    facts = _facts(archive)
    if format_ == "json":
        print_json([facts])
        return
    state = "being recorded now" if facts["recording"] else "nobody is recording"
    click.echo(f"{archive}: {facts['venue']}, {state}")
    click.echo(f"  from     {facts['first'] or 'never'}")
    click.echo(f"  to       {facts['last'] or 'never'}")
    symbols = facts["symbols"]
    more = f" and {len(symbols) - SYMBOLS_SHOWN} more" if len(symbols) > SYMBOLS_SHOWN else ""
    click.echo(f"  symbols  {len(symbols)}: {', '.join(symbols[:SYMBOLS_SHOWN]) or 'none'}{more}")
    gaps = ", ".join(f"{count:,} {cause}" for cause, count in facts["gaps"].items())
    click.echo(f"  gaps     {gaps or 'none'}")
    click.echo(
        f"  sealed   {_segments(facts['sealed_segments'])}, {facts['sealed_bytes'] / 1e6:,.1f} MB of Parquet; "
        f"in the journal {_segments(facts['unsealed_segments'])}, {facts['unsealed_bytes'] / 1e6:,.1f} MB"
    )
    noted = ", ".join(
        f"{facts['noted'][name]:,} {text}" for name, text in NOTED.items() if facts["noted"][name]
    )
    click.echo(f"  noted    {noted or 'nothing odd'}, of what is sealed")
    click.echo("  rows" if any(facts["rows"].values()) else "  rows     none")
    for name, count in facts["rows"].items():
        if count:
            click.echo(f"    {name:<15} {count:>14,}")


def _facts(archive: Path) -> dict[str, Any]:
    from bookreel.cli.questions import answer
    from bookreel.replay import Archive
    from bookreel.replay.times import stamp
    from bookreel.storage.disk import OsDisk
    from bookreel.storage.journal import is_recording
    from bookreel.storage.layout import read_meta
    from bookreel.storage.manifest import Manifest
    from bookreel.storage.segment import list_segments

    meta = read_meta(archive, OsDisk())
    with Archive(archive) as opened:
        counts = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in opened.tables())  # noqa: S608
        # One question for all tables, so that the journal's tail is decoded once.
        rows = dict(answer(opened, counts))
        [(first, last)] = answer(opened, "SELECT epoch_ns(min(ts_recv)), epoch_ns(max(ts_recv)) FROM frames")
        gaps = answer(opened, "SELECT cause, count(*) FROM gaps GROUP BY cause ORDER BY 2 DESC, 1")
        symbols = [symbol for symbol in opened.symbols() if symbol]
    manifest = Manifest.load(archive)
    unsealed = [segment for segment in list_segments(archive) if not manifest.sealed(segment.name)]
    return {
        "archive": str(archive),
        "venue": meta.venue,
        "recording": is_recording(archive),
        "first": stamp(first),
        "last": stamp(last),
        "symbols": symbols,
        "gaps": dict(gaps),
        "sealed_segments": len(manifest.segments),
        "sealed_bytes": sum(file.bytes for files in manifest.tables().values() for file in files),
        "unsealed_segments": len(unsealed),
        "unsealed_bytes": sum(segment.size for segment in unsealed),
        "noted": {name: sum(entry.counts.get(name, 0) for entry in manifest.segments) for name in NOTED},
        "rows": rows,
    }


def _segments(count: int) -> str:
    return "1 segment" if count == 1 else f"{count:,} segments"
