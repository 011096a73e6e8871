from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from bookreel.storage.errors import NotAnArchive
from bookreel.storage.seal import seal
from bookreel.storage.tail import Tail

Record = Callable[[], Any]

TOPICS = ("market.btcusdt.trade.detail",)


def trades(tail: Tail, archive: Any) -> list[int]:
    """Every stored trade number, sealed and not."""
    contents = tail.look(["trades"])
    found: list[int] = []
    for entry in contents.files.get("trades", ()):
        found += pq.read_table(contents.root / entry.path, columns=["trade_seq"])["trade_seq"].to_pylist()
    return found + contents.tail["trades"]["trade_seq"].to_pylist()


def test_a_folder_that_is_no_archive_is_refused(tmp_path: Any) -> None:
    with pytest.raises(NotAnArchive):
        Tail(tmp_path)


def test_an_empty_archive_has_typed_empty_tables(record: Record) -> None:
    recording = record()
    recording.flush()
    contents = Tail(recording.path).look(["trades"])
    assert contents.tail["trades"].num_rows == 0
    assert contents.tail["gaps"].num_rows == 0
    assert contents.streams == []


def test_looking_again_gives_what_came_since(record: Record) -> None:
    recording = record()
    recording.connect(1, *TOPICS)
    tail = Tail(recording.path)
    for number in range(1, 6):
        recording.trade(1 + number, number, 100.0)
        recording.flush()
        assert trades(tail, recording) == list(range(1, number + 1))


def test_only_what_is_asked_for_is_decoded(record: Record) -> None:
    recording = record()
    recording.connect(1, *TOPICS)
    recording.trade(2, 1, 100.0)
    recording.flush()
    tail = Tail(recording.path)
    assert set(tail.look(["bbo"]).tail) == {"bbo", "gaps"}
    assert tail.look(["bbo", "trades"]).tail["trades"].num_rows == 1


@pytest.mark.parametrize("looked_before", [False, True])
def test_sealing_moves_rows_without_doubling_any(record: Record, looked_before: bool) -> None:
    recording = record()
    recording.connect(1, *TOPICS)
    tail = Tail(recording.path)
    number = 0
    for _ in range(4):
        for _ in range(3):
            number += 1
            recording.trade(1 + number, number, 100.0)
        recording.rotate()
        if looked_before:
            assert trades(tail, recording) == list(range(1, number + 1))
        recording.seal()
        assert trades(tail, recording) == list(range(1, number + 1))
        assert tail.look(["trades"]).tail["trades"].num_rows == 0


def test_a_stopped_recording_is_sealed_to_its_end(record: Record) -> None:
    recording = record()
    recording.connect(1, *TOPICS)
    recording.trade(2, 1, 100.0)
    tail = Tail(recording.path)
    recording.flush()
    assert trades(tail, recording) == [1]
    recording.stop(3)
    seal(recording.path)
    assert trades(tail, recording) == [1]


def test_no_row_twice_and_none_missing_beside_a_sealer(record: Record) -> None:
    recording = record()
    recording.connect(1, *TOPICS)
    tail = Tail(recording.path)
    done = threading.Event()
    wrong: list[list[int]] = []
    written = [0]

    def look() -> None:
        while not done.is_set():
            least = written[0]
            found = trades(tail, recording)
            if sorted(found) != list(range(1, len(found) + 1)) or len(found) < least:
                wrong.append(found)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 61):
            recording.trade(1 + number, number, 100.0)
            recording.flush()
            written[0] = number
            if number % 5 == 0:
                recording.rotate()
                recording.seal()
    finally:
        done.set()
        reader.join()
    assert wrong == []
    assert trades(tail, recording) == list(range(1, 61))


def test_streams_and_their_ends(record: Record) -> None:
    recording = record()
    recording.connect(1, *TOPICS, conn="ws-0")
    recording.trade(2, 1, 100.0)
    recording.flush()
    tail = Tail(recording.path)
    (stream,) = tail.look().streams
    assert (stream.symbol, stream.feed, stream.until) == ("btcusdt", "trade.detail", None)
    recording.stop(5)
    (stream,) = tail.look().streams
    assert stream.until is not None
    assert stream.until <= recording.at(5)


def test_an_open_gap_is_a_row_without_end(record: Record) -> None:
    recording = record()
    recording.connect(1, *TOPICS, conn="ws-0")
    recording.trade(2, 1, 100.0)
    recording.event("disconnect", 3, "ws-0", cause="disconnect", detail="")
    recording.flush()
    (gap,) = Tail(recording.path).look().tail["gaps"].drop_columns(["ts_recv", "start"]).to_pylist()
    assert (gap["feed"], gap["cause"], gap["end"]) == ("trade.detail", "disconnect", None)


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_what_is_sealed_stays_readable_without_the_checkpoint(record: Record, how: str) -> None:
    recording = record()
    recording.connect(1, *TOPICS, conn="ws-0")
    recording.trade(2, 1, 100.0)
    recording.rotate()
    recording.seal()
    (state,) = (recording.path / "state").glob("*.state")
    state.unlink()
    if how == "damaged":
        state.write_bytes(b"not a checkpoint")
    recording.trade(3, 2, 100.0)
    recording.flush()
    tail = Tail(recording.path)
    assert trades(tail, recording) == [1, 2]
    contents = tail.look()
    (gap,) = contents.tail["gaps"]["cause"].to_pylist()
    assert gap == "corrupt"
    # The streams of what is sealed are told by their rows.
    assert contents.checkpoint_lost is not None
    lives = {stream.feed: stream for stream in contents.streams}
    assert lives["trade.detail"].since == recording.at(2)
