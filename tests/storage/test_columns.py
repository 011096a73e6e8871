from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bookreel.storage.columns import COMPACT_DELTAS, BookRows, LevelRows, Rows, expand
from bookreel.storage.schema import TABLES

levels = st.lists(st.tuples(st.floats(0.001, 1e12), st.floats(0, 1e12)), max_size=5)


def delta_row(pos: int, side: str) -> tuple[object, ...]:
    return (None, 1_000 + pos, "btcusdt", pos, "mbp.150", 7, pos * 10, pos * 10 - 10, side)


def test_rows_become_a_table_in_their_order() -> None:
    rows = Rows("trades", "huobi")
    rows.append((5, 6, "btcusdt", 1, "1" * 27, 11, "buy", 9.377e-11, 3e12))
    rows.pack()
    rows.append((None, 7, "ethusdt", 2, "2", None, "sell", 1.0, 2.0))
    table = rows.take()
    assert table.schema.equals(TABLES["trades"], check_metadata=True)
    assert table.column("trade_id").to_pylist() == ["1" * 27, "2"]
    assert table.column("price").to_pylist() == [9.377e-11, 1.0]
    assert table.column("venue").to_pylist() == ["huobi", "huobi"]
    assert table.column("ts_event").null_count == 1
    assert rows.take().num_rows == 0


def test_an_empty_builder_gives_an_empty_table_of_the_right_schema() -> None:
    assert Rows("gaps", "huobi").take().schema.equals(TABLES["gaps"], check_metadata=True)
    assert BookRows("huobi").take().schema.equals(TABLES["book_snapshots"], check_metadata=True)
    assert LevelRows("huobi").take().schema.equals(TABLES["book_deltas"])


@given(st.lists(st.tuples(levels, levels, st.booleans()), max_size=8))
def test_books_keep_both_sides_however_they_are_packed(books: list[tuple[list, list, bool]]) -> None:
    rows = BookRows("huobi")
    for pos, (bids, asks, pack) in enumerate(books):
        rows.append((None, pos, "btcusdt", pos, "depth.step0", 1, None, "push"), bids, asks)
        if pack:
            rows.pack()
    table = rows.take()
    for name, side in (("bids", 0), ("asks", 1)):
        stored = [
            [(level["price"], level["size"]) for level in book] for book in table.column(name).to_pylist()
        ]
        assert stored == [book[side] for book in books]


def test_orders_are_kept_beside_their_levels_however_they_are_packed() -> None:
    rows = BookRows("futu")
    orders = [([1, 2], []), (None, None), ([3], [4]), (None, None)]
    for pos, each in enumerate(orders):
        counts = each if each[0] is not None else None
        rows.append((None, pos, "HK.00700", pos, "orderbook", 1, None, "push"), [(1.0, 2.0)], [], counts)
        if pos == 2:
            rows.pack()
    table = rows.take()
    assert table.schema.equals(TABLES["book_snapshots"], check_metadata=True)
    stored = zip(table["bid_orders"].to_pylist(), table["ask_orders"].to_pylist(), strict=True)
    assert list(stored) == orders


@given(st.lists(st.tuples(levels, st.sampled_from(["bid", "ask"]), st.booleans()), max_size=12))
def test_every_level_becomes_a_row_with_what_its_side_shares(sides: list[tuple[list, str, bool]]) -> None:
    rows = LevelRows("huobi")
    for pos, (side_levels, side, pack) in enumerate(sides):
        rows.append(delta_row(pos, side), side_levels)
        if pack:
            rows.pack()
    table = rows.take()
    expected = [
        (pos, side, price, size) for pos, (given_, side, _) in enumerate(sides) for price, size in given_
    ]
    columns = (table.column(name).to_pylist() for name in ("pos", "side", "price", "size"))
    assert list(zip(*columns, strict=True)) == expected
    assert table.column("seq").to_pylist() == [pos * 10 for pos, *_ in expected]


def test_compact_rows_can_be_reordered_before_they_are_expanded() -> None:
    rows = LevelRows("huobi")
    rows.append(delta_row(1, "bid"), [(1.0, 2.0), (3.0, 4.0)])
    rows.append(delta_row(2, "ask"), [(5.0, 6.0)])
    compact = rows.take_compact()
    assert compact.schema.equals(COMPACT_DELTAS)
    reordered = expand(compact.take(pa.array([1, 0])))
    assert reordered.column("price").to_pylist() == [5.0, 1.0, 3.0]
    assert reordered.column("side").to_pylist() == ["ask", "bid", "bid"]
