"""One client of the exchange: what is subscribed on its connection, the heartbeat, and what it was sent.

The connection itself is a :class:`Peer`: a WebSocket in the server, a queue in a simulation.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.feeds import Frame
from bookreel.exchange.huobi_wire import gzip_frame

if TYPE_CHECKING:
    from bookreel.exchange.hub import Channel

__all__ = ["Chain", "Client", "Peer", "Stream"]

_SETTLE_NS: Final = 1_000_000_000
_HEALING_NS: Final = 10_000_000_000
_SETTLE_DELTAS: Final = 3
_PING_CHECK_EXPIRED: Final = 1003
_REMEMBERED_PINGS: Final = 32


class Peer(Protocol):
    """The exchange's end of one connection. Nothing here waits."""

    @property
    def queued(self) -> int:
        """Bytes given to :meth:`send` that the other side has not taken yet."""
        ...

    def send(self, payload: bytes) -> None:
        """Send one binary message, in order after those before it."""
        ...

    def drop(self) -> None:
        """Forget what was not sent yet."""
        ...

    def cut(self) -> None:
        """End the connection at once, without a goodbye."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye and end."""
        ...


class Chain:
    """What a client of an incremental feed can know of its book, so that each broken chain is one it can tell
        apart.
     ``need_seq``: an image must be at least this new to be joined to what the client has received since the last
    break.
    """

    __slots__ = ("_after", "_broken_ns", "_usable", "last", "need_seq")

    def __init__(self, need_seq: int) -> None:
        self.need_seq = need_seq
        self.last: Frame | None = None
        self._usable = False
        self._after = 0
        self._broken_ns = 0

    def sent(self, frame: Frame) -> None:
        """A delta went out whole."""
        self.last = frame
        self._after += 1

    def broke(self, frame: Frame, now_ns: int) -> None:
        """A delta did not arrive as it should."""
        assert frame.seq is not None, "only deltas are chained"
        self.need_seq = frame.seq
        self._broken_ns = now_ns
        self._usable = False
        self.last = None

    def answered(self, seq: int) -> None:
        """A true image was sent."""
        if seq >= self.need_seq and not self._usable:
            self._usable = True
            self._after = 0

    @property
    def usable(self) -> bool:
        """Whether the client has had all it needs to hold the book."""
        return self._usable

    def healing(self, now_ns: int) -> bool:
        """Whether the client is (or should be) busy with a recent break."""
        return not self._usable and now_ns - self._broken_ns < _HEALING_NS

    def settled(self, now_ns: int) -> bool:
        """Whether a new break would be seen apart from the one before."""
        return self._usable and self._after >= _SETTLE_DELTAS and now_ns - self._broken_ns >= _SETTLE_NS


class Stream:
    """A topic on a socket. ``fault`` is what waits for its next frame; ``held`` a frame that will come late."""

    __slots__ = ("chain", "channel", "client", "fault", "held", "muted_told", "muted_until_ns", "run")

    def __init__(self, client: Client, channel: Channel, chain: Chain | None) -> None:
        self.client = client
        self.channel = channel
        self.chain = chain
        self.fault: str | None = None
        self.held: Frame | None = None
        self.muted_until_ns = 0
        self.muted_told = False
        """Whether something was withheld already."""
        self.run = 0
        """Which run of a recorded book it was given the first image of."""


class Client:
    """A connected client. Nothing here waits for it."""

    def __init__(
        self, number: int, path: str, session: str, peer: Peer, config: ExchangeConfig, opened_ns: int
    ) -> None:
        self.number = number
        self.path = path
        self.session = session
        self.streams: dict[str, Stream] = {}
        self.opened_ns = opened_ns
        self.requested_ns = 0
        self.frozen_until_ns = 0
        """Not 0: half open until then, nothing is read or sent any more."""
        self.closed = False
        self.close_note: str | None = None
        self._peer = peer
        self._config = config
        self._pings: deque[int] = deque(maxlen=_REMEMBERED_PINGS)
        self._missing_since_ns: int | None = None

    def send(self, payload: bytes) -> None:
        """Send one frame. A client that does not read is cut off rather than waited for."""
        if self.closed or self.frozen_until_ns:
            return
        peer = self._peer
        peer.send(payload)
        if peer.queued > self._config.send_queue_bytes:
            self.cut("does not read")

    def send_text(self, text: str) -> None:
        """Send one frame that only this client gets."""
        if not self.closed and not self.frozen:
            self.send(gzip_frame(text))

    def cut(self, note: str) -> None:
        """End the connection at once, without a goodbye."""
        self.closed = True
        self.close_note = self.close_note or note
        self._peer.cut()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye with a close frame."""
        self.closed = True
        self.close_note = self.close_note or f"{code} {reason}"
        self._peer.close(code, reason)

    @property
    def frozen(self) -> bool:
        """Whether the connection is half open."""
        return self.frozen_until_ns != 0

    def freeze(self, now_ns: int) -> None:
        """Become half open; what was queued is never sent."""
        self.frozen_until_ns = now_ns + int(self._config.half_open_s * 1e9)
        self._peer.drop()

    def answer_pong(self, value: object) -> None:
        """The peer's pong: only a value that was sent counts."""
        if value in self._pings:
            self._pings.clear()
            self._missing_since_ns = None

    def keep_alive(self) -> None:
        """The peer's own ping counts as a sign of life."""
        self._pings.clear()
        self._missing_since_ns = None

    @property
    def queued(self) -> int:
        """Bytes on their way to the peer."""
        return self._peer.queued

    async def beat(self, now_ns: Callable[[], int], venue_ns: Callable[[], int]) -> None:
        """Ping until the peer misses two: then close. After the first miss pings come five times as often.
        ``venue_ns`` is the time that a ping tells.
        """
        every_s = self._config.ping_s
        every_ns = int(every_s * 1e9)
        while not self.closed:
            missed = (
                self._missing_since_ns is not None and now_ns() - self._missing_since_ns >= every_ns * 0.9
            )
            await asyncio.sleep(every_s / 5 if missed else every_s)
            if self.frozen:
                if now_ns() >= self.frozen_until_ns:
                    self.cut("half open for too long")
                continue
            if self._missing_since_ns is not None and now_ns() - self._missing_since_ns >= every_ns * 2.1:
                self.close(_PING_CHECK_EXPIRED, f"ping check expired, session: {self.session}")
                return
            value = venue_ns() // 1_000_000
            self._pings.append(value)
            if self._missing_since_ns is None:
                self._missing_since_ns = now_ns()
            self.send_text(f'{{"ping":{value}}}')
