from __future__ import annotations

from typing import Any

from bookreel.ingest.tape import Tape
from bookreel.storage.record import Direction, Kind


def test_what_each_record_says(clock: Any, journal: Any) -> None:
    tape = Tape(journal, clock)
    assert tape.received(b"\x1f\x8b", 5, 6, "ws-0", 2) == 1
    assert tape.received("text é \ud800", 7, 8, "ws-0", 2) == 2
    tape.sent(b'{"pong":1}', "ws-0", 2)
    tape.event("connect", "ws-0", 2, url="ws://x")
    tape.reference(b"[]", 1, 2)
    compressed, text, sent, event, reference = journal.records
    assert (compressed.ts_recv, compressed.mono, compressed.conn, compressed.epoch) == (5, 6, "ws-0", 2)
    assert (compressed.kind, text.kind) == (Kind.COMPRESSED, Kind.TEXT)
    assert text.payload.startswith(b"text \xc3\xa9 ")
    assert (sent.direction, sent.kind, sent.mono) == (Direction.OUT, Kind.TEXT, clock.mono)
    assert (event.direction, event.kind) == (Direction.INTERNAL, Kind.EVENT)
    assert journal.events() == [{"event": "connect", "url": "ws://x"}]
    assert (reference.kind, reference.payload, reference.ts_recv) == (Kind.REFERENCE, b"[]", 1)


def test_shed_is_told(clock: Any, journal: Any) -> None:
    journal.full = True
    assert Tape(journal, clock).received(b"", 1, 2, "ws-0", 1) == 0
