from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bookreel.storage.manifest import Manifest, encode_entry
from bookreel.storage.verify import BadDate, VerifyReport, verify

Record = Callable[[], Any]


@pytest.fixture
def sealed(record: Record) -> Any:
    recording = record()
    recording.connect(1, "market.btcusdt.mbp.150")
    recording.connect(1, "market.btcusdt.bbo", "market.btcusdt.trade.detail", conn="ws-0")
    recording.delta(2, 10, 11, [[99, 1]], [[101, 1]])
    recording.snapshot(3, 10, [[98, 5]], [[102, 5]])
    recording.delta(4, 11, 12, [[97, 1]])
    recording.bbo(4.1, 12, 99, 101)
    recording.delta(5, 12, 13)
    recording.delta(6, 13, 14, [[97.5, 2]])
    recording.snapshot(6.5, 14, [[99, 1], [98, 5], [97.5, 2], [97, 1]], [[101, 1], [102, 5]])
    recording.delta(70, 14, 15, [], [[103, 1]])
    recording.trade(71, 1, 100.0)
    recording.trade(72, 2, 100.0)
    recording.event("disconnect", 73, "ws-0", cause="disconnect", detail="")
    recording.connect(75, "market.btcusdt.trade.detail", conn="ws-0")
    recording.rotate()
    recording.seal()
    return recording


def rewrite(recording: Any, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Give a sealed file other content and a manifest that agrees with it: only the content is wrong."""

    (entry,) = Manifest.load(recording.path).segments
    files = []
    for file in entry.files:
        path = recording.path / file.path
        if file.table == table:
            rows = change(pq.read_table(path))
            path.chmod(0o644)
            pq.write_table(rows, path, write_page_checksum=True)
            content = path.read_bytes()
            file = msgspec.structs.replace(
                file, rows=rows.num_rows, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
            )
        files.append(file)
    place = recording.path / "manifest" / f"{entry.segment}.json"
    place.chmod(0o644)
    place.write_bytes(encode_entry(msgspec.structs.replace(entry, files=files)))


def replace(rows: pa.Table, row: int, **values: Any) -> pa.Table:
    for name, value in values.items():
        column = rows[name].to_pylist()
        column[row] = value
        rows = rows.set_column(
            rows.schema.get_field_index(name),
            rows.schema.field(name),
            pa.array(column, rows.schema.field(name).type),
        )
    return rows


def kinds(report: VerifyReport) -> list[str]:
    return [problem.kind for problem in report.problems]


def test_a_whole_archive_has_no_problems(sealed: Any) -> None:
    steps: list[int] = []
    report = verify(sealed.path, progress=steps.append)
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


def test_a_clock_that_is_set_back_over_midnight_breaks_no_chain(record: Record) -> None:
    recording = record()
    midnight = 86_400 - recording.t0 // 10**9 % 86_400
    recording.connect(midnight - 20, "market.btcusdt.mbp.150")
    recording.snapshot(midnight - 19, 10, [[98, 5]], [[102, 5]])
    times = [-3.0, -2.0, -1.0, 1.0, 2.0, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5]
    for seq, at in enumerate(times, 10):
        recording.delta(midnight + at, seq, seq + 1, [[90 + seq % 5, seq]])
    recording.rotate()
    recording.seal()
    assert len(Manifest.load(recording.path).files("book_deltas")) == 2
    report = verify(recording.path)
    assert report.problems == []
    assert report.counts["deltas"] == len(times)


def test_what_was_not_compared_shows_as_zero(record: Record) -> None:
    recording = record()
    recording.flush()
    report = verify(recording.path)
    assert report.problems == []
    assert "0 keyframes and 0 venue snapshots compared" in "\n".join(report.lines())


def test_a_missing_file(sealed: Any) -> None:
    (path,) = (sealed.path / "parquet" / "trades").rglob("*.parquet")
    path.unlink()
    report = verify(sealed.path)
    assert "file" in kinds(report)
    assert any("missing" in problem.text for problem in report.problems)


def test_a_changed_byte(sealed: Any) -> None:
    (path,) = (sealed.path / "parquet" / "bbo").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    assert any("SHA-256" in problem.text for problem in verify(sealed.path).problems)


def test_a_file_too_many(sealed: Any) -> None:
    (path,) = (sealed.path / "parquet" / "trades").rglob("*.parquet")
    (path.parent / "0000000000099999.parquet").write_bytes(path.read_bytes())
    report = verify(sealed.path)
    assert kinds(report) == ["file"]
    assert report.problems[0].where.endswith("0000000000099999.parquet")


def test_a_row_count_that_is_not_true(sealed: Any) -> None:
    (place,) = (sealed.path / "manifest").glob("*.json")
    (entry,) = Manifest.load(sealed.path).segments
    files = [msgspec.structs.replace(file, rows=file.rows + (file.table == "trades")) for file in entry.files]
    place.chmod(0o644)
    place.write_bytes(encode_entry(msgspec.structs.replace(entry, files=files)))
    assert [problem.text for problem in verify(sealed.path).problems] == [
        "it has 2 rows, the manifest says 3"
    ]


@pytest.mark.parametrize(
    ("table", "change", "kind", "counted"),
    [
        ("book_deltas", lambda rows: replace(rows, rows.num_rows - 1, size=7.0), "book", "books_unequal"),
        ("book_deltas", lambda rows: rows.slice(0, rows.num_rows - 1), "book", "books_unequal"),
        ("book_deltas", lambda rows: replace(rows, rows.num_rows - 1, prev_seq=12), "chain", "links_broken"),
        ("bbo", lambda rows: replace(rows, 0, bid_size=9.0), "bbo", "bbo_unequal"),
        ("trades", lambda rows: replace(rows, 0, trade_seq=2), "trades", "trades_repeated"),
        ("gaps", lambda rows: replace(rows, 0, cause="moon phase"), "gaps", "gaps_wrong"),
    ],
)
def test_wrong_content(sealed: Any, table: str, change: Any, kind: str, counted: str) -> None:
    rewrite(sealed, table, change)
    report = verify(sealed.path)
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


def test_one_day_only(sealed: Any) -> None:
    assert verify(sealed.path, date="2023-11-14").counts["trades"] == 2
    assert "trades_repeated" not in verify(sealed.path, date="2023-11-15").problems
    assert verify(sealed.path, date="2023-11-15").counts.get("deltas", 0) == 0
    with pytest.raises(BadDate):
        verify(sealed.path, date="yesterday")


def test_real_frames(captured: Path) -> None:
    report = verify(captured)
    assert report.problems == []
    assert report.counts["keyframes"] == 6
    assert report.counts["bbo"] > 500
    assert report.counts["links"] > 6000
