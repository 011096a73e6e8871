from __future__ import annotations

import pyarrow as pa
import pytest

from bookreel.storage.piece import Piece
from bookreel.storage.spans import Bounds


def piece(pos: list[int], ts: list[int], symbols: str) -> Piece:
    """Rows with their positions, times of receipt (ns) and symbols, a letter each."""
    times = pa.array(ts, pa.timestamp("ns"))
    return Piece(pa.table({"pos": pa.array(pos, pa.int64()), "ts_recv": times, "symbol": list(symbols)}))


@pytest.mark.parametrize(
    ("bounds", "extent", "kept"),
    [
        (Bounds(), (0, 5), [1, 2, 3, 4, 5]),
        (Bounds(symbol="b"), (1, 4), [2, 4]),
        (Bounds(symbol="a"), (0, 5), [1, 3, 5]),
        (Bounds(symbol="c"), (0, 0), []),
        (Bounds(pos_from=2, pos_until=4), (1, 3), [2, 3]),
        (Bounds(since=20, until=40), (1, 3), [2, 3]),
        (Bounds(symbol="b", since=30), (3, 4), [4]),
        (Bounds(since=60), (5, 5), []),
    ],
)
@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "not in order"])
def test_the_wanted_rows(ordered: bool, bounds: Bounds, extent: tuple[int, int], kept: list[int]) -> None:
    """Found by bisection, or each row looked at: a row of neither time nor place in front makes it that."""
    pos, ts, symbols = [1, 2, 3, 4, 5], [10, 20, 30, 40, 50], "ababa"
    if not ordered:
        pos, ts, symbols = [9, *pos], [90, *ts], "x" + symbols
    made = piece(pos, ts, symbols)
    found = made.keep(bounds)["pos"].to_pylist()
    assert [one for one in found if one != 9] == kept
    first, stop = made.extent(bounds)
    if ordered:
        assert (first, stop) == extent
    else:
        assert set(kept) <= set(pos[first:stop])
    if found:
        assert pos[first] == found[0] and pos[stop - 1] == found[-1], "no row too many at either end"
    else:
        assert first == stop
