"""Where the clock was set back in what is sealed: each entry of the manifest says so.

Entries of older versions do not. Then the bounds of the segments and the recorder's own events tell whether the clock
can have been set back at all; only if so are the times of the frames gone through.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bookreel.storage.changes import integers
from bookreel.storage.contents import Contents
from bookreel.storage.manifest import Manifest, SegmentEntry
from bookreel.storage.recorder_events import is_set_back
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.turns import Step, Turn, Turns, turns_of

__all__ = ["sealed_steps", "sealed_turns", "unknown_turns"]


def sealed_turns(manifest: Manifest) -> Turns:
    """The turns of all that is sealed. Raises CorruptFile, FileGone."""
    times = [entry.ts_min for entry in manifest.segments if entry.ts_min is not None]
    if not times:
        return Turns()
    return turns_of(sealed_steps(manifest), manifest.segments[0].first_pos, times[0])


def unknown_turns(manifest: Manifest) -> Turns:
    """Where it cannot be told: nothing is promised for what is sealed."""
    times = [ts for entry in manifest.segments for ts in (entry.ts_min, entry.ts_max) if ts is not None]
    if not times:
        return Turns()
    return Turns([Turn(manifest.segments[0].first_pos, min(times))], [(min(times), max(times))])


def sealed_steps(manifest: Manifest) -> list[Step]:
    """Where the clock was set back, by position. Raises CorruptFile, FileGone."""
    found = [step for entry in manifest.segments for step in entry.steps or ()]
    untold = [entry for entry in manifest.segments if entry.steps is None and entry.records]
    if untold:
        contents = Contents(
            manifest.archive,
            "",
            {table: manifest.files(table) for table in ("frames", "sessions")},
            {},
            [],
            None,
        )
        if _may_be_back(contents, manifest.segments):
            last = untold[-1].last_pos
            found += [step for step in _in_frames(contents, last) if _of(step, untold)]
    return sorted(found, key=lambda step: step.pos)


def _of(step: Step, entries: Sequence[SegmentEntry]) -> bool:
    return any(entry.first_pos <= step.pos <= entry.last_pos for entry in entries)


def _may_be_back(contents: Contents, entries: Sequence[SegmentEntry]) -> bool:
    """Whether a segment, or a life of the recorder, begins before the one before it ended, or a clock was seen to be
    set back.
    """
    last: int | None = None
    for entry in entries:
        if entry.ts_min is not None:
            if last is not None and entry.ts_min < last:
                return True
            last = entry.ts_max
    now = 0
    for piece in Scanner().scan(contents, "sessions", ("ts_recv", "event", "detail")):
        times = integers(piece["ts_recv"])
        for ts_recv, event, detail in zip(
            times, piece["event"].to_pylist(), piece["detail"].to_pylist(), strict=True
        ):
            if ts_recv < now or is_set_back(event, detail):
                return True
            now = ts_recv
    return False


def _in_frames(contents: Contents, last_pos: int) -> Iterator[Step]:
    """Frames received before the one before them, which may only have been written down late."""
    now = 0
    bounds = Bounds(pos_until=last_pos + 1)
    for piece in Scanner().scan(contents, "frames", ("pos", "ts_recv", "direction"), bounds):
        rows: Any = piece.filter(pc.equal(piece["direction"], pa.scalar("in"))).combine_chunks()
        if not rows.num_rows:
            continue
        times = rows["ts_recv"].cast(pa.int64())
        before: Any = pa.chunked_array([pa.array([now], pa.int64()), *times.slice(0, len(times) - 1).chunks])
        for at in pc.indices_nonzero(pc.less(times, before)).to_pylist():
            yield Step(rows["pos"][at].as_py(), before[at].as_py(), times[at].as_py())
        now = times[-1].as_py()
