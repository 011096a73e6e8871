from __future__ import annotations

import datetime
import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookreel.storage import parquet
from bookreel.storage.columns import BookRows, LevelRows, Rows
from bookreel.storage.parquet import BOOKS_SHARE, GROUP_ROWS_MAX, GROUP_ROWS_MIN, parts, row_groups
from bookreel.storage.schema import ADDED, COUNTS, TABLES
from tests.storage.sealed import make_rows

DAY = 86_400_000_000_000


def trades(*items: tuple[str, int, int]) -> pa.Table:
    """(symbol, ts_recv, pos) of each trade; its number is its place."""
    rows = Rows("trades", "huobi")
    for number, (symbol, ts_recv, pos) in enumerate(items):
        rows.append((None, ts_recv, symbol, pos, str(number), number, "buy", 1.0, 2.0))
        if number % 3 == 2:
            rows.pack()
    return rows.take()


def read(part: parquet.Part) -> pa.Table:
    return pq.read_table(pa.BufferReader(part.content), page_checksum_verification=True)


def test_rows_are_sorted_and_those_of_one_frame_keep_their_order() -> None:
    items = [("b", 5, 3), ("a", 9, 4), ("b", 5, 3), ("b", 5, 2), ("b", 1, 9), ("a", 9, 4)]
    (part,) = parts("trades", trades(*items))
    assert read(part).column("trade_seq").to_pylist() == [1, 5, 4, 3, 0, 2]
    assert (part.rows, part.symbols, part.ts_min, part.ts_max, part.pos_min, part.pos_max) == (
        6,
        2,
        1,
        9,
        2,
        9,
    )


def test_each_utc_date_is_a_file_of_its_own() -> None:
    found = list(parts("trades", trades(("a", DAY, 2), ("a", DAY - 1, 1), ("a", 3 * DAY, 3))))
    assert [(part.date, part.rows, part.symbols) for part in found] == [
        ("1970-01-01", 1, 1),
        ("1970-01-02", 1, 1),
        ("1970-01-04", 1, 1),
    ]
    assert datetime.date.fromisoformat(found[0].date)


def test_no_rows_make_no_file() -> None:
    assert list(parts("trades", trades())) == []
    assert list(parts("book_deltas", LevelRows("huobi").take_compact())) == []


def test_files_have_the_schema_units_included_and_checksums() -> None:
    frames = Rows("frames", "huobi")
    frames.append((1, 2, "a", 3, "ws-0", "in", "data", "t", b'{"\xc3\xa4":1}', None))
    frames.append((1, 2, "", 4, "ws-0", "in", "undecodable", None, None, b"\xff\x00"))
    books = BookRows("huobi")
    books.append((None, 2, "a", 3, "depth.step0", 3, None, "push"), [(9.377e-11, 3e12)], [])
    levels = LevelRows("huobi")
    levels.append((None, 2, "a", 3, "mbp.150", 3, 4, 3, "bid"), [(1.5, 0.0)])
    instruments = Rows("instruments", "huobi")
    instruments.append((None, 2, "a", 3, "a", "b", 1, None, "online", "{}"))
    for table, rows in (
        ("frames", frames.take()),
        ("book_snapshots", books.take()),
        ("book_deltas", levels.take()),
        ("instruments", instruments.take()),
    ):
        (part,) = parts(table, rows)
        stored = read(part)
        first = pa.schema([field for field in TABLES[table] if field.name not in ADDED.get(table, ())])
        assert stored.schema.equals(first)
        assert [field.metadata for field in stored.schema] == [field.metadata for field in first]
        assert stored.sort_by("pos").equals(rows.select(first.names))


@pytest.mark.parametrize("table", ADDED)
def test_added_columns_are_stored_where_a_row_has_a_value_in_one(table: str) -> None:
    without = make_rows(table, [{"symbol": "a", "pos": pos, "ts_recv": pos} for pos in (1, 2)])
    for name in ADDED[table]:
        index = without.schema.get_field_index(name)
        field = TABLES[table].field(name)
        without = without.set_column(index, field, pa.nulls(2, field.type))
    (part,) = parts(table, without)
    assert part.added == ()
    assert read(part).schema.names == [name for name in TABLES[table].names if name not in ADDED[table]]
    for name in ADDED[table]:
        field = TABLES[table].field(name)
        one = pa.array([None, [3]], COUNTS) if field.type == COUNTS else pa.array([None, 1]).cast(field.type)
        rows = without.set_column(without.schema.get_field_index(name), field, one)
        (part,) = parts(table, rows)
        assert part.added == ADDED[table]
        assert read(part).schema.equals(TABLES[table])
        assert read(part).equals(rows)


def test_a_compact_table_gives_the_same_file_as_its_rows() -> None:
    def build() -> LevelRows:
        rows = LevelRows("huobi")
        for pos in range(40):
            symbol = "ab"[pos % 2]
            rows.append(
                (None, 100 - pos, symbol, pos, "mbp.150", 1, pos, pos - 1, "bid"), [(1.0, pos), (2.0, 1)]
            )
            rows.append(
                (None, 100 - pos, symbol, pos, "mbp.150", 1, pos, pos - 1, "ask"), [(3.0, pos)] * (pos % 3)
            )
        return rows

    (compact,) = parts("book_deltas", build().take_compact())
    (plain,) = parts("book_deltas", build().take())
    assert compact.content.equals(plain.content)
    assert compact.rows == plain.rows == read(plain).num_rows


def test_a_flipped_bit_in_a_page_is_noticed() -> None:
    (part,) = parts("trades", trades(*(("a", n, n) for n in range(2000))))
    column = pq.ParquetFile(pa.BufferReader(part.content)).metadata.row_group(0).column(4)
    content = bytearray(part.content.to_pybytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError):
        pq.read_table(pa.BufferReader(bytes(content)), page_checksum_verification=True)


def test_a_row_group_names_few_symbols() -> None:
    items = [(symbol, n, n) for n in range(9000) for symbol in "abcd"]
    (part,) = parts("trades", trades(*items))
    metadata = pq.ParquetFile(pa.BufferReader(part.content)).metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    at = TABLES["trades"].get_field_index("symbol")
    bounds = [(group.column(at).statistics.min, group.column(at).statistics.max) for group in groups]
    assert bounds == [("a", "b"), ("c", "d")]
    assert [group.num_rows for group in groups] == [18000, 18000]


@given(st.lists(st.lists(st.integers(1, 60_000), min_size=1, max_size=6), min_size=1, max_size=12))
def test_row_groups_cover_all_items_and_stay_within_their_bounds(symbols: list[list[int]]) -> None:
    totals, ends = [0], []
    for items in symbols:
        for rows in items:
            totals.append(totals[-1] + rows)
        ends.append(len(totals) - 1)
    groups = row_groups(totals, ends)
    assert groups[0][0] == 0
    assert groups[-1][1] == len(totals) - 1
    assert all(one[1] == other[0] for one, other in itertools.pairwise(groups))
    sizes = [totals[end] - totals[start] for start, end in groups]
    assert all(0 < size <= GROUP_ROWS_MAX for size in sizes)
    small = [index for index, size in enumerate(sizes[:-1]) if size < GROUP_ROWS_MIN]
    # Items are not cut, so only a large item can leave less.
    assert all(totals[groups[i][1] + 1] - totals[groups[i][0]] > GROUP_ROWS_MIN for i in small)
    # A cut inside a symbol is made only where the symbol would not fit.
    for (start, end), _ in itertools.pairwise(groups):
        if end not in ends:
            following = min(e for e in ends if e > end)
            assert totals[following] - totals[start] > GROUP_ROWS_MAX


def test_one_item_larger_than_a_row_group_is_not_cut() -> None:
    assert row_groups([0, 5, 500_000, 500_010], [3]) == [(0, 1), (1, 2), (2, 3)]


def test_of_whole_books_the_levels_are_counted() -> None:
    book = [{"price": float(level), "size": 1.0} for level in range(150)]
    rows = [{"symbol": "a", "pos": pos, "ts_recv": pos, "bids": book, "asks": book} for pos in range(1000)]
    (part,) = parts("book_snapshots", make_rows("book_snapshots", rows))
    metadata = pq.ParquetFile(pa.BufferReader(part.content)).metadata
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert (part.rows, sum(groups)) == (1000, 1000)
    assert len(groups) == 10
    assert max(groups) * 300 <= GROUP_ROWS_MAX // BOOKS_SHARE
    assert min(groups) * 300 >= GROUP_ROWS_MIN // BOOKS_SHARE
