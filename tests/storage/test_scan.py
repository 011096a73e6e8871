from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bookreel.storage.contents import Contents
from bookreel.storage.disk import OsDisk
from bookreel.storage.errors import CorruptFile
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.tail import Tail
from tests.storage.sealed import T0, Sealed, make_rows

Record = Callable[[], Any]

READS = [Scanner.scan, Scanner.bulk, partial(Scanner.scan, few=True)]


def seal_trades(record: Record, count: int) -> Contents:
    """An archive with so many trades, sealed."""
    recording = record()
    recording.connect(1, "market.btcusdt.trade.detail", conn="ws-0")
    for number in range(1, count + 1):
        recording.trade(1 + number, number, 100.0)
    recording.rotate()
    recording.seal()
    tail = Tail(recording.path)
    contents = tail.look(["trades"])
    tail.close()
    return contents


@pytest.mark.parametrize("read", READS)
def test_a_question_that_does_not_ask_for_positions_is_answered_in_their_order(
    record: Record, read: Callable[..., Any]
) -> None:
    contents = seal_trades(record, 5)
    pieces = list(read(Scanner(), contents, "trades", ("trade_seq",)))
    assert [piece.schema.names for piece in pieces] == [["trade_seq"]]
    assert pieces[0]["trade_seq"].to_pylist() == [1, 2, 3, 4, 5]


def test_row_groups_that_are_wanted_in_part_are_cut(record: Record) -> None:
    """Statistics decide where all rows of a row group are wanted; here each bound has rows on both sides."""
    contents = seal_trades(record, 8)
    scanner, columns = Scanner(), ("trade_seq", "pos", "ts_recv")
    (whole,) = scanner.bulk(contents, "trades", columns)
    pos, ts = whole["pos"].to_pylist(), whole["ts_recv"].cast(pa.int64()).to_pylist()
    for bounds, wanted in (
        (Bounds(symbol="btcusdt", since=ts[2]), [3, 4, 5, 6, 7, 8]),
        (Bounds(until=ts[2]), [1, 2]),
        (Bounds(pos_from=pos[5]), [6, 7, 8]),
        (Bounds(pos_until=pos[5], since=ts[1]), [2, 3, 4, 5]),
        (Bounds(since=ts[0], until=ts[7] + 1, pos_from=pos[0], pos_until=pos[7] + 1), [*range(1, 9)]),
        (Bounds(until=ts[7]), [*range(1, 8)]),
        (Bounds(pos_until=pos[7]), [*range(1, 8)]),
        (Bounds(symbol="ethusdt"), []),
    ):
        for read in (scanner.scan, scanner.bulk):
            pieces = list(read(contents, "trades", ("trade_seq",), bounds))
            assert [row for piece in pieces for row in piece["trade_seq"].to_pylist()] == wanted, bounds


@pytest.mark.parametrize("read", READS)
def test_a_damaged_page_is_not_read(record: Record, read: Callable[..., Any]) -> None:
    """One bit of a page that is not compressed, so that nothing but its checksum can tell."""
    contents = seal_trades(record, 200)
    (entry,) = contents.files["trades"]
    contents.files["trades"] = [replace(entry, footer_bytes=0, footer_crc=0)]
    path = contents.root / entry.path
    rows = pq.read_table(path)
    path.chmod(0o644)
    pq.write_table(rows, path, compression="none", use_dictionary=False, write_page_checksum=True)
    column = pq.read_metadata(path).row_group(0).column(rows.schema.names.index("trade_seq"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    assert list(read(Scanner(), contents, "trades", ("pos",)))
    with pytest.raises(CorruptFile, match=path.name):
        list(read(Scanner(), contents, "trades", ("trade_seq",)))


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Contents:
    """Deltas and books of two symbols and two feeds in small row groups; at one place the clock was set back."""
    monkeypatch.setattr("bookreel.storage.parquet.GROUP_ROWS_MIN", 8)
    monkeypatch.setattr("bookreel.storage.parquet.GROUP_ROWS_MAX", 32)
    rng = Random(3)
    rows = []
    for pos in range(1, 120):
        ts = T0 + pos * 1_000 - (40_000 if pos > 70 else 0)
        row = {
            "symbol": rng.choice(["btcusdt", "ethusdt"]),
            "feed": rng.choice(["mbp.150", "mbp.150", "mbp.20"]),
            "pos": pos,
            "ts_recv": ts,
            "seq": pos,
            "epoch": 1 if pos < 60 else 60,
        }
        rows.append(row)
    levels = [row | {"price": float(n), "size": float(n), "side": "ask"} for row in rows for n in range(2)]
    sealed = Sealed(OsDisk(), tmp_path)
    sealed.segment(
        1,
        200,
        {
            "book_deltas": make_rows("book_deltas", levels),
            "book_snapshots": make_rows("book_snapshots", rows),
        },
    )
    tail = Tail(tmp_path)
    contents = tail.look(["book_deltas", "book_snapshots"])
    tail.close()
    return contents


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_way_of_reading_finds_the_same_rows(several: Contents, data: st.DataObject) -> None:
    moments = st.none() | st.integers(-45, 125)
    since, until, pos_from, pos_until = (data.draw(moments) for _ in range(4))
    bounds = Bounds(
        symbol=data.draw(st.sampled_from([None, "btcusdt", "ethusdt", "xrpusdt"])),
        feed=data.draw(st.sampled_from([None, "mbp.150", "mbp.20"])),
        since=None if since is None else T0 + since * 1_000,
        until=None if until is None else T0 + until * 1_000,
        pos_from=pos_from,
        pos_until=pos_until,
    )
    table, columns = data.draw(
        st.sampled_from(
            [
                ("book_deltas", ["side", "price", "seq", "epoch"]),
                ("book_deltas", ["ts_recv", "pos"]),
                ("book_snapshots", ["pos", "source", "bids"]),
            ]
        )
    )
    found = [read(Scanner(), several, table, columns, bounds) for read in READS]
    whole, *others = ([row for piece in pieces for row in piece.to_pylist()] for pieces in found)
    assert all(other == whole for other in others)


def test_of_other_columns_only_what_comes_before_the_last_wanted_row_is_decoded(
    several: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    iter_batches = pq.ParquetFile.iter_batches

    def note(self: Any, **options: Any) -> Any:
        asked.append((options["batch_size"], options["columns"]))
        return iter_batches(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", note)
    (entry,) = several.files["book_snapshots"]
    scanner = Scanner()
    first = next(scanner.scan(several, "book_snapshots", ["pos", "ts_recv"], Bounds(symbol="btcusdt")))
    at = Bounds(symbol="btcusdt", pos_from=first["pos"][2].as_py(), pos_until=first["pos"][2].as_py() + 1)
    (piece,) = scanner.file(several, entry, ["pos", "seq", "bids"], at, few=True)
    assert piece["seq"].to_pylist() == piece["pos"].to_pylist() == [at.pos_from]
    assert asked == [(2, ["seq", "bids"])]
    # A second question about the same row group has it read whole, and later ones have it read no more.
    for _ in range(2):
        (again,) = scanner.file(several, entry, ["pos", "seq", "bids"], at, few=True)
        assert again.to_pylist() == piece.to_pylist()
        monkeypatch.setattr(pq.ParquetFile, "__init__", None)
    assert len(asked) == 1


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_what_comes_after_an_instant_is_not_decoded_however_the_rows_are_spread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """Most of the rows come at the beginning, or at the end, or they are spread evenly."""
    count = 1_000
    times = [T0 + round(count * (number / count) ** (0.2, 1, 5)[ahead] * 1_000) for number in range(count)]
    rows = [
        {
            "symbol": "btcusdt",
            "feed": "mbp.150",
            "pos": number + 1,
            "seq": number,
            "ts_recv": ts,
            "side": "bid",
        }
        for number, ts in enumerate(times)
    ]
    sealed = Sealed(OsDisk(), tmp_path)
    sealed.segment(1, count, {"book_deltas": make_rows("book_deltas", rows)})
    tail = Tail(tmp_path)
    contents = tail.look(["book_deltas"])
    tail.close()
    decoded = 0
    iter_batches = pq.ParquetFile.iter_batches

    def note(self: Any, **options: Any) -> Any:
        nonlocal decoded
        for batch in iter_batches(self, **options):
            decoded += batch.num_rows
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", note)
    for last in (0, 1, 300, 998, 999):
        decoded = 0
        bounds = Bounds("btcusdt", "mbp.150", until=times[last] + 1, pos_from=1)
        pieces = list(Scanner().scan(contents, "book_deltas", ["seq", "side"], bounds, few=True))
        wanted = sum(ts <= times[last] for ts in times)
        assert [seq for piece in pieces for seq in piece["seq"].to_pylist()] == [*range(wanted)]
        if ahead == 1:
            assert wanted <= decoded <= wanted + count // 8
