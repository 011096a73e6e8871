"""`bookreel book`: the order book at an instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookreel.cli.interrupt import end_on_interrupt
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
@click.option("--symbol", required=True, metavar="S", help="Such as btcusdt.")
@click.option("--at", "at", required=True, metavar="T", help="ISO-8601, integer ns since the epoch, or now.")
@click.option(
    "--feed", metavar="F", help="Such as mbp.150; by default the deepest one with a checked sequence."
)
@click.option("--depth", type=click.IntRange(min=1), default=10, show_default=True, help="Levels a side.")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(archive: Path, symbol: str, at: str, feed: str | None, depth: int, format_: str) -> None:
    """Show the order book as it was known at an instant.

    Exit code 1 where the book is not valid at that instant: the last good one is shown, and stderr says why.
    """
    end_on_interrupt()

    from bookreel.cli.output import print_json
    from bookreel.ingest.clock import SystemClock
    from bookreel.replay import Archive, to_ns

    instant = SystemClock().wall_ns() if at == "now" else to_ns(at)
    with Archive(archive) as opened:
        book = opened.book(symbol, at=instant, feed=feed, depth=depth)
    if format_ == "json":
        print_json([_fields(book)])
    elif book.ts_recv is not None:
        _show(book)
    if not book.valid:
        click.echo(f"bookreel: {_why(book, instant, archive)}", err=True)
        click.get_current_context().exit(1)


def _fields(book: Book) -> dict[str, Any]:
    """The book as JSON values, times as text."""
    import msgspec

    from bookreel.replay.times import stamp

    fields = msgspec.structs.asdict(book)
    fields["ts_event"], fields["ts_recv"] = stamp(book.ts_event), stamp(book.ts_recv)
    if book.gap is not None:
        gap = msgspec.structs.asdict(book.gap)
        fields["gap"] = gap | {"start": stamp(book.gap.start), "end": stamp(book.gap.end)}
    return fields


def _why(book: Book, instant: int, archive: Path) -> str:
    from bookreel.replay import iso

    what = f"the book of {book.symbol} {book.feed} is not valid at {iso(instant)}"
    if book.gap is not None:
        end = "until now" if book.gap.end is None else f"to {iso(book.gap.end)}"
        return (
            f"{what}: inside a gap ({book.gap.cause}) from {iso(book.gap.start)} {end}; "
            f"see bookreel gaps --archive {archive} --symbol {book.symbol}"
        )
    if book.ts_recv is None:
        when = "the recording of it had not begun yet"
    elif book.age_ns is None:
        when = "the recording of it had ended before"
    else:
        when = "none has been pushed since a gap, or the recording of it had ended before"
    return f"{what}: {when}; see bookreel sql --archive {archive} \"FROM coverage('{book.symbol}')\""


def _show(book: Book) -> None:
    from bookreel.replay import iso

    state = "" if book.valid else "  NOT VALID"
    age = "" if book.age_ns is None else f", {book.age_ns / 1e9:.3f} s before"
    click.echo(
        f"{book.symbol} {book.feed}  seq {book.seq}  epoch {book.epoch}  received {iso(book.ts_recv)}{age}{state}"
    )
    click.echo(f"{'bid size':>20} {'bid':>20}   {'ask':<20} {'ask size':<20}".rstrip())
    for row in range(max(len(book.bids), len(book.asks))):
        bid, bid_size = book.bids[row] if row < len(book.bids) else ("", "")
        ask, ask_size = book.asks[row] if row < len(book.asks) else ("", "")
        click.echo(f"{bid_size!s:>20} {bid!s:>20}   {ask!s:<20} {ask_size!s:<20}".rstrip())
