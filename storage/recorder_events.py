"""What the recorder wrote of itself into the journal, and what it means for the streams of a recording."""

from __future__ import annotations

from typing import Any

from bookreel.book.model import CAUSES, Cause
from bookreel.storage.record import Record
from bookreel.storage.shedding import SHED_CAUSES
from bookreel.storage.streams import Streams

__all__ = ["is_of_opening", "is_set_back", "tell"]


def is_of_opening(facts: dict[str, Any]) -> bool:
    """Whether an event is about the run before: the next one writes it, ahead of its own ``start``."""
    return facts["event"] == "recovery" or (facts["event"] == "disk_full" and "lost" in facts)


def is_set_back(event: str | None, detail: str | None) -> bool:
    """Whether a row of ``sessions`` tells that the clock was set back."""
    return event == "clock" and '"step_ns":-' in (detail or "")


def tell(streams: Streams, name: str, facts: dict[str, Any], record: Record, last_ts: int) -> None:
    """Event ``name`` happened. ``last_ts``: when the record before it was received, ns."""
    if name == "start":
        streams.crashed()
    elif name == "stop":
        streams.stopped()
    elif name == "connect":
        streams.connected(record.conn, record.epoch, record.ts_recv)
    elif name == "disconnect":
        cause = facts.get("cause")
        streams.disconnected(record.conn, cause if cause in CAUSES else "disconnect")
    elif name == "silence":
        renewed = facts.get("renewed") is True
        streams.silent(record.conn, facts.get("topics", ()), _since(facts), renewed=renewed)
    elif name == "quiet":
        for text in facts.get("topics", ()):
            streams.quiet(record.conn, text, facts.get("until", record.ts_recv))
    elif name == "shedding":
        streams.shedding(facts.get("topic"), _shed_cause(facts), record.ts_recv)
    elif name == "shed":
        _shed(streams, facts, record, last_ts)
    elif name == "disk_full" and facts.get("lost"):
        streams.crashed("disk_full")


def _shed(streams: Streams, facts: dict[str, Any], record: Record, last_ts: int) -> None:
    """Memory was short, and is no more."""
    runs = facts.get("streams")
    if runs is None:
        # Written before the event named streams, or of a venue that is not known.
        streams.damaged("shed", last_ts)
        return
    for run in runs:
        streams.shed(run["topic"], run["records"])
    if facts.get("others"):
        streams.shed_others(_shed_cause(facts), record.ts_recv)


def _shed_cause(facts: dict[str, Any]) -> Cause:
    cause = facts.get("cause")
    return cause if cause in SHED_CAUSES else "shed"


def _since(facts: dict[str, Any]) -> int | None:
    """Until when what an event speaks of was good (ns), where it says so."""
    since = facts.get("since")
    return since if isinstance(since, int) else None
