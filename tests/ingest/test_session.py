"""One line over a socket of the test's own, on virtual time: what is counted is work, never seconds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from bookreel.ingest.books import LiveBooks
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.errors import ConnectFailed, Disconnected
from bookreel.ingest.plan import Line
from bookreel.ingest.reconnect import TokenBucket
from bookreel.ingest.session import Session
from bookreel.ingest.tape import Tape
from bookreel.storage.record import Direction
from bookreel.venues.huobi import Huobi
from tests.ingest.conftest import MemoryJournal
from tests.simulation.loop import VirtualClock, run

TOPIC = Huobi().topic("btcusdt", "mbp.150")


def delta(seq: int) -> str:
    tick = {"seqNum": seq, "prevSeqNum": seq - 1, "bids": [[9.0, float(seq)]], "asks": []}
    return json.dumps({"ch": TOPIC.text, "ts": 1790001000000, "tick": tick})


class Flood:
    """A socket with frames that wait already; then nothing more comes. ``said`` is called with what is sent."""

    def __init__(self, frames: list[str], said: Callable[[dict[str, Any]], None] = lambda text: None) -> None:
        self._frames = iter(frames)
        self._said = said

    async def receive(self) -> bytes | str:
        frame = next(self._frames, None)
        if frame is None:
            await asyncio.Event().wait()
        assert frame is not None, "the wait above never ends"
        return frame

    async def send(self, text: bytes) -> None:
        self._said(json.loads(text))

    async def close(self) -> None: ...


class Sockets:
    """A network that gives out what the test made; an error is raised."""

    def __init__(self, *made: Flood | ConnectFailed) -> None:
        self._made = iter(made)
        self.asked: list[int] = []
        self.clock: VirtualClock | None = None

    async def connect(self, url: str) -> Flood:
        assert self.clock is not None, "the test gives the clock"
        self.asked.append(self.clock.mono_ns())
        made = next(self._made, None)
        if made is None:
            await asyncio.Event().wait()
        if isinstance(made, ConnectFailed):
            raise made
        assert made is not None, "the wait above never ends"
        return made

    async def get(self, url: str) -> bytes:
        raise NotImplementedError

    async def close(self) -> None: ...


def session(
    clock: VirtualClock, network: Sockets, *, bucket: TokenBucket | None = None, number: int = 0
) -> Session:
    network.clock = clock
    return Session(
        Line(f"feed-{number}", "ws://venue/feed", (TOPIC,)),
        config=RecordConfig(),
        venue=Huobi(),
        tape=Tape(MemoryJournal(), clock),
        books=LiveBooks(),
        network=network,
        bucket=bucket or TokenBucket(rate=5.0, burst=8),
        rng=Random(number),
        recover=False,
    )


async def for_a_while(seconds: float, *sessions: Session) -> None:
    tasks = [asyncio.create_task(each.run()) for each in sessions]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_ping_behind_thousands_of_frames_waits_for_few_of_them() -> None:
    looked_at: list[int] = []

    async def main(clock: VirtualClock) -> Session:
        def said(what: dict[str, Any]) -> None:
            if what.get("pong") == 77:
                dialogue = line._dialogue
                assert dialogue is not None, "it is connected"
                looked_at.append(line.stats.frames - 1 - len(dialogue.backlog))

        frames = [delta(seq) for seq in range(2, 9002)]
        line = session(clock, Sockets(Flood([*frames, '{"ping":77}'], said)))
        await for_a_while(1.0, line)
        return line

    line = run(main)
    (done,) = looked_at
    assert done < 9000 / 4, "all others wait, journaled"
    assert line.stats.frames == 9001
    (book,) = line._books.values()
    assert book.sync.buffer[-1].delta.seq == 9001, "they were looked at in the end, in order"


def test_a_flood_on_one_line_holds_up_no_other() -> None:
    before: list[int] = []

    async def main(clock: VirtualClock) -> None:
        bucket = TokenBucket(rate=5.0, burst=8)
        flooded = session(clock, Sockets(Flood([delta(seq) for seq in range(2, 20_002)])), bucket=bucket)

        def said(what: dict[str, Any]) -> None:
            if "pong" in what:
                before.append(flooded.stats.frames)

        other = session(clock, Sockets(Flood(['{"ping":1}'], said)), bucket=bucket, number=1)
        await for_a_while(1.0, flooded, other)
        assert flooded.stats.frames == 20_001 - 1
        assert flooded.stats.turns > 0

    run(main)
    assert before
    assert before[0] <= 1024, "a few turns of the other line"


def test_too_much_that_waits_holds_the_venue_back() -> None:
    class Watched(Flood):
        most = 0

        async def receive(self) -> bytes | str:
            if line._dialogue is not None:
                self.most = max(self.most, len(line._dialogue.backlog))
            return await super().receive()

    flood = Watched([delta(seq) for seq in range(2, 30_002)])
    line: Session

    async def main(clock: VirtualClock) -> None:
        nonlocal line
        line = session(clock, Sockets(flood))
        await for_a_while(1.0, line)

    run(main)
    assert line.stats.frames == 30_000
    assert 5_000 < flood.most <= 10_256


def test_what_waited_when_the_connection_ended_is_looked_at_first() -> None:
    class Cut(Flood):
        async def receive(self) -> bytes | str:
            frame = next(self._frames, None)
            if frame is None:
                raise Disconnected(None, "cut")
            return frame

    async def main(clock: VirtualClock) -> Session:
        line = session(clock, Sockets(Cut([delta(seq) for seq in range(2, 1002)])))
        await for_a_while(0.001, line)
        return line

    line = run(main)
    assert line.stats.frames == 1000
    assert line.stats.disconnects == {"disconnect": 1}
    assert line._dialogue is None


@pytest.mark.parametrize(
    ("error", "pause_s"),
    [
        (ConnectFailed("u", "HTTP status 429", status=429, retry_after=7.0), 7.0),
        (ConnectFailed("u", "HTTP status 418", status=418, retry_after=90.0), 90.0),
        (ConnectFailed("u", "HTTP status 503", status=503, retry_after=5.0), 5.0),
        (ConnectFailed("u", "HTTP status 429", status=429), 2.0),
        (ConnectFailed("u", "HTTP status 418", status=418), 60.0),
        (ConnectFailed("u", "HTTP status 503", status=503, retry_after=1e9), 3600.0),
    ],
)
def test_a_pause_asked_of_one_line_is_kept_by_all(error: ConnectFailed, pause_s: float) -> None:
    async def main(clock: VirtualClock) -> tuple[Sockets, Sockets]:
        bucket = TokenBucket(rate=5.0, burst=8)
        refused, other = Sockets(error), Sockets(ConnectFailed("u", "reset"), ConnectFailed("u", "reset"))
        await for_a_while(
            pause_s + 30,
            *(session(clock, net, bucket=bucket, number=n) for n, net in enumerate((refused, other))),
        )
        return refused, other

    refused, other = run(main)
    for asked in (refused.asked, other.asked):
        assert len(asked) >= 2
        assert asked[1] - refused.asked[0] >= pause_s * 1e9
        assert asked[1] - refused.asked[0] <= (pause_s + 2) * 1e9


def test_answers_to_pings_are_in_the_journal() -> None:
    async def main(clock: VirtualClock) -> MemoryJournal:
        journal = MemoryJournal()
        line = session(clock, Sockets(Flood(['{"ping":5}'])))
        line._tape = Tape(journal, clock)
        await for_a_while(0.5, line)
        return journal

    sent = [json.loads(r.payload) for r in run(main).records if r.direction is Direction.OUT]
    assert {"pong": 5} in sent


def test_who_waits_for_its_turn_when_the_pause_begins_waits_for_its_end_too() -> None:
    async def main(clock: VirtualClock) -> Sockets:
        bucket = TokenBucket(rate=1.0, burst=1)
        refused = Sockets(ConnectFailed("u", "HTTP status 429", status=429, retry_after=7.0))
        other = Sockets()
        await for_a_while(
            20.0, *(session(clock, net, bucket=bucket, number=n) for n, net in enumerate((refused, other)))
        )
        return other

    (asked, *_) = run(main).asked
    assert 7e9 <= asked <= 9e9
