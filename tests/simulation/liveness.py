"""How soon dead connections and silent streams are found, how soon books are right again, and how politely.

Virtual time; the lines, dialogues and books are the recorder's own, the venue is :mod:`tests.simulation.quiet`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable
from random import Random
from typing import Any, Final

from bookreel.ingest.books import LiveBooks
from bookreel.ingest.config import RecordConfig
from bookreel.ingest.frames import FrameReader
from bookreel.ingest.plan import plan
from bookreel.ingest.reconnect import TokenBucket
from bookreel.ingest.session import Session
from bookreel.ingest.tape import Tape
from bookreel.ingest.witness import Witnesses
from bookreel.storage.record import Kind, decode_event
from bookreel.storage.shedding import Victim
from bookreel.venues.huobi import Huobi
from tests.simulation.loop import VirtualClock
from tests.simulation.loop import run as run_virtual
from tests.simulation.quiet import FEEDS, PROFILES, Fault, QuietVenue, Wire

__all__ = ["Recorder", "detection", "reconnect", "resync", "run", "storm"]

_SETTLE_S: Final = 30.0
_WARM_UP_S: Final = 600.0
"""By then every stream has spoken: one that never did is not judged."""
_ECHO_S: Final = 5.0
"""What was asked while a fault lasted may be judged so long after its end."""
_MODES: Final = ("heals", "cached", "deaf")
_KINDS: Final = ("half_open", "silence", "symbol", "silence", "line", "silence")


class Recorder:
    """Lines without an archive: what happened is handed on, frames are dropped."""

    def __init__(
        self,
        clock: VirtualClock,
        venue: QuietVenue,
        rng: Random,
        happened: Callable[[str, str, dict[str, Any]], None] = lambda event, conn, facts: None,
        feeds: Iterable[str] = FEEDS,
        **settings: Any,
    ) -> None:
        self.frames = 0
        self.victim = Victim(None, "shed")
        self._happened = happened
        self._pos = 0
        huobi = Huobi()
        config = RecordConfig(**{"audit_interval_s": 0, **settings})
        topics = [huobi.topic(symbol, feed) for symbol in venue.books for feed in feeds]
        tape = Tape(self, clock)
        self.books = LiveBooks(Witnesses(FrameReader(huobi).events))
        bucket = TokenBucket(rate=config.connects_per_second, burst=8)
        self.sessions = [
            Session(
                line,
                config=config,
                venue=huobi,
                tape=tape,
                books=self.books,
                network=venue,
                bucket=bucket,
                rng=Random(rng.getrandbits(64)),
                recover=False,
            )
            for line in plan(topics, config, huobi)
        ]

    def began(self, topic: str) -> None: ...

    def append(
        self, ts_recv: int, mono: int, conn: str, epoch: int, direction: int, kind: int, payload: bytes
    ) -> int:
        self._pos += 1
        if kind == Kind.EVENT:
            facts = decode_event(payload)
            self._happened(facts.pop("event"), conn, facts)
        else:
            self.frames += 1
        return self._pos

    async def all_right(self) -> None:
        """Wait until every book is right."""
        while self.books.live < self.books.total:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)

    async def during(self, work: Coroutine[Any, Any, None]) -> None:
        """Record until ``work`` is done."""
        tasks = [asyncio.create_task(session.run()) for session in self.sessions]
        try:
            await work
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def percentile(values: list[float], part: float) -> float:
    """The value that ``part`` of all do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else math.nan


def spread(name: str, values: list[float]) -> dict[str, float]:
    return {
        f"{name} count": float(len(values)),
        f"{name} p50 s": percentile(values, 0.5),
        f"{name} p99 s": percentile(values, 0.99),
        f"{name} max s": max(values, default=math.nan),
    }


class _Detective:
    """Inflicts half-open connections and silences, and notes when they are found."""

    def __init__(self, venue: QuietVenue, rng: Random) -> None:
        self._venue = venue
        self._rng = rng
        self.open: list[tuple[Fault, Wire]] = []
        self.all: list[tuple[Fault, str]] = []
        """Each with its class."""
        self.false: list[str] = []
        self._settled_at = 0.0
        self.unfound: list[str] = []

    def happened(self, event: str, conn: str, facts: dict[str, Any]) -> None:
        if event == "silence":
            self._found(lambda fault: fault.topic in facts["topics"], f"{facts['topics']}: {facts['why']}")
        elif event == "disconnect" and facts["cause"] in ("half_open", "silence"):
            kind = conn.partition("-")[0]
            topic_kind = {"feed": "mbp.150"}
            self._found(
                lambda fault: (
                    fault.topic == kind
                    or (fault.kind != "half_open" and ("mbp" in fault.topic) == (kind in topic_kind))
                ),
                f"{conn}: {facts['cause']}: {facts['detail']}",
            )

    def _found(self, fits: Callable[[Fault], bool], what: str) -> None:
        now = self._venue.now()
        hit = [fault for fault, _ in self.open if fits(fault)]
        for fault in hit:
            if fault.found is None:
                fault.found = now
        if not hit and now - self._settled_at > _ECHO_S:
            self.false.append(f"{now:.3f} {what}")

    def strike(self, kind: str) -> None:
        """One fault on a connection that is up."""
        rng, venue = self._rng, self._venue
        wires = sorted(
            (w for w in venue.wires if venue.now() - w.opened > 10), key=lambda w: (w.kind, w.opened)
        )
        if not wires:
            return
        wire = rng.choice(wires)
        until = venue.now() + rng.uniform(40, 90)
        if kind == "half_open":
            fault = wire.frozen = Fault(kind, wire.kind, "", until)
            self.open.append((fault, wire))
            self.all.append((fault, "half-open"))
            return
        mode = rng.choice(_MODES)
        topics = sorted(wire.topics)
        if kind == "silence":
            topics = [rng.choice(topics)]
        elif kind == "symbol":
            symbol = rng.choice(topics).split(".")[1]
            topics = [topic for topic in topics if topic.split(".")[1] == symbol]
        for topic in topics:
            fault = wire.muted[topic] = Fault(kind, topic, mode, until)
            self.open.append((fault, wire))
            self.all.append((fault, venue.find(topic)[0].profile))

    def settle(self) -> None:
        """Everything is well again: what was not found by now never will be."""
        for fault, wire in self.open:
            if wire.frozen is fault:
                wire.cut()
            if wire.muted.get(fault.topic) is fault:
                del wire.muted[fault.topic]
        self.open.clear()
        self._settled_at = self._venue.now()


def detection(
    seed: int, hours: float, *, symbols: int = 20, faults_per_hour: float = 60.0, **settings: Any
) -> dict[str, float]:
    """Faults one at a time among symbols of all kinds. Figures: time from the first withheld frame to the finding, by
    class of stream; false alarms; what the questions cost.
    """

    async def main(clock: VirtualClock) -> dict[str, float]:
        rng = Random(seed)
        names = {f"s{n:02d}usdt": list(PROFILES)[n % len(PROFILES)] for n in range(symbols)}
        venue = QuietVenue(clock, rng, names)
        detective = _Detective(venue, rng)
        recorder = Recorder(clock, venue, rng, detective.happened, **settings)

        kinds = itertools.cycle(_KINDS)

        async def work() -> None:
            await asyncio.sleep(_WARM_UP_S)
            end = venue.now() + hours * 3600
            while venue.now() < end:
                if not faults_per_hour:
                    await asyncio.sleep(60)
                    continue
                await asyncio.sleep(rng.expovariate(faults_per_hour / 3600))
                detective.strike(next(kinds))
                await asyncio.sleep(100)
                detective.settle()
                await asyncio.sleep(_SETTLE_S)

        await recorder.during(work())
        return _report(detective, venue, recorder)

    return run_virtual(main)


def _report(detective: _Detective, venue: QuietVenue, recorder: Recorder) -> dict[str, float]:
    took: dict[str, list[float]] = defaultdict(list)
    missed: dict[str, int] = defaultdict(int)
    for fault, kind in detective.all:
        if fault.first is None:
            continue
        if fault.found is None:
            missed[kind] += 1
            detective.unfound.append(f"{fault.first:.3f} {fault.kind} {fault.topic} {fault.mode}")
        elif fault.found >= fault.first:
            if fault.found - fault.first > 3:
                print(
                    "late:",
                    f"{fault.found - fault.first:.3f} {fault.first:.3f} {fault.kind} {fault.topic} {fault.mode}",
                )
            took[kind].append(fault.found - fault.first)
    figures: dict[str, float] = {}
    for kind in ("half-open", *PROFILES):
        figures |= spread(f"found: {kind}", took[kind])
        figures[f"never found: {kind}"] = float(missed[kind])
    figures |= spread("found: all", [each for values in took.values() for each in values])
    figures["false alarms"] = float(len(detective.false))
    figures["requests refused"] = float(venue.counts["refused"])
    seconds = venue.now()
    figures["second subscriptions a second"] = venue.counts["sub"] / seconds
    figures["requests a second"] = venue.counts["req"] / seconds
    figures["bytes received a second"] = venue.sent_bytes / seconds
    figures["virtual hours"] = seconds / 3600
    for line in detective.false:
        print("false alarm:", line)
    for line in detective.unfound:
        print("never found:", line)
    return figures


def resync(seed: int, breaks: int = 1000, *, books: int = 20, **settings: Any) -> dict[str, float]:
    """Single deltas are lost on a line of brisk books. Figures: from the delta that shows it to the right book."""

    async def main(clock: VirtualClock) -> dict[str, float]:
        rng = Random(seed)
        venue = QuietVenue(clock, rng, {f"s{n:02d}usdt": "brisk" for n in range(books)})
        noticed: dict[str, float] = {}
        took: list[float] = []

        def happened(event: str, conn: str, facts: dict[str, Any]) -> None:
            if event == "resync":
                noticed.setdefault(facts["topic"], venue.now())

        recorder = Recorder(clock, venue, rng, happened, feeds=("mbp.150",), **settings)

        def lost(topic: str) -> bool:
            # One a second over the line, and only of a book that is right.
            book = recorder.books.get(topic.split(".")[1], "mbp.150")
            return book is not None and book.valid and topic not in noticed and rng.random() < 0.1 / books

        async def work() -> None:
            await asyncio.sleep(10)
            venue.lost = lost
            while len(took) < breaks:
                await asyncio.sleep(0.005)
                for topic, at in list(noticed.items()):
                    book = recorder.books.get(topic.split(".")[1], "mbp.150")
                    if book is not None and book.valid:
                        del noticed[topic]
                        took.append(venue.now() - at)

        await recorder.during(work())
        figures = spread("resync", took)
        figures["resync: requests per break"] = (venue.counts["req"] - books) / breaks
        figures["resync: requests refused"] = float(venue.counts["refused"])
        figures["resync: misaligned"] = float(recorder.books.gaps["misaligned"])
        return figures

    return run_virtual(main)


def reconnect(seed: int, rounds: int = 100, *, books: int = 20, **settings: Any) -> dict[str, float]:
    """All lines of brisk books are cut again and again. Figures: from the first new connection to all books right."""

    async def main(clock: VirtualClock) -> dict[str, float]:
        rng = Random(seed)
        venue = QuietVenue(clock, rng, {f"s{n:02d}usdt": "brisk" for n in range(books)})
        connected: list[float] = []

        def happened(event: str, conn: str, facts: dict[str, Any]) -> None:
            if event == "connect":
                connected.append(venue.now())

        recorder = Recorder(clock, venue, rng, happened, feeds=("mbp.150",), **settings)
        took: list[float] = []

        async def work() -> None:
            for _ in range(rounds):
                await recorder.all_right()
                took.append(venue.now() - connected[0])
                connected.clear()
                await asyncio.sleep(10)
                for wire in list(venue.wires):
                    wire.cut()
                await asyncio.sleep(0.1)

        await recorder.during(work())
        figures = spread(f"reconnect of {books} books", took)
        figures["reconnect: requests refused"] = float(venue.counts["refused"])
        figures["reconnect: misaligned"] = float(recorder.books.gaps["misaligned"])
        return figures

    return run_virtual(main)


def storm(
    seed: int, *, symbols: int = 500, connects_per_s: float = 10.0, down_s: float = 60.0, **settings: Any
) -> dict[str, float]:
    """All lines drop at once, and the venue is away for a while. It then takes so many connections a second, refuses
    others with 429 and a pause, and enforces 100 ms between requests.
    """

    async def main(clock: VirtualClock) -> dict[str, float]:
        rng = Random(seed)
        venue = QuietVenue(
            clock, rng, {f"s{n:03d}usdt": "slow" for n in range(symbols)}, connects_per_s=connects_per_s
        )
        recorder = Recorder(clock, venue, rng, **settings)
        took: list[float] = []

        async def work() -> None:
            await recorder.all_right()
            await asyncio.sleep(10)
            venue.down = True
            for wire in list(venue.wires):
                wire.cut()
            await asyncio.sleep(down_s)
            venue.down = False
            back = venue.now()
            venue.connects.clear()
            await recorder.all_right()
            took.append(venue.now() - back)

        await recorder.during(work())
        most = max(sum(at <= other < at + 1.0 for other in venue.connects) for at in venue.connects)
        return {
            "storm: symbols": float(symbols),
            "storm: lines": float(len(recorder.sessions)),
            "storm: all books right after s": took[0],
            "storm: most connects in a second": float(most),
            "storm: connects refused": float(len(venue.refused)),
            "storm: requests refused": float(venue.counts["refused"]),
        }

    return run_virtual(main)


def run(seed: int, hours: float) -> dict[str, float]:
    """All figures of liveness and resync. ``hours`` (virtual): a quarter with faults among symbols of all kinds, the
    rest without any, for false alarms of quiet ones.
    """
    figures = detection(seed, hours / 4, symbols=12)
    calm = detection(seed + 1, hours * 3 / 4, symbols=4, faults_per_hour=0.0)
    figures["false alarms"] += calm["false alarms"]
    figures["virtual hours"] += calm["virtual hours"]
    return figures | resync(seed) | reconnect(seed) | storm(seed)
