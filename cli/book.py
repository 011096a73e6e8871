"""`bookreel book`: the order book at an instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bookreel.cli.options import archive_option, examples

if TYPE_CHECKING:
    from bookreel.replay import Book

__all__ = ["command"]


@click.command(
    "book",
    epilog=examples(
        "bookreel book --archive ./archive --symbol btcusdt --at 2026-11-20T12:00:00.5Z --depth 5",
        "bookreel book --archive ./archive --symbol btcusdt --at now --format json",
    ),
)
@archive_option()
@click.option("--symbol", required=True)
@click.option("--at", "at", required=True, help="ISO-8601, integer ns since the epoch, or now.")
@click.option("--feed", help="Such as mbp.150; by default the deepest one with a checked sequence.")
@click.option("--depth", type=click.IntRange(min=1), default=10, show_default=True, help="Levels a side.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(archive: Path, symbol: str, at: str, feed: str | None, depth: int, format_: str) -> None:
    """Show the order book as it was known at an instant.

    Exit code 1 where the book is not valid at that instant; the answer says why.
    """
    from bookreel.ingest.clock import SystemClock
    from bookreel.replay import Archive

    when: int | str = SystemClock().wall_ns() if at == "now" else at
    with Archive(archive) as opened:
        book = opened.book(symbol, at=when, feed=feed, depth=depth)
    if format_ == "json":
        import msgspec

        click.echo(msgspec.json.encode(book))
    else:
        _show(book)
    if not book.valid:
        click.get_current_context().exit(1)


def _show(book: Book) -> None:
    from bookreel.replay import iso

    click.echo(f"{book.symbol} {book.feed}  seq {book.seq}  epoch {book.epoch}  received {iso(book.ts_recv)}")
    if not book.valid:
        if book.gap is None:
            click.echo("NOT VALID: nothing was recorded for this instant")
        else:
            until = iso(book.gap.end) if book.gap.end is not None else "now"
            click.echo(
                f"NOT VALID: inside a gap ({book.gap.cause}) from {iso(book.gap.start)} to {until}; "
                "the last good book is shown"
            )
    click.echo(f"{'bid size':>24} {'bid':>24}   {'ask':<24} {'ask size':<24}")
    for row in range(max(len(book.bids), len(book.asks))):
        bid, bid_size = book.bids[row] if row < len(book.bids) else ("", "")
        ask, ask_size = book.asks[row] if row < len(book.asks) else ("", "")
        click.echo(f"{bid_size!s:>24} {bid!s:>24}   {ask!s:<24} {ask_size!s:<24}".rstrip())
