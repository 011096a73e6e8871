"""Columns that came late: some files of a table have them, others do not, and every reader sees one table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from bookreel.replay import Archive
from bookreel.storage.compact import compact
from bookreel.storage.disk import OsDisk
from bookreel.storage.manifest import Manifest
from bookreel.storage.scan import Scanner
from bookreel.storage.schema import ADDED, TABLES
from bookreel.storage.spans import Bounds
from bookreel.storage.tail import Tail
from bookreel.storage.verify import verify
from tests.storage.sealed import DAY, T0, Sealed, glob_rows, make_rows

SECOND = 1_000_000_000
LATER = T0 + 3 * DAY
ORIGINS = [None, None, "live", "cache", None, None]
ORDERS = [None, None, [3, 1], [], None, None]


def rows(table: str, first: int, values: Iterable[Any]) -> pa.Table:
    """A row for each value of the table's column that is looked at; its other added columns are null."""
    found = []
    for number, value in enumerate(values):
        pos = first + number
        row: dict[str, Any] = dict.fromkeys(ADDED[table])
        row[LOOKED_AT[table]] = value
        found.append(row | {"symbol": "btcusdt", "pos": pos, "ts_recv": T0 + pos * SECOND, "trade_seq": pos})
    return make_rows(table, found)


LOOKED_AT = {"trades": "origin", "book_snapshots": "bid_orders"}
SQL_TYPES = {"trades": "VARCHAR", "book_snapshots": "BIGINT[]"}
VALUES = {"trades": ORIGINS, "book_snapshots": ORDERS}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The rows of three segments, of which that in the middle has values."""
    root = tmp_path / "archive"
    sealed = Sealed(OsDisk(), root)
    for first in (1, 3, 5):
        made = {table: rows(table, first, values[first - 1 : first + 1]) for table, values in VALUES.items()}
        sealed.segment(first, first + 1, made)
    return root


def assert_whole(archive: Path, table: str) -> None:
    """Every reader has every row with its value."""
    name, values = LOOKED_AT[table], VALUES[table]
    with Archive(archive, verify_on_read=True) as opened:
        found = opened.sql(f"SELECT pos, {name} FROM {table} ORDER BY pos").fetchall()
        assert found == [*enumerate(values, 1)]
        assert opened.sql(f"SELECT count(*) FROM {table} WHERE {name} IS NULL").fetchall() == [(4,)]
        empty = opened.sql(f"FROM {table} LIMIT 0")
        assert empty.columns == TABLES[table].names
        assert str(empty.types[empty.columns.index(name)]) == SQL_TYPES[table]
        batches = [batch.rows[table] for batch in opened.batches(tables=table)]
        assert pa.concat_tables(batches)[name].to_pylist() == values
        assert pa.concat_tables(batches).schema.equals(TABLES[table])
    contents = Tail(archive).look([table])
    for columns in ([name], [name, "symbol"], ["symbol", name], TABLES[table].names):
        for bounds in (Bounds(), Bounds(symbol="btcusdt"), Bounds(pos_from=2), Bounds(until=T0 + DAY)):
            wanted = values[1:] if bounds.pos_from else values
            for scan in (Scanner().scan, Scanner().bulk):
                pieces = [*scan(contents, table, columns, bounds)]
                assert pa.concat_tables(pieces)[name].to_pylist() == wanted, (columns, bounds)
                assert all(piece.schema.names == columns for piece in pieces)
    # Such an archive is without the sealer's state, which is a problem of its own.
    assert [problem for problem in verify(archive).problems if problem.kind != "state"] == []


@pytest.mark.parametrize("table", VALUES)
def test_files_with_and_without_them_are_one_table(archive: Path, table: str) -> None:
    entries = Manifest.load(archive).files(table)
    assert [entry.added for entry in entries] == [(), ADDED[table], ()]
    assert_whole(archive, table)
    name, files = LOOKED_AT[table], f"{archive}/parquet/{table}/**/*.parquet"
    found = duckdb.sql(
        f"SELECT {name} FROM read_parquet('{files}', union_by_name = true) ORDER BY pos"
    ).fetchall()
    assert [value for (value,) in found] == VALUES[table], "who knows nothing of the manifest"


@pytest.mark.parametrize("table", VALUES)
def test_a_compacted_file_has_them_if_one_of_its_parts_does(archive: Path, table: str) -> None:
    compact(archive, now_ns=LATER)
    [entry] = Manifest.load(archive).files(table)
    assert (entry.rows, entry.added) == (6, ADDED[table])
    assert_whole(archive, table)


def test_a_compacted_file_of_none_that_has_them_is_without(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    sealed = Sealed(OsDisk(), root)
    for first in (1, 3):
        sealed.segment(first, first + 1, {"trades": rows("trades", first, [None, None])})
    before = glob_rows(OsDisk(), root, "trades")
    compact(root, now_ns=LATER)
    [entry] = Manifest.load(root).files("trades")
    assert (entry.rows, entry.added) == (4, ())
    assert glob_rows(OsDisk(), root, "trades").sort_by("pos") == before.sort_by("pos")


def test_entries_of_files_without_them_say_nothing(archive: Path) -> None:
    with_, without = 0, 0
    for path in (archive / "manifest").glob("*.json"):
        with_ += path.read_text().count('"added"')
        without += path.read_text().count('"path"')
    assert (with_, without) == (2, 6)
