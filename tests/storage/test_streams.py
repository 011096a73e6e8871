from __future__ import annotations

from collections.abc import Callable

import pytest

from bookreel.book.model import Delta, Gap, Snapshot
from bookreel.book.sync import Outcome
from bookreel.storage.lines import PAUSE_FLOOR_NS, Line
from bookreel.storage.stream import Stream
from bookreel.storage.streams import Streams
from bookreel.venues.message import Coverage, Topic


def topic(feed: str, coverage: Coverage, symbol: str = "btcusdt") -> Topic:
    return Topic(f"market.{symbol}.{feed}", symbol, feed, coverage)


BBO = topic("bbo", "unsequenced")
TRADES = topic("trade.detail", "id-only")
MBP = topic("mbp.150", "sequenced")


class Rig:
    """Streams, and the gaps that were closed."""

    def __init__(self) -> None:
        self.closed: list[Gap] = []
        self.streams = Streams(lambda gap, pos, ts: self.closed.append(gap), lambda symbol: True)

    def line(self, ts: int = 10, conn: str = "ws-0", epoch: int = 1) -> Line:
        line = self.streams.line(conn, epoch, ts)
        line.last_ts = line.good_ts = ts
        return line

    def go_live(self, line: Line, ts: int, pos: int, seq: int = 100) -> Stream:
        """Join a snapshot to the sequenced stream."""
        stream = self.streams.find(MBP)
        assert stream.sync is not None
        snapshot = Snapshot("btcusdt", "mbp.150", 0, seq, [(1.0, 1.0)], [(2.0, 1.0)], "refresh")
        assert stream.sync.snapshot(snapshot, pos, ts) is Outcome.ADOPTED
        self.streams.adopted(stream, pos, ts)
        return stream


def step(stream: Stream, seq: int, prev_seq: int, pos: int, ts: int) -> Outcome:
    assert stream.sync is not None
    return stream.sync.delta(Delta("btcusdt", "mbp.150", 0, seq, prev_seq, [], []), pos, ts)


def test_a_plain_stream_runs_from_its_ack_and_its_hole_ends_with_the_next_one() -> None:
    rig = Rig()
    rig.streams.subscribed(BBO, rig.line(), 5, 11)
    (run,) = rig.streams.runs()
    assert (run.epoch, run.first, run.start, run.end) == (5, 11, 11, None)
    rig.streams.find(BBO).spoke(11 + PAUSE_FLOOR_NS)
    rig.streams.disconnected("ws-0", "half_open")
    (gap,) = rig.streams.open_gaps()
    last = 11 + PAUSE_FLOOR_NS
    assert (gap.cause, gap.start, gap.end, gap.epoch) == ("half_open", last, None, 5)
    assert rig.streams.runs()[0].end == last
    rig.streams.subscribed(BBO, rig.line(last + 30, epoch=2), 9, last + 31)
    (gap,) = rig.closed
    assert (gap.cause, gap.start, gap.end, gap.repaired_by) == ("half_open", last, last + 31, 9)
    assert not rig.streams.open_gaps()
    (run,) = rig.streams.runs()
    assert (run.epoch, run.first, run.start, run.end) == (9, 11, last + 31, None)


def test_a_second_ack_on_the_same_line_changes_nothing() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 5, 11)
    rig.streams.subscribed(BBO, line, 6, 12)
    assert not rig.closed
    assert rig.streams.runs()[0].epoch == 5


def test_a_connect_without_a_disconnect_ends_the_connection_before() -> None:
    rig = Rig()
    rig.streams.subscribed(BBO, rig.line(), 5, 11)
    rig.line(15)
    rig.line(40, epoch=2)
    (gap,) = rig.streams.open_gaps()
    assert (gap.cause, gap.start) == ("disconnect", 11)


def test_a_plain_stream_that_moves_to_another_line_has_no_hole_and_a_sequenced_one_has() -> None:
    rig = Rig()
    first, second = rig.line(10, "ws-0"), rig.line(12, "ws-1")
    rig.streams.subscribed(BBO, first, 1, 13)
    rig.streams.subscribed(MBP, first, 2, 14)
    rig.go_live(first, 15, 3)
    first.last_ts = 20
    rig.streams.subscribed(BBO, second, 4, 21)
    rig.streams.subscribed(MBP, second, 5, 22)
    (gap,) = rig.streams.open_gaps()
    assert (gap.feed, gap.cause, gap.start, gap.conn) == ("mbp.150", "operator", 20, "ws-0")
    runs = {run.feed: run for run in rig.streams.runs()}
    assert (runs["bbo"].epoch, runs["bbo"].conn, runs["bbo"].end) == (1, "ws-1", None)


def test_messages_of_a_stream_on_another_line_are_not_its_own() -> None:
    rig = Rig()
    first, second = rig.line(10, "ws-0"), rig.line(12, "ws-1")
    rig.streams.subscribed(BBO, first, 1, 13)
    stream = rig.streams.find(BBO)
    assert not rig.streams.heard(stream, second, 2, 14, None)
    assert stream.line is first
    first.last_ts = 15
    rig.streams.disconnected("ws-0", "disconnect")
    assert rig.streams.heard(stream, second, 3, 16, 77)
    assert (rig.closed[0].end, rig.closed[0].next_seq) == (16, 77)


def test_after_a_stop_there_is_no_hole_until_the_stream_is_wanted_again() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.subscribed(MBP, line, 2, 12)
    rig.go_live(line, 13, 3)
    line.last_ts = 20
    rig.streams.stopped()
    assert not rig.streams.open_gaps()
    assert {run.end for run in rig.streams.runs()} == {20}
    rig.streams.crashed()  # the next `start`
    line = rig.line(30)
    rig.streams.subscribed(BBO, line, 8, 31)
    rig.streams.subscribed(MBP, line, 9, 32)
    assert [(gap.feed, gap.cause, gap.start, gap.end) for gap in rig.closed] == [("bbo", "operator", 20, 31)]
    rig.go_live(line, 33, 10)
    assert [(gap.feed, gap.cause, gap.start, gap.end) for gap in rig.closed[1:]] == [
        ("mbp.150", "operator", 20, 33)
    ]


def test_a_stop_does_not_change_the_cause_of_a_hole_that_is_open() -> None:
    rig = Rig()
    rig.streams.subscribed(BBO, rig.line(), 1, 11)
    rig.line(15)
    rig.streams.disconnected("ws-0", "disconnect")
    rig.line(20, epoch=2)
    rig.streams.stopped()
    rig.streams.crashed()
    rig.streams.subscribed(BBO, rig.line(30), 8, 31)
    (gap,) = rig.closed
    assert (gap.cause, gap.start, gap.end) == ("disconnect", 11, 31)


def test_a_crash_ends_every_stream_at_its_last_sign_of_life() -> None:
    rig = Rig()
    rig.streams.subscribed(BBO, rig.line(10, "ws-0"), 1, 11)
    rig.streams.subscribed(TRADES, rig.line(12, "ws-1"), 2, 13)
    rig.streams.crashed()
    assert [(gap.cause, gap.start) for gap in rig.streams.open_gaps()] == [
        ("crash_tail", 11),
        ("crash_tail", 13),
    ]


def test_an_unsubscribed_stream_has_ended_at_the_ack() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.unsubscribed(BBO, line, 50)
    assert not rig.streams.open_gaps()
    rig.streams.subscribed(BBO, line, 2, 60)
    assert [(gap.cause, gap.start, gap.end) for gap in rig.closed] == [("operator", 50, 60)]


def test_only_the_named_streams_are_silent_since_their_last_message() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.subscribed(TRADES, line, 2, 12)
    rig.streams.find(BBO).pace.last_ts = 14
    line.last_ts = 60
    rig.streams.silent("ws-0", [BBO.text])
    assert [(gap.feed, gap.cause, gap.start) for gap in rig.streams.open_gaps()] == [("bbo", "silence", 14)]


def test_an_unreadable_frame_after_a_silence_does_not_hide_when_that_began() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    line.last_ts = line.good_ts = 20
    rig.streams.undecodable(line, BBO, 21)
    rig.streams.silent("ws-0", [BBO.text], 14)
    assert [(gap.cause, gap.start) for gap in rig.streams.open_gaps()] == [("silence", 14)]
    rig.streams.silent("ws-0", [BBO.text], 12)
    assert [(gap.cause, gap.start) for gap in rig.streams.open_gaps()] == [("silence", 14)]


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (lambda rig: rig.streams.disconnected("ws-0", "disconnect"), "disconnect"),
        (lambda rig: rig.streams.crashed(), "crash_tail"),
    ],
)
def test_an_unreadable_frame_before_the_end_of_a_line_does_not_hide_who_was_silent(
    end: Callable[[Rig], None], cause: str
) -> None:
    rig = Rig()
    line = rig.line()
    for topic in (BBO, MBP):
        rig.streams.subscribed(topic, line, 1, 11)
    stream = rig.go_live(line, 12, 2)
    stream.pace.last_ts = 13
    rig.streams.find(BBO).pace.last_ts = 14
    line.last_ts = line.good_ts = 20
    rig.streams.undecodable(line, None, 21)
    end(rig)
    found = [(gap.feed, gap.cause, gap.start) for gap in rig.streams.open_gaps()]
    assert sorted(found) == [("bbo", cause, 14), ("mbp.150", cause, 13)]


def test_an_orderly_end_after_an_unreadable_frame_leaves_its_hole_as_it_is() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    line.last_ts = line.good_ts = 20
    rig.streams.undecodable(line, None, 21)
    rig.streams.stopped()
    assert [(gap.cause, gap.start) for gap in rig.streams.open_gaps()] == [("decode_error", 20)]


def test_a_silence_begins_as_told_although_the_clock_was_set_back_since() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.find(BBO).pace.last_ts = 4
    rig.streams.silent("ws-0", [BBO.text], 60)
    assert [(gap.cause, gap.start) for gap in rig.streams.open_gaps()] == [("silence", 60)]


@pytest.mark.parametrize(
    ("harm", "cause", "start"),
    [
        (lambda rig, line: rig.streams.undecodable(line, None, 21), "decode_error", 20),
        (lambda rig, line: rig.streams.undecodable(line, BBO, 21), "decode_error", 20),
        (lambda rig, line: rig.streams.damaged("corrupt", 22), "corrupt", 22),
        (lambda rig, line: rig.streams.damaged("shed", 22), "shed", 22),
    ],
)
def test_a_plain_stream_that_may_have_missed_something_has_a_hole_until_its_next_message(
    harm: Callable[[Rig, Line], None], cause: str, start: int
) -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    line.last_ts = line.good_ts = 20
    harm(rig, line)
    harm(rig, line)
    stream = rig.streams.find(BBO)
    assert rig.streams.heard(stream, line, 7, 30, None)
    assert [(gap.cause, gap.start, gap.end, gap.repaired_by) for gap in rig.closed] == [(cause, start, 30, 7)]
    assert stream.run == 7


def test_a_frame_that_names_an_unknown_topic_makes_no_stream() -> None:
    rig = Rig()
    rig.streams.undecodable(rig.line(), TRADES, 12)
    assert rig.streams.checkpoint()[1] == []


def test_an_unbroken_chain_proves_that_a_sequenced_stream_missed_nothing() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(MBP, line, 1, 11)
    stream = rig.go_live(line, 12, 2)
    rig.streams.undecodable(line, None, 14)
    assert stream.suspicion == ("decode_error", 10)
    outcome = step(stream, 101, 100, 5, 15)
    rig.streams.delta_outcome(stream, outcome)
    assert stream.suspicion is None
    assert not rig.streams.open_gaps()


def test_a_broken_chain_after_an_unreadable_frame_has_that_cause() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(MBP, line, 1, 11)
    stream = rig.go_live(line, 12, 2)
    assert step(stream, 101, 100, 3, 13) is Outcome.APPLIED
    rig.streams.undecodable(line, MBP, 14)
    assert step(stream, 110, 105, 5, 15) is Outcome.GAP
    (gap,) = rig.streams.open_gaps()
    assert (gap.cause, gap.start, gap.last_seq, gap.next_seq) == ("decode_error", 13, 101, 110)


def test_a_suspect_stream_whose_line_is_lost_was_good_until_the_suspicion() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(MBP, line, 1, 11)
    rig.go_live(line, 12, 2)
    rig.streams.damaged("corrupt", 15)
    line.last_ts = 40
    rig.streams.disconnected("ws-0", "operator")
    (gap,) = rig.streams.open_gaps()
    assert (gap.cause, gap.start) == ("corrupt", 15)


def test_without_the_state_before_it_each_stream_begins_with_a_hole() -> None:
    rig = Rig()
    rig.streams.forgotten = 5
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.subscribed(MBP, line, 2, 12)
    assert [(gap.feed, gap.start) for gap in rig.streams.open_gaps()] == [("mbp.150", 5)]
    rig.go_live(line, 13, 3)
    assert [(gap.cause, gap.start, gap.end) for gap in rig.closed] == [("corrupt", 5, 11), ("corrupt", 5, 13)]
    rig.streams.disconnected("ws-0", "disconnect")
    rig.streams.subscribed(BBO, rig.line(20, epoch=2), 9, 21)
    assert rig.closed[-1].cause == "disconnect"


def test_a_line_remembers_its_newest_requests_only() -> None:
    line = Rig().line()
    for number in range(2000):
        line.asked(number, BBO)
    line.asked(2**80, BBO)
    line.asked(None, BBO)
    assert len(line.requests) == 1024
    assert line.answered(1999) == BBO
    assert line.answered(1999) is None
    assert line.answered(0) is None


def test_a_checkpoint_gives_the_same_streams() -> None:
    rig = Rig()
    line = rig.line()
    line.asked("q", BBO)
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.subscribed(MBP, line, 2, 12)
    rig.go_live(line, 13, 3)
    rig.streams.damaged("corrupt", 15)
    saved = rig.streams.checkpoint()
    other = Rig()
    other.streams.restore(*saved)
    assert other.streams.checkpoint() == saved
    assert other.streams.open_gaps() == rig.streams.open_gaps()
    assert other.streams.find(BBO).line is other.streams.line("ws-0", 1, 99)


SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("pause", "silent", "start"),
    [
        # A brisk stream that had stopped may have been dead.
        (SECOND // 10, 2 * SECOND, 0),
        # For a slow one the same silence is nothing unusual: the line's last frame counts.
        (5 * SECOND, 2 * SECOND, 2 * SECOND),
        # So it is for a brisk one that spoke just now.
        (SECOND // 10, SECOND // 5, SECOND // 5),
    ],
)
def test_an_orderly_end_is_where_the_stream_is_known_to_have_lived(
    pause: int, silent: int, start: int
) -> None:
    rig = Rig()
    line = rig.line(SECOND)
    rig.streams.subscribed(BBO, line, 1, SECOND)
    stream = rig.streams.find(BBO)
    last = SECOND
    for _ in range(10):
        last += pause
        stream.pace.spoke(last)
    line.last_ts = last + silent
    rig.streams.stopped()
    assert rig.streams.runs()[0].end == last + start


def test_an_older_capture_after_newer_data_makes_no_hole() -> None:
    rig = Rig()
    rig.streams.subscribed(BBO, rig.line(100), 1, 100)
    rig.line(200)
    rig.streams.stopped()
    rig.streams.subscribed(BBO, rig.line(10, "import-0"), 5, 10)
    assert rig.closed == []
    assert rig.streams.runs()[0].first == 10


def test_a_stop_and_a_clock_set_back_leave_a_hole_that_ends_before_it_starts() -> None:
    rig = Rig()
    line = rig.line(SECOND)
    for topic in (BBO, MBP):
        rig.streams.subscribed(topic, line, 1, SECOND)
    rig.go_live(line, SECOND, 2)
    line.last_ts = SECOND + 200
    rig.streams.stopped()
    back = rig.line(10, "ws-1")
    for topic in (BBO, MBP):
        rig.streams.subscribed(topic, back, 5, 10)
    rig.go_live(back, 20, 6, seq=200)
    assert [(gap.feed, gap.cause, gap.start, gap.end) for gap in rig.closed] == [
        ("bbo", "operator", SECOND + 200, 10),
        ("mbp.150", "operator", SECOND + 200, 20),
    ]


def test_time_off_a_line_is_no_pause() -> None:
    rig = Rig()
    line = rig.line(SECOND)
    rig.streams.subscribed(MBP, line, 1, 1000 * SECOND)
    stream = rig.streams.find(MBP)
    stream.pace.spoke(1000 * SECOND + 5)
    assert stream.pace.pause == 5


def test_heartbeats_are_no_sign_of_life() -> None:
    rig = Rig()
    line = rig.line(SECOND)
    rig.streams.subscribed(TRADES, line, 1, SECOND)
    rig.streams.find(TRADES).spoke(11 * SECOND)
    line.last_ts = 12 * SECOND
    rig.streams.disconnected("ws-0", "silence")
    (gap,) = rig.streams.open_gaps()
    assert gap.start == 11 * SECOND


def test_a_stream_that_was_asked_and_is_quiet_lives() -> None:
    rig = Rig()
    line = rig.line(SECOND)
    rig.streams.subscribed(BBO, line, 1, SECOND)
    rig.streams.quiet("ws-0", BBO.text, 50 * SECOND)
    line.last_ts = 60 * SECOND
    rig.streams.disconnected("ws-0", "disconnect")
    (gap,) = rig.streams.open_gaps()
    assert gap.start == 50 * SECOND


def test_streams_of_ever_new_symbols_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bookreel.storage.streams.STREAMS_MAX", 2)
    rig = Rig()
    known = [rig.streams.find(topic("bbo", "unsequenced", f"s{number}")) for number in range(2)]
    strange = rig.streams.find(topic("bbo", "unsequenced", "s2"))
    assert not strange.wanted and rig.streams.find(strange.topic) is not strange
    assert rig.streams.find(known[0].topic) is known[0]


def test_a_dead_stream_that_is_subscribed_anew_has_one_hole_until_that_is_acknowledged() -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11, asked=True)
    stream = rig.streams.find(BBO)
    stream.pace.last_ts = 20
    line.asked("question", BBO)
    rig.streams.silent("ws-0", [BBO.text], 20, renewed=True)
    assert line.answered("question") is None, "an answer to what was asked before is told by that"
    assert not rig.streams.heard(stream, line, 2, 30, None), "its last words"
    rig.streams.subscribed(BBO, line, 3, 31, asked=False)
    rig.streams.unsubscribed(BBO, line, 32)
    assert not rig.closed
    rig.streams.subscribed(BBO, line, 4, 40, asked=True)
    assert [(gap.cause, gap.start, gap.end) for gap in rig.closed] == [("silence", 20, 40)]
    assert not rig.streams.open_gaps()


@pytest.mark.parametrize("end", ["disconnected", "crashed"])
def test_what_was_to_be_subscribed_anew_begins_on_the_next_line_with_whatever_comes(end: str) -> None:
    rig = Rig()
    line = rig.line()
    rig.streams.subscribed(BBO, line, 1, 11)
    rig.streams.silent("ws-0", [BBO.text], 11, renewed=True)
    if end == "crashed":
        rig.streams.crashed()
    else:
        rig.streams.disconnected("ws-0", "disconnect")
    again = rig.line(50, epoch=2)
    assert rig.streams.heard(rig.streams.find(BBO), again, 2, 51, None)
    assert [(gap.cause, gap.start, gap.end) for gap in rig.closed] == [("silence", 11, 51)]
