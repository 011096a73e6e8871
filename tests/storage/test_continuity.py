"""Segments that are not there any more: `verify` names the hole, readers and the sealer tell it by gaps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bookreel.replay import Archive
from bookreel.storage.codec import HEADER
from bookreel.storage.continuity import LEAP, Stretch, holes, reach
from bookreel.storage.journal import Journal
from bookreel.storage.reserve import Note
from bookreel.storage.segment import Damage, list_segments
from bookreel.storage.verify import verify
from tests.storage.conftest import Recording

Record = Callable[[], Any]


@pytest.mark.parametrize(
    ("stretches", "found"),
    [
        ([(1, 5, True), (6, 9, True)], []),
        ([(1, 5, False), (7, 9, True)], []),
        ([(1, 5, True), (7, 9, True)], [(5, 7)]),
        ([(1, 5, False), (8, 9, True)], [(5, 8)]),
        ([(2, 5, True)], [(0, 2)]),
        ([(7, 9, True), (1, 5, True)], [(5, 7)]),
        # Written once more after an error of the disk.
        ([(1, 9, False), (4, 5, True), (11, 12, True)], []),
        ([(1, 5, True), (5 + LEAP + 1, 5 + LEAP + 9, True)], []),
    ],
)
def test_positions_go_on(stretches: list[tuple[int, int, bool]], found: list[tuple[int, int]]) -> None:
    given = [Stretch(f"{first:016d}", first, last, clean) for first, last, clean in stretches]
    assert [(hole.after, hole.before) for hole in holes(given)] == found


def test_what_cannot_be_read_may_have_been_records() -> None:
    torn = Damage("1", 500, 3 * HEADER.size, "torn tail", 7, None)
    assert reach(7, [torn]) == 10
    assert reach(7, [Damage("1", 500, 3 * HEADER.size, "checksum", 5, 7)]) == 7


def three(recording: Any) -> list[Path]:
    """Three segments with a trade each; the last one is open."""
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    for number in (1, 2, 3):
        recording.trade(number + 1, number, 100.0)
        if number < 3:
            recording.rotate()
    recording.flush()
    return [segment.path for segment in list_segments(recording.path)]


def told(path: Path) -> list[str]:
    return [problem.text for problem in verify(path).problems if problem.kind == "journal"]


@pytest.mark.parametrize("sealed", [0, 1, 2])
def test_nothing_is_missing(record: Record, sealed: int) -> None:
    recording = record()
    three(recording)
    if sealed:
        recording.seal()
    if sealed == 2:
        recording.rotate()
    assert told(recording.path) == []


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("emptied", [False, True])
def test_a_segment_before_another(record: Record, which: int, emptied: bool) -> None:
    recording = record()
    path = three(recording)[which]
    if emptied:
        path.write_bytes(b"")
    else:
        path.unlink()
    found = told(recording.path)
    assert "are in no segment" in found[-1]
    with Archive(recording.path) as archive:
        gaps = archive.sql("SELECT cause, \"end\" IS NULL FROM gaps WHERE feed = 'trade.detail'").fetchall()
    # Without the first one nobody knows that there was a stream before.
    assert gaps == ([("corrupt", False)] if which else [])


def test_the_newest_segment_that_has_nothing_in_it(record: Record) -> None:
    recording = record()
    path = three(recording)[-1]
    assert told(recording.path) == []
    path.write_bytes(path.read_bytes()[:40])
    assert told(recording.path) == ["it has no record: its content is gone"]
    path.write_bytes(b"")
    assert told(recording.path) == ["it has no record: its content is gone"]


def test_a_segment_between_sealed_ones_and_the_journal(record: Record) -> None:
    recording = record()
    three(recording)
    recording.seal()
    recording.trade(6, 4, 100.0)
    recording.rotate()
    list_segments(recording.path)[0].path.unlink()
    (found,) = told(recording.path)
    assert "are in no segment" in found
    recording.rotate()
    recording.seal()
    assert told(recording.path) == [found]
    with Archive(recording.path) as archive:
        recording.trade(7, 5, 100.0)
        recording.flush()
        gaps = archive.sql("SELECT cause FROM gaps WHERE feed = 'trade.detail'").fetchall()
    assert gaps == [("corrupt",)]


@pytest.mark.parametrize("garbage", [0, 500])
def test_what_a_crash_leaves_out_is_not_missing(tmp_path: Path, garbage: int) -> None:
    first = Recording(tmp_path / "archive")
    three(first)
    # Killed: no footer, and a torn tail.
    first.journal._pumps.stop()
    first.journal._owner.release()
    newest = list_segments(first.path)[-1].path
    newest.write_bytes(newest.read_bytes() + bytes(garbage))
    second = Recording(first.path)
    second.trade(9, 9, 100.0)
    second.rotate()
    assert told(first.path) == []
    second.seal()
    assert told(first.path) == []
    second.journal.close()


def test_the_note_of_a_full_disk_explains_a_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Recording(tmp_path / "archive")
    three(first)
    reserve = first.journal._writer._reserve
    first.journal.close()
    reserve.reopen()
    reserve.note(Note(first.at(5), first.journal.next_pos + 40))
    reserve.close()
    second = Recording(first.path)
    second.trade(9, 9, 100.0)
    second.rotate()
    assert [segment.first_pos for segment in list_segments(first.path)][3] > first.journal.next_pos + 40
    assert told(first.path) == []
    second.seal()
    assert told(first.path) == []
    second.journal.close()


def test_a_recorder_still_opens_what_has_holes(record: Record) -> None:
    recording = record()
    middle = three(recording)[1]
    recording.journal.close()
    middle.unlink()
    Journal.open(recording.path, "huobi", clock=recording.clock).close()
