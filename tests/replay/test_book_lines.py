"""Lines made from columns, against the encoder of typed values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bookreel.replay.book_lines import BOOK_LINES
from bookreel.replay.events import iso_times
from bookreel.replay.kinds import MAKERS
from bookreel.replay.ndjson import Lines
from bookreel.replay.sweep import ORDER
from bookreel.storage.schema import TABLES

NUMBERS = st.one_of(
    st.sampled_from([0.5, 1.0, 9.377e-11, 5e-324, 1.7976931348623157e308, 1e16, 123456789.125, 0.1]),
    st.floats(0, 1e308, exclude_min=True, allow_nan=False),
)
LEVELS = st.lists(st.tuples(NUMBERS, NUMBERS | st.just(0.0)), max_size=5)
TIMES = st.integers(0, (1 << 62) - 1)
NAMES = st.sampled_from(["btcusdt", 'a"b\\', "é"])


def rows_of(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = TABLES[table]
    found = pa.Table.from_pylist([{"venue": "huobi", **row} for row in rows], schema).append_column(
        ORDER, pa.array([row["pos"] for row in rows], pa.int64())
    )
    names = [name for name in ("symbol", "feed", "side") if name in schema.names and table == "book_deltas"]
    for name in names:
        index = found.schema.get_field_index(name)
        found = found.set_column(index, name, found[name].dictionary_encode())
    return found


def same(table: str, rows: pa.Table) -> None:
    made = BOOK_LINES[table](1.0, rows, iso_times)
    wanted = MAKERS["huobi"][table](1.0, rows, iso_times)
    assert [part.rank for part in made] == [part.rank for part in wanted]
    for own, other in zip(made, wanted, strict=True):
        assert own.order.equals(other.order) and own.ts.equals(other.ts)
        lines = Lines.of_array(own.events)
        assert bytes(lines.between(0, len(own.events))) == b"".join(
            bytes(Lines.of([value]).between(0, 1)) for value in other.events
        )


@settings(max_examples=60)
@given(st.lists(st.tuples(NAMES, TIMES | st.none(), TIMES, LEVELS, LEVELS), min_size=1, max_size=6))
def test_of_deltas(deltas: list[tuple[str, int | None, int, Any, Any]]) -> None:
    rows = [
        {"symbol": name, "feed": "mbp.150", "ts_event": event, "ts_recv": received, "pos": pos, "epoch": 3}
        | {"seq": 7 * pos, "prev_seq": pos, "side": side, "price": price, "size": size}
        for pos, (name, event, received, bids, asks) in enumerate(deltas)
        for side, levels in (("bid", bids), ("ask", asks))
        for price, size in levels
    ]
    if rows:
        same("book_deltas", rows_of("book_deltas", rows))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            NAMES, TIMES | st.none(), st.none() | TIMES, st.sampled_from(["push", "keyframe"]), LEVELS, LEVELS
        ),
        min_size=1,
        max_size=6,
    )
)
def test_of_whole_books(books: list[tuple[str, int | None, int | None, str, Any, Any]]) -> None:
    rows = [
        {"symbol": name, "feed": "depth.step0", "ts_event": event, "ts_recv": pos, "pos": pos, "epoch": pos}
        | {"seq": seq, "source": source}
        | {
            side: [{"price": price, "size": size} for price, size in levels]
            for side, levels in (("bids", bids), ("asks", asks))
        }
        for pos, (name, event, seq, source, bids, asks) in enumerate(books)
    ]
    whole = rows_of("book_snapshots", rows)
    same("book_snapshots", whole)
    same("book_snapshots", whole.slice(1)) if len(rows) > 1 else None


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_part_of_a_column(start: int) -> None:
    rows = [
        {"symbol": "btcusdt", "feed": "mbp.150", "ts_event": 1, "ts_recv": 2, "pos": pos, "epoch": 1}
        | {"seq": pos, "prev_seq": 0, "side": side, "price": 1.5, "size": float(pos)}
        for pos in (1, 2)
        for side in ("bid", "ask")
    ]
    same("book_deltas", rows_of("book_deltas", rows).slice(start))
