"""However rows are fetched: what DuckDB says about a damaged file is an error of ours, which names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from bookreel.replay import Archive
from bookreel.storage.disk import OsDisk, write_whole
from bookreel.storage.errors import CorruptFile, QueryError
from bookreel.storage.layout import Layout
from bookreel.storage.manifest import FileEntry, SegmentEntry, encode_entry
from tests.storage.sealed import T0, Sealed, make_rows

ROWS = 50_000

FETCHES: dict[str, Callable[[Any], Any]] = {
    "fetchall": lambda answer: answer.fetchall(),
    "to_arrow_table": lambda answer: answer.to_arrow_table(),
    "to_arrow_reader": lambda answer: answer.to_arrow_reader(1000).read_all(),
    "batches": lambda answer: list(answer.to_arrow_reader(1000)),
    "arrow": lambda answer: pa.Table.from_batches(answer.arrow()),
    "stream": lambda answer: pa.table(answer),
    "further": lambda answer: answer.filter("price > 0").to_arrow_reader(1000).read_all(),
    "repr": lambda answer: repr(answer.order("price")),
}


@pytest.fixture
def sealed(tmp_path: Path) -> SegmentEntry:
    times = range(1, ROWS + 1)
    rows = pa.table(
        {"ts_recv": [T0 + at for at in times], "symbol": ["btcusdt"] * ROWS, "pos": times, "price": times}
    )
    return Sealed(OsDisk(), tmp_path).segment(1, ROWS, {"trades": make_rows("trades", rows.to_pylist())})


def spoil(root: Path, entry: FileEntry, at: int, content: bytes) -> None:
    path = root / entry.path
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def spoil_pages(root: Path, entry: FileEntry) -> None:
    """Makes pages of the prices no pages, of a row group that is not the first."""
    footer = pq.read_metadata(root / entry.path)
    names = [footer.schema.column(index).path for index in range(len(footer.schema))]
    column = footer.row_group(footer.num_row_groups - 1).column(names.index("price"))
    spoil(root, entry, column.data_page_offset, bytes(column.total_compressed_size // 2))


def without_footers(root: Path, entry: SegmentEntry) -> None:
    """The entry as an older version wrote it."""
    files = [replace(file, footer_bytes=0, footer_crc=0) for file in entry.files]
    path = Layout(root).manifest_entry(entry.segment)
    write_whole(OsDisk(), path, encode_entry(replace(entry, files=files)))


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
def test_a_damaged_page_is_named_however_rows_are_fetched(
    tmp_path: Path, sealed: SegmentEntry, fetch: Callable[[Any], Any]
) -> None:
    (file,) = sealed.files
    spoil_pages(tmp_path, file)
    with Archive(tmp_path) as archive:
        answer = archive.sql("SELECT pos, price FROM trades")
        with pytest.raises(CorruptFile) as caught:
            fetch(answer)
    assert caught.value.path == tmp_path / file.path
    assert caught.value.exit_code == 3


def test_a_damaged_page_that_is_reached_late(tmp_path: Path, sealed: SegmentEntry) -> None:
    """Batches were given, and more was promised."""
    spoil_pages(tmp_path, sealed.files[0])
    with Archive(tmp_path) as archive:
        answer = archive.sql(
            "SELECT i, 0.0 AS price FROM range(2_000_000) t(i) UNION ALL SELECT pos, price FROM trades"
        )
        reader = answer.to_arrow_reader(1000)
        assert reader.read_next_batch().num_rows == 1000
        with pytest.raises(CorruptFile):
            reader.read_all()


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
def test_rows_come_however_they_are_fetched(
    tmp_path: Path, sealed: SegmentEntry, fetch: Callable[[Any], Any]
) -> None:
    with Archive(tmp_path) as archive:
        rows = fetch(archive.sql("SELECT pos, price FROM trades"))
    assert isinstance(rows, str) or sum(
        part.num_rows if isinstance(part, pa.RecordBatch) else 1 for part in rows
    ) in (ROWS, 2)


def test_a_value_that_cannot_be_is_the_statements_fault(tmp_path: Path, sealed: SegmentEntry) -> None:
    with Archive(tmp_path) as archive:
        answer = archive.sql(
            "SELECT CASE WHEN pos < 40000 THEN pos ELSE symbol::BIGINT END AS number FROM trades"
        )
        with pytest.raises(QueryError, match="Conversion"):
            answer.to_arrow_reader(1000).read_all()


@pytest.mark.parametrize("statement", ["FROM trades", "SELECT price FROM trades", "DESCRIBE trades"])
def test_a_damaged_footer_is_named_without_asking_for_digests(
    tmp_path: Path, sealed: SegmentEntry, statement: str
) -> None:
    (file,) = sealed.files
    content = (tmp_path / file.path).read_bytes()
    spoil(tmp_path, file, content.rindex(b"price"), b"\xff")
    with Archive(tmp_path) as archive:
        with pytest.raises(CorruptFile, match="footer") as caught:
            archive.sql(statement)
        assert caught.value.path == tmp_path / file.path
        with pytest.raises(CorruptFile, match="footer"):
            list(archive.events(tables="trades"))


def test_a_name_that_is_no_text_in_a_file_of_an_older_version(tmp_path: Path, sealed: SegmentEntry) -> None:
    (file,) = sealed.files
    content = (tmp_path / file.path).read_bytes()
    without_footers(tmp_path, sealed)
    at = content.find(b"price", len(content) - file.footer_bytes)
    spoil(tmp_path, file, at, b"\xff")
    with Archive(tmp_path) as archive, pytest.raises(CorruptFile) as caught:
        archive.sql("FROM trades").fetchall()
    assert caught.value.path == tmp_path / file.path


def test_a_mistake_reads_no_file(tmp_path: Path, sealed: SegmentEntry) -> None:
    """What is wrong with the statement alone is said at once, whatever the files are like."""
    spoil_pages(tmp_path, sealed.files[0])
    with Archive(tmp_path) as archive:
        for statement in ("SELECT prise FROM trades", "FROM trade", "SELECT FROM WHERE"):
            with pytest.raises(QueryError):
                archive.sql(statement)
