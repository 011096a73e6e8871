from __future__ import annotations

import pytest

from bookreel.book.model import Delta, Kline, Snapshot, Ticker
from bookreel.storage.record import Direction, Kind, Record
from bookreel.storage.rows import RowWriter
from bookreel.storage.schema import TABLES

FRAME = Record(7, 70, 0, "ws-0", 1, Direction.IN, Kind.TEXT, b"as received")


def test_a_time_that_is_not_known_is_null() -> None:
    writer = RowWriter("huobi", None, None)
    writer.book(Snapshot("btcusdt", "depth.step0", 0, None, [], [], "push"), 1, 2, 3)
    writer.delta(Delta("btcusdt", "mbp.150", 0, 2, 1, [(1.0, 2.0)], []), 1, 2, 3)
    taken = writer.take(compact=False)
    assert taken["book_snapshots"].column("ts_event").null_count == 1
    assert taken["book_deltas"].column("ts_event").null_count == 1


@pytest.mark.parametrize(
    ("text", "payload", "raw"),
    [
        (b"plain", "plain", None),
        ("\u00e4\x00".encode(), "\u00e4\x00", None),
        (b"\xe4", None, b"as received"),
        (None, None, b"as received"),
    ],
)
def test_a_payload_is_text_where_it_can_be(
    text: bytes | None, payload: str | None, raw: bytes | None
) -> None:
    writer = RowWriter("huobi", None, None)
    writer.frame(FRAME, ("unknown", None, None), text)
    table = writer.take(compact=False)["frames"]
    assert table.column("payload").to_pylist() == [payload]
    assert table.column("payload_bytes").to_pylist() == [raw]


def test_only_wanted_rows_are_kept() -> None:
    writer = RowWriter("huobi", {"frames", "book_deltas"}, {"btcusdt"})
    writer.frame(FRAME, ("ping", None, None), b"{}")
    assert writer.wants("btcusdt")
    assert not writer.wants("ethusdt")
    taken = writer.take(compact=True)
    assert set(taken) == {"frames", "book_deltas"}
    assert taken["frames"].num_rows == 0


def test_bars_and_tickers_fill_the_columns_of_their_names() -> None:
    writer = RowWriter("huobi", None, None)
    kline = Kline("btcusdt", "kline.1min", 5, "1min", 60, 1.0, 2.0, 0.5, 1.5, 10.0, 15.0, 3)
    ticker = Ticker("btcusdt", "ticker", 5, 1.0, 2.0, 0.5, 1.5, 10.0, 15.0, 3, bid=1.25, last_size=9.0)
    writer.bar(kline, 1, 2)
    writer.bar(ticker, 1, 2)
    taken = writer.take(compact=False)
    for table, event in (("klines", kline), ("tickers", ticker)):
        own = [
            name
            for name in TABLES[table].names
            if name in event.__struct_fields__ and not name.startswith("ts")
        ]
        for name in own:
            if name != "open_time":
                assert taken[table].column(name).to_pylist() == [getattr(event, name)], name
