from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, Record, decode_event, encode_event
from bookreel.storage.segment import SegmentReader, list_segments
from bookreel.storage.shedding import Marks, Shedding, Victim
from bookreel.venues.huobi import Huobi
from tests.clocks import START_NS, ManualClock

MS = 1_000_000
CEILING = 100_000


class Feed:
    """A recorder whose disk is called when the test says so; each stream's frames are numbered."""

    def __init__(self, archive: Path, spool_bytes: int = CEILING) -> None:
        self.archive = archive
        self.clock = ManualClock()
        options = JournalOptions(threads=False, spool_bytes=spool_bytes)
        self.journal = Journal.open(archive, "huobi", clock=self.clock, options=options)
        self.seqs: Counter[str] = Counter()
        self.taken: dict[str, list[int]] = {}
        self.lost: dict[str, list[int]] = {}
        self.times: dict[tuple[str, int], int] = {}
        self.event("start", "")

    def append(self, direction: Direction, kind: Kind, payload: bytes, conn: str = "line-0") -> int:
        self.clock.now += MS
        now = self.clock.now
        return self.journal.append(now, now - START_NS, conn, 1 if conn else 0, direction, kind, payload)

    def event(self, name: str, conn: str = "line-0", **facts: Any) -> int:
        return self.append(Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts), conn)

    def hear(self, message: dict[str, Any]) -> int:
        return self.append(Direction.IN, Kind.TEXT, json.dumps(message).encode())

    def subscribe(self, *topics: str) -> None:
        for topic in topics:
            assert self.hear({"id": "1", "status": "ok", "subbed": topic, "ts": 1})
            self.journal.began(topic)

    def push(self, topic: str, size: int = 20) -> bool:
        """The next frame of a stream; whether it was recorded."""
        seq = self.seqs[topic] = self.seqs[topic] + 1
        if topic.endswith("bbo"):
            tick: dict[str, Any] = {
                "seqId": seq,
                "bid": 1,
                "bidSize": 1,
                "ask": 2,
                "askSize": 1,
                "quoteTime": 1,
            }
            tick["symbol"] = "x" * size
        else:
            levels = [[1 + level / 100, 1] for level in range(size)]
            tick = {"seqNum": seq, "prevSeqNum": seq - 1, "bids": levels, "asks": []}
        pos = self.hear({"ch": topic, "ts": 1, "tick": tick})
        (self.taken if pos else self.lost).setdefault(topic, []).append(seq)
        self.times[topic, seq] = self.clock.now
        return pos > 0

    def answer(self, topic: str) -> int:
        """A snapshot at the newest number."""
        data = {"seqNum": self.seqs[topic], "bids": [[0.5, 1]], "asks": []}
        return self.hear({"id": "2", "status": "ok", "rep": topic, "ts": 1, "data": data})

    def records(self) -> Iterator[Record]:
        for segment in list_segments(self.archive):
            with SegmentReader(segment.path, closed=True) as reader:
                yield from (item for item in reader.read() if isinstance(item, Record))

    def events(self, *names: str) -> list[dict[str, Any]]:
        events = [decode_event(each.payload) for each in self.records() if each.kind is Kind.EVENT]
        return [event for event in events if event["event"] in names]

    def gaps(self) -> list[dict[str, Any]]:
        """The gaps table's rows, times in ns; after each record all goes on from a checkpoint."""
        rows: list[dict[str, Any]] = []
        normalizer = Normalizer(Huobi(), tables=["gaps"])
        for record in self.records():
            normalizer.feed(record)
            taken = normalizer.take()["gaps"]
            starts = taken["start"].cast(pa.int64()).to_pylist()
            rows += [row | {"start": start} for row, start in zip(taken.to_pylist(), starts, strict=True)]
            normalizer = Normalizer.restore(Huobi(), normalizer.state(), tables=["gaps"])
        return rows


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    made = Feed(tmp_path / "archive")
    yield made
    made.journal.close()


def mbp(symbol: str) -> str:
    return f"market.{symbol}.mbp.150"


def bbo(symbol: str) -> str:
    return f"market.{symbol}.bbo"


TOPICS = [mbp("aaa"), bbo("bbb"), mbp("ccc"), bbo("ddd")]


def fill(feed: Feed, *, until_shed: int, topics: list[str] | None = None) -> None:
    """All streams speak in turn while the disk takes nothing, until so many of them are shed."""
    while len(feed.lost) < until_shed:
        for topic in TOPICS if topics is None else topics:
            feed.push(topic)
        counts = feed.journal.counts()
        assert counts.received == counts.durable + counts.in_flight + counts.shed
        assert counts.held_bytes <= CEILING


def test_marks_rise() -> None:
    marks = Marks.of(1 << 28)
    assert 0 < marks.resume < marks.begin < marks.all < marks.ceiling == 1 << 28


def test_nothing_is_shed_while_there_is_room(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    while feed.journal.counts().held_bytes < Marks.of(CEILING).begin - 1000:
        for topic in TOPICS:
            assert feed.push(topic)
    assert feed.journal.shed == 0


def test_the_oldest_streams_are_shed_whole_and_the_others_stay_whole(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    fill(feed, until_shed=2)
    assert list(feed.lost) == TOPICS[:2]
    for topic, lost in feed.lost.items():
        assert lost == list(range(lost[0], feed.seqs[topic] + 1)), "once shed, it stays so"
    assert all(feed.taken[topic] == list(range(1, feed.seqs[topic] + 1)) for topic in TOPICS[2:])


def test_in_the_end_every_stream_is_shed_but_not_what_belongs_to_none(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    fill(feed, until_shed=4)
    held = feed.journal.counts().held_bytes
    for _ in range(100):
        for topic in TOPICS:
            assert not feed.push(topic)
    assert feed.journal.counts().held_bytes == held
    assert feed.hear({"ping": 1}), "what says what frames mean has room kept for it"
    assert feed.event("disconnect", cause="disconnect")
    assert feed.append(Direction.OUT, Kind.TEXT, b'{"pong":1}')


def test_the_event_has_exact_counts_and_numbers_of_each_stream(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    fill(feed, until_shed=3)
    feed.journal.flush()
    for topic in TOPICS:
        assert feed.push(topic)
    feed.journal.flush()
    begins = feed.events("shedding")
    assert [(event["topic"], event["cause"]) for event in begins] == [(topic, "shed") for topic in feed.lost]
    (event,) = feed.events("shed")
    assert event["records"] == feed.journal.shed == sum(map(len, feed.lost.values()))
    assert event["others"] == 0
    assert event["streams"] == [
        {
            "topic": topic,
            "records": len(lost),
            "from": feed.times[topic, lost[0]],
            "to": feed.times[topic, lost[-1]],
            "first_seq": lost[0],
            "last_seq": lost[-1],
        }
        for topic, lost in feed.lost.items()
    ]


def test_only_streams_that_were_shed_have_a_gap_and_it_is_exact(feed: Feed) -> None:
    feed.event("connect")
    feed.subscribe(*TOPICS)
    for topic in (TOPICS[0], TOPICS[2]):
        feed.push(topic)
        feed.answer(topic)
    fill(feed, until_shed=3)
    feed.journal.flush()
    for _ in range(2):
        for topic in TOPICS:
            assert feed.push(topic)
    for topic in (TOPICS[0], TOPICS[2]):
        feed.answer(topic)
    feed.journal.flush()
    gaps = {f"market.{gap['symbol']}.{gap['feed']}": gap for gap in feed.gaps()}
    assert set(gaps) == set(feed.lost)
    for topic, lost in feed.lost.items():
        gap = gaps[topic]
        assert (gap["cause"], gap["records_lost"]) == ("shed", len(lost))
        assert (gap["last_seq"], gap["next_seq"]) == (lost[0] - 1, lost[-1] + 1)
        assert gap["start"] == feed.times[topic, lost[0] - 1]


def test_those_that_were_shed_are_the_youngest_next_time(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    fill(feed, until_shed=1)
    feed.journal.flush()
    for topic in TOPICS:
        assert feed.push(topic)
    first, feed.lost = list(feed.lost), {}
    fill(feed, until_shed=3)
    assert (first, list(feed.lost)) == ([TOPICS[0]], TOPICS[1:])


def test_a_stream_subscribed_anew_is_young(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    feed.subscribe(TOPICS[0])
    fill(feed, until_shed=1)
    assert list(feed.lost) == [TOPICS[1]]


def test_an_acknowledgement_does_not_end_the_hole_of_a_stream_that_is_being_shed(feed: Feed) -> None:
    topic = TOPICS[1]
    feed.event("connect")
    feed.subscribe(topic)
    fill(feed, until_shed=1, topics=[topic])
    feed.event("disconnect", cause="disconnect")
    feed.event("connect")
    feed.subscribe(topic)
    assert not feed.push(topic)
    lost = feed.lost[topic]
    feed.journal.flush()
    assert feed.push(topic)
    feed.journal.flush()
    (gap,) = feed.gaps()
    assert (gap["cause"], gap["last_seq"], gap["next_seq"]) == ("shed", lost[0] - 1, lost[-1] + 1)
    assert gap["records_lost"] is None, "nobody knows what the broken connection cost"


def test_a_crash_while_frames_are_shed_leaves_their_cause(feed: Feed) -> None:
    topics = [bbo("bbb"), bbo("ddd")]
    feed.event("connect")
    feed.subscribe(*topics)
    fill(feed, until_shed=1, topics=topics)
    feed.journal.flush()
    normalizer = Normalizer(Huobi())
    for record in feed.records():
        normalizer.feed(record)
    # The next run: what says how many were shed was never written.
    start = encode_event("start")
    normalizer.feed(Record(record.pos + 9, feed.clock.now, 1, "", 0, Direction.INTERNAL, Kind.EVENT, start))
    assert {gap.symbol: gap.cause for gap in normalizer.open_gaps()} == {"bbb": "shed", "ddd": "crash_tail"}


def test_what_is_shed_while_the_disk_is_full_is_lost_to_that() -> None:
    shedding = Shedding(Huobi(), Marks.of(1000))
    frame = json.dumps({"ch": TOPICS[1], "ts": 1, "tick": {"seqId": 7}}).encode()
    facts = shedding.admits(900, 5, Direction.IN, Kind.TEXT, frame, "disk_full")
    assert facts == {"topic": TOPICS[1], "cause": "disk_full", "from": 5}
    assert shedding.victim == Victim(TOPICS[1], "disk_full")
    assert shedding.admits(900, 6, Direction.IN, Kind.TEXT, frame, "shed") is False
    ended = shedding.end()
    assert ended is not None
    assert (ended["cause"], ended["records"]) == ("disk_full", 2), "the cause is that of the beginning"
    assert shedding.end() is None


def test_a_frame_that_cannot_be_read_is_its_streams_where_its_beginning_tells() -> None:
    shedding = Shedding(Huobi(), Marks.of(1000))
    broken = b'{"ch":"market.bbb.bbo","ts":1,"tick":{'
    assert shedding.admits(900, 5, Direction.IN, Kind.TEXT, broken, "shed")["topic"] == TOPICS[1]  # type: ignore[index]
    assert shedding.admits(900, 5, Direction.IN, Kind.TEXT, b"\xff", "shed") is True


def test_answers_are_shed_with_their_stream(feed: Feed) -> None:
    feed.subscribe(*TOPICS)
    fill(feed, until_shed=1)
    assert feed.answer(TOPICS[0]) == 0
    assert feed.journal.victim == Victim(TOPICS[0], "shed")
    assert feed.answer(TOPICS[2]) > 0
