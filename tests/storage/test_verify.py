from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bookreel.storage.manifest import Manifest, encode_entry
from bookreel.storage.verify import BadDate, VerifyReport, verify
from tests.storage.sealed import rewrite, with_values

Record = Callable[[], Any]


def kinds(report: VerifyReport) -> list[str]:
    return [problem.kind for problem in report.problems]


def test_a_whole_archive_has_no_problems(sealed_recording: Any) -> None:
    steps: list[int] = []
    report = verify(sealed_recording.path, progress=steps.append)
    assert report.problems == []
    counts = report.counts
    assert counts["deltas"] == 4
    assert counts["keyframes"] == 2
    assert counts["snapshots"] == 1
    assert counts["bbo"] == 1
    assert counts["empty_deltas"] == 1
    assert counts["trades"] == 2
    assert counts["gaps"] == 2
    assert len(steps) >= counts["files"]
    assert "2 keyframes and 1 venue snapshots compared, 0 unequal" in "\n".join(report.lines())


def test_what_was_not_compared_shows_as_zero(record: Record) -> None:
    recording = record()
    recording.flush()
    report = verify(recording.path)
    assert report.problems == []
    assert "0 keyframes and 0 venue snapshots compared" in "\n".join(report.lines())


def test_a_missing_file(sealed_recording: Any) -> None:
    (path,) = (sealed_recording.path / "parquet" / "trades").rglob("*.parquet")
    path.unlink()
    report = verify(sealed_recording.path)
    assert "file" in kinds(report)
    assert any("missing" in problem.text for problem in report.problems)


def test_a_changed_byte(sealed_recording: Any) -> None:
    (path,) = (sealed_recording.path / "parquet" / "bbo").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    assert any("SHA-256" in problem.text for problem in verify(sealed_recording.path).problems)


def test_a_file_too_many(sealed_recording: Any) -> None:
    (path,) = (sealed_recording.path / "parquet" / "trades").rglob("*.parquet")
    (path.parent / "0000000000099999.parquet").write_bytes(path.read_bytes())
    report = verify(sealed_recording.path)
    assert kinds(report) == ["file"]
    assert report.problems[0].where.endswith("0000000000099999.parquet")


def test_a_row_count_that_is_not_true(sealed_recording: Any) -> None:
    (place,) = (sealed_recording.path / "manifest").glob("*.json")
    (entry,) = Manifest.load(sealed_recording.path).segments
    files = [msgspec.structs.replace(file, rows=file.rows + (file.table == "trades")) for file in entry.files]
    place.chmod(0o644)
    place.write_bytes(encode_entry(msgspec.structs.replace(entry, files=files)))
    assert [problem.text for problem in verify(sealed_recording.path).problems] == [
        "it has 2 rows, the manifest says 3"
    ]


@pytest.mark.parametrize(
    ("table", "change", "kind", "counted"),
    [
        ("trades", lambda rows: with_values(rows, 0, trade_seq=2), "trades", "trades_repeated"),
        ("gaps", lambda rows: with_values(rows, 0, cause="moon phase"), "gaps", "gaps_wrong"),
    ],
)
def test_wrong_content(sealed_recording: Any, table: str, change: Any, kind: str, counted: str) -> None:
    rewrite(sealed_recording, table, change)
    report = verify(sealed_recording.path)
    assert kinds(report) == [kind]
    assert report.counts[counted] == 1


def test_the_journal_is_read_too(record: Record) -> None:
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    for number in range(1, 20):
        recording.trade(1 + number, number, 100.0)
    recording.rotate()
    (path, *_) = sorted((recording.path / "journal").glob("*.seg"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.chmod(0o644)
    path.write_bytes(content)
    report = verify(recording.path)
    assert kinds(report) == ["journal"]
    assert report.problems[0].where == str(path)


def test_one_day_only(sealed_recording: Any) -> None:
    assert verify(sealed_recording.path, date="2023-11-14").counts["trades"] == 2
    assert "trades_repeated" not in verify(sealed_recording.path, date="2023-11-15").problems
    assert verify(sealed_recording.path, date="2023-11-15").counts.get("deltas", 0) == 0
    with pytest.raises(BadDate):
        verify(sealed_recording.path, date="yesterday")


def test_real_frames(captured: Path) -> None:
    report = verify(captured)
    assert report.problems == []
    assert report.counts["keyframes"] == 6
    assert report.counts["bbo"] > 500
    assert report.counts["links"] > 6000
