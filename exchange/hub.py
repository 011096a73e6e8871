"""The middle of the exchange: moves the market on, makes each subscribed topic's frames once, and hands them
to its streams."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from bookreel.exchange.client import Chain, Client, Stream
from bookreel.exchange.feeds import Feed, Frame, Topic, make_feed
from bookreel.exchange.market import Market
from bookreel.exchange.mbp import Image, MbpFeed
from bookreel.exchange.saboteur import Saboteur
from bookreel.exchange.truth import TruthWriter

__all__ = ["Channel", "Hub"]

_MBP_SLOT_NS: Final = 100_000_000


class Channel:
    """A subscribed topic: its feed and the streams it goes to."""

    __slots__ = ("book_due_ns", "feed", "mbp", "period_ns", "streams")

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.mbp = feed if isinstance(feed, MbpFeed) else None
        self.streams: list[Stream] = []
        self.period_ns = feed.period_ns
        if self.mbp is not None and not self.mbp.tick_by_tick:
            self.period_ns = _MBP_SLOT_NS
        self.book_due_ns = 0


class Hub:
    """All channels. A topic without a subscriber costs nothing."""

    def __init__(
        self, market: Market, truth: TruthWriter, saboteur: Saboteur, *, truth_book_s: float
    ) -> None:
        self.market = market
        self._book_truth_ns = int(truth_book_s * 1e9)
        self.frames = 0
        """Frames made (each counted once, however many clients got it)."""
        self._truth = truth
        self._saboteur = saboteur
        self._channels: dict[str, Channel] = {}
        self._by_event: dict[str, list[Channel]] = {symbol: [] for symbol in market.symbols}
        self._slots: list[tuple[int, int, Channel]] = []
        self._opened = 0

    @property
    def next_ns(self) -> int:
        """When something is due."""
        event_ns = self.market.next_ns
        return min(event_ns, self._slots[0][0]) if self._slots else event_ns

    def subscribe(self, client: Client, topic: Topic, now_ns: int) -> Frame | None:
        """Begin (or go on with) a stream; the frame to send after the ack, if any. The symbol must have a
        market."""
        channel = self._channels.get(topic.text) or self._open(topic, now_ns)
        stream = client.streams.get(topic.text)
        if stream is not None:
            stream.muted_until_ns = 0
        else:
            chain = Chain(channel.mbp.images[-1].seq) if channel.mbp else None
            stream = client.streams[topic.text] = Stream(client, channel, chain)
            channel.streams.append(stream)
        self._truth.line("sub", client.number, client.path, topic.text)
        return channel.feed.cached(now_ns // 1_000_000)

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
        for stream in client.streams.values():
            self._drop(stream)
        client.streams.clear()

    def feed(self, topic: Topic) -> Feed:
        """The feed of a topic for a request: the subscribed one, or one made for the moment."""
        channel = self._channels.get(topic.text)
        return channel.feed if channel else self._make(topic)

    def images(self, topic: str) -> Sequence[Image]:
        """The newest true books of an incremental topic that is subscribed, each at the number of a delta."""
        channel = self._channels.get(topic)
        return channel.mbp.images if channel is not None and channel.mbp is not None else ()

    def tick(self, now_ns: int) -> None:
        """Everything up to ``now_ns``."""
        now_ms = now_ns // 1_000_000
        for _, event in self.market.advance(now_ns):
            if event.trades and self._truth.writing:
                self._truth.trades(event)
            for channel in self._by_event[event.symbol]:
                frame = channel.feed.on_event(event, now_ms)
                if frame is not None:
                    self._push(channel, frame, now_ns)
        slots = self._slots
        while slots and slots[0][0] <= now_ns:
            due_ns, number, channel = heapq.heappop(slots)
            if not channel.streams:
                continue
            frame = channel.feed.on_slot(now_ms)
            late = (now_ns - due_ns) // channel.period_ns  # slots that were missed are skipped
            heapq.heappush(slots, (due_ns + (late + 1) * channel.period_ns, number, channel))
            if frame is not None:
                self._push(channel, frame, now_ns)
        self._truth.flush(now_ns)

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

    def _make(self, topic: Topic) -> Feed:
        market = self.market.symbols[topic.symbol]
        return MbpFeed(topic, market) if topic.kind == "mbp" else make_feed(topic, market)

    def _open(self, topic: Topic, now_ns: int) -> Channel:
        channel = self._channels[topic.text] = Channel(self._make(topic))
        if channel.period_ns:
            self._opened += 1
            phase = int(
                self._opened * 0.618034 % 1.0 * channel.period_ns
            )  # topics spread evenly over the period
            heapq.heappush(self._slots, (now_ns + phase + 1, self._opened, channel))
        else:
            self._by_event[topic.symbol].append(channel)
        return channel

    def _drop(self, stream: Stream) -> None:
        channel = stream.channel
        channel.streams.remove(stream)
        if not channel.streams:
            topic = channel.feed.topic
            del self._channels[topic.text]
            if not channel.period_ns:
                self._by_event[topic.symbol].remove(channel)
