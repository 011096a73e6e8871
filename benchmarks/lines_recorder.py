"""What is measured of a running recorder, and what was set as a goal for it."""

from __future__ import annotations

from typing import Final

from line import Line, Target

__all__ = ["RECORDER", "RECORDER_TARGETS"]

_WHOLE: Final = (
    "loopback, aiohttp's WebSocket, journal durable every 100 ms, gunzip, decode, books; the recorder with all its "
    "threads on one core, the venue on another"
)

RECORDER: Final[list[Line]] = [
    Line(
        "recorder.full_speed",
        "**60 books, as fast as they are taken**",
        f"{_WHOLE}; the time of a round also has start, subscriptions and end in it",
    ),
    Line(
        "recorder.latency[alone]",
        "**20 books at 10,000 frames/s**",
        f"{_WHOLE}; from the venue's call of `write` to the book that has the delta",
    ),
    Line(
        "recorder.latency[sealing]",
        "**the same beside the sealer**",
        "as above, the sealer's process on the recorder's core",
    ),
    Line(
        "recorder.first_frame",
        "**`bookreel record`, first frame**",
        "from the start of the process to a received frame that can be read from the journal",
    ),
]

_FLOOR: Final = (
    "gunzip (isal, 2.9 us), the typed parse (msgspec, 2.3 us) and the writing of 27 levels to dicts "
    "(2.7 us; `dict.update` alone, which knows no size 0 and no best price, takes 1.9) leave 2 us for all else; "
    "see docs/decisions/2026-11-21-hot-path.md."
)

RECORDER_TARGETS: Final[list[Target]] = [
    Target(
        "received frame to updated book and journal",
        lambda run: run.first("ingest.book_each") * 1e6,
        10,
        "us",
        why=_FLOOR,
    ),
    Target(
        "recorder end to end on one core",
        lambda run: run.figure("recorder.full_speed", "frames per s"),
        100_000,
        "frames/s",
        least=True,
        why=f"it would leave 10 us for all of a frame's way. {_FLOOR} The socket, the queue between it and the "
        "line, and the journal's threads take the rest.",
    ),
    Target(
        "write to updated book at 10,000 frames/s, p50",
        lambda run: run.figure("recorder.latency[alone]", "p50 us"),
        50,
        "us",
        why="a frame that comes alone pays for the whole turn of the event loop: the venue's system call, ours, "
        "waking the task, its own 13 us.",
    ),
    Target(
        "the same, p99",
        lambda run: run.figure("recorder.latency[alone]", "p99 us"),
        200,
        "us",
        why="where other work shares the cores, the longest waits are the scheduler's.",
    ),
    Target(
        "sealing, one core",
        lambda run: run.rate("seal.seal", "frame"),
        60_000,
        "frames/s",
        least=True,
    ),
    Target("first frame durable after the start", lambda run: run.whole("recorder.first_frame"), 1, "s"),
]
