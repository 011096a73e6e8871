"""A disk that fills up: at any moment, with any room left, survived or not. Nothing acknowledged is lost, the hole is
registered with its cause and bounds, and recording goes on within 5 s of there being room.

A case is one archive on a :class:`SimDisk`: production's dialogue and journal record a small venue, step by step,
with a spool that is as small as the case wants. Then every frame the venue ever pushed is looked for: it is in the
journal, or in a hole; and a hole has something missing in it. The live books are the archive's.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pyarrow as pa

from bookreel.book.model import Gap
from bookreel.ingest.books import LiveBooks
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.dialogue import Dialogue
from bookreel.ingest.stats import LineStats
from bookreel.ingest.tape import Tape
from bookreel.storage.errors import NotDurable
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Kind, Record, decode_event
from bookreel.storage.segment import Damage, SegmentReader, list_segments
from bookreel.venues.huobi import Huobi
from tests.simulation.disk import SimDisk

__all__ = ["Figures", "Violation", "case", "run"]

ARCHIVE: Final = Path("/archive")
START_NS: Final = 1_790_000_000 * 10**9
MS: Final = 1_000_000
STEP_MS: Final = 5
SYNC_STEPS: Final = 20
RESUME_S: Final = 5.0
FEEDS: Final = ("mbp.150", "bbo", "trade.detail")
SYMBOLS: Final = ("aaausdt", "bbbusdt")
ENDS: Final = ("survive", "kill", "power", "kill twice", "close")


class Violation(AssertionError):
    """A promise was broken."""


class Clock:
    """Moved by the case."""

    def __init__(self) -> None:
        self.now = START_NS

    def wall_ns(self) -> int:
        return self.now

    def mono_ns(self) -> int:
        return self.now - START_NS + 10**9

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a dialogue does not sleep")


class World:
    """The venue, and what it pushed: each frame of a stream has a number of its own, from 1."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.clock = Clock()
        self.seqs: Counter[str] = Counter()
        self.books: dict[str, dict[float, float]] = {}
        self.pushed: dict[str, dict[int, int]] = {}
        """Receive time (ns) of each frame, by topic and number."""

    def push(self, topic: str) -> str:
        seq = self.seqs[topic] = self.seqs[topic] + 1
        self.pushed.setdefault(topic, {})[seq] = self.clock.now
        ts = self.clock.now // MS
        tick: dict[str, Any]
        if topic.endswith("mbp.150"):
            book = self.books.setdefault(topic, {})
            levels = [[float(self.rng.randrange(1, 60)), float(self.rng.randrange(3))] for _ in range(4)]
            book.update((price, size) for price, size in levels)
            tick = {"seqNum": seq, "prevSeqNum": seq - 1, "bids": levels, "asks": []}
        elif topic.endswith("bbo"):
            tick = {"seqId": seq, "bid": 1.0, "bidSize": 1.0, "ask": 2.0, "askSize": 1.0, "quoteTime": ts}
        else:
            trade = {"id": 10**20 + seq, "ts": ts, "tradeId": seq, "amount": 1.0, "price": 1.0}
            tick = {"id": seq, "ts": ts, "data": [{**trade, "direction": "buy"}]}
        return json.dumps({"ch": topic, "ts": ts, "tick": tick})

    def answer(self, text: bytes) -> str | None:
        """What the venue says to a frame it was sent."""
        said = json.loads(text)
        ts = self.clock.now // MS
        for verb in ("sub", "unsub"):
            if verb in said:
                return json.dumps({"id": said["id"], "status": "ok", verb + "bed": said[verb], "ts": ts})
        if "req" not in said:
            return json.dumps({"pong": said["ping"]}) if "ping" in said else None
        topic = said["req"]
        data: Any = []
        if topic.endswith("mbp.150"):
            bids = [[price, size] for price, size in self.books.get(topic, {}).items() if size]
            data = {"seqNum": self.seqs[topic], "bids": sorted(bids, reverse=True), "asks": []}
        return json.dumps({"id": said["id"], "status": "ok", "ts": ts, "rep": topic, "data": data})


class Life:
    """One run of the recorder, from start to whatever end."""

    def __init__(self, world: World, disk: SimDisk, spool_bytes: int, segment_bytes: int) -> None:
        self.world = world
        self.disk = disk
        clock = world.clock
        options = JournalOptions(
            threads=False, archive_id=b"archive0", segment_bytes=segment_bytes, spool_bytes=spool_bytes
        )
        self.journal = Journal.open(ARCHIVE, "huobi", clock=clock, options=options, disk=disk)
        self.tape = Tape(self.journal, clock)
        self.books = LiveBooks()
        venue = Huobi()
        topics = {
            topic.text: topic for symbol in SYMBOLS for topic in (venue.topic(symbol, f) for f in FEEDS)
        }
        held = {
            text: self.books.add(topic) for text, topic in topics.items() if topic.coverage == "sequenced"
        }
        self.topics = list(topics)
        self.first_pos = self.journal.next_pos
        self.acknowledged = 0
        self.fulls: list[tuple[int, int | None]] = []
        """When the disk was full, from the first refusal to the next record taken."""
        self.steps = 0
        self.tape.event("start", run="case", venue="huobi", version="1")
        self.tape.event("connect", "line-0", 1, url="ws://venue")
        self.dialogue = Dialogue(
            topics,
            held,
            LineStats("line-0", "ws://venue", len(topics), epoch=1),
            config=RecordConfig(audit_interval_s=0, backfill_trades=False),
            venue=venue,
            tape=self.tape,
            rng=world.rng,
            paces={},
            wake=lambda: None,
            recover=False,
        )
        self.dialogue.open()

    def hear(self, frame: str) -> None:
        clock = self.world.clock
        clock.now += 1000
        pong = self.dialogue.receive(frame, clock.now, clock.mono_ns())
        if pong is not None:
            self.dialogue.requests.sent(pong)

    def step(self, topics: list[str]) -> None:
        """5 ms: frames come, answers come, the pumps turn."""
        world, clock = self.world, self.world.clock
        clock.now += STEP_MS * MS
        for topic in topics:
            self.hear(world.push(topic))
        while (text := self.dialogue.requests.outgoing(clock.mono_ns())) is not None:
            answer = world.answer(text)
            if answer is not None:
                self.hear(answer)
        self.steps += 1
        self.pump(sync=self.steps % SYNC_STEPS == 0)
        if self.steps % 50 == 0:
            self.hear(json.dumps({"ping": clock.now // MS}))
            self.dialogue.check(clock.mono_ns())

    def pump(self, *, sync: bool) -> None:
        self.journal.pump_write()
        if sync:
            self.journal.pump_sync()
        self.look()

    def look(self) -> None:
        journal = self.journal
        counts = journal.counts()
        _hold(
            counts.received == counts.durable + counts.in_flight + counts.shed, f"identity broken: {counts}"
        )
        _hold(journal.durable_pos >= self.acknowledged, "the watermark went back")
        self.acknowledged = journal.durable_pos
        since = journal.disk_full_since
        if since is not None and (not self.fulls or self.fulls[-1] != (since, None)):
            self.fulls.append((since, None))
        elif since is None and self.fulls and self.fulls[-1][1] is None:
            self.fulls[-1] = (self.fulls[-1][0], self.world.clock.now)

    def run(self, steps: int) -> None:
        rng = self.world.rng
        for _ in range(steps):
            self.step(rng.sample(self.topics, rng.randrange(len(self.topics) + 1)))


def case(seed: int) -> Counter[str]:
    """One archive, one full disk. Raises :class:`Violation`; returns what happened."""
    rng = Random(seed)
    world, disk = World(rng), SimDisk()
    sizes = rng.choice((20_000, 60_000, 1 << 20)), rng.choice((3_000, 30_000, 1 << 20))
    life = Life(world, disk, *sizes)
    life.run(rng.randrange(5, 150))
    quota = rng.random() < 0.3
    _fill(disk, rng, quota=quota)
    life.run(rng.randrange(10, 300))
    end = ending = rng.choice(ENDS)
    lives = [life]
    while end in ("kill", "power", "kill twice", "close"):
        if end == "close":
            with contextlib.suppress(NotDurable):
                life.journal.close()
            life.look()
            disk = disk.killed()
        else:
            disk = disk.power_loss(rng) if end == "power" else disk.killed()
        world.clock.now += rng.randrange(1, 30_000) * MS
        if end == "kill twice":
            _fill(disk, rng, quota=quota)
            try:
                life = Life(world, disk, *sizes)
            except OSError as error:
                _hold(error.errno in (errno.ENOSPC, errno.EDQUOT), f"opening: {error}")
            else:
                lives.append(life)
                life.run(rng.randrange(1, 60))
            end = "kill"
            continue
        _free(disk)
        life = Life(world, disk, *sizes)
        lives.append(life)
        break
    _free(life.disk)
    _resume(life)
    life.run(40)
    live = {sync.topic.text: sync.sync for sync in life.books}
    _settle(life)
    records = _read(life.disk)
    there = {record.pos for record in records if isinstance(record, Record)}
    for each in lives:
        promised = set(range(each.first_pos, each.acknowledged + 1))
        _hold(promised <= there, f"acknowledged and lost: {sorted(promised - there)[:9]}")
    _judge(world, records, live, lives, power=ending == "power")
    happened = Counter({"cases": 1, f"end: {ending}": 1, "lives": len(lives)})
    happened["by quota"] += quota
    happened["with shedding"] += any(each.journal.shed for each in lives)
    happened["records shed"] += sum(each.journal.shed for each in lives)
    happened["times full"] += sum(len(each.fulls) for each in lives)
    return happened


def _fill(disk: SimDisk, rng: Random, *, quota: bool) -> None:
    """Leaves so many bytes, or fails every call that needs room."""
    if not quota:
        disk.capacity = disk.used + rng.choice(
            (0, 1, rng.randrange(60), rng.randrange(4096), rng.randrange(40_000))
        )
        return
    left = rng.randrange(40)

    def refuse(operation: str, path: Path) -> None:
        nonlocal left
        if operation in ("writev", "create", "rename", "sync_folder", "make_folder"):
            left -= 1
            if left < 0:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    disk.before = refuse


def _free(disk: SimDisk) -> None:
    disk.capacity = disk.before = None


def _resume(life: Life) -> None:
    """There is room again: within 5 s what is held is durable."""
    began = life.world.clock.now
    while life.journal.disk_full_since is not None or life.journal.counts().durable == 0:
        life.run(1)
        _hold(life.world.clock.now - began < RESUME_S * 1e9, "did not resume within 5 s")


def _settle(life: Life) -> None:
    """No more frames; everything becomes durable, and the archive is closed in order."""
    while life.journal.in_flight:
        life.world.clock.now += STEP_MS * MS
        life.pump(sync=True)
    life.tape.event("stop", reason="the case is over")
    life.journal.close()
    life.look()


def _read(disk: SimDisk) -> list[Record | Damage]:
    found: list[Record | Damage] = []
    last = 0
    for segment in list_segments(ARCHIVE, disk):
        with SegmentReader(segment.path, disk, after=last, closed=True) as reader:
            found += reader.read()
            last = max(last, reader.last_pos)
    return found


def _judge(
    world: World, records: list[Record | Damage], live: dict[str, Any], lives: list[Life], *, power: bool
) -> None:
    venue = Huobi()
    normalizer = Normalizer(venue, tables=["gaps"])
    recorded: dict[str, set[int]] = {}
    crashes: list[int] = []
    told: list[dict[str, Any]] = []
    stop = 0
    open_gaps: list[Gap] = []
    first: dict[str, int] = {}
    for record in records:
        if isinstance(record, Damage):
            normalizer.damage(record)
            continue
        if record.kind is Kind.EVENT:
            event = decode_event(record.payload)
            if event["event"] == "start":
                crashes.append(record.ts_recv)
            elif event["event"] == "disk_full":
                told.append(event)
            elif event["event"] == "stop":
                stop = record.ts_recv
                open_gaps = normalizer.open_gaps()
                first = {f"market.{run.symbol}.{run.feed}": run.first for run in normalizer.coverage()}
                for topic, sync in live.items():
                    ours = normalizer._streams.find(venue.topic(*_split(topic))).sync
                    assert ours is not None
                    same = ours.valid == sync.valid and (
                        not sync.valid or (ours.last_seq, ours.book.bids) == (sync.last_seq, sync.book.bids)
                    )
                    _hold(same, f"the live book of {topic} is not the archive's")
        elif record.direction == 0:
            message = json.loads(record.payload)
            if "ch" in message:
                tick = message["tick"]
                number = tick.get("seqNum") or tick.get("seqId") or tick["id"]
                recorded.setdefault(message["ch"], set()).add(number)
        normalizer.feed(record)
    _hold(stop > 0, "the last run was not closed in order")
    gaps = normalizer.take()["gaps"]
    starts, ends = (gaps[name].cast(pa.int64()).to_pylist() for name in ("start", "end"))
    rows = [row | {"s": s, "e": e} for row, s, e in zip(gaps.to_pylist(), starts, ends, strict=True)]
    rows += [msgspec.structs.asdict(gap) | {"s": gap.start, "e": 1 << 63} for gap in open_gaps]
    _judge_register(lives, told)
    for topic, times in world.pushed.items():
        symbol, feed = _split(topic)
        mine = [row for row in rows if (row["symbol"], row["feed"]) == (symbol, feed)]
        missing = [seq for seq in times if seq not in recorded.get(topic, set())]
        began = first.get(topic, 1 << 63)
        in_hole = Counter[int]()
        for seq in missing:
            hole = next((i for i, row in enumerate(mine) if row["s"] < times[seq] < row["e"]), None)
            _hold(hole is not None or times[seq] <= began, f"{topic}: frame {seq} is missing and in no hole")
            if hole is not None:
                in_hole[hole] += 1
        for index, row in enumerate(mine):
            crashed = any(row["s"] <= at <= row["e"] for at in crashes[1:])
            damaged = power and row["cause"] == "corrupt"
            _hold(
                in_hole[index] > 0 or crashed or damaged,
                f"{topic}: a hole of which nothing is missing: {row}",
            )
            allowed = {"shed", "disk_full"} if _was_full(lives, row) else {"shed"}
            allowed |= {"crash_tail"} if crashed else set()
            # A tail that was torn in its middle: whole records follow what is missing.
            allowed |= {"corrupt"} if damaged else set()
            _hold(row["cause"] in allowed, f"{topic}: {row['cause']} is none of {allowed}")
            if row["records_lost"] is not None:
                lost = [seq for seq in missing if row["s"] < times[seq] < row["e"]]
                _judge_count(topic, row, lost)


def _was_full(lives: list[Life], row: dict[str, Any]) -> bool:
    """Whether the disk was full at any time in a hole. What it refuses first was received a little earlier, and
    memory is short for a little longer.
    """
    fulls = (full for life in lives for full in life.fulls)
    return any(since - 10**9 < row["e"] and (to is None or row["s"] < to + 10**9) for since, to in fulls)


def _judge_count(topic: str, row: dict[str, Any], lost: list[int]) -> None:
    """A count that is given is exact; it includes answers of a book's stream, which have no number of their own."""
    count, bounds = row["records_lost"], (row["last_seq"], row["next_seq"])
    if topic.endswith("mbp.150"):
        _hold(count >= len(lost), f"{topic}: {len(lost)} lost, not {count}")
        _hold(row["last_seq"] < lost[0], f"{topic}: numbers {bounds} around {lost}")
    else:
        _hold(count == len(lost), f"{topic}: {len(lost)} lost, not {count}")
        wanted = (lost[0] - 1, None if row["end"] is None else lost[-1] + 1)
        _hold(bounds == wanted, f"{topic}: numbers {bounds} around {lost}")


def _judge_register(lives: list[Life], told: list[dict[str, Any]]) -> None:
    """Each time that the disk was full is in the journal, with its true beginning: a run that survived it says so,
    and of one that did not the next. Where another came before the event of one was durable, both are one.
    """
    for since, to in (full for life in lives for full in life.fulls):
        covering = [event for event in told if event["from"] <= since and (to is None or event["to"] >= to)]
        _hold(bool(covering), f"that the disk was full from {since} to {to} is not registered")
        known = {since for life in lives for since, _ in life.fulls}
        _hold(all(event["from"] in known for event in told), "a full disk that was none is registered")


def _split(topic: str) -> tuple[str, str]:
    _, symbol, feed = topic.split(".", 2)
    return symbol, feed


def _hold(condition: bool, what: str) -> None:
    if not condition:
        raise Violation(what)


class Figures(Counter[str]):
    """What happened in some cases."""

    def add(self, other: Figures) -> None:
        self.update(other)


def run(cases: int, seed: int) -> Figures:
    """So many cases. Raises :class:`Violation` with the seed that repeats it; returns the figures."""
    total: Counter[str] = Counter()
    for number in range(seed, seed + cases):
        try:
            total += case(number)
        except Violation as error:
            raise Violation(f"seed {number}: {error}") from error
    return Figures({f"disk full: {name}": count for name, count in sorted(total.items())})
