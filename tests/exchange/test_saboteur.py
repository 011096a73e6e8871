"""Each kind of fault, as a client sees it and as the truth tells it."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from bookreel import venues
from bookreel.exchange import FAULT_KINDS, Exchange, ExchangeConfig, read_truth
from bookreel.exchange.client import Chain, Client, Stream
from bookreel.exchange.faults import FaultSchedule
from bookreel.exchange.feeds import Frame, parse_topic
from bookreel.exchange.hub import Channel
from bookreel.exchange.recorded import make_recorded
from bookreel.exchange.saboteur import Saboteur
from bookreel.exchange.truth import TruthClose, TruthFault, TruthWriter

Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Any]]
Play: TypeAlias = Callable[[Exchange, Any], Awaitable[None]]
TOPIC = "market.btcusdt.mbp.5"
BBO = "market.btcusdt.bbo"


def play(connect: Connect, truth: Path, scene: Play, path: str = "feed_url", **more: Any) -> list[TruthFault]:
    """Run a scene against an exchange; the faults it inflicted."""

    async def main() -> None:
        settings = {"symbols": ("btcusdt", "zeneth"), "rate": 200.0, "seed": 3, "request_gap_s": 0.0} | more
        config = ExchangeConfig(truth=truth, **settings)
        async with Exchange(config) as ex, connect(getattr(ex, path)) as talker, asyncio.timeout(90):
            await scene(ex, talker)

    asyncio.run(main())
    return [r for r in read_truth(truth) if isinstance(r, TruthFault)]


async def settle(talker: Any, topic: str = TOPIC) -> None:
    """Subscribe and get a usable image."""
    await talker.sub(topic)
    first = await talker.push(topic)
    while (await talker.req(topic, "settle"))["data"]["seqNum"] < first["tick"]["prevSeqNum"]:
        pass


def ticks(talker: Any, topic: str = TOPIC) -> list[dict[str, Any]]:
    return [f["tick"] for f in talker.frames if f.get("ch") == topic]


async def push_until(talker: Any, condition: Callable[[], Any], topic: str = TOPIC) -> None:
    while not condition():
        await talker.push(topic)


def breaks(found: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """(last seq, prev of the next) where the chain does not hold."""
    return [
        (a["seqNum"], b["prevSeqNum"]) for a, b in itertools.pairwise(found) if a["seqNum"] != b["prevSeqNum"]
    ]


def test_a_lost_delta_is_a_break_in_the_chain(connect: Connect, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    async def scene(ex: Exchange, talker: Any) -> None:
        ex.inflict("lost_delta")
        await talker.sub(TOPIC)
        for _ in range(20):
            await talker.push(TOPIC)
        assert not ex.inflicted, "not before the first image was answered"
        await settle(talker)
        await push_until(talker, lambda: breaks(ticks(talker)))
        seen.extend(breaks(ticks(talker)))

    (fault,) = play(connect, tmp_path / "t", scene)
    assert (fault.kind, fault.topic, fault.symbol, fault.feed) == ("lost_delta", TOPIC, "btcusdt", "mbp.5")
    assert seen == [(fault.prev_seq, fault.seq)]


def test_losses_of_one_stream_are_separate(connect: Connect, tmp_path: Path) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        for _ in range(3):
            ex.inflict("lost_delta")
        await settle(talker)
        await push_until(talker, lambda: breaks(ticks(talker)))
        for _ in range(60):
            await talker.push(TOPIC)
        assert ex.inflicted == {"lost_delta": 1}, "no second loss until an image repaired the first"
        await settle(talker)
        await push_until(talker, lambda: len(breaks(ticks(talker))) == 2)

    first, second = play(connect, tmp_path / "t", scene)
    assert second.t - first.t >= 10**9


def test_a_duplicate_comes_twice(connect: Connect, tmp_path: Path) -> None:
    twice: list[int] = []

    async def scene(ex: Exchange, talker: Any) -> None:
        ex.inflict("duplicate")
        await settle(talker)
        await push_until(talker, lambda: ex.inflicted)
        for _ in range(3):
            await talker.push(TOPIC)
        seqs = [t["seqNum"] for t in ticks(talker)]
        twice.extend(a for a, b in itertools.pairwise(seqs) if a == b)

    (fault,) = play(connect, tmp_path / "t", scene)
    assert twice == [fault.seq]


def test_reordered_deltas_change_places(connect: Connect, tmp_path: Path) -> None:
    seqs: list[int] = []

    async def scene(ex: Exchange, talker: Any) -> None:
        ex.inflict("reorder")
        await settle(talker)
        await push_until(talker, lambda: ex.inflicted)
        for _ in range(5):
            await talker.push(TOPIC)
        seqs.extend(t["seqNum"] for t in ticks(talker))

    (fault,) = play(connect, tmp_path / "t", scene)
    assert [b for a, b in itertools.pairwise(seqs) if b < a] == [fault.seq]


def test_a_disconnect_ends_the_socket(connect: Connect, tmp_path: Path) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        await talker.sub(BBO)
        ex.inflict("disconnect")
        while await talker.hear():
            pass

    (fault,) = play(connect, tmp_path / "t", scene, "ws_url", spared_s=0.01)
    assert (fault.kind, fault.conn, fault.path) == ("disconnect", 1, "/ws")


@pytest.mark.parametrize("again", [True, False])
def test_silence_of_a_topic_ends_by_itself_or_by_subscribing_again(
    connect: Connect, tmp_path: Path, again: bool
) -> None:
    spoke: list[float] = []
    heard: list[int] = []
    other = "market.zeneth.bbo"

    async def scene(ex: Exchange, talker: Any) -> None:
        await talker.sub(BBO)
        await talker.sub(other)
        ex.inflict("silence", BBO)
        await talker.wait(lambda f: "silence" in ex.inflicted)
        before = len(ticks(talker, BBO))
        pings = sum("ping" in f for f in talker.frames)
        for _ in range(20):
            await talker.push(other)
        await talker.wait(lambda f: "ping" in f)
        assert sum("ping" in f for f in talker.frames) > pings
        if again:
            assert len(ticks(talker, BBO)) <= before + 1
            await talker.say(sub=BBO, id="again")
        await talker.push(BBO)
        frame = await talker.push(BBO)
        spoke.append(frame["ts"] / 1000)
        heard.extend(f["ts"] * 1_000_000 for f in talker.frames if f.get("ch") == BBO)

    lasting = (60.0, 60.0) if again else (1.5, 2.0)
    (fault,) = play(connect, tmp_path / "t", scene, "ws_url", ping_s=0.2, spared_s=0.01, silence_s=lasting)
    assert fault.topic == BBO and fault.until is not None
    assert (spoke[0] < fault.until / 1e9) == again
    assert again or not [at for at in heard if fault.t < at < fault.until - 1_000_000]


def test_silence_can_be_of_a_whole_socket(connect: Connect, tmp_path: Path) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        await talker.sub(BBO)
        await talker.sub("market.zeneth.bbo")
        ex.inflict("silence")
        await talker.wait(lambda f: ex.inflicted)
        enough = len(talker.frames) + 5
        await talker.wait(
            lambda f: ex.inflicted["silence"] == 2 or ("ch" in f and len(talker.frames) > enough)
        )

    muted = set()
    for seed in range(8):
        faults = play(connect, tmp_path / str(seed), scene, "ws_url", seed=seed, ping_s=0.2, spared_s=0.01)
        muted.add(len({fault.topic for fault in faults}))
    assert muted == {1, 2}


def test_half_open_is_open_and_dead(
    connect: Connect, tmp_path: Path, soon: Callable[[Callable[[], Any]], Awaitable[Any]]
) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        async def listen() -> None:
            while await talker.hear():
                pass

        await talker.sub(BBO)
        listening = asyncio.create_task(listen())
        ex.inflict("half_open")
        await soon(lambda: ex.inflicted)
        await asyncio.sleep(0.2)
        before = len(talker.frames)
        await talker.say(ping=1)
        await listening  # until the exchange tears it down
        assert len(talker.frames) == before

    (fault,) = play(connect, tmp_path / "t", scene, "ws_url", half_open_s=1.5, ping_s=0.2, spared_s=0.01)
    assert fault.kind == "half_open"
    (closed,) = (record for record in read_truth(tmp_path / "t") if isinstance(record, TruthClose))
    assert closed.t - fault.t >= 1_500_000_000, "not for its unanswered pings"


def test_bad_images(connect: Connect, tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def scene(ex: Exchange, talker: Any) -> None:
        await talker.sub(TOPIC)
        for _ in range(30):
            await talker.push(TOPIC)
        ex.inflict("null_snapshot", TOPIC)
        found["null"] = (await talker.req(TOPIC, "n"))["data"]
        ex.inflict("stale_snapshot", TOPIC)
        found["stale"] = (await talker.req(TOPIC, "s"))["data"]["seqNum"], ticks(talker)[0]["prevSeqNum"]
        ex.inflict("straddling_snapshot")
        found["straddling"] = (await talker.req(TOPIC, "x"))["data"]["seqNum"], ticks(talker)
        loop = asyncio.get_running_loop()
        ex.inflict("late_snapshot")
        asked = loop.time()
        late = (await talker.req(TOPIC, "l"))["data"]["seqNum"]
        found["late"] = loop.time() - asked, late, [t["seqNum"] for t in ticks(talker)]

    faults = play(connect, tmp_path / "t", scene)
    assert [f.kind for f in faults] == [
        "null_snapshot",
        "stale_snapshot",
        "straddling_snapshot",
        "late_snapshot",
    ]
    assert found["null"] is None
    stale, first = found["stale"]
    assert stale == faults[1].seq and stale < first
    inside, deltas = found["straddling"]
    assert [d for d in deltas if d["prevSeqNum"] < inside < d["seqNum"]]
    assert inside == faults[2].seq
    seconds, late, seqs = found["late"]
    assert seconds >= 1.0
    assert late in seqs[:-1], "a true image, but an old one"


@pytest.mark.parametrize("kind", ["broken_gzip", "broken_json"])
@pytest.mark.parametrize("topic", [TOPIC, BBO])
def test_broken_frames_are_told(connect: Connect, tmp_path: Path, kind: str, topic: str) -> None:
    broken: list[bytes] = []

    async def scene(ex: Exchange, talker: Any) -> None:
        if topic == TOPIC:
            await settle(talker)
        else:
            await talker.sub(topic)
        ex.inflict(kind)
        await push_until(talker, lambda: talker.broken, topic)
        broken.extend(talker.broken)

    (fault,) = play(connect, tmp_path / "t", scene, "feed_url" if topic == TOPIC else "ws_url")
    assert (fault.kind, fault.topic) == (kind, topic)
    assert (fault.seq is not None) == (topic == TOPIC)
    assert len(broken) == 1
    if kind == "broken_json":
        text = gzip.decompress(broken[0])
        with pytest.raises(ValueError):
            json.loads(text)


def test_one_refused_sub_then_it_works(connect: Connect, tmp_path: Path) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        ex.inflict("sub_error")
        refused = await talker.sub(BBO, 1)
        assert (refused["status"], refused["err-msg"]) == ("error", "request timeout")
        assert (await talker.sub(BBO, 2))["status"] == "ok"

    (fault,) = play(connect, tmp_path / "t", scene, "ws_url")
    assert (fault.kind, fault.topic) == ("sub_error", BBO)


def test_a_request_is_refused_as_one_too_many(connect: Connect, tmp_path: Path) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        await talker.sub(TOPIC)
        ex.inflict("rate_limit")
        refused = await talker.req(TOPIC, 1)
        assert refused["status"] == "error" and refused["err-msg"].startswith("429 ")
        assert (await talker.req(TOPIC, 2))["status"] == "ok"

    (fault,) = play(connect, tmp_path / "t", scene)
    assert (fault.kind, fault.topic) == ("rate_limit", TOPIC)


def test_a_schedule_inflicts_without_being_asked(connect: Connect, tmp_path: Path) -> None:
    async def scene(ex: Exchange, talker: Any) -> None:
        await settle(talker)
        while sum(ex.inflicted.values()) < 3:
            await talker.push(TOPIC)
            if breaks(ticks(talker)):
                await settle(talker)

    faults = play(connect, tmp_path / "t", scene, faults="lost_delta=300,duplicate=300")
    assert {f.kind for f in faults} <= {"lost_delta", "duplicate"}


def test_every_kind_has_a_default_rate() -> None:
    assert all(rate > 0 for rate in FAULT_KINDS.values())
    assert len(FAULT_KINDS) == 14


class Inbox:
    """A connection that keeps what is sent."""

    queued = 0

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def drop(self) -> None: ...
    def cut(self) -> None: ...
    def close(self, code: int, reason: str) -> None: ...


@pytest.mark.parametrize("kind", ["lost_delta", "duplicate", "reorder", "broken_gzip", "broken_json"])
def test_a_recorded_frame_that_nobody_can_read_is_left_as_it_is(kind: str) -> None:
    config = ExchangeConfig()
    inbox = Inbox()
    client = Client(1, "/feed", "s", inbox, config, 0)
    topic = parse_topic(TOPIC)
    assert topic is not None
    chain = Chain(0)
    stream = Stream(client, Channel(make_recorded(topic, venues.get("huobi"))), chain)
    stream.fault = kind
    truth = TruthWriter(None, lambda: 0)
    saboteur = Saboteur(config, FaultSchedule({}, 1, 0), truth, [client], lambda _: None)
    saboteur.deliver(stream, Frame("", payload=b"torn"), 0)
    saboteur.deliver(stream, Frame('{"ch":"market', payload=b"half"), 0)
    assert inbox.sent == [b"torn", b"half"] and stream.fault == kind
    stream.muted_until_ns = 10
    saboteur.deliver(stream, Frame("", payload=b"torn"), 5)
    assert len(inbox.sent) == 2 and not truth.inflicted
    saboteur.deliver(stream, Frame("", payload=b"torn"), 10)
    assert len(inbox.sent) == 3
