"""A gateway of an archive: what was pushed is pushed again to those who subscribed, at the replay's clock."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

from bookreel.exchange.clock import Clock
from bookreel.exchange.errors import NothingRecorded, OtherVenue
from bookreel.exchange.futu.answers import Answers
from bookreel.exchange.futu.bodies import respond, write_frame
from bookreel.exchange.futu.client import Client
from bookreel.exchange.futu.config import GatewayConfig
from bookreel.exchange.futu.holes import Hole, holes_of
from bookreel.exchange.futu.known import Known
from bookreel.exchange.futu.lobby import Lobby
from bookreel.exchange.futu.prelude import recall
from bookreel.exchange.futu.recorded import Recorded
from bookreel.exchange.futu.subscriptions import Refusal, Subscription
from bookreel.exchange.reel import Cursor, Record, ReplayClock
from bookreel.replay import Archive
from bookreel.storage.disk import OsDisk
from bookreel.storage.layout import read_meta
from bookreel.storage.tail import Tail
from bookreel.venues.futu.feeds import FEED_OF, make_topic

__all__ = ["RecordedGateway"]

_SPOKEN: Final = "futu"
_TURN: Final = 1_000
"""Records that are taken in one turn: others of the event loop's want theirs."""
_CROWDED: Final = 256
"""With so many pushes waiting for a client the replay waits as well, where it has no pace of its own."""
_AWAY_NS: Final = 10_000_000_000
"""Without a pace, so long is waited for those to be back whose connections ended."""
_SECOND: Final = 1_000_000_000
_AS_TRADED: Final = 0
_ENDED: Final = "the recording has ended"


class RecordedGateway(Lobby):
    """Raises ``NothingRecorded``, ``OtherVenue`` and what opening and reading an archive raises."""

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        recording = config.recording
        assert recording is not None, "an archive is what is played"
        venue = read_meta(recording.archive, OsDisk()).venue
        if venue != _SPOKEN:
            raise OtherVenue(recording.archive, venue, _SPOKEN)
        super().__init__(config, clock)
        self._recording = recording
        self.known = Known(None if recording.symbols is None else frozenset(recording.symbols))
        self.frames = 0
        """Pushes so far, each counted once."""
        self.last_ns: int | None = None
        """The venue's time at the last push."""
        self._behind = False
        self._changed_ns = 0
        """When somebody connected or subscribed last."""
        self._had: dict[int, dict[str, int]] = {}
        """Of each client, how much it knows of a topic."""
        self._late: set[int] = set()
        """Those that came back after the end: they are told so, and not waited for."""
        self._away = 0
        self._away_ns = 0
        self._cursor = Cursor(recording.archive, None, recording.start, recording.end)
        try:
            with Archive(recording.archive) as archive:
                self._look(archive)
        except BaseException:
            self._cursor.stop()
            raise
        self.rest = Answers(self, self.known)

    def _look(self, archive: Archive) -> None:
        """Find out what there is, and what was known when the replay begins."""
        recording = self._recording
        if recording.symbols is not None:
            archive.source(recording.symbols, None, None, None, None)
        with closing(Tail(recording.archive)) as tail:
            contents = tail.look()
        streams = [stream for stream in contents.streams if self.known.wants(stream.symbol)]
        start, first = recording.start, self._cursor.due
        if not streams or first is None:
            raise NothingRecorded(recording.archive)
        early = start is None or start < min(stream.since for stream in streams)
        if start is None or early:  # nobody wants to wait for the first of it
            start = first
        self._clock = ReplayClock(start, recording.speed)
        for stream in streams:
            self.known.add(make_topic(stream.symbol, stream.feed))
        recall(archive, self.known, start, early=early)
        self._holes: list[Hole] = []
        if recording.gaps == "disconnect":
            self._holes = [hole for hole in reversed(holes_of(archive)) if hole.at >= start]

    # Time

    @property
    def symbols(self) -> list[str]:
        return sorted({topic.symbol for topic in self.known.topics()})

    @property
    def pushes(self) -> int:
        return self.frames

    @property
    def next_ns(self) -> int:
        now_ns, due = self.now_ns(), self._cursor.due
        return now_ns if due is None else self._clock.when(due, now_ns)

    @property
    def behind(self) -> bool:
        return self._behind

    def venue_ns(self) -> int:
        """The gateway's time as of the replay's clock."""
        return self._clock.at(self.now_ns())

    def close(self) -> None:
        self._cursor.stop()
        super().close()

    # Who is there

    def join(self, on_cut: Callable[[], None]) -> Client:
        self._changed_ns = self.now_ns()
        client = super().join(on_cut)
        if self._cursor.ended:
            self._late.add(client.number)
            client.finish(_ENDED)
        return client

    def leave(self, client: Client, note: str) -> None:
        super().leave(client, note)
        self._late.discard(client.number)
        self._had.pop(client.number, None)
        if not self.clients and self._recording.wait_s is not None:
            self._clock.stand(self.now_ns())

    @property
    def logined(self) -> bool:
        """Whether the gateway was logged in."""
        return self.known.logined

    def check(self, symbol: str, sub_types: Iterable[int], rehab: int) -> None:
        """Raises ``Refusal`` for what was not recorded."""
        if not self.known.has(symbol):
            raise Refusal(f"unknown stock {symbol}: it was not recorded")
        for sub_type in sub_types:
            feed = FEED_OF[sub_type].name
            if self.known.topic(symbol, feed) is None:
                raise Refusal(f"{symbol}: sub_type {sub_type} ({feed}) was not recorded")
            if feed.startswith("kline.") and rehab != _AS_TRADED:
                raise Refusal(
                    f"{symbol}: {feed} was recorded as traded; ask for it with reg_push_rehab_type_list [0]"
                )

    def begun(self, subscriptions: list[Subscription], *, first: bool) -> None:
        """Subscriptions began, or go on: what is cached is pushed to each who does not have it."""
        self._changed_ns = self.now_ns()
        if self._cursor.ended:
            return
        for one in subscriptions if first else ():
            state = self.known.topic(one.symbol, FEED_OF[one.sub_type].name)
            message = None if state is None else state.first()
            if state is None or message is None or not self.logined:
                continue
            body = base64.b64encode(respond(message)).decode()
            self._send(
                write_frame(state.feed.proto_id, body, one.symbol, one.sub_type, one.rehab), state, again=True
            )

    def ended(self, subscriptions: list[Subscription]) -> None:
        """There is nothing to do for what is not pushed any more."""

    # What comes

    def tick(self) -> None:
        now_ns = self.now_ns()
        self._behind = False
        if self._clock.running or self._begin(now_ns):
            self._advance(now_ns)
        if self._cursor.ended:
            for client in self.clients.values():
                client.finish(_ENDED)
            if self.clients.keys() <= self._late:
                self.over.set()

    def _begin(self, now_ns: int) -> bool:
        """Let the clock run, unless it has to wait."""
        wait_s = self._recording.wait_s
        if wait_s is not None and (
            not self.clients or not self.subs.used or now_ns - self._changed_ns < wait_s * _SECOND
        ):
            return False
        self._clock.run(now_ns)
        return True

    def _advance(self, now_ns: int) -> None:
        """Everything up to the replay's clock."""
        limit, paced = self._clock.at(now_ns), self._clock.paced
        for _ in range(_TURN):
            if not paced and self._waits(now_ns):
                return
            record = self._cursor.head()
            if record is None:
                return
            late = paced and record.ts > limit
            cut = self._break_off(limit if late else record.ts, now_ns)
            if late or (cut and not paced):
                return
            self._cursor.step()
            self._clock.reach(record.ts)
            self._take(record)
        self._behind = True

    def _waits(self, now_ns: int) -> bool:
        """Without a pace: whether a client is slow, or not back yet."""
        if self._away and (len(self.clients) >= self._away or now_ns - self._away_ns >= _AWAY_NS):
            self._away = 0
        return bool(self._away) or any(client.queued > _CROWDED for client in self.clients.values())

    def _break_off(self, until: int, now_ns: int) -> bool:
        """End the connections where a hole of what is subscribed begins before ``until`` (ns); whether any did."""
        found = False
        while self._holes and self._holes[-1].at < until:
            hole = self._holes.pop()
            if self.clients and any(self.subs.pushed(*stream) for stream in hole.streams):
                found, self._away, self._away_ns = True, len(self.clients), now_ns
                for client in tuple(self.clients.values()):
                    client.finish("")
                    self.clients.pop(client.number)
        return found

    def _take(self, record: Record) -> None:
        """Note what was received, and push what was pushed."""
        known = self.known
        if record.kind == "instrument":
            known.listed(record.topic, json.loads(record.text or "{}"))
            return
        text = record.text if record.text is not None else (record.payload or b"").decode("utf-8", "replace")
        if record.kind == "ack":
            known.acked(text.encode())
            return
        if record.kind == "reply":
            for missing, message in known.answered(text.encode()):
                body = base64.b64encode(respond(message)).decode()
                feed, symbol = missing.feed, missing.topic.symbol
                self._push(write_frame(feed.proto_id, body, symbol, feed.sub_type, _AS_TRADED), missing)
            return
        state = known.find(record.topic)
        if state is None:
            if known.noticed(record.topic, text.encode()):
                self._send(text, None)
            return
        if state.echoes(text):
            return
        if record.kind == "undecodable" or known.pushed(text.encode()):
            self._push(text, state)

    def _push(self, text: str, state: Recorded) -> None:
        """Push what is subscribed."""
        if self.subs.pushed(state.topic.symbol, state.feed.sub_type):
            self._send(text, state)

    def _send(self, text: str, state: Recorded | None, *, again: bool = False) -> None:
        """One push to everybody; ``again``: but to those who know all of its topic."""
        if not self.clients:
            return
        self.frames += 1
        self.last_ns = self.venue_ns()
        for number, client in self.clients.items():
            if state is not None:
                had = self._had.setdefault(number, {})
                if again and had.get(state.topic.text) == state.number:
                    continue
                had[state.topic.text] = state.number
            client.send(self.frames, text)
