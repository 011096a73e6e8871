from __future__ import annotations

import os
import random
import signal
import struct
from pathlib import Path

import pytest

from bookreel.ingest.clock import SystemClock
from bookreel.storage.errors import ArchiveOwned, JournalClosed, NotAnArchive, RecordTooLarge, UnknownFormat
from bookreel.storage.journal import Journal, JournalOptions, is_recording
from bookreel.storage.manifest import MANIFEST_FORMAT, CorruptManifest, SegmentEntry, encode_entry
from bookreel.storage.seal import seal
from bookreel.storage.segment import list_segments
from tests.storage.journals import MANUAL, append, check_counts, frames_of, payload_of, read_archive


def test_what_was_appended_is_read_back_over_many_runs(tmp_path: Path) -> None:
    archive = tmp_path / "deep" / "archive"
    clock = SystemClock()
    sent = {}
    for run in range(3):
        with Journal.open(archive, "huobi", clock=clock) as journal:
            assert is_recording(archive)
            for number in range(run * 100, run * 100 + 100):
                sent[append(journal, number)] = payload_of(number)
        assert not is_recording(archive)
    records, damage = read_archive(archive)
    assert frames_of(records) == sent
    assert sorted(sent) == list(range(1, 301))
    assert damage == []
    first = records[7]
    assert (first.ts_recv, first.mono, first.conn, first.epoch) == (21, 14, "feed-0", 1)
    assert len(list_segments(archive)) == 3


def test_an_archive_that_only_was_opened_has_no_segment(tmp_path: Path) -> None:
    for _ in range(2):
        with Journal.open(tmp_path, "huobi", clock=SystemClock()) as journal:
            assert journal.next_pos == 1
    assert list_segments(tmp_path) == []


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock()):
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        with pytest.raises(ArchiveOwned, match=rf"process {os.getpid()}, started at 20\d\d-") as caught:
            Journal.open(tmp_path, "huobi", clock=SystemClock())
        assert caught.value.exit_code == 2
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_one_of_many_that_open_at_once_wins(tmp_path: Path) -> None:
    """Each child says what became of it, and holds the archive until all have tried."""
    for race in range(10):
        archive = tmp_path / str(race)
        go_read, go_write = os.pipe()
        told_read, told_write = os.pipe()
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                os.close(go_write)
                os.read(go_read, 1)
                try:
                    journal = Journal.open(archive, "huobi", clock=SystemClock(), options=MANUAL)
                    append(journal, 1)
                    journal.flush()
                    os.write(told_write, b"W")
                    signal.pause()
                except ArchiveOwned:
                    os.write(told_write, b"L")
                except BaseException:
                    os.write(told_write, b"?")
                os._exit(0)
            children.append(child)
        os.close(go_read)
        os.close(go_write)
        told = b"".join(os.read(told_read, 1) for _ in children)
        assert sorted(told) == sorted(b"WLLL"), told
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(told_read)
        os.close(told_write)
        with Journal.open(archive, "huobi", clock=SystemClock(), options=MANUAL) as journal:
            assert journal.next_pos == 3


def test_another_venue_may_follow_and_a_newer_format_may_not(tmp_path: Path) -> None:
    Journal.open(tmp_path, "huobi", clock=SystemClock()).close()
    with Journal.open(tmp_path, "futu", clock=SystemClock()) as journal:
        assert journal.meta.venue == "huobi"
    (tmp_path / "archive.json").write_text('{"format": 9}')
    with pytest.raises(UnknownFormat, match="format 9"):
        Journal.open(tmp_path, "huobi", clock=SystemClock())
    assert not is_recording(tmp_path), "a refused opening lets go of the lock"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(NotAnArchive, match=r"photo\.jpg"):
        Journal.open(tmp_path, "huobi", clock=SystemClock())
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_positions_go_on_above_what_was_sealed_and_removed(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        append(journal, 1)
    list_segments(tmp_path)[0].path.unlink()
    entry = SegmentEntry(
        format=MANIFEST_FORMAT,
        segment="0000000000000001",
        first_pos=1,
        last_pos=41,
        records=41,
        ts_min=None,
        ts_max=None,
        files=[],
        state="",
        state_sha256="",
        counts={},
        damage=[],
    )
    (tmp_path / "manifest" / "0000000000000001.json").write_bytes(encode_entry(entry))
    (tmp_path / "manifest" / "0000000000000001.json.new").write_text("{")
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        assert append(journal, 2) == 42


def test_a_damaged_manifest_entry_stops_no_recorder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        append(journal, 1)
    (tmp_path / "manifest" / "0000000000000007.json").write_text("{}")
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        # Above every position that the segment of the entry can have had.
        assert append(journal, 2) > 7 + (1 << 31)
    assert "0000000000000007.json" in caplog.text and "recording goes on" in caplog.text
    with pytest.raises(CorruptManifest, match=r"0000000000000007\.json"):
        seal(tmp_path)


def test_limits(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "huobi", clock=SystemClock(), options=MANUAL) as journal:
        with pytest.raises(RecordTooLarge, match="payload"):
            journal.append(1, 1, "a", 1, 0, 0, bytes(16 * 1024 * 1024 + 1))
        with pytest.raises(RecordTooLarge, match="line name"):
            journal.append(1, 1, "ä" * 128, 1, 0, 0, b"")
        with pytest.raises((struct.error, OverflowError)):  # in Python, compiled
            journal.append(1, 1, "a", -1, 0, 0, b"")
        check_counts(journal)
        assert journal.received == 0
        assert journal.append(1, 1, "ä" * 127, 1, 0, 0, bytes(16 * 1024 * 1024)) == 1
    journal.close()
    with pytest.raises(JournalClosed, match="closed"):
        append(journal, 1)
    records, _ = read_archive(tmp_path)
    assert (records[0].conn, len(records[0].payload)) == ("ä" * 127, 16 * 1024 * 1024)


def test_nothing_acknowledged_is_lost_with_the_process(tmp_path: Path) -> None:
    """Children are killed at random moments; each has told which records it was promised."""
    archive = tmp_path / "archive"
    chance = random.Random(7)
    acknowledged: dict[int, bytes] = {}
    base = 0
    for life in range(30):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                options = JournalOptions(write_interval_ms=1, fsync_interval_ms=2, segment_bytes=20_000)
                journal = Journal.open(archive, "huobi", clock=SystemClock(), options=options)
                for number in range(base, base + 1_000_000):
                    pos = append(journal, number)
                    os.write(write_end, struct.pack("<qqq", pos, number, journal.durable_pos))
            finally:
                os._exit(1)
        os.close(write_end)
        told = b""
        want = chance.randrange(24, 60_000)
        while len(told) < want and (more := os.read(read_end, 65536)):
            told += more
        os.kill(child, signal.SIGKILL)
        while more := os.read(read_end, 65536):
            told += more
        os.close(read_end)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        rows = [struct.unpack_from("<qqq", told, at) for at in range(0, len(told) // 24 * 24, 24)]
        durable = max(row[2] for row in rows)
        acknowledged |= {pos: payload_of(number) for pos, number, _ in rows if pos <= durable}
        base += len(rows) + 1
        records, _ = read_archive(archive)
        found = frames_of(records)
        assert found.items() >= acknowledged.items(), f"life {life}"
        assert [record.pos for record in records] == sorted({record.pos for record in records})
    assert len(acknowledged) > 1000
