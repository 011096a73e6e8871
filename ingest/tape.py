"""What a connection may do with the journal: every frame in and out, and what happened, with both clocks."""

from __future__ import annotations

from typing import Any, Final, Protocol

from bookreel.ingest.clock import Clock
from bookreel.storage.record import Direction, Kind, encode_event
from bookreel.storage.shedding import Victim

__all__ = ["Appendable", "Tape"]


# Members that each frame needs: to look one up in its class takes longer than the checksum (Python 3.11).
_IN: Final = Direction.IN
_TEXT: Final = Kind.TEXT
_COMPRESSED: Final = Kind.COMPRESSED


class Appendable(Protocol):
    """What is used of the journal while recording. Nothing blocks. ``append`` returns 0 for a record that was shed;
    ``victim`` says whose it was, and why.
    """

    @property
    def victim(self) -> Victim: ...

    def began(self, topic: str) -> None: ...

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: Direction, kind: Kind, payload: bytes
    ) -> int: ...


class Tape:
    """A journal with a clock."""

    def __init__(self, journal: Appendable, clock: Clock) -> None:
        self.clock = clock
        self._journal = journal
        self._append = journal.append

    def received(self, frame: bytes | str, wall: int, mono: int, conn: str, epoch: int) -> int:
        """A frame as it came, at ``wall`` and ``mono`` (ns). Returns its position, 0 if it was shed."""
        if isinstance(frame, str):
            text = frame.encode("utf-8", "surrogatepass")
            return self._append(wall, mono, conn, epoch, _IN, _TEXT, text)
        return self._append(wall, mono, conn, epoch, _IN, _COMPRESSED, frame)

    @property
    def victim(self) -> Victim:
        """Whose frame was shed, after :meth:`received` returned 0."""
        return self._journal.victim

    def subscribed(self, topic: str) -> None:
        """The stream of this topic text was acknowledged: should frames have to be shed, older ones go first."""
        self._journal.began(topic)

    def sent(self, text: bytes, conn: str, epoch: int) -> None:
        """A frame about to be sent: noted before, so that its answer can never come first."""
        clock = self.clock
        self._append(clock.wall_ns(), clock.mono_ns(), conn, epoch, Direction.OUT, Kind.TEXT, text)

    def event(self, name: str, conn: str = "", epoch: int = 0, **facts: Any) -> None:
        """Something that happened to us; see :func:`bookreel.storage.record.encode_event`."""
        clock = self.clock
        payload = encode_event(name, **facts)
        self._append(clock.wall_ns(), clock.mono_ns(), conn, epoch, Direction.INTERNAL, Kind.EVENT, payload)

    def reference(self, body: bytes, wall: int, mono: int) -> None:
        """The venue's reference data, received at ``wall`` and ``mono`` (ns)."""
        self._append(wall, mono, "", 0, Direction.IN, Kind.REFERENCE, body)
