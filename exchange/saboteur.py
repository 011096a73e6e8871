"""Inflicts the faults: chooses whom a due fault hits, does it, and writes down what was really done.

A fault that breaks an incremental chain only hits a stream that is settled: the client has had a usable
image since the last break and some deltas after it, so every break in the truth file is one the client could
tell apart. For the same reason a socket is not ended or silenced while a break on it is fresh.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal, NamedTuple

from bookreel.exchange.client import Client, Stream
from bookreel.exchange.config import ExchangeConfig
from bookreel.exchange.faults import FaultSchedule
from bookreel.exchange.feeds import Frame, Topic
from bookreel.exchange.huobi_wire import gzip_frame
from bookreel.exchange.mbp import Image, MbpFeed
from bookreel.exchange.truth import TruthWriter

__all__ = ["Answer", "Saboteur"]

_CHAIN_KINDS: Final = frozenset({"lost_delta", "duplicate", "reorder"})
_FRAME_KINDS: Final = _CHAIN_KINDS | {"broken_gzip", "broken_json"}
_CLIENT_KINDS: Final = frozenset({"disconnect", "silence", "half_open"})
_PENDING_MOST: Final = 4


class _Pending(NamedTuple):
    kind: str
    topic: str | None


class Answer(NamedTuple):
    """How a ``req`` for an mbp image is answered: None is ``data: null``; ``true``: it can be joined to the
    deltas."""

    image: Image | None
    delay_s: float
    fault: str | None
    true: bool = True


class Saboteur:
    """Faults that came due wait in a short list until somebody fits."""

    def __init__(
        self,
        config: ExchangeConfig,
        schedule: FaultSchedule,
        truth: TruthWriter,
        clients: Collection[Client],
        goodbye: Callable[[Client], None],
    ) -> None:
        self._config = config
        self._spared_ns = int(config.spared_s * 1e9)
        self._schedule = schedule
        self._rng = random.Random(f"saboteur:{config.seed}")
        self._truth = truth
        self._clients = clients
        self._goodbye = goodbye
        self._pending: list[_Pending] = []

    def arm(self, kind: str, topic: str | None = None) -> None:
        """Let a fault hit the next one it fits; with ``topic``, only a stream of that topic."""
        self._pending.append(_Pending(kind, topic))

    def tick(self, now_ns: int) -> None:
        """Take what came due, and find victims."""
        for kind in self._schedule.due(now_ns):
            if sum(p.kind == kind for p in self._pending) < _PENDING_MOST:
                self.arm(kind)
        for pending in tuple(self._pending):
            if pending.kind in _FRAME_KINDS:
                fits = [s for s in self._streams(pending.topic) if self._fits(s, pending.kind, now_ns)]
                if fits:
                    self._rng.choice(fits).fault = pending.kind
                    self._pending.remove(pending)
            elif pending.kind in _CLIENT_KINDS:
                self._hit_client(pending, now_ns)

    def _streams(self, topic: str | None) -> Iterator[Stream]:
        for client in self._clients:
            if not client.closed and not client.frozen:
                for name, stream in client.streams.items():
                    if topic is None or name == topic:
                        yield stream

    @staticmethod
    def _fits(stream: Stream, kind: str, now_ns: int) -> bool:
        if stream.fault is not None or stream.held is not None or stream.muted_until_ns:
            return False
        if stream.chain is not None:
            return stream.chain.settled(now_ns)
        return kind not in _CHAIN_KINDS

    # -- whole clients ---------------------------------------------------------------------------------------------

    def _hit_client(self, pending: _Pending, now_ns: int) -> None:
        rng = self._rng
        healing = {s.client for s in self._streams(None) if s.chain is not None and s.chain.healing(now_ns)}
        fits = [
            s
            for s in self._streams(pending.topic)
            if now_ns - s.client.opened_ns >= self._spared_ns
            and not s.muted_until_ns
            and s.held is None
            and s.client not in healing
        ]
        clients = list(dict.fromkeys(s.client for s in fits))
        if not clients:
            return
        self._pending.remove(pending)
        client = rng.choice(clients)
        if pending.kind == "disconnect":
            if rng.random() < 0.7:
                self._truth.fault("disconnect", client.number, client.path, note="reset")
                client.cut("fault: reset")
            else:
                self._truth.fault("disconnect", client.number, client.path, note="closed with 1001")
                self._goodbye(client)
        elif pending.kind == "half_open":
            client.freeze(now_ns)
            self._truth.fault("half_open", client.number, client.path)
        else:
            until_ns = now_ns + int(rng.uniform(*self._config.silence_s) * 1e9)
            chosen = rng.choice([s for s in fits if s.client is client])
            whole = pending.topic is None and rng.random() < 0.4
            for stream in client.streams.values() if whole else (chosen,):
                stream.muted_until_ns = max(stream.muted_until_ns, until_ns)
                stream.muted_told = False

    # -- frames ----------------------------------------------------------------------------------------------------

    def deliver(self, stream: Stream, frame: Frame, now_ns: int) -> None:
        """Send, or not, a frame of a stream that something is planned for."""
        if stream.client.frozen or stream.client.closed:
            return  # nothing is sent to it, so nothing can be done to it
        if not frame.text or (stream.chain is not None and frame.seq is None):
            # Recorded, but illegible: what is planned waits for a frame that can be told.
            if now_ns >= stream.muted_until_ns:
                stream.client.send(frame.payload)
            return
        if stream.muted_until_ns:
            if now_ns < stream.muted_until_ns:
                stream.held = None
                # A stream that had nothing to say was not harmed: the fault is told with the first frame withheld.
                if not stream.muted_told:
                    stream.muted_told = True
                    self._tell("silence", stream, frame, until=stream.muted_until_ns)
                if stream.chain is not None:
                    stream.chain.broke(frame, now_ns)
                return
            stream.muted_until_ns = 0
        chain, client = stream.chain, stream.client
        if stream.held is not None:
            held, stream.held = stream.held, None
            client.send(frame.payload)
            client.send(held.payload)
            self._tell("reorder", stream, held)
            if chain is not None:
                chain.broke(held, now_ns)
            return
        kind, stream.fault = stream.fault, None
        if chain is not None and kind is not None and not chain.settled(now_ns):
            self.arm(kind, stream.channel.feed.topic.text)
            kind = None
        if kind is None:
            client.send(frame.payload)
            if chain is not None:
                chain.sent(frame)
        elif kind == "reorder":
            stream.held = frame
        elif kind == "duplicate":
            client.send(frame.payload)
            client.send(frame.payload)
            self._tell(kind, stream, frame)
            if chain is not None:
                chain.sent(frame)
        else:
            note = None
            if kind == "broken_gzip":
                payload, note = self._spoil(frame.payload)
                client.send(payload)
            elif kind == "broken_json":
                length = self._rng.randint(len(frame.text) // 5, len(frame.text) - 1)
                client.send(gzip_frame(frame.text[:length]))
                note = f"cut after {length} of {len(frame.text)} characters"
            self._tell(kind, stream, frame, note)
            if chain is not None:
                chain.broke(frame, now_ns)

    def ended(self, stream: Stream) -> None:
        """A subscription ended: a frame that was held back to come after the next one is lost."""
        if stream.held is not None:
            self._tell("lost_delta", stream, stream.held, "held back until the end of the subscription")
            stream.held = None

    def _spoil(self, payload: bytes) -> tuple[bytes, str]:
        spoiled = bytearray(payload)
        if self._rng.random() < 0.5:
            length = self._rng.randint(len(payload) // 4, len(payload) - 9)
            return payload[:length], f"cut after {length} of {len(payload)} bytes"
        at = len(payload) - 8 + self._rng.randrange(4)
        spoiled[at] ^= 1 << self._rng.randrange(8)
        return bytes(spoiled), "wrong checksum"

    def _tell(
        self, kind: str, stream: Stream, frame: Frame, note: str | None = None, until: int | None = None
    ) -> None:
        topic = stream.channel.feed.topic
        self._truth.fault(
            kind,
            stream.client.number,
            stream.client.path,
            symbol=topic.symbol,
            feed=topic.feed,
            topic=topic.text,
            seq=frame.seq,
            prev_seq=frame.prev_seq,
            until=until,
            note=note,
        )

    # -- requests --------------------------------------------------------------------------------------------------

    def refuses(self, kind: Literal["sub_error", "rate_limit"], client: Client, topic: Topic) -> bool:
        """Whether this one ``sub`` (``sub_error``) or ``req`` (``rate_limit``) is turned down."""
        pending = self._waiting(kind, topic.text)
        if pending is None:
            return False
        self._pending.remove(pending)
        self._truth.fault(
            kind, client.number, client.path, symbol=topic.symbol, feed=topic.feed, topic=topic.text
        )
        return True

    def mutes(self, client: Client, topic: Topic, now_ns: int) -> bool:
        """Whether a request for the topic gets no answer. That is told too: nothing need have been withheld yet, and
        yet the client must take the stream for dead."""
        stream = client.streams.get(topic.text)
        if stream is None or now_ns >= stream.muted_until_ns:
            return False
        self._truth.note(
            "unanswered", client.number, client.path, topic=topic.text, until=stream.muted_until_ns
        )
        return True

    def answer(self, client: Client, topic: Topic, feed: MbpFeed) -> Answer:
        """What a request for an image gets: normally one as old as the answer took, sometimes the present
        one."""
        rng = self._rng
        stream = client.streams.get(topic.text)
        chain = stream.chain if stream is not None else None
        delay_s = rng.uniform(0.01, 0.3)
        if self._waiting("null_snapshot", topic.text):
            return Answer(None, delay_s, "null_snapshot")
        if self._waiting("late_snapshot", topic.text):
            return Answer(feed.images[-1], rng.uniform(1.0, 8.0), "late_snapshot")
        if (
            chain is not None
            and self._waiting("straddling_snapshot", topic.text)
            and chain.last
            and chain.last.seq
        ):
            image = feed.straddled(chain.last.seq, rng)
            if image is not None:
                return Answer(image, 0.0, "straddling_snapshot", true=False)
        if chain is not None and self._waiting("stale_snapshot", topic.text):
            image = feed.oldest()
            if image.seq >= chain.need_seq:
                image = image._replace(seq=chain.need_seq - rng.randint(3, 400))
            return Answer(image, delay_s, "stale_snapshot")
        if rng.random() < 0.2:
            return Answer(feed.present() if stream is None else feed.images[-1], 0.0, None)
        back = rng.choice((0, 0, 1, 2)) if stream is not None else 0
        return Answer(feed.images[-1 - min(back, len(feed.images) - 1)], delay_s, None)

    def answered(self, client: Client, topic: Topic, answer: Answer) -> None:
        """The answer went out: its fault, if any, is used up and told."""
        seq = answer.image.seq if answer.image is not None else None
        stream = client.streams.get(topic.text)
        if stream is not None and stream.chain is not None and seq is not None and answer.true:
            stream.chain.answered(seq)
        if answer.fault is not None:
            note = f"after {answer.delay_s:.1f} s" if answer.fault == "late_snapshot" else None
            self._truth.fault(
                answer.fault,
                client.number,
                client.path,
                symbol=topic.symbol,
                feed=topic.feed,
                topic=topic.text,
                seq=seq,
                note=note,
            )

    def consume(self, kind: str, topic: Topic) -> None:
        """A fault was given to a request."""
        pending = self._waiting(kind, topic.text)
        assert pending is not None, "only a waiting fault can be given"
        self._pending.remove(pending)

    def _waiting(self, kind: str, topic: str) -> _Pending | None:
        return next((p for p in self._pending if p.kind == kind and p.topic in (None, topic)), None)
