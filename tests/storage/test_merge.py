from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise, tee
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.book.l2 import L2Book
from bookreel.book.model import Delta, Gap
from bookreel.replay import Archive
from bookreel.replay.asof import Coverage
from bookreel.storage.changes import Step, changes, steps, wholes
from bookreel.storage.contents import Contents, Stream
from bookreel.storage.journal import Journal, JournalOptions
from bookreel.storage.merge import interleaved, merge
from bookreel.storage.merge_lines import Lines
from bookreel.storage.normalize import Normalizer
from bookreel.storage.record import Record
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.seal import seal
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
        for count, record in enumerate(records, 1):
            taken = record.ts_recv, record.mono, record.conn, record.epoch, record.direction, record.kind
            assert journal.append(*taken, record.payload) >= record.pos
            if count % rotate == 0:
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
def test_merged_books_are_right_and_miss_only_what_both_miss(
    a: Wire, b: Wire, seed: int, a_stops: bool, b_stops: bool
) -> None:
    frames = list(World(200, seed))
    logs = list(a.records(iter(frames), stop=a_stops)), list(b.records(iter(frames), stop=b_stops))
    both, tables, lines = together(*logs)
    views = [alone(log) for log in logs]
    # Every book is the exchange's at its number.
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    truth = {1000: ({}, {})}
    for frame in frames:
        if frame.prev:
            apply(bids, frame.bids)
            apply(asks, frame.asks)
            truth[frame.seq] = dict(bids), dict(asks)
    assert all(book == truth[seq] for seq, book in zip(both.seqs, both.books, strict=True))
    assert lines.counts["unequal"] == 0
    # No delta twice, and the chain of each epoch is whole.
    deltas = tables["book_deltas"].group_by(["epoch", "seq", "prev_seq"]).aggregate([]).to_pylist()
    assert len({row["seq"] for row in deltas}) == len(deltas)
    links = sorted((row["epoch"], row["prev_seq"], row["seq"]) for row in deltas)
    assert all(one[0] != other[0] or one[2] == other[1] for one, other in pairwise(links))
    positions = tables["book_deltas"].group_by(["seq"]).aggregate([("pos", "count_distinct")])
    assert set(positions["pos_count_distinct"].to_pylist()) <= {1}
    trades = tables["trades"]["trade_seq"].to_pylist()
    assert len(set(trades)) == len(trades)
    lost = {frame.seq for frame in frames if frame.ts in a.lost & b.lost}
    assert set(trades) == {frame.seq for frame in frames if not frame.prev} - lost
    # Whenever a line's book is right so is the merged one, and it is no older than by the delay of the slower line.
    lag = max(a.lag_ns, b.lag_ns) + (0 if a.cut == b.cut == 1 else 6 * FRAME_NS)
    known = [frame for frame in frames if frame.prev]
    while known and known[-1].ts in a.lost & b.lost:
        known.pop()  # nobody can know
    whole = a.cut == b.cut == 1
    for ts in range(START_NS, known[-1].ts if known else 0, FRAME_NS // 2):
        for line in views:
            if line.valid(ts):
                assert both.valid(ts), (ts, line.gaps, both.gaps)
                assert both.seq(ts) >= line.seq(ts - lag)
        if both.valid(ts) and whole:
            index = bisect_right(known, ts - lag, key=_ts)
            assert not index or both.seq(ts) >= known[index - 1].seq
    # Two holes never overlap, and a line is named.
    assert all(gap.end is not None and gap.end <= other.start for gap, other in pairwise(both.gaps))
    assert all(gap.conn[:2] in ("A/", "B/") for gap in both.gaps)


def _ts(frame: Frame) -> int:
    return frame.ts
