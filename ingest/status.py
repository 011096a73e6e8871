"""What the recorder is doing, as one value: for the display, the log and `/status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from bookreel.ingest.stats import LineState

if TYPE_CHECKING:
    from bookreel.ingest.recorder import Recorder, Watched

__all__ = ["LineStatus", "Phase", "Status", "StatusReader", "describe"]

Phase: TypeAlias = Literal["starting", "recording", "stopping", "sealing", "stopped"]


class LineStatus(msgspec.Struct, frozen=True):
    """One line. Rates are per second since the last look; ``silent_s`` since its last frame, None before the
    first.
    """

    name: str
    state: LineState
    epoch: int
    topics: int
    subscribed: int
    refused: int
    frames: int
    frames_per_s: float
    bytes_per_s: float
    silent_s: float | None
    pending: int
    disconnects: int
    decode_errors: int


class Status(msgspec.Struct, frozen=True):
    """The whole recorder. ``received == durable + in_flight + shed``, in records. ``reasons``: why it is not
    ready.
    """

    phase: Phase
    venue: str
    archive: str
    uptime_s: float
    lines: list[LineStatus]
    books_live: int
    books: int
    gaps: int
    received: int
    durable: int
    in_flight: int
    shed: int
    durable_lag_s: float
    held_bytes: int
    loop_lag_s: float
    disk_free_bytes: int
    reasons: list[str]

    @property
    def frames_per_s(self) -> float:
        return sum(line.frames_per_s for line in self.lines)


class StatusReader:
    """Looks at a recorder; each reader has its own idea of "since the last look"."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._last: dict[str, tuple[int, int, int]] = {}

    def read(self) -> Status:
        """The present state."""
        recorder = self._recorder
        journal = recorder.journal
        counts = journal.counts() if journal is not None else None
        lines = [self._line(line) for line in recorder.lines]
        books = recorder.books
        wall = recorder.clock.wall_ns()
        gaps = books.gaps.total()
        return Status(
            phase=recorder.phase,
            venue=recorder.venue.name,
            archive=str(recorder.archive),
            uptime_s=(wall - recorder.started_wall) / 1e9 if recorder.started_wall else 0.0,
            lines=lines,
            books_live=books.live,
            books=books.total,
            gaps=gaps,
            received=counts.received if counts else 0,
            durable=counts.durable if counts else 0,
            in_flight=counts.in_flight if counts else 0,
            shed=counts.shed if counts else 0,
            durable_lag_s=recorder.pulse.durable_lag_s,
            held_bytes=counts.held_bytes if counts else 0,
            loop_lag_s=recorder.pulse.lag_s,
            disk_free_bytes=journal.disk_free if journal is not None else 0,
            reasons=self._reasons(lines),
        )

    def _line(self, line: Watched) -> LineStatus:
        stats = line.stats
        clock = self._recorder.clock
        now = clock.mono_ns()
        at, frames, size = self._last.get(stats.name, (now, stats.frames, stats.frame_bytes))
        self._last[stats.name] = (now, stats.frames, stats.frame_bytes)
        seconds = max(1e-9, (now - at) / 1e9)
        silent = (clock.wall_ns() - stats.last_frame_wall) / 1e9 if stats.last_frame_wall else None
        return LineStatus(
            name=stats.name,
            state=stats.state,
            epoch=stats.epoch,
            topics=stats.topics,
            subscribed=len(stats.acked),
            refused=len(stats.refused),
            frames=stats.frames,
            frames_per_s=(stats.frames - frames) / seconds,
            bytes_per_s=(stats.frame_bytes - size) / seconds,
            silent_s=silent,
            pending=line.pending,
            disconnects=stats.disconnects.total(),
            decode_errors=stats.decode_errors,
        )

    def _reasons(self, lines: list[LineStatus]) -> list[str]:
        recorder = self._recorder
        if recorder.phase != "recording":
            return [f"it is {recorder.phase}"]
        reasons = [f"line {line.name} is {line.state}" for line in lines if line.state != "up"]
        for line in lines:
            missing = line.topics - line.refused - line.subscribed
            if line.state == "up" and missing > 0:
                reasons.append(f"{missing} topics of line {line.name} are not subscribed")
        down = [f"{book.topic.symbol} {book.topic.feed}" for book in recorder.books if not book.sync.valid]
        if down:
            more = f" and {len(down) - 3} more" if len(down) > 3 else ""
            reasons.append(f"books are not live: {', '.join(down[:3])}{more}")
        if recorder.journal is not None and recorder.journal.disk_full_since is not None:
            reasons.append("the disk is full")
        return reasons + recorder.doubts()


def describe(status: Status) -> str:
    """One log line."""
    up = sum(line.state == "up" for line in status.lines)
    return (
        f"status: phase={status.phase} lines_up={up}/{len(status.lines)} frames_s={status.frames_per_s:.0f} "
        f"books_live={status.books_live}/{status.books} gaps={status.gaps} durable={status.durable} "
        f"in_flight={status.in_flight} shed={status.shed} durable_lag_s={status.durable_lag_s:.2f} "
        f"loop_lag_s={status.loop_lag_s:.3f} pending={sum(line.pending for line in status.lines)} "
        f"disk_free_gb={status.disk_free_bytes / 1e9:.1f}"
    )
