"""The middle of the exchange: moves the market on and hands each subscribed topic's frames to its streams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from bookreel.exchange.client import Chain, Client, Stream
from bookreel.exchange.feeds import Feed, Frame, Topic
from bookreel.exchange.mbp import Image, MbpFeed
from bookreel.exchange.saboteur import Saboteur
from bookreel.exchange.source import Source
from bookreel.exchange.truth import TruthWriter

__all__ = ["Channel", "Hub"]

_AWAY_NS: Final = 10_000_000_000
"""Without a pace, so long is waited for those to be back whose connections ended: else they would miss what is
pushed meanwhile, which may be all the rest."""


class Channel:
    """A subscribed topic: its feed and the streams it goes to."""

    __slots__ = ("book_due_ns", "feed", "mbp", "streams")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.mbp = feed if isinstance(feed, MbpFeed) else None
        self.streams: list[Stream] = []
        self.book_due_ns = 0


class Hub:
    """All channels: one for each topic that somebody is subscribed to."""

    def __init__(
        self, source: Source, truth: TruthWriter, saboteur: Saboteur, *, truth_book_s: float
    ) -> None:
        self.source = source
        self._book_truth_ns = int(truth_book_s * 1e9)
        self.frames = 0
        """Frames made (each counted once, however many clients got it)."""
        self.leaving: set[Client] = set()
        """Clients whose connection ends when they have had what is on its way to them."""
        self._truth = truth
        self._saboteur = saboteur
        self._channels: dict[str, Channel] = {}
        self._missing: Counter[str] = Counter()
        """Topics of connections that the source ended, until somebody subscribes to them again."""
        self._missing_ns = 0

    def subscribe(self, client: Client, topic: Topic, now_ns: int) -> Frame | None:
        """Begin (or go on with) a stream; the frame to send after the ack, if any. The source must offer the
        topic."""
        channel = self._channels.get(topic.text)
        if channel is None:
            channel = self._channels[topic.text] = Channel(self.source.open(topic, now_ns))
        stream = client.streams.get(topic.text)
        if stream is not None:
            stream.muted_until_ns = 0
        else:
            seq = channel.feed.seq
            chain = None if seq is None else Chain(seq)
            stream = client.streams[topic.text] = Stream(client, channel, chain)
            channel.streams.append(stream)
            self._missing -= Counter((topic.text,))
        self._truth.line("sub", client.number, client.path, topic.text)
        return channel.feed.cached(self.source.venue_ns() // 1_000_000)

    def unsubscribe(self, client: Client, topic: str) -> bool:
        """End a stream; False if there was none."""
        stream = client.streams.pop(topic, None)
        if stream is None:
            return False
        self._drop(stream)
        self._saboteur.ended(stream)
        self._truth.line("unsub", client.number, client.path, topic)
        return True

    def leave(self, client: Client) -> None:
        """A socket closed."""
        self.leaving.discard(client)
        for stream in client.streams.values():
            self._drop(stream)
        client.streams.clear()

    def feed(self, topic: Topic) -> Feed:
        """The feed of a topic for a request."""
        return self.source.feed(topic)

    def images(self, topic: str) -> Sequence[Image]:
        """The newest true books of an incremental topic that is subscribed, each at the number of a delta."""
        channel = self._channels.get(topic)
        return channel.mbp.images if channel is not None and channel.mbp is not None else ()

    def tick(self, now_ns: int) -> None:
        """Everything up to ``now_ns``."""
        if not self._awaits(now_ns):
            for topic, frame in self.source.advance(now_ns):
                channel = self._channels[topic]
                if frame is None:
                    self._end(channel, now_ns)
                else:
                    self._push(channel, frame, now_ns)
        self._truth.flush(now_ns)

    def _awaits(self, now_ns: int) -> bool:
        """Whether somebody is away who is waited for."""
        if self._missing and now_ns - self._missing_ns >= _AWAY_NS:
            self._missing.clear()
        return bool(self._missing)

    def _end(self, channel: Channel, now_ns: int) -> None:
        """End the connections that carry a topic."""
        for client in [stream.client for stream in channel.streams]:
            if self.source.patient:
                self._missing.update(client.streams.keys())
                self._missing_ns = now_ns
            self.leave(client)
            self.leaving.add(client)

    def _push(self, channel: Channel, frame: Frame, now_ns: int) -> None:
        self.frames += 1
        for stream in tuple(channel.streams):
            if stream.fault is not None or stream.held is not None or stream.muted_until_ns:
                self._saboteur.deliver(stream, frame, now_ns)
            else:
                stream.client.send(frame.payload)
                if stream.chain is not None:
                    stream.chain.sent(frame)
        if channel.mbp is not None and now_ns >= channel.book_due_ns and self._truth.writing:
            channel.book_due_ns = now_ns + self._book_truth_ns
            topic = channel.feed.topic
            self._truth.book(topic.symbol, topic.feed, channel.mbp.images[-1])

    def _drop(self, stream: Stream) -> None:
        channel = stream.channel
        channel.streams.remove(stream)
        if not channel.streams:
            topic = channel.feed.topic
            del self._channels[topic.text]
            self.source.close(topic)
