"""`bookreel info`: what an archive holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bookreel.cli.options import archive_option, examples

__all__ = ["command"]


@click.command(
    "info", epilog=examples("bookreel info --archive ./archive", "bookreel info --archive A --format json")
)
@archive_option()
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(archive: Path, format_: str) -> None:
    """Say what an archive holds: tables, symbols, time, sizes, gaps, and what is not sealed yet."""
    from bookreel.replay import Archive
    from bookreel.storage.journal import is_recording
    from bookreel.storage.layout import read_meta
    from bookreel.storage.manifest import Manifest
    from bookreel.storage.segment import list_segments

    meta = read_meta(archive)
    manifest = Manifest.load(archive)
    sealed = {entry.segment for entry in manifest.segments}
    unsealed = [segment for segment in list_segments(archive) if segment.name not in sealed]
    with Archive(archive) as opened:
        tables = {name: _rows(opened, name) for name in opened.tables()}
        [(first, last)] = opened.sql(
            "SELECT min(ts_recv)::VARCHAR, max(ts_recv)::VARCHAR FROM frames"
        ).fetchall()
        symbols = [symbol for symbol in opened.symbols() if symbol]
        gaps = dict(opened.sql("SELECT cause, count(*) FROM gaps GROUP BY cause ORDER BY 2 DESC").fetchall())
    facts: dict[str, Any] = {
        "archive": str(archive),
        "venue": meta.venue,
        "recording": is_recording(archive),
        "first": first,
        "last": last,
        "symbols": symbols,
        "rows": tables,
        "gaps": gaps,
        "sealed_segments": len(manifest.segments),
        "sealed_bytes": sum(file.bytes for entry in manifest.segments for file in entry.files),
        "unsealed_segments": len(unsealed),
        "unsealed_bytes": sum(segment.size for segment in unsealed),
    }
    if format_ == "json":
        import msgspec

        click.echo(msgspec.json.encode(facts))
        return
    state = "being recorded now" if facts["recording"] else "nobody is recording"
    click.echo(f"{archive}: {meta.venue}, {state}")
    click.echo(f"  from     {facts['first']}\n  to       {facts['last']}  (UTC)")
    listed = ", ".join(symbols[:8]) + (f" and {len(symbols) - 8} more" if len(symbols) > 8 else "")
    click.echo(f"  symbols  {len(symbols)}: {listed}")
    for name, count in tables.items():
        if count:
            click.echo(f"  {name:<15} {count:>14,} rows")
    click.echo(f"  gaps     {', '.join(f'{count} {cause}' for cause, count in gaps.items()) or 'none'}")
    click.echo(
        f"  sealed   {facts['sealed_segments']} segments, {facts['sealed_bytes'] / 1e6:,.1f} MB of Parquet; "
        f"in the journal {facts['unsealed_segments']} segments, {facts['unsealed_bytes'] / 1e6:,.1f} MB"
    )


def _rows(archive: Any, table: str) -> int:
    [(count,)] = archive.sql(f'SELECT count(*) FROM "{table}"').fetchall()  # noqa: S608 - a name of ours
    return int(count)
