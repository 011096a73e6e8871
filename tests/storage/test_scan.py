from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from bookreel.storage.contents import Contents
from bookreel.storage.errors import CorruptFile
from bookreel.storage.scan import Bounds, Scanner
from bookreel.storage.tail import Tail

Record = Callable[[], Any]

READS = [Scanner.scan, Scanner.bulk]


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
