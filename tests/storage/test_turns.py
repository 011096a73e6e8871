"""Where the clock was set back: which stretches there are, and that no way of losing sight of them makes a wrong book
valid.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from bookreel.replay import Archive
from bookreel.storage.compact import compact
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import Manifest, SegmentEntry, encode_entry
from bookreel.storage.merge import merge
from bookreel.storage.seal import seal
from bookreel.storage.steps import sealed_steps, sealed_turns
from bookreel.storage.turns import TURNS_MAX, Step, Turn, Turns, overlaps, turn_at, turns_of

Record = Callable[[], Any]

EVER = (1 << 63) - 1


def test_a_stream_that_goes_on_is_in_its_turn() -> None:
    turns = Turns()
    turns.begin(5, 100)
    assert turns.turns == [Turn(5, 100)]
    turns.end(200)
    turns.begin(9, 200)
    assert turns.turns == [Turn(5, 100)]
    turns.end(300)
    turns.begin(12, 299)
    assert turns.turns == [Turn(5, 100, 300), Turn(12, 299)]


def test_a_clock_that_is_set_back_ends_a_turn_of_what_goes_on() -> None:
    turns = turns_of([Step(7, 200, 50), Step(9, 150, 60)], 1, 100)
    assert turns.turns == [Turn(1, 100, 200), Turn(7, 50, 150), Turn(9, 60)]
    turns.end(100)
    turns.set_back(11, 100, 0)
    assert turns.turns[-1] == Turn(9, 60, 100)
    Turns().set_back(1, 2, 1)
    assert overlaps(turns.turns) == [(100, 150), (100, 100), (60, 100)]
    assert turns.until(8).turns == turns.turns[:2]


def test_an_instant_is_answered_from_the_last_turn_that_it_lies_in() -> None:
    turns = [Turn(1, 100, 200), Turn(7, 50, 150), Turn(9, 300, 400)]
    assert [turn_at(turns, ts) for ts in (40, 50, 120, 160, 250, 350, 500)] == [None, 1, 1, 0, 0, 2, 2]
    assert turn_at([Turn(1, 100)], EVER) == 0


def test_a_hole_over_turns_leaves_doubt_on_its_sides_and_between() -> None:
    turns = turns_of([Step(7, 200, 50), Step(9, 150, 60)], 1, 100)
    assert turns.crossed(180, 80) == [(181, 200), (50, 150), (60, 79)]
    assert turns.crossed(55, 70) == [(56, 150), (60, 69)]
    assert turns.crossed(160, 170) == [(161, 200), (50, 150), (60, 169)]
    assert turns.crossed(300) == []


def test_of_many_turns_the_oldest_become_one_of_which_nothing_is_promised() -> None:
    steps = [Step(10 * at, 1000 * at + 500, 1000 * at) for at in range(1, TURNS_MAX + 10)]
    turns = turns_of(steps, 1, 1000)
    assert len(turns.turns) == TURNS_MAX
    assert turns.doubts == [(1000, turns.turns[0].end)]
    assert turns.turns[-1] == Turn(10 * (TURNS_MAX + 9), 1000 * (TURNS_MAX + 9))


def recorded(record: Record) -> Any:
    """The clock is set back from 20 to 0 in the middle of a chain, which then breaks and is joined anew."""
    recording = record()
    append = recording.journal.append
    monos = iter(range(1, 1_000))
    recording.journal.append = lambda wall, mono, *rest: append(wall, next(monos), *rest)
    recording.connect(9, "market.btcusdt.mbp.150")
    recording.snapshot(10, 10, [[98, 5]], [[102, 5]])
    recording.delta(15, 10, 11, [[98, 6]])
    recording.rotate()
    recording.delta(20, 11, 12, [[98, 7]])
    recording.delta(0, 12, 13, [[97, 1]])
    recording.delta(1, 20, 21, [[1, 1]])
    recording.snapshot(2, 21, [[50, 1]], [[60, 1]])
    recording.rotate()
    recording.delta(30, 21, 22, [[51, 1]])
    recording.rotate()
    recording.seal()
    return recording


TRUE = {0: 13, 2: 21, 9: 21, 21: 21, 29: 21, 30: 22}
"""The number of the book at instants that are one."""

TWICE = (10, 12, 15, 19, 20)
"""Instants that came twice. Between 0 and 2 the book was wrong."""


def assert_right(root: Path, recording: Any, valid: set[float]) -> None:
    """What is called valid is so, and these instants are."""
    with Archive(root) as archive:
        for at in (*TRUE, 0.5, 1.5, *TWICE):
            book = archive.book("btcusdt", recording.at(at))
            rows = archive.sql("SELECT DISTINCT seq, valid FROM book_at('btcusdt', ?)", [recording.at(at)])
            found = rows.fetchall()
            assert book.valid is (at in valid), (at, book.seq)
            assert {told for _, told in found} <= {book.valid}
            if book.valid:
                assert book.seq == TRUE[at] and found == [(TRUE[at], True)], at


def rewrite(root: Path, change: Callable[[SegmentEntry], SegmentEntry]) -> None:
    for entry in Manifest.load(root).segments:
        Layout(root).manifest_entry(entry.segment).write_bytes(encode_entry(change(entry)))


def lose(root: Path) -> None:
    """The sealer's checkpoint is gone."""
    for path in Layout(root).state.iterdir():
        path.unlink()


def make_old(root: Path) -> None:
    """As it was before anybody looked at turns: neither entries nor the checkpoint tell of them."""
    (path,) = Layout(root).state.iterdir()
    state = msgspec.msgpack.decode(path.read_bytes())
    for name in ("clocked", "ended", "before"):
        del state[name]
    for stream in state["streams"]:
        del stream["turns"]
    path.chmod(0o644)
    path.write_bytes(msgspec.msgpack.encode(state))
    digest = sha256(path.read_bytes()).hexdigest()
    rewrite(
        root,
        lambda entry: replace(
            entry, steps=None, state_sha256=digest if entry.state.endswith(path.name) else entry.state_sha256
        ),
    )


def test_each_entry_tells_the_steps_of_its_segment(record: Record) -> None:
    recording = recorded(record)
    steps = [entry.steps for entry in Manifest.load(recording.path).segments]
    assert [len(found or ()) for found in steps] == [0, 1, 0]
    told = sealed_steps(Manifest.load(recording.path))
    assert [(step.before, step.after) for step in told] == [(recording.at(20), recording.at(0))]
    rewrite(recording.path, lambda entry: replace(entry, steps=None))
    assert sealed_steps(Manifest.load(recording.path)) == told
    turns = sealed_turns(Manifest.load(recording.path))
    assert turns.turns == [
        Turn(1, recording.at(0), recording.at(20)),
        Turn(told[0].pos, recording.at(0)),
    ]


def test_a_life_that_begins_before_the_last_one_ended_is_a_step(record: Record) -> None:
    recording = record()
    recording.connect(9, "market.btcusdt.mbp.150")
    recording.event("start", 5, run="again", venue="huobi", version="1")
    recording.connect(6, "market.btcusdt.mbp.150")
    recording.rotate()
    recording.seal()
    (entry,) = Manifest.load(recording.path).segments
    assert [(step.before, step.after) for step in entry.steps or ()] == [(recording.at(9), recording.at(6))]


def test_with_the_checkpoint(record: Record) -> None:
    recording = recorded(record)
    assert_right(recording.path, recording, {0, 2, 9, 21, 29, 30})


@pytest.mark.parametrize("old", [False, True])
def test_without_the_checkpoint(record: Record, old: bool) -> None:
    recording = recorded(record)
    if old:
        rewrite(recording.path, lambda entry: replace(entry, steps=None))
    lose(recording.path)
    # Of streams without a checkpoint only the journal's turns are known, which begin with the oldest time.
    assert_right(recording.path, recording, {21, 29, 30})
    # What comes next is told from what was.
    recording.connect(40, "market.btcusdt.mbp.150")
    recording.snapshot(41, 30, [[70, 1]], [[80, 1]])
    recording.rotate()
    recording.seal()
    with Archive(recording.path) as archive:
        at_20, at_41 = (archive.book("btcusdt", recording.at(at)) for at in (20, 41))
        assert (at_20.valid, at_41.valid, at_41.seq) == (False, True, 30)


def test_a_clock_that_was_set_back_after_the_checkpoint_was_lost(record: Record) -> None:
    """Which streams had been there before nobody knows: each of them may have been."""
    recording = recorded(record)
    lose(recording.path)
    recording.connect(12, "market.btcusdt.mbp.150")
    recording.snapshot(13, 30, [[70, 1]], [[80, 1]])
    recording.rotate()
    recording.seal()
    with Archive(recording.path) as archive:
        for at in (14, 20, 30):
            assert not archive.book("btcusdt", recording.at(at)).valid
        assert archive.book("btcusdt", recording.at(31)).seq == 30


def test_with_a_checkpoint_that_knew_of_no_turns(record: Record) -> None:
    recording = recorded(record)
    make_old(recording.path)
    assert_right(recording.path, recording, {21, 29, 30})
    # The sealer goes on from it, and knows from then on.
    recording.delta(31, 22, 23, [[52, 1]])
    recording.rotate()
    recording.seal()
    assert_right(recording.path, recording, {21, 29, 30})


def test_compacted(record: Record) -> None:
    recording = recorded(record)
    recording.journal.close()
    seal(recording.path)
    assert compact(recording.path, now_ns=recording.at(10 * 86_400)).folders
    assert_right(recording.path, recording, {0, 2, 9, 21, 29, 30})
    lose(recording.path)
    rewrite(recording.path, lambda entry: replace(entry, steps=None))
    assert_right(recording.path, recording, {21, 29, 30})


@pytest.mark.parametrize("lost", [False, True])
def test_merged(record: Record, tmp_path: Path, lost: bool) -> None:
    one, other = recorded(record), recorded(record)
    for recording in (one, other):
        recording.journal.close()
    merged = tmp_path / "merged"
    merge(one.path, other.path, merged)
    assert [step.before for step in sealed_steps(Manifest.load(merged))] == [one.at(20)] * 2
    if lost:
        lose(merged)
    with Archive(merged) as archive:
        for at in (*TRUE, *TWICE):
            book = archive.book("btcusdt", one.at(at))
            assert not book.valid or book.seq == TRUE.get(at), at
            assert book.valid is (at in {21, 29, 30}), at
