from __future__ import annotations

import json
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import count, pairwise, tee
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Gap
from bookreel.replay import Archive
from bookreel.replay.question import Coverage
from bookreel.storage.changes import Step, changes, steps, wholes
from bookreel.storage.compact import compact
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.disk import File, OsDisk
from bookreel.storage.errors import Unsettled
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.merge import CannotMerge, interleaved, merge
from bookreel.storage.merge_chain import ChainRun
from bookreel.storage.merge_gaps import Life, common_gaps
from bookreel.storage.merge_lines import Lines
from bookreel.storage.merge_source import Source
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Direction, Kind, Record, encode_event
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.schema import TABLES
from bookreel.storage.seal import seal
from bookreel.storage.segment import Damage, list_segments
from bookreel.storage.verify import verify
from bookreel.venues.huobi import Huobi
from tests.simulation.ab import FRAME_NS, START_NS, SYMBOL, Frame, Wire, World, apply, run

KEY = SYMBOL, "mbp.150"
FEEDS = "mbp.150", "trade.detail"


class _Clock:
    def wall_ns(self) -> int:
        return START_NS

    mono_ns = wall_ns


def write(path: Path, records: Iterator[Record], *, identity: bytes, sealed: int, rotate: int = 400) -> Path:
    """An archive of these records, of which ``sealed`` segments are sealed (0: none, -1: all)."""
    options = JournalOptions(archive_id=identity, segment_seconds=1e9)
    with Journal.open(path, "huobi", clock=_Clock(), options=options) as journal:
        segments = 1
        for number, record in enumerate(records, 1):
            taken = record.ts_recv, record.mono, record.conn, record.epoch, record.direction, record.kind
            assert journal.append(*taken, record.payload) >= record.pos
            if number % rotate == 0:
                journal.flush()
                journal.rotate()
                segments += 1
                journal.flush()
                if segments == sealed + 1:
                    seal(path)
    if sealed < 0:
        seal(path)
    return path


def recorded(
    folder: Path, a: Wire, b: Wire, frames: int = 2000, seed: int = 5, sealed: tuple[int, int] = (-1, -1)
) -> tuple[Path, Path]:
    """Two archives of one exchange."""
    first, second = tee(World(frames, seed))
    return (
        write(folder / "a", a.records(first), identity=b"archiveA", sealed=sealed[0]),
        write(folder / "b", b.records(second), identity=b"archiveB", sealed=sealed[1]),
    )


def contents(root: Path) -> dict[str, bytes]:
    """Every file of an archive."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# The whole


def test_independent_loss_is_the_exact_union_and_intersection() -> None:
    figures = run(4000, 3, loss=0.05)
    assert figures["gaps"] > 3
    assert figures["trades lost by both"] > 0
    assert not [name for name, count in figures.items() if name.endswith("wrong") and count], figures


def test_disjoint_loss_is_no_loss() -> None:
    figures = run(4000, 4, loss=0.05, disjoint=True)
    assert figures["lost by A"] > 100 < figures["lost by B"]
    assert figures["gaps"] == figures["gaps expected"] == 0
    assert not [name for name, count in figures.items() if name.endswith("wrong") and count], figures


@pytest.mark.parametrize("sealed", [(-1, -1), (0, 0), (2, -1)])
def test_a_merged_archive_reads_as_any_other(tmp_path: Path, sealed: tuple[int, int]) -> None:
    wires = Wire(1, loss=0.03, breaks=0.005), Wire(2, loss=0.03, breaks=0.005, lag_ns=3_000_000)
    a, b = recorded(tmp_path, *wires, sealed=sealed)
    before = contents(a), contents(b)
    report = merge(a, b, tmp_path / "c")
    assert (contents(a), contents(b)) == before
    assert not (tmp_path / "c.merging").exists()
    assert report.unequal == 0
    assert verify(tmp_path / "c").problems == []
    with Archive(a) as one, Archive(b) as two, Archive(tmp_path / "c") as both:
        assert both.symbols() == [SYMBOL]
        frames = [len(opened.sql("FROM frames").fetchall()) for opened in (one, two, both)]
        assert frames[2] == frames[0] + frames[1]
        lines = both.sql("SELECT DISTINCT conn FROM frames ORDER BY conn").fetchall()
        assert lines == [("A/feed-0",), ("B/feed-0",)]
        for opened, line in ((one, "A"), (two, "B")):
            texts = opened.sql("SELECT payload FROM frames ORDER BY pos").fetchall()
            kept = f"SELECT payload FROM frames WHERE conn LIKE '{line}/%' ORDER BY pos"
            assert both.sql(kept).fetchall() == texts
        ids = [set(opened.sql("SELECT trade_seq FROM trades").fetchall()) for opened in (one, two, both)]
        assert ids[2] == ids[0] | ids[1] > ids[0]
        # Each row leads to the frame that it is of.
        for table, what in (("trades", "t.trade_id"), ("book_deltas", "'\"seqNum\":' || t.seq")):
            joined = f"FROM {table} t JOIN frames f USING (pos) WHERE contains(f.payload, {what})"
            whole = both.sql(f"SELECT count(*) FROM {table}").fetchall()
            assert both.sql(f"SELECT count(*) {joined}").fetchall() == whole
        gaps = [opened.sql("SELECT count(*) FROM gaps").fetchall()[0][0] for opened in (one, two, both)]
        assert gaps[2] < min(gaps[:2])
        books = both.books(SYMBOL, START_NS, START_NS + 3000 * FRAME_NS, depth=3)
        assert books.num_rows > 1000
        assert both.bbo(SYMBOL, START_NS, START_NS + 3000 * FRAME_NS).num_rows > 1000
        assert len(list(both.events())) > 2000
        coverage = both.coverage(SYMBOL)
        assert {row["feed"] for row in coverage.to_pylist()} == set(FEEDS)


def test_the_same_archives_give_the_same_bytes(tmp_path: Path) -> None:
    a, b = recorded(tmp_path, Wire(1, loss=0.02), Wire(2, loss=0.02), sealed=(1, 3))
    merge(a, b, tmp_path / "c")
    merge(a, b, tmp_path / "d")
    assert contents(tmp_path / "c") == contents(tmp_path / "d")


def test_sealing_before_changes_no_row(tmp_path: Path) -> None:
    """A sealed archive's frames make the rows that its journal made."""
    wires = Wire(1, loss=0.02, breaks=0.01), Wire(2, loss=0.02, breaks=0.01)
    a, b = recorded(tmp_path, *wires, sealed=(0, 0))
    merge(a, b, tmp_path / "c")
    seal(a)
    seal(b)
    merge(a, b, tmp_path / "d")
    for table in ("frames", "book_deltas", "book_snapshots", "trades", "gaps", "sessions"):
        with Archive(tmp_path / "c") as one, Archive(tmp_path / "d") as other:
            query = f"FROM {table} ORDER BY ALL"
            assert one.sql(query).fetchall() == other.sql(query).fetchall() != []


# Any losses, breaks, lags and borders


class View:
    """A book's life as the readers tell it from rows."""

    def __init__(self, tables: dict[str, pa.Table], gaps: Sequence[Gap], stream: Stream | None) -> None:
        contents = Contents(Path(), "huobi", {}, tables, [], None)
        bounds = Bounds(*KEY)
        self.gaps = [gap for gap in gaps if (gap.symbol, gap.feed) == KEY]
        self.coverage = None if stream is None else Coverage(stream, self.gaps)
        self.times: list[int] = []
        self.seqs: list[int] = []
        self.books: list[tuple[Any, Any]] = []
        book = L2Book()
        scanner = Scanner()
        for change in changes(steps(scanner, contents, bounds), wholes(scanner, contents, bounds)):
            if isinstance(change, Step):
                book.apply(Delta(*KEY, 0, change.seq, change.prev_seq, change.bids, change.asks))
            else:
                book.load(change.bids, change.asks)
            self.times.append(change.ts_recv)
            self.seqs.append(change.seq or 0)
            self.books.append((dict(book.bids), dict(book.asks)))

    def valid(self, ts: int) -> bool:
        """Whether nothing is missing at an instant (ns)."""
        return self.coverage is not None and self.coverage.valid(ts)

    def seq(self, ts: int) -> int:
        """The book's number at an instant (ns)."""
        index = bisect_right(self.times, ts)
        return self.seqs[index - 1] if index else 0


def alone(records: Sequence[Record]) -> View:
    """What one archive says."""
    normalizer = Normalizer(Huobi())
    for record in records:
        normalizer.feed(record)
    return view(normalizer.take(), normalizer, records[-1].ts_recv)


def view(tables: dict[str, pa.Table], normalizer: Normalizer, horizon: int) -> View:
    stored = tables["gaps"].drop_columns(["ts_event", "ts_recv", "venue", "pos"])
    times = {name: stored[name].cast(pa.int64()) for name in ("start", "end")}
    for name, column in times.items():
        stored = stored.set_column(stored.schema.get_field_index(name), name, column)
    gaps = [Gap(**row) for row in stored.to_pylist()] + normalizer.open_gaps()
    holes = {(gap.symbol, gap.feed) for gap in gaps if gap.end is None}
    life = None
    for found in normalizer.coverage():
        if (found.symbol, found.feed) == KEY:
            until = horizon if found.end is None or KEY in holes else found.end
            life = Stream(*KEY, found.first, until)
    return View(tables, gaps, life)


def together(a: Sequence[Record], b: Sequence[Record]) -> tuple[View, dict[str, pa.Table], Lines]:
    """What a merge of both says."""
    lines = Lines(Huobi(), ("A", "B"))
    for line, record, pos in interleaved((iter(a), iter(b))):
        assert isinstance(record, Record)
        lines.feed(line, record, pos)
    state = lines.finish()
    tables = lines.rows.take(compact=False)
    horizon = max(records[-1].ts_recv for records in (a, b))
    return view(tables, Normalizer.restore(Huobi(), state), horizon), tables, lines


@st.composite
def wires(draw: st.DrawFn) -> Wire:
    return Wire(
        draw(st.integers(0, 1 << 20)),
        loss=draw(st.sampled_from([0.0, 0.01, 0.1, 0.3])),
        breaks=draw(st.sampled_from([0.0, 0.0, 0.02, 0.1])),
        lag_ns=draw(st.sampled_from([0, FRAME_NS // 3, FRAME_NS * 2 + 7, FRAME_NS * 30 + 7])),
        answer=draw(st.sampled_from([1, 3, 12])),
        cut=draw(st.sampled_from([1, 1, 3])),
    )


@settings(max_examples=60, deadline=None, report_multiple_bugs=False)
@given(wires(), wires(), st.integers(0, 1 << 20), st.booleans(), st.booleans())
@example(Wire(1, loss=0.1), Wire(2, loss=0.1, lag_ns=FRAME_NS * 2 + 7), 5, True, True)
@example(Wire(3, loss=0.1, breaks=0.02), Wire(4, loss=0.1, cut=3), 6, True, True)
@example(
    Wire(0, loss=0.3, lag_ns=FRAME_NS * 30 + 7, answer=1),
    Wire(0, loss=0.3, breaks=0.02, answer=12),
    568369,
    False,
    False,
)
@example(Wire(0, loss=0.1, answer=1), Wire(1, loss=0.3, lag_ns=FRAME_NS * 30 + 7, answer=1), 0, False, False)
def test_merged_books_are_right_and_miss_only_what_both_miss(
    a: Wire, b: Wire, seed: int, a_stops: bool, b_stops: bool
) -> None:
    frames = list(World(200, seed))
    logs = list(a.records(iter(frames), stop=a_stops)), list(b.records(iter(frames), stop=b_stops))
    both, tables, lines = together(*logs)
    views = [alone(log) for log in logs]
    # Every book is the exchange's at its number.
    truth = books(frames)
    assert all(book == truth[seq] for seq, book in zip(both.seqs, both.books, strict=True))
    assert lines.counts["unequal"] == 0
    # No delta twice, and the chain of each epoch is whole.
    deltas = tables["book_deltas"].group_by(["epoch", "seq", "prev_seq"]).aggregate([]).to_pylist()
    assert len({row["seq"] for row in deltas}) == len(deltas)
    links = sorted((row["epoch"], row["prev_seq"], row["seq"]) for row in deltas)
    assert all(one[0] != other[0] or one[2] == other[1] for one, other in pairwise(links))
    whole = a.cut == b.cut == 1
    if whole:
        # Only where the venue cuts each line's stream in its own way may an epoch begin inside a delta of another.
        assert all(one["seq"] <= other["prev_seq"] for one, other in pairwise(sorted(deltas, key=_seq)))
    positions = tables["book_deltas"].group_by(["seq"]).aggregate([("pos", "count_distinct")])
    assert set(positions["pos_count_distinct"].to_pylist()) <= {1}
    trades = tables["trades"]["trade_seq"].to_pylist()
    assert len(set(trades)) == len(trades)
    lost = {frame.seq for frame in frames if frame.ts in a.lost & b.lost}
    assert set(trades) == {frame.seq for frame in frames if not frame.prev} - lost
    # Whenever a line's book is right so is the merged one. It is no older than by the delay of the slower line; and
    # while that line has not come so far, as that line's newest message: only then is known what both have lost.
    lag = max(a.lag_ns, b.lag_ns) + (0 if whole else 6 * FRAME_NS)
    received = [heard(log) for log in logs]
    # What a line lost at its very end it cannot know of.
    last = min(
        max((frame.ts for frame in frames if frame.prev and frame.ts not in wire.lost), default=0)
        for wire in (a, b)
    )
    known = [frame for frame in frames if frame.prev and frame.ts <= last]
    for ts in range(START_NS, known[-1].ts if known else 0, FRAME_NS // 2):
        good = [line for line in views if line.valid(ts)]
        if good:
            assert both.valid(ts), (ts, [line.gaps for line in views], both.gaps)
        if both.valid(ts):
            index = bisect_right(known, ts - lag, key=_ts)
            there = max(known[index - 1].seq if index else 0, *(line.seq(ts - lag) for line in good), 0)
            if lag > FRAME_NS:
                there = min(there, *(newest(line, ts, default=there) for line in received))
            assert both.seq(ts) >= there
    # Two holes never overlap, and a line is named.
    assert all(gap.end is not None and gap.end <= other.start for gap, other in pairwise(both.gaps))
    assert all(gap.conn[:2] in ("A/", "B/") for gap in both.gaps)


def _ts(frame: Frame) -> int:
    return frame.ts


def _seq(delta: dict[str, int]) -> int:
    return delta["seq"]


def heard(log: Sequence[Record]) -> tuple[list[int], list[int]]:
    """Receive times (ns), and the newest number that a line had of its connection then, 0 for none."""
    seqs: list[int] = []
    newest = 0
    for record in log:
        if record.kind is Kind.EVENT:
            newest = 0
        else:
            newest = max(newest, json.loads(record.payload).get("tick", {}).get("seqNum", 0))
        seqs.append(newest)
    return [record.ts_recv for record in log], seqs


def newest(line: tuple[list[int], list[int]], ts: int, *, default: int) -> int:
    """The number at an instant (ns); ``default`` while the line is not connected or has none."""
    index = bisect_right(line[0], ts)
    return (line[1][index - 1] if index else 0) or default


@pytest.mark.parametrize(
    ("frames", "a", "b", "holes"),
    [
        # A waits for a snapshot since 11; the one that comes has what both lost at that very instant.
        (30, {11, 14}, {14}, [(13, 14, 13 + 1 / 3, 14)]),
        # B's book begins anew where the chain stands, and breaks at once: there is one hole, not two.
        (30, {16}, {11, 16}, [(14, 19, 14 + 1 / 3, 19)]),
        # So it is where B is good for the first time.
        (30, {4}, {4}, [(3, 8, 3 + 1 / 3, 8)]),
        # B's snapshot is older than what the chain has of A by now, and proves no less.
        (30, {17}, {11, 16, 17}, [(16, 21, 16, 21)]),
        # What both lost last, A learns with a snapshot. B cannot know of it: where B goes on, no hole lies in both.
        (24, {21, 24}, {24}, [(23, 24, 23 + 1 / 3, 24)]),
        (25, {21, 24}, {24}, []),
    ],
)
def test_a_hole_is_told_once_with_the_numbers_on_its_sides(
    frames: int, a: set[int], b: set[int], holes: list[tuple[int, int, float, float]]
) -> None:
    world = list(World(frames, 5))
    seqs = {number: frame.seq for number, frame in enumerate(world, 1)}
    wires = Wire(1, drops=a), Wire(2, drops=b, lag_ns=FRAME_NS // 3)
    logs = [list(wire.records(iter(world))) for wire in wires]
    both, _, _ = together(*logs)
    truth = books(world)
    assert all(book == truth[seq] for seq, book in zip(both.seqs, both.books, strict=True))
    told = [gap for gap in both.gaps if gap.end is not None]
    assert [
        (gap.last_seq, gap.next_seq, gap.start - START_NS, (gap.end or 0) - START_NS) for gap in told
    ] == [
        (seqs[last], seqs[following], int(start * FRAME_NS), end * FRAME_NS)
        for last, following, start, end in holes
    ]


# Lines that do not agree


def books(world: Sequence[Frame]) -> dict[int, tuple[dict[float, float], dict[float, float]]]:
    """The exchange's book at each number."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    truth: dict[int, tuple[dict[float, float], dict[float, float]]] = {1000: ({}, {})}
    for frame in world:
        if frame.prev:
            apply(bids, frame.bids)
            apply(asks, frame.asks)
            truth[frame.seq] = dict(bids), dict(asks)
    return truth


@pytest.mark.parametrize("seed", range(4))
def test_a_line_of_other_numbers_is_never_mixed_in(seed: int) -> None:
    """The same numbers for other books: what is taken of a line is taken whole."""
    world, other = list(World(400, seed)), list(World(400, seed + 100))[200:]
    truths = books(world), books(other)
    # The second line sees the same as the first one until its recorder is started anew.
    before = Wire(2, loss=0.1).records(iter(world[:200]), stop=False)
    after = Wire(3, loss=0.1).records(iter(other))
    log = [msgspec.structs.replace(record, pos=pos) for pos, record in enumerate([*before, *after], 1)]
    both, _, lines = together(list(Wire(1, loss=0.3).records(iter(world))), log)
    assert lines.counts["unequal"] > 0
    strange = [
        seq
        for seq, book in zip(both.seqs, both.books, strict=True)
        if all(truth.get(seq) != book for truth in truths)
    ]
    assert not strange


# Parts


def hole(start: int, end: int | None, cause: Any = "disconnect", conn: str = "feed-0") -> Gap:
    return Gap(*KEY, conn, 1, cause, 10, 20, start, end, None, None if end is None else end * 10)


@pytest.mark.parametrize(
    ("ours", "theirs", "runs", "common"),
    [
        ([], [hole(5, 9)], [], []),
        ([hole(3, 7)], [hole(5, 9, "silence")], [], [(5, 7, "silence", 70)]),
        ([hole(5, 9, "silence")], [hole(3, 7)], [], [(5, 7, "silence", 70)]),
        ([hole(5, 6), hole(7, 8)], [hole(1, 99)], [], [(5, 6, "disconnect", 60), (7, 8, "disconnect", 80)]),
        ([hole(5, 6)], [hole(6, 9)], [], []),
        (
            [hole(5, None)],
            [hole(3, 8), hole(9, None, "silence")],
            [],
            [(5, 8, "disconnect", 80), (9, None, "silence", None)],
        ),
        # The chain went on from 4 to 6 although neither line's own book was right.
        ([hole(3, 8)], [hole(4, 9)], [(1, 6)], [(6, 8, "disconnect", 80)]),
        ([hole(3, 8)], [hole(4, 9)], [(1, 8)], []),
        ([hole(3, 8)], [hole(4, 9)], [(1, 5), (6, 7)], [(5, 6, "disconnect", 3), (7, 8, "disconnect", 80)]),
    ],
)
def test_common_gaps(ours: Any, theirs: Any, runs: Any, common: Any) -> None:
    chain = [ChainRun(start, end, pos, 1, 2, 1) for pos, (start, end) in enumerate(runs, 2)]
    found = common_gaps([Life(0, 1, ours), Life(0, 1, theirs)], chain)
    assert [(gap.start, gap.end, gap.cause, gap.repaired_by) for gap in found] == common


def test_a_line_that_began_later_covers_nothing_before() -> None:
    found = common_gaps([Life(0, 1, [hole(5, 6), hole(8, 30)]), Life(20, 7, [])])
    assert [(gap.start, gap.end, gap.repaired_by) for gap in found] == [(5, 6, 60), (8, 20, 7)]
    assert common_gaps([Life(), Life(20, 7, [hole(21, 22)])]) != []
    assert common_gaps([Life(), Life()]) == []


class Talk:
    """The records of one line, told by seconds after the beginning."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def event(self, at: float, name: str, conn: str = "ws-0", **facts: Any) -> None:
        self._add(at, conn, Direction.INTERNAL, Kind.EVENT, encode_event(name, **facts))

    def ack(self, at: float, feed: str = "bbo") -> None:
        ack = {"id": "1", "status": "ok", "subbed": f"market.{SYMBOL}.{feed}", "ts": 1}
        self._add(at, "ws-0", Direction.IN, Kind.TEXT, json.dumps(ack).encode())

    def bbo(self, at: float, seq: int) -> None:
        tick = {"seqId": seq, "ask": 2.5, "askSize": 1.0, "bid": 2.25, "bidSize": 3.0}
        push = {"ch": f"market.{SYMBOL}.bbo", "ts": 1_700_000_000_000 + seq, "tick": tick}
        self._add(at, "ws-0", Direction.IN, Kind.TEXT, json.dumps(push).encode())

    def _add(self, at: float, conn: str, direction: Direction, kind: Kind, payload: bytes) -> None:
        ts = START_NS + round(at * 1e9)
        pos = len(self.records) + 1
        self.records.append(Record(pos, ts, ts, conn, int(bool(conn)), direction, kind, payload))


def quotes(*talks: Talk) -> tuple[list[tuple[int, str]], list[tuple[float, float]]]:
    """(number, line) of the merged quotes, and the holes."""
    lines = Lines(Huobi(), ("A", "B"))
    names = {}
    for line, record, pos in interleaved((iter(talks[0].records), iter(talks[1].records))):
        assert isinstance(record, Record)
        names[pos] = "AB"[line]
        lines.feed(line, record, pos)
    lines.finish()
    rows = lines.rows.take(compact=False)
    found = [(row["seq"], names[row["pos"]]) for row in rows["bbo"].sort_by("ts_recv").to_pylist()]
    holes = [
        [(value - START_NS) / 1e9 for value in rows["gaps"][name].cast(pa.int64()).to_pylist()]
        for name in ("start", "end")
    ]
    return found, list(zip(*holes, strict=True))


def test_an_unnumbered_stream_is_taken_from_one_line_at_a_time() -> None:
    a, b = Talk(), Talk()
    for late, talk in ((0.0, a), (0.01, b)):
        talk.event(0, "start", "")
        talk.event(0, "connect")
        talk.ack(0.1 + late)
    for number in range(1, 60):
        at = 1 + number / 10
        # The first line is silent from 2.0 on, is known to be lost at 4.05, and back at 5.
        if number == 31:
            a.event(4.05, "disconnect", cause="half_open")
        if number == 40:
            a.event(5, "connect")
            a.ack(5)
        if number <= 10 or number >= 40:
            a.bbo(at, number)
        b.bbo(at + 0.01, number)
    found, holes = quotes(a, b)
    assert [number for number, _ in found] == list(range(1, 60))
    assert [line for _, line in found] == ["A"] * 10 + ["B"] * 49
    assert holes == []


def test_an_unnoticed_silence_of_an_unnumbered_stream_is_filled() -> None:
    """The line in use is back before the other one says anything more."""
    a, b = Talk(), Talk()
    for late, talk in ((0.0, a), (0.01, b)):
        talk.event(0, "start", "")
        talk.event(0, "connect")
        talk.ack(0.1 + late)
    for number in range(1, 30):
        if number <= 10 or number > 20:
            a.bbo(1 + number / 10, number)
        if number == 20:
            a.event(3.05, "silence", topics=[f"market.{SYMBOL}.bbo"])
            a.ack(3.06)
        b.bbo(1 + number / 10 + 0.01, number)
    found, holes = quotes(a, b)
    assert [number for number, _ in found] == list(range(1, 30))
    assert [line for _, line in found] == ["A"] * 10 + ["B"] * 10 + ["A"] * 9
    assert holes == []


def test_a_hole_of_both_lines_is_one_hole() -> None:
    a, b = Talk(), Talk()
    for late, talk in ((0.0, a), (0.5, b)):
        talk.event(0, "start", "")
        talk.event(0, "connect")
        talk.ack(0.1)
        talk.bbo(1 + late, 1)
        talk.event(2 + late, "disconnect", cause="disconnect")
        talk.event(3 + late, "connect")
        talk.ack(3.2 + late)
    assert quotes(a, b)[1] == [(1.5, 3.2)]


def test_interleaved_positions_rise_with_the_time() -> None:
    a, b = Talk(), Talk()
    for at in (1, 3, 2, 5):  # the clock was set back once
        a.bbo(at, 1)
    for at in (0, 1, 4, 6, 7):
        b.bbo(at, 1)
    items = list(interleaved((iter(a.records), iter(b.records))))
    assert [pos for _, _, pos in items] == list(range(2, 11))
    assert [line for line, _, _ in items] == [1, 0, 1, 0, 0, 1, 0, 1, 1]


# Care


class _Crash(BaseException):
    """The process dies here."""


class _Dying(OsDisk):
    """Dies before its operation number ``at``."""

    def __init__(self, at: int) -> None:
        self._left = at

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _Crash

    def create(self, path: Path) -> File:
        self._count()
        return super().create(path)

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def make_folder(self, folder: Path) -> None:
        self._count()
        super().make_folder(folder)

    def sync_folder(self, folder: Path) -> None:
        self._count()
        super().sync_folder(folder)

    def unlink(self, path: Path) -> None:
        self._count()
        super().unlink(path)


def test_killed_anywhere_the_next_merge_gives_the_same(tmp_path: Path) -> None:
    a, b = recorded(tmp_path, Wire(1, loss=0.02), Wire(2, loss=0.02), frames=60)
    merge(a, b, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    into = tmp_path / "c"
    died = 0
    for at in count():
        try:
            merge(a, b, into, disk=_Dying(at))
        except _Crash:
            died += 1
            # Put in place, it is whole; the lock's file may still be there.
            found = contents(into)
            assert not found or {name: found[name] for name in expected} == expected
            if not found and at % 7:
                continue
            if found:
                break
            merge(a, b, into)
        assert contents(into) == expected
        shutil.rmtree(into)
        if died and at > 40 and not (tmp_path / "c.merging").exists() and died < at:
            break
    assert died > 40


@pytest.mark.parametrize("sealed", [0, -1])
def test_damage_is_told_where_records_are_missing(tmp_path: Path, sealed: int) -> None:
    archive = write(tmp_path / "a", Wire(1).records(iter(World(300, 1))), identity=b"archiveA", sealed=0)
    before = list(Source(archive).records())
    (segment,) = (archive / "journal").glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    if sealed:
        seal(archive)
    found = list(Source(archive).records())
    (damage,) = [item for item in found if isinstance(item, Damage)]
    assert damage.lost == 1
    at = found.index(damage)
    kept = [item for item in before if isinstance(item, Record) and item.pos != at + 1]
    assert [msgspec.structs.replace(item, mono=0) for item in kept] == [
        msgspec.structs.replace(item, mono=0) for item in found if isinstance(item, Record)
    ]


def test_a_recorder_goes_on_in_a_merged_archive(tmp_path: Path) -> None:
    a, b = recorded(tmp_path, Wire(1), Wire(2), frames=100)
    merge(a, b, tmp_path / "c")
    with Archive(tmp_path / "c") as opened:
        ends = opened.coverage(SYMBOL)["end"].cast(pa.int64()).to_pylist()
    later = Wire(3).records(frame for frame in World(400, 5) if frame.ts > START_NS + 200 * FRAME_NS)
    options = JournalOptions(archive_id=b"archiveC", segment_seconds=1e9)
    with Journal.open(tmp_path / "c", "huobi", clock=_Clock(), options=options) as journal:
        for record in later:
            shifted = max(record.ts_recv, START_NS + 201 * FRAME_NS)
            taken = shifted, record.mono, record.conn, record.epoch, record.direction, record.kind
            journal.append(*taken, record.payload)
    seal(tmp_path / "c")
    assert verify(tmp_path / "c").problems == []
    with Archive(tmp_path / "c") as opened:
        found = opened.sql("SELECT feed, cause, epoch_ns(start) FROM gaps ORDER BY feed").fetchall()
    assert [(feed, cause) for feed, cause, _ in found] == [(feed, "operator") for feed in FEEDS]
    assert sorted(start for _, _, start in found) == sorted(ends)


# Compacted sources

MIDNIGHT_NS = 6_400 * 10**9
"""From the first frame to midnight."""

DAYS_LATER = START_NS + 10 * 86_400 * 10**9


def tables_of(archive: Path) -> dict[str, list[tuple[Any, ...]]]:
    with Archive(archive, verify_on_read=True) as opened:
        return {table: opened.sql(f"FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


@pytest.mark.parametrize("before", [0, 8 * 10**9])
def test_compacting_before_changes_no_byte(
    tmp_path: Path, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a day has many files or one, and where it ends: the merge reads by position."""
    monkeypatch.setattr("bookreel.storage.merge.SEGMENT_RECORDS", 300)
    late = MIDNIGHT_NS - before if before else 0
    wires = (
        Wire(1, loss=0.03, breaks=0.01, lag_ns=late),
        Wire(2, loss=0.03, breaks=0.01, lag_ns=late + 3_000_000),
    )
    a, b = recorded(tmp_path, *wires)
    merge(a, b, tmp_path / "c")
    for source in (a, b):
        assert compact(source, now_ns=DAYS_LATER).files_after
    merge(a, b, tmp_path / "d")
    assert contents(tmp_path / "c") == contents(tmp_path / "d")
    assert compact(tmp_path / "d", now_ns=DAYS_LATER).files_after >= 5
    assert tables_of(tmp_path / "c") == tables_of(tmp_path / "d")
    assert verify(tmp_path / "d").problems == []


def test_a_compacted_source_with_a_clock_that_was_set_back_over_midnight(tmp_path: Path) -> None:
    """Two days of one source that have each other's positions."""
    a, b = recorded(tmp_path, Wire(1, loss=0.02), Wire(2, loss=0.02), frames=4)
    for source, seed in ((a, 1), (b, 2)):
        shutil.rmtree(source)
        records = Wire(seed, lag_ns=MIDNIGHT_NS - 10**9, loss=0.02).records(iter(World(1000, 5)))
        back = (
            msgspec.structs.replace(record, ts_recv=record.ts_recv - 5 * 10**9, mono=record.pos)
            if 500 < record.pos < 520 or record.pos >= 700
            else msgspec.structs.replace(record, mono=record.pos)
            for record in records
        )
        write(source, back, identity=source.name.encode() * 8, sealed=-1, rotate=90)
    merge(a, b, tmp_path / "c")
    for source in (a, b):
        assert compact(source, now_ns=DAYS_LATER).files_after
    merge(a, b, tmp_path / "d")
    assert contents(tmp_path / "c") == contents(tmp_path / "d")
    assert verify(tmp_path / "d").problems == []


def test_a_compacted_source_with_a_journal_behind_it(tmp_path: Path) -> None:
    wires = Wire(1, loss=0.03, lag_ns=MIDNIGHT_NS - 10**10), Wire(2, loss=0.03, lag_ns=MIDNIGHT_NS - 10**10)
    a, b = recorded(tmp_path, *wires, sealed=(4, -1))
    merge(a, b, tmp_path / "c")
    assert list_segments(a) != [] == list_segments(b)
    assert [compact(source, now_ns=DAYS_LATER).folders > 0 for source in (a, b)] == [True, True]
    merge(a, b, tmp_path / "d")
    assert contents(tmp_path / "c") == contents(tmp_path / "d")


def test_a_source_that_is_compacted_meanwhile(tmp_path: Path) -> None:
    a, b = recorded(tmp_path, Wire(1, loss=0.02), Wire(2, loss=0.02))
    lock = OsDisk().lock(a / "compact.lock", "the test")
    assert lock is not None
    with pytest.raises(CannotMerge, match="being compacted"):
        merge(a, b, tmp_path / "c")
    lock.release()
    done: list[int] = []

    def disturb(count: int, least: int) -> None:
        if not done:
            done.append(compact(a, now_ns=DAYS_LATER).files_after)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bookreel.storage.merge._STEP", 1)
        with pytest.raises(Unsettled):
            merge(a, b, tmp_path / "c", progress=disturb)
    assert done and not (tmp_path / "c").exists()
    merge(a, b, tmp_path / "c")
