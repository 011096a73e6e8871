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
        "recorder.full_speed[one]",
        "**one book, as fast as it is taken**",
        f"{_WHOLE}; the time of a round also has start, subscriptions and end in it, the figures have not",
    ),
    Line("recorder.full_speed[many]", "**60 books on four connections**", "as above"),
    Line(
        "recorder.latency[alone]",
        "**ten books at 10,000 frames/s**",
        f"{_WHOLE}; from the venue's call of `write` to the book that has the delta",
    ),
    Line(
        "recorder.latency[sealing]",
        "**the same beside the sealer**",
        "as above, the sealer's process on the recorder's core",
    ),
    Line(
        "feed.recorder",
        "**depth.step0 over a socket**",
        "10 symbols, each frame 1,490 B of gzip; as above: journaled, gunzipped, its stream watched, not decoded",
    ),
    Line(
        "feed.cryptofeed",
        "cryptofeed's FeedHandler",
        "the same frames from the same venue: gunzip, decode, its book of `Decimal`, an empty callback; not stored",
    ),
    Line(
        "recorder.first_frame",
        "**`bookreel record`, first frame**",
        "from the start of the process to a received frame that can be read from the journal",
    ),
]

_FLOOR: Final = (
    "Of a frame's way gunzip (isal) takes 2.9 us, and what is compiled of reading, applying and journaling 1.6 us; "
    "the rest is Python around it: see docs/decisions/2026-11-21-hot-path.md."
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
        lambda run: run.figure("recorder.full_speed[many]", "frames per s"),
        100_000,
        "frames/s",
        least=True,
        why=f"{_FLOOR} Of the 10 us a frame that it would leave, the socket and aiohttp's queue take 1.5, the "
        "backlog, which holds what cannot be read at once, 0.5, and the journal's threads 0.5.",
    ),
    Target(
        "the same, how late the event loop turns, p99",
        lambda run: run.figure("recorder.full_speed[many]", "stall p99 ms"),
        5,
        "ms",
        why="of each line 128 frames are read and 16 looked at before others get their turn: less than half a "
        "millisecond a line, and as much for what its socket brought. Longer waits are for the core, which the "
        "journal's threads share.",
    ),
    Target(
        "the same, memory at the end to that after a third",
        lambda run: run.figure("recorder.full_speed[many]", "memory at the end to that after a third"),
        1.1,
        "x",
        why="while more comes than can be read, backlog and spool fill up to their bounds.",
    ),
    Target(
        "depth.step0 over a socket, beside cryptofeed's FeedHandler",
        lambda run: (
            run.figure("feed.cryptofeed", "CPU us per frame")
            / run.figure("feed.recorder", "CPU us per frame")
        ),
        10,
        "x",
        least=True,
    ),
    Target(
        "write to updated book at 10,000 frames/s, p50",
        lambda run: run.figure("recorder.latency[alone]", "p50 us"),
        50,
        "us",
        why="a frame that comes alone pays for the whole turn of the event loop: the venue's system call, ours, "
        "waking the task, its own 9 us.",
    ),
    Target(
        "the same, p99",
        lambda run: run.figure("recorder.latency[alone]", "p99 us"),
        200,
        "us",
        why="where other work shares the cores, the longest waits are the scheduler's.",
    ),
    Target(
        "the same beside the sealer, to that alone",
        lambda run: (
            run.figure("recorder.latency[sealing]", "p99 us")
            / run.figure("recorder.latency[alone]", "p99 us")
        ),
        1.2,
        "x",
        why="here the sealer has to share the recorder's one core; it gives way to it by its priority alone.",
    ),
    Target(
        "received to durable at 10,000 frames/s, p99",
        lambda run: run.figure("recorder.latency[alone]", "durable p99 ms"),
        150,
        "ms",
        why="the journal syncs each 100 ms, and a sync takes as long as the disk does.",
    ),
    Target(
        "sealing, one core",
        lambda run: run.rate("seal.seal", "frame"),
        60_000,
        "frames/s",
        least=True,
        why="of the CPU time gunzip and decoding take a seventh each, reading the segment, sorting and writing "
        "Parquet, and looking for numbers that a double does not hold a sixteenth each; most of the rest is "
        "a dozen Python calls a frame and the columns of its rows: see docs/decisions/2026-11-21-sealing.md.",
    ),
    Target("first frame durable after the start", lambda run: run.whole("recorder.first_frame"), 1, "s"),
]
