"""What is shown while recording: a live table on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from bookreel.ingest.status import Status, StatusReader, describe

if TYPE_CHECKING:
    from rich.table import Table

    from bookreel.ingest.recorder import Recorder

__all__ = ["show"]

_LIVE_S: Final = 0.5
_LOG_S: Final = 10.0
_FRAME_ROWS: Final = 9
"""What title, headings, borders and caption take, wrapped once."""
_COLUMNS: Final = (
    "line",
    "state",
    "connection",
    "topics",
    "frames/s",
    "kB/s",
    "silent s",
    "pending",
    "cut",
    "unreadable",
)

_log = logging.getLogger(__name__)


async def show(recorder: Recorder) -> None:
    """Until cancelled."""
    reader = StatusReader(recorder)
    if not sys.stderr.isatty():
        while True:
            await recorder.clock.sleep(_LOG_S)
            _log.info("%s", describe(reader.read()))
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(_table(reader.read(), max(1, console.height - _FRAME_ROWS)), refresh=True)
            await recorder.clock.sleep(_LIVE_S)


def _table(status: Status, rows: int) -> Table:
    """At most so many lines; those that are not well come first."""
    from rich.table import Table

    title = (
        f"{status.phase} {status.venue} into {status.archive} for {status.uptime_s:,.0f} s   "
        f"books live {status.books_live}/{status.books}   gaps {status.gaps}"
    )
    caption = (
        f"{status.frames_per_s:,.0f} frames/s   {status.durable:,} records durable, "
        f"{status.in_flight:,} in flight, {status.shed:,} shed   disk lag {status.durable_lag_s:.2f} s   "
        f"{status.disk_free_bytes / 1e9:,.1f} GB free"
    )
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("line", "state") else "right")
    lines = sorted(status.lines, key=lambda line: (line.state == "up", -(line.silent_s or 0.0) // 5))
    for line in lines[:rows]:
        table.add_row(
            line.name,
            line.state,
            str(line.epoch),
            f"{line.subscribed}/{line.topics}",
            f"{line.frames_per_s:,.0f}",
            f"{line.bytes_per_s / 1e3:,.1f}",
            "" if line.silent_s is None else f"{line.silent_s:.1f}",
            str(line.pending),
            str(line.disconnects),
            str(line.decode_errors),
        )
    if len(lines) > rows:
        table.add_row(f"and {len(lines) - rows} more")
    return table
