"""`bookreel replay`: what was recorded, again, as lines of JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bookreel.cli.options import Names, archive_option, examples

if TYPE_CHECKING:
    from bookreel.replay import LineStream

__all__ = ["command"]


class Speed(click.ParamType[float | None]):
    """How many times as fast as it was received; None is as fast as possible."""

    name = "max|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        try:
            speed = None if value in (None, "max") else float(value)
        except ValueError:
            self.fail(f"{value!r} is not one; give max, or a number such as 1 or 10", param, ctx)
        if speed is not None and not 0 < speed < float("inf"):
            self.fail(f"{value!r} is not above 0; give max for as fast as possible", param, ctx)
        return speed


@click.command(
    "replay",
    epilog=examples(
        "bookreel replay --archive ./archive --symbols btcusdt --tables trades,bbo | head",
        "bookreel replay --archive ./archive --from 2026-11-20T12:00:00Z --to 2026-11-20T13:00:00Z --speed 10",
        "bookreel replay --archive ./archive --tables frames > frames.ndjson",
        "bookreel replay --archive ./archive --from now --follow",
        "",
        "tables: gaps sessions instruments trades bbo klines tickers book_snapshots book_deltas",
        "        (these by default), and frames",
    ),
)
@archive_option()
@click.option("--symbols", type=Names(), metavar="A,B", help="Such as btcusdt; by default all.")
@click.option("--tables", type=Names(), metavar="A,B", help="By default all but frames.")
@click.option("--feeds", type=Names(), metavar="A,B", help="Such as mbp.150,trade; by default all.")
@click.option("--from", "start", metavar="T", help="Receive time, inclusive: ISO-8601, integer ns, or now.")
@click.option("--to", "end", metavar="T", help="Receive time, exclusive.")
@click.option(
    "--speed", type=Speed(), default="max", show_default=True, help="1 is the pace at which it was received."
)
@click.option("--format", "format_", type=click.Choice(["ndjson"]), default="ndjson", show_default=True)
@click.option(
    "--numbers",
    type=click.Choice(["float", "decimal"]),
    default="float",
    show_default=True,
    help="decimal: prices and sizes with every digit that the venue sent.",
)
@click.option("--follow", is_flag=True, help="At the end go on with what is being recorded.")
@click.option(
    "--after", metavar="TOKEN", help="Go on after the end of an earlier replay; stands above --from."
)
def command(
    archive: Path,
    symbols: list[str] | None,
    tables: list[str] | None,
    feeds: list[str] | None,
    start: str | None,
    end: str | None,
    speed: float | None,
    format_: str,
    numbers: Any,
    follow: bool,
    after: str | None,
) -> None:
    """Write what was recorded to stdout, one JSON object a line, in the order of the journal.

    Each has a `type`: frame, gap, session, instrument, trade, bbo, kline, ticker, quote, broker_queue, timeshare,
    book_snapshot, book_delta. The last line is of type `end`, with a token for --after, or `error`: if it is neither,
    the output was cut off.

    Ctrl-C ends it in order: exit code 130, or 0 with --follow.
    """
    import asyncio

    from bookreel.ingest.clock import SystemClock
    from bookreel.replay import Archive

    now = SystemClock().wall_ns()
    with Archive(archive) as opened:
        stream = opened.lines(
            symbols,
            tables,
            now if start == "now" else start,
            now if end == "now" else end,
            numbers,
            feeds=feeds,
            follow=follow,
            after=after,
            speed=speed,
        )
        signal_ = asyncio.run(_write(stream, archive, follow))
    if signal_ is not None and not follow:
        click.get_current_context().exit(128 + signal_)


async def _write(stream: LineStream, archive: Path, follow: bool) -> int | None:
    """Write all of it; the signal that ended it, if one did."""
    import asyncio
    import os
    import signal
    from types import FrameType

    loop = asyncio.get_running_loop()
    caught: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        if caught:
            os._exit(128 + number)  # the second one: whoever reads our output does not go on reading
        caught.append(number)
        loop.call_soon_threadsafe(stream.stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    out = sys.stdout.buffer
    with _progress(archive, follow) as progress:
        before = stream.position
        async for chunk in stream:
            out.write(chunk)
            out.flush()
            progress.advance(stream.position - before)
            before = stream.position
    return caught[0] if caught else None


def _progress(archive: Path, follow: bool) -> Any:
    """A bar where lines are not shown themselves."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    from bookreel.cli.progress import Progress
    from bookreel.storage.manifest import Manifest

    if sys.stdout.isatty() or not sys.stderr.isatty():
        return nullcontext(SimpleNamespace(advance=lambda steps: None))
    return Progress("replaying", None if follow else Manifest.load(archive).last_pos)
