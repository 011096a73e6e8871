"""One journal record: a frame as received or sent, or an event of the recorder itself."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

__all__ = ["Direction", "Kind", "Record", "decode_event", "encode_event"]


class Direction(enum.IntEnum):
    """Which way a frame went; the recorder's own events are INTERNAL."""

    IN = 0
    OUT = 1
    INTERNAL = 2


class Kind(enum.IntEnum):
    """What the payload is."""

    COMPRESSED = 0
    """A frame exactly as received, in the venue's compression."""
    TEXT = 1
    """A frame's text: sent by us, or received or imported without compression."""
    EVENT = 2
    """JSON object of the recorder itself, see :func:`encode_event`."""
    REFERENCE = 3
    """The body of the venue's reference-data reply."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record of the journal.

    ``pos``: number in the archive, rising by at least 1. ``ts_recv``: wall clock, ns UTC. ``mono``: monotonic
    clock, ns, comparable within one run of the recorder only. ``conn``: the line's name, such as ``feed-0``
    (at most 255 bytes of UTF-8; empty for the recorder itself). ``epoch``: how often that line has connected
    in this run, from 1.
    """

    pos: int
    ts_recv: int
    mono: int
    conn: str
    epoch: int
    direction: Direction
    kind: Kind
    payload: bytes


def encode_event(name: str, **facts: Any) -> bytes:
    """The payload of an EVENT record. Facts must be JSON values.

    Names and facts that readers rely on:

    - ``start`` (run, version, venue): a recorder opened the archive. Streams still covered before it end in
      ``crash_tail``.
    - ``stop`` (reason): it closed the archive in order; streams end here, and a later subscription closes an
      ``operator`` gap.
    - ``connect`` (url), ``disconnect`` (cause: a gap cause, detail): of one line.
    - ``silence`` (topics: venue topic texts; since: ns, known good until then only; renewed: whether they are
      subscribed anew): these streams were found dead although the line is alive.
    - ``quiet`` (topics: their texts; until: receive time, ns): these streams were asked about, and lived until then.
    - ``recovery`` (segment, reason, lost_bytes, after, before): damage found in the journal, bounded by
      positions.
    - ``shedding`` (topic: its text, None for what belongs to no stream; cause, from): from here on frames of this
      stream are given up. ``shed`` (cause, from, to, records, others, streams: topic, records, from, to, first_seq,
      last_seq of each): it is over, and this was given up.
    - ``disk_full`` (from, to): the disk took nothing meanwhile, and everything later. With ``lost``, written at the
      next opening: whether what came after ``from`` died with the process.
    - ``latency`` (``updated`` and ``durable``, each with bounds_s and counts): how long the frames of the last minute
      took to be part of their books (one in 64 of them), and to be durable.
    - ``import`` (file, sha256): a captured file follows.
    - ``clock`` (step_ns): the wall clock was stepped by so much, set back where it is below 0.
    - anything else is for people (``resync``, ``refused``, ``rotate``...).
    """
    return msgspec.json.encode({"event": name, **facts})


def decode_event(payload: bytes) -> dict[str, Any]:
    """The facts of an EVENT record, ``event`` being its name."""
    return msgspec.json.decode(payload, type=dict[str, Any])
