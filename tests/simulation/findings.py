"""How soon the recorder noticed what was wrong, and how long its books were not right."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bookreel.replay import Archive
from tests.simulation.loop import START_NS
from tests.simulation.witness import Told

__all__ = ["Findings", "find", "percentile"]

_MUTE: Final = frozenset({"half_open", "net_half_open"})
_SNAPSHOT_FAULTS: Final = frozenset(
    {"late_snapshot", "stale_snapshot", "null_snapshot", "straddling_snapshot", "rate_limit"}
)
_ANSWER_FAULTS: Final = _SNAPSHOT_FAULTS | {"sub_error", "broken_gzip", "broken_json"}
_LATELY_NS: Final = 10**9
"""A book that was just given a wrong snapshot is not right yet, and its hole is open."""
_PAUSE_NS: Final = 2 * 10**9
"""For so long no question is asked after the venue complained of too many."""
_INTERRUPTIONS: Final = frozenset({"crash", "power_loss", "stop"})
_MUTE_NS: Final = 60 * 10**9
_ENDS: Final = """
SELECT symbol, feed, cause, epoch_ns("end"), pos FROM gaps WHERE "end" IS NOT NULL AND starts_with(feed, 'mbp.')
ORDER BY pos
"""


class Findings(msgspec.Struct):
    """Times in seconds."""

    half_open_s: list[float] = []
    """From a half-open connection until the recorder gave it up."""
    silence_s: list[float] = []
    """From the first frame withheld until the recorder took the stream, or its line, for dead..."""
    silence_hard_s: list[float] = []
    """...and where that was not the only trouble: the line was slow, or the venue answered late, wrongly or with an
    error about that stream, lately or meanwhile."""
    resync_s: list[float] = []
    """From a broken chain on a living line until the book was right, where the venue answered as it should..."""
    resync_hard_s: list[float] = []
    """...and where it answered at least one request late, wrongly or not at all, had asked for a pause, or where the
    way was slow."""

    def add(self, other: Findings) -> None:
        """Take in those of another seed."""
        for name in self.__struct_fields__:
            getattr(self, name).extend(getattr(other, name))


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of all do not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def find(truth: Path, events: list[Told], archive: Archive, start_ns: int = START_NS) -> Findings:
    """Hold the recorder's own events against the truth. ``start_ns``: the wall clock at the beginning."""
    faults, topics = _faults(truth, start_ns)
    found = Findings()
    ends = [fault["t"] for fault in faults if fault["kind"] in _INTERRUPTIONS]
    for fault in faults:
        t = fault["t"]
        until = next((end for end in ends if end >= t), t + _MUTE_NS)
        kind = fault["kind"]
        if kind in _MUTE:
            noticed = _noticed(events, t, until, fault["path"], None)
            if noticed is not None and topics[fault["conn"]]:
                found.half_open_s.append((noticed - t) / 1e9)
        elif kind == "silence":
            noticed = _noticed(events, t, until, fault["path"], fault["topic"])
            if noticed is not None:
                times = found.silence_hard_s if _hampered(faults, fault, t, noticed) else found.silence_s
                times.append((noticed - t) / 1e9)
    _resyncs(faults, events, archive, found)
    return found


def _faults(truth: Path, start_ns: int) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Faults, ``t`` and ``until`` being monotonic ns, and by connection how many topics were subscribed."""
    faults: list[dict[str, Any]] = []
    topics: dict[int, int] = defaultdict(int)
    with truth.open("rb") as file:
        for line in file:
            if line.startswith(b'{"type":"fault"'):
                fault = msgspec.json.decode(line)
                faults.append(fault | {key: fault[key] - start_ns for key in ("t", "until") if key in fault})
            elif line.startswith(b'{"type":"sub"'):
                topics[msgspec.json.decode(line)["conn"]] += 1
    return faults, topics


def _noticed(events: list[Told], t: int, until: int, path: str, topic: str | None) -> int | None:
    """When (monotonic ns) the first event after ``t`` said that the line on ``path``, or the topic, is dead."""
    line = path.strip("/")
    at = bisect_left(events, t, key=lambda told: told.mono)
    for told in events[at:]:
        if told.mono > until:
            return None
        if told.name == "disconnect" and told.conn.startswith(line):
            return told.mono
        if topic is not None and told.name == "silence" and topic in told.facts["topics"]:
            return told.mono
    return None


def _hampered(faults: list[dict[str, Any]], silence: dict[str, Any], t: int, noticed: int) -> bool:
    """Whether something else was wrong with the stream or its line between ``t`` and ``noticed`` (monotonic ns)."""
    for fault in faults:
        kind, began = fault["kind"], fault["t"]
        if began > noticed:
            return False
        if kind == "net_slow":
            if fault["conn"] == silence["conn"] and fault["until"] >= t:
                return True
        elif kind == "rate_limit":
            # The pause that the venue asks for is kept by the whole line.
            if fault["conn"] == silence["conn"] and began >= t - _PAUSE_NS:
                return True
        elif kind == "unanswered":
            # A request was under way already: for a book that was not right, so its hole is open.
            if fault["topic"] == silence["topic"] and t - _LATELY_NS <= began < t:
                return True
        elif kind in _ANSWER_FAULTS and fault["topic"] == silence["topic"] and began >= t - _LATELY_NS:
            return True
    return False


def _resyncs(faults: list[dict[str, Any]], events: list[Told], archive: Archive, found: Findings) -> None:
    ends: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for symbol, feed, _, end, pos in archive.sql(_ENDS).fetchall():
        ends[f"market.{symbol}.{feed}"].append((pos, end))
    hard: dict[str, list[int]] = defaultdict(list)
    for fault in faults:
        if fault["kind"] in _SNAPSHOT_FAULTS:
            hard[fault["topic"]].append(fault["t"])
    # Trouble of a whole line: the pause that the venue asks for, and what a slow way takes.
    troubled = [
        (fault["t"], fault.get("until", fault["t"] + _PAUSE_NS), fault["path"].strip("/"))
        for fault in faults
        if fault["kind"] in ("rate_limit", "net_slow")
    ]
    lost = [told.mono for told in events if told.name in ("disconnect", "start", "stop", "silence")]
    for told in events:
        if told.name != "resync":
            continue
        topic = told.facts["topic"]
        end = next((end for pos, end in ends[topic] if pos > told.pos), None)
        if end is None:
            continue
        took = end - told.wall
        if not 0 <= took < _MUTE_NS or _between(lost, told.mono, told.mono + took):
            continue  # the clock stepped, or the line was lost meanwhile
        until = told.mono + took
        hampered = _between(hard[topic], told.mono, until) or any(
            began <= until and ended >= told.mono and told.conn.startswith(line)
            for began, ended, line in troubled
        )
        times = found.resync_hard_s if hampered else found.resync_s
        times.append(took / 1e9)


def _between(times: list[int], low: int, high: int) -> bool:
    at = bisect_left(times, low)
    return at < len(times) and times[at] <= high
